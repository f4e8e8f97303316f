"""Subscriptions to changes of the model: streams and callbacks, each with its own bounded buffer."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from ..engine.deadline import Deadline
from ..engine.handle import Handle
from ..engine.waiting import Waiters
from ..exceptions import ConnectionClosed, WaitTimeout
from ..subscriptions.gap import Gap
from .draft import Change

__all__ = ["ChangeStream", "ChangeSubscription", "Feed"]

logger = logging.getLogger("pyami_sync")
T = TypeVar("T")
MAXSIZE = 50_000


class Subscriber:
    """Base class: a consumer of changes.

    Args:
        owner: the feed at which it is registered.
        kinds: classes of entities; none means all.
        maxsize: most changes in the buffer.

    """

    def __init__(self, owner: Feed, kinds: tuple[type, ...], maxsize: int) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize must be a positive number of changes, not {maxsize!r}")
        self._owner = owner
        self._kinds = frozenset(kinds)
        self._maxsize = maxsize
        self._buffer: deque[Change[Any] | Gap] = deque()
        self._gap: Gap | None = None  # the gap at the end of the buffer, while it overflows
        self.lost = 0
        """Number of changes lost because the buffer was full."""

    def offer(self, changes: list[Change[Any]]) -> None:
        """Put changes into the buffer as far as they fit; never blocks."""
        kinds, buffer = self._kinds, self._buffer
        for change in changes:
            if kinds and change.kind not in kinds:
                continue
            if len(buffer) < self._maxsize:
                self._gap = None
                buffer.append(change)
                continue
            self.lost += 1
            untold = (1, {}) if self._gap is None else self._gap.grow(1, None)
            if untold is not None:  # there is no gap at the end of the buffer, or it has been taken
                self._gap = Gap(untold)
                buffer.append(self._gap)
        if buffer:
            self.wake()

    def wake(self) -> None:
        """Wake the consumer."""
        raise NotImplementedError

    def finish(self) -> None:
        """Note that no more changes will come."""
        raise NotImplementedError


class ChangeStream(Subscriber, Generic[T]):
    """Changes in order: an iterator and a context manager.

    Iterating blocks until the next change and ends when the live model is closed. A buffer that has overflowed raises
    :exc:`~pyami_sync.EventsLost` at the place where changes are missing; take a new :meth:`Live.view` then and
    continue.
    """

    def __init__(self, owner: Feed, kinds: tuple[type, ...], maxsize: int, timeout: float | None) -> None:
        super().__init__(owner, kinds, maxsize)
        self._timeout = timeout
        self._some = Waiters()
        self._ended = False

    def get(self, timeout: float | None = None) -> Change[T]:
        """Wait for the next change, at most `timeout` seconds (None: no limit), and return it.

        Raises:
            WaitTimeout: none came in time.
            EventsLost: changes are missing at this place.
            ConnectionClosed: the stream or the model was closed, and the buffer is empty.

        """
        self._owner.check_thread("waiting for a change")
        deadline = Deadline(timeout)
        while True:
            try:
                change = self._buffer.popleft()
            except IndexError:
                if self._ended:
                    raise ConnectionClosed("the live model was closed") from None
                if not self._some.wait(lambda: self._buffer or self._ended, deadline.remaining()):
                    raise WaitTimeout("a change", timeout) from None
                continue
            if isinstance(change, Gap):
                lost = change.take()
                if lost is not None:
                    raise lost
                continue
            return change

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change[T]:
        try:
            return self.get(self._timeout)
        except (WaitTimeout, ConnectionClosed):
            raise StopIteration from None

    def wake(self) -> None:
        self._some.notify_all()

    def finish(self) -> None:
        self._ended = True
        self._some.notify_all()

    def close(self) -> None:
        """Close the stream; waiting threads are woken."""
        self._owner.remove(self)
        self._buffer.clear()
        self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class ChangeSubscription(Subscriber, Handle[Callable[[Change[Any]], object]]):
    """A registered callback: called with one change at a time, in order, on a callback thread."""

    def __init__(
        self, owner: Feed, kinds: tuple[type, ...], maxsize: int, callback: Callable[[Change[Any]], object]
    ) -> None:
        Subscriber.__init__(self, owner, kinds, maxsize)
        Handle.__init__(self, callback)
        self.callback = callback
        # Holds one entry, or none while a job is on a callback thread or about to be: taking the entry is atomic.
        self._unscheduled: deque[None] = deque((None,), 1)
        self._active = True

    def cancel(self) -> None:
        """End the subscription: no further call begins; a running one is not interrupted."""
        self._owner.remove(self)
        self._active = False

    def wake(self) -> None:
        try:
            self._unscheduled.pop()
        except IndexError:
            return
        self._owner.submit(self._run)

    def _run(self) -> None:
        while True:
            try:
                change = self._buffer.popleft()
            except IndexError:
                self._unscheduled.append(None)  # and only then the last look: a change offered since woke nobody
                if self._buffer:
                    self.wake()
                return
            if not self._active:
                continue
            if isinstance(change, Gap):
                lost = change.take()
                logger.warning("a callback for changes does not keep up: %d were lost", lost.count if lost else 0)
                continue
            try:
                self.callback(change)
            except BaseException:  # sys.exit(), too: later changes must still be delivered
                logger.exception("a callback for changes raised")

    def finish(self) -> None:
        """Do nothing: the changes in the buffer are still delivered to the callback."""


class Feed:
    """All subscribers to the changes of one model.

    Args:
        submit: runs a job on a callback thread.
        check_thread: raises on a thread that must not block.

    """

    def __init__(self, submit: Callable[[Callable[[], None]], None], check_thread: Callable[[str], None]) -> None:
        self.submit = submit
        self.check_thread = check_thread
        self._subscribers: dict[Subscriber, None] = {}  # changed by single atomic steps
        self._ended = False

    def add(self, subscriber: Subscriber) -> None:
        """Deliver every matching change to it from now on."""
        self._subscribers[subscriber] = None
        if self._ended:
            subscriber.finish()

    def remove(self, subscriber: Subscriber) -> None:
        """Deliver nothing more to it."""
        self._subscribers.pop(subscriber, None)

    def offer(self, changes: list[Change[Any]]) -> None:
        """Put changes into the buffers of all subscribers; never blocks. One thread at a time may call it."""
        for subscriber in list(self._subscribers):
            subscriber.offer(changes)

    def finish(self) -> None:
        """Note that no more changes will come."""
        self._ended = True  # before the list is read: a subscriber that is added later sees it
        for subscriber in list(self._subscribers):
            subscriber.finish()
