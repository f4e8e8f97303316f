"""The life of one TCP connection: reading, writing, and its end.

The engine thread reads (unless a lone caller leads, :mod:`.leader`), hands answers to their requests and events to the
owner, writes what the socket did not accept before, and ends the connection. It never waits for a lock that another
thread can hold: what threads share is changed by single dict and deque operations, which are atomic. Requests are in
:mod:`.connection`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from ..engine.engine import Engine
from ..engine.poller import READ, WRITE
from ..exceptions import AMIError, ConnectError, ConnectionLost
from ..vocabulary.catalogue.rules import AnswerRule
from ..wire.protocol import Greeting, Limits
from ..wire.redaction import shown
from .leader import LeaderReading
from .outbox import Outbox
from .pending import PendingRequests
from .receiver import Owner, Receiver
from .transport import Transport
from .wakeups import WakeChain

__all__ = ["BaseConnection", "Owner", "no_greeting", "shown"]

logger = logging.getLogger("pyami_sync")

MOST_READS = 8  # of one socket before another one gets its turn
DRAINED = 64 * 1024  # a shorter read has emptied the socket
LAST_READ = 0.2  # seconds that a leader may go on reading a connection whose writing has failed


class BaseConnection:
    """A connected transport with its requests.

    Args:
        engine: serves it.
        transport: connected, and owned from now on.
        pending: its requests.
        owner: receives its events and its end.
        limits: what to accept from the server.
        encoding: of text.
        node: stamped on its events.
        find_rule: returns how an action answers, by its name.

    """

    close_exc: AMIError | None = None
    """Why it has ended; :data:`None` while it has not. Only the connection itself sets it."""

    def __init__(
        self,
        engine: Engine,
        transport: Transport,
        pending: PendingRequests,
        owner: Owner,
        *,
        limits: Limits,
        encoding: str,
        node: str | None,
        find_rule: Callable[[str], AnswerRule | None],
    ) -> None:
        self.engine = engine
        self.transport = transport
        self.pending = pending
        self.encoding = encoding
        self.node = node
        self.on_greeted: Callable[[], None] = _nothing
        """Called once, when the greeting has come or the connection has ended before; must not block."""
        self._owner = owner
        self.find_rule = find_rule
        """Returns how an action answers, by its name; :data:`None` for one Response."""
        self._ended = False  # only for the engine thread
        self.outbox = Outbox(
            engine,
            transport,
            wait_writable=self._await_writable,
            failed=self._write_failed,
            tap=partial(owner.tapped, "sent"),
            forget=pending.remove,
        )
        self._reading = LeaderReading(engine, self._resume_reading, self._give_up_reading)
        self._wakeups = WakeChain(engine, self.outbox.flush)
        self._receiver = Receiver(self, owner, self._wakeups, limits)

    def greeting(self) -> Greeting:
        """Return the server's first line, once it has come.

        Raises:
            ConnectError: the connection ended before, or it is no AMI server.

        """
        return self._receiver.greeting()

    @property
    def last_received(self) -> float:
        """When bytes came in last, on :func:`time.monotonic`'s clock; at first, when the connection was made."""
        return self._receiver.last_received

    def sample_events(self, when: float, look: Callable[[list[bytes]], None] | None) -> None:
        """Have ``look`` called, once a moment has come, with the events of each read; it must not block.

        On the engine thread, as the calls are.
        """
        self._receiver.sample_at, self._receiver.sample = when, look

    @property
    def bytes_received(self) -> int:
        """Bytes that came in."""
        return self._receiver.bytes_received

    @property
    def events_received(self) -> int:
        """Events that came in, wanted or not."""
        return self._receiver.events_received

    # Life

    def start(self) -> None:
        """Begin to read."""
        self.engine.start()
        self._reading.open(self.transport)
        if self.transport.blocking:
            self.engine.pump(self._receiver.pump)
            self.engine.pump(self.outbox.write_blocking)
        elif self.transport.direct:
            self.engine.on_thread(partial(self.engine.watch, self))
        else:
            self.engine.register(self)  # which also reads: bytes may have come along with the TLS handshake

    def close(self, exc: AMIError | None = None) -> None:
        """End it: every pending request fails at once. Idempotent, from any thread, and never blocks.

        The engine thread does it, where no signal handler can interrupt it half-way; the calling thread only if the
        engine does not run.
        """
        if self.close_exc is not None:
            return
        exc = exc or ConnectionLost("closed by this side")
        if not self.engine.on_own_thread and self.engine.running:
            # Posted first, so that an exception of a signal handler after this line changes nothing.
            self.engine.call_soon(partial(self._end, exc))
            vars(self).setdefault("close_exc", exc)  # one atomic step: the first reason stays
        else:
            self._end(exc)

    def _end(self, exc: AMIError) -> None:
        exc = vars(self).setdefault("close_exc", exc)
        if self._ended:
            return
        self._ended = True
        reason, cause = _reason(exc)
        try:
            self.pending.fail_all(reason, cause)
            self._wakeups.stop()
            self.greet()
        finally:
            if self.transport.blocking:
                self.outbox.close()
                self.transport.close()
            else:
                self.transport.shutdown()
                # Out of the poller first: a closed descriptor's number may soon be another socket's.
                self.engine.unregister(self, lambda: self.engine.persist(self._close_descriptor))
            lost = exc if isinstance(exc, ConnectionLost) else ConnectionLost(reason)
            lost.__cause__ = cause
            self.engine.call_soon(lambda: self._owner.ended(self, lost))

    def _close_descriptor(self) -> bool:
        """Close it once no thread can be within a read or write that uses its number; return whether that is done."""
        free = self.outbox.close() and self._reading.close(self)
        if free or not self.engine.running:
            self.transport.abandon()
            return True
        return False

    def greet(self) -> None:
        """Call :attr:`on_greeted`, once."""
        callback, self.on_greeted = self.on_greeted, _nothing
        callback()

    def abandon(self) -> None:
        """Close the copy of a socket in a forked child, without touching a lock or the peer."""
        self.close_exc = ConnectionLost("this process is a fork; its parent keeps the connection", sent=False)
        try:
            self.transport.abandon()
        except OSError:
            pass

    # Reading: on the engine thread

    def fileno(self) -> int:
        """Return what the engine waits for."""
        return self.transport.fileno()

    @property
    def interest(self) -> int:
        """What the engine waits for: to read, and to go on writing if need be.

        A caller that leads keeps the engine from waiting meanwhile; see :mod:`.leader`.
        """
        return READ | (WRITE if self.outbox.blocked else 0)

    def readable(self) -> None:
        """Read what is there, within measure."""
        reading = self._reading
        if self.close_exc is not None:
            return
        if reading.holder.setdefault(None, self) is not self:
            reading.meet()  # a caller leads, and has not yet switched off that the engine waits
            return
        try:
            self._read()
        finally:
            if not self._ended:
                reading.release(self)

    def writable(self) -> None:
        """Go on writing."""
        self.outbox.writable()

    def _await_writable(self) -> None:
        """Have the engine wait until the socket accepts more, or no longer, as ``outbox.blocked`` says; any thread."""
        self.engine.on_thread(partial(self.engine.persist, self._rearm))

    def _rearm(self) -> bool:
        # Not while a caller leads, who changes the same registration. None begins while the outbox is blocked.
        if not self._ended:
            if not self._reading.reclaim():
                return False
            self.engine.rearm(self)
        return True

    def _resume_reading(self) -> None:
        self.engine.rearm(self)
        self.readable()

    def _give_up_reading(self) -> None:
        self.close(ConnectionLost("a signal handler stopped the thread that was reading"))

    def _read(self) -> None:
        left, transport, received = self._reading.left, self.transport, self._receiver.received
        for _ in range(MOST_READS):
            try:
                if left:  # what a leader has read comes first
                    found = left.popleft()
                    if isinstance(found, OSError):
                        raise found
                    received(found)
                    continue
                chunk = transport.receive()
            except OSError as exc:
                self.broken(exc)
                return
            if chunk is None or not received(chunk):
                return
            if len(chunk) < DRAINED and not transport.holds_more:
                return
        if transport.holds_more:
            self.engine.serve_soon(self)

    def broken(self, exc: BaseException) -> None:
        """End it because reading, writing or serving it raised."""
        lost = ConnectionLost(getattr(exc, "strerror", None) or str(exc) or type(exc).__name__)
        lost.__cause__ = exc
        self.close(lost)

    # Writing

    @property
    def tapping(self) -> bool:
        """True if the owner wants to see what goes over the wire."""
        return self.outbox.tapping

    @tapping.setter
    def tapping(self, on: bool) -> None:
        self.outbox.tapping = on

    def _write_failed(self, exc: BaseException) -> None:
        """Have the engine end the connection, after it has read what the server sent before."""
        logger.debug("sending failed: %s", exc)
        if self.transport.blocking:
            self.broken(exc)
        else:
            self.engine.call_soon(partial(self._end_after_reading, exc, time.monotonic() + LAST_READ))

    def _end_after_reading(self, exc: BaseException, until: float) -> None:
        reading = self._reading
        if self.close_exc is None and not reading.try_acquire(self):
            if time.monotonic() < until:  # a caller leads: it stops within milliseconds
                self.engine.call_at(time.monotonic() + 0.001, partial(self._end_after_reading, exc, until))
                return
        elif self.close_exc is None:
            try:
                self._read()
            finally:
                if not self._ended:
                    reading.release(self)
        self.broken(exc)  # does nothing if reading has met the end


def _reason(exc: AMIError) -> tuple[str, BaseException | None]:
    """Return what to tell the callers of a connection that ends so, and the cause."""
    reason = exc.reason if isinstance(exc, ConnectionLost | ConnectError) else str(exc)
    return reason, exc.__cause__ or (None if isinstance(exc, ConnectionLost) else exc)


def no_greeting(seconds: float | None) -> ConnectError:
    """Return the error of a server that says nothing."""
    within = "in time" if seconds is None else f"within {seconds:g} s"
    return ConnectError(
        f"connected, but no greeting {within}: is this an AMI port (5038), not one"
        " that expects TLS (use amis://) or HTTP? A stalled server looks the same"
    )


def _nothing() -> None:
    """Do nothing."""
