"""Worker: shares the events of nodes among the members of a group."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event as Flag
from threading import Thread, current_thread
from types import TracebackType
from typing import Any, Self

from .. import Event
from .envelope import Record, event_of
from .errors import BrokerUnavailable
from .transport import Delivery, GroupReader, Transport

__all__ = ["Worker"]

logger = logging.getLogger("pyami_sync")

TRIES = 5
BATCH = 100
IDLE = 0.25


class Worker:
    """One member of a group: each event of the nodes is handled by one member, at least once.

    An event is acknowledged after the handler has returned. If the handler raises, or the process dies, a member gets
    the event again; after ``tries`` times it goes to the dead letters of the group. Members run side by side, so a
    node's events are not handled in order. A handler may get an event again after a crash; :attr:`Record.id`
    identifies repetitions.

    Args:
        transport: the broker.
        group: its name.
        nodes: the nodes whose events are shared.
        handler: called with the event and its record on the worker's thread.
        tries: how many times an event is given to handlers.
        names: names of the events to handle, by default all; others are acknowledged without a call.

    """

    def __init__(
        self,
        transport: Transport,
        group: str,
        nodes: Sequence[str],
        handler: Callable[[Event, Record], Any],
        *,
        tries: int = TRIES,
        names: Sequence[str] = (),
    ) -> None:
        self.handled = 0
        """Number of events whose handler has returned."""
        self.failed = 0
        """Number of times that the handler raised."""
        self.buried = 0
        """Number of events that went to the dead letters."""
        self._transport = transport
        self._group = group
        self._nodes = list(nodes)
        self._handler = handler
        self._tries = tries
        self._names = frozenset(name.lower() for name in names)
        self._stop = Flag()
        self._joined = Flag()
        self._thread = Thread(target=self._run, name=f"pyami-bridge-group-{group}", daemon=True)

    def start(self) -> Self:
        """Start handling events; does not block."""
        self._thread.start()
        return self

    def wait_joined(self, timeout: float | None = None) -> bool:
        """Wait until it is a member of the group; return True if it is."""
        return self._joined.wait(timeout)

    def close(self, timeout: float | None = 10.0) -> None:
        """Finish the current event and leave the group; may be called from any thread."""
        self._stop.set()
        if current_thread() is not self._thread and self._thread.ident is not None:
            self._thread.join(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        reader: GroupReader | None = None
        while not self._stop.is_set():
            try:
                if reader is None:
                    reader = self._transport.group(self._group, self._nodes)
                    self._joined.set()
                for delivery in reader.read(BATCH, IDLE):
                    if self._stop.is_set():
                        reader.retry(delivery)
                    else:
                        self._handle(reader, delivery)
            except BrokerUnavailable as exc:
                logger.info("group %s: %s", self._group, exc)
                if reader is not None:
                    _close(reader)
                    reader = None
                self._stop.wait(0.2)
        if reader is not None:
            _close(reader)

    def _handle(self, reader: GroupReader, delivery: Delivery) -> None:
        record = delivery.record
        if self._names and record.name.lower() not in self._names:
            reader.ack([delivery])
            return
        try:
            if delivery.tries <= self._tries:
                self._handler(event_of(record), record)
        except Exception as exc:
            self.failed += 1
            logger.exception("group %s: the handler raised at %s (try %d)", self._group, record.id, delivery.tries)
            if delivery.tries < self._tries:
                reader.retry(delivery)
                return
            reason = f"{type(exc).__name__}: {exc}"
        else:
            if delivery.tries <= self._tries:
                self.handled += 1
                reader.ack([delivery])
                return
            reason = "the processes that handled it died"
        self.buried += 1
        reader.bury(delivery, reason)


def _close(reader: GroupReader) -> None:
    try:
        reader.close()
    except BrokerUnavailable as exc:
        logger.debug("leaving a group: %s", exc)
