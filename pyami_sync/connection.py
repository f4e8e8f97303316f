"""One TCP life: bytes in and out, and the calls that wait for answers on it.

Reading happens on the engine's thread, or on that of a lone caller (:mod:`~pyami_sync.turn`). Writing happens on
whichever thread calls: it puts its frame in a queue and, if no other thread is at it, sends all that is queued in
one go. A thread that finds another one sending leaves its frame to that one. So no caller waits for a lock while a
peer is slow; what the socket does not take the engine sends on when it can.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Condition, Event, Lock, RLock, get_ident
from typing import Any, Protocol

from .action import Action, check_action_id
from .request import LEAST, BlockingCall, Call, Fence
from .catalogue.rules import AnswerRule
from .deadline import Deadline
from .engine import Engine
from .exceptions import ActionTimeout, AMIError, ConnectError, ConnectionLost, RemoteProtocolError
from .message import Origin, make_origin
from .pending import PendingCalls
from .polling import READ, WRITE
from .protocol import Greeting, Limits
from .protocol import Protocol as WireProtocol
from .redaction import redact
from .relay import Relay
from .response import Response
from .transport import Channel
from .turn import Turn

__all__ = ["Connection", "Owner"]

logger = logging.getLogger("pyami_sync")

MOST_READS = 8  # of one socket before another one gets its turn
DRAINED = 64 * 1024  # a shorter read has emptied the socket
MOST_QUEUED = 2_000  # frames that may wait for the socket before callers do
JOIN = 256 * 1024  # bytes of queued frames that are sent in one go
LONGEST_WAIT = 2_592_000.0  # seconds; locks refuse to wait for much longer


class Owner(Protocol):
    """Whom a connection reports to."""

    def publish(self, frames: list[bytes], origin: Origin) -> None:
        """Events came in; called by the engine's thread, in wire order."""
        ...

    def ended(self, connection: Connection, exc: ConnectionLost) -> None:
        """The connection is over; called by the engine's thread, behind the last of its events."""
        ...

    def tapped(self, direction: str, frames: list[bytes]) -> None:
        """Messages went by; called by the thread that reads or writes."""
        ...


class Connection:
    """A connected channel with its calls.

    Args:
        engine: serves it.
        channel: connected, and owned from now on.
        pending: its calls.
        owner: gets its events and its end.
        limits: what to take from the server.
        encoding: of text.
        node: stamped on its events.
        find_rule: how an action answers, by its name.

    """

    def __init__(
        self,
        engine: Engine,
        channel: Channel,
        pending: PendingCalls,
        owner: Owner,
        *,
        limits: Limits,
        encoding: str,
        node: str | None,
        find_rule: Callable[[str], AnswerRule | None],
    ) -> None:
        self.engine = engine
        self.channel = channel
        self.pending = pending
        self.encoding = encoding
        self.node = node
        self.last_received = time.monotonic()
        self.bytes_received = 0
        self.events_received = 0
        self.tapping = False
        """Whether the owner wants to see what goes by."""
        self.on_greeted: Callable[[], None] = _nothing
        """Called once, when the greeting has come or the end came first; must not block."""
        self._owner = owner
        self._protocol = WireProtocol(limits)
        self._find_rule = find_rule
        self._greeted = Event()
        self._lock = Lock()  # for the end
        self.end: AMIError | None = None
        """Why it is over; :data:`None` while it is not. Only the connection itself sets it."""
        # Entering a call and queueing its frame are one step, also for a signal's handler that comes in between.
        self._order = RLock()
        self._out: deque[tuple[bytes, Call | None]] = deque()
        self._writers: dict[None, object] = {}  # who is sending, if anybody
        self._unsent: bytes = b""
        self._blocked = False  # the socket takes no more: the engine goes on when it does
        self._turn = Turn()
        self._relay = Relay(engine, None if channel.blocking else self._flush)
        self._room = Condition(Lock())
        self._crowded = 0  # callers that wait for room in the queue

    # Life

    def start(self) -> None:
        """Begin to read."""
        self.engine.start()
        self._turn.open(self.engine, self.channel)
        if self.channel.blocking:
            self.engine.pump(self._pump)
        else:
            self.engine.register(self)

    def wait_greeting(self, deadline: Deadline) -> Greeting:
        """Wait for the server's first line.

        Raises:
            ConnectError: it does not come, or shows that this is no AMI server.

        """
        if not self._greeted.wait(deadline.remaining()):
            raise no_greeting(deadline.timeout)
        return self.greeting()

    def greeting(self) -> Greeting:
        """The server's first line, once it has come.

        Raises:
            ConnectError: the connection ended before, or it is no AMI server.

        """
        greeting = self._protocol.greeting
        if greeting is None:
            if isinstance(self.end, ConnectError):
                raise self.end
            raise ConnectError(
                "the server closed the connection before its greeting: too many sessions that have not logged in"
                f" (authlimit), or an address that may not connect ({self.end})"
            ) from self.end
        return greeting

    def close(self, exc: AMIError | None = None) -> None:
        """End it: every pending call fails at once, on this thread. Idempotent, from any thread."""
        exc = exc or ConnectionLost("closed by this side")
        with self._lock:
            if self.end is not None:
                return
            self.end = exc
        reason = exc.reason if isinstance(exc, ConnectionLost | ConnectError) else str(exc)
        cause = exc.__cause__ or (None if isinstance(exc, ConnectionLost) else exc)
        self.pending.fail_all(reason, cause)
        self._relay.stop()
        self._greet()
        if self.channel.blocking:
            self.channel.close()
        else:
            # Out of the poller first: a closed descriptor's number may soon be another socket's.
            self.engine.unregister(self, self.channel.close)
        with self._room:
            self._room.notify_all()
        lost = exc if isinstance(exc, ConnectionLost) else ConnectionLost(reason)
        lost.__cause__ = cause
        self.engine.call_soon(lambda: self._owner.ended(self, lost))

    def _greet(self) -> None:
        callback, self.on_greeted = self.on_greeted, _nothing
        self._greeted.set()
        callback()

    def abandon(self) -> None:
        """Let go of a socket that another process uses, in a forked child; touches neither lock nor peer."""
        self.end = ConnectionLost("this process is a fork; its parent keeps the connection", sent=False)
        try:
            self.channel.abandon()
        except OSError:
            pass

    # Reading: on the engine's thread

    def fileno(self) -> int:
        """What the engine waits for."""
        return self.channel.fileno()

    @property
    def interest(self) -> int:
        """What the engine waits for: to read, unless a caller is at it, and to go on writing."""
        return (0 if self._turn.muted else READ) | (WRITE if self._blocked else 0)

    def readable(self) -> None:
        """Read what is there, within measure."""
        turn = self._turn
        if self.end is not None or not turn.take(self):
            return  # ended, or a caller reads just now
        try:
            self._read()
        finally:
            turn.leave(self)

    def _read(self) -> None:
        left = self._turn.left
        for _ in range(MOST_READS):
            try:
                if left:  # what a caller has read comes first
                    found = left.popleft()
                    if isinstance(found, OSError):
                        raise found
                    self.received(found)
                    continue
                chunk = self.channel.receive()
            except OSError as exc:
                self._broke(exc)
                return
            if chunk is None:
                return
            if not self.received(chunk) or len(chunk) < DRAINED:
                return

    def received(self, chunk: bytes) -> bool:
        """Take bytes that came in, empty at the end of the stream; tell whether it goes on."""
        if not chunk:
            self._ended_by_peer()
            return False
        self.last_received = time.monotonic()
        self.bytes_received += len(chunk)
        protocol = self._protocol
        greeted = protocol.greeting is not None
        try:
            frames = protocol.receive(chunk)
        except (RemoteProtocolError, ConnectError) as exc:
            self.close(exc)
            return False
        if not greeted and protocol.greeting is not None:
            self.pending.ami_version = protocol.greeting.version
            if self.tapping:  # before anybody answers the greeting
                self._owner.tapped("received", [protocol.greeting.text.encode() + b"\r\n"])
            self._greet()
        if frames:
            self._take(frames)
        if self.channel.owes:  # TLS may have to answer on its own account
            self._flush()
        return True

    def _take(self, frames: list[bytes]) -> None:
        origin = make_origin((self.encoding, time.time(), self.node))
        if self.tapping:
            self._owner.tapped("received", [frame + b"\r\n\r\n" for frame in frames])
        if logger.isEnabledFor(logging.DEBUG):
            for frame in frames:
                logger.debug("< %s", _shown(frame))
        pending = self.pending
        try:
            events = pending.take(frames, self._protocol.framer.only_events, origin)
        finally:
            if pending.answered:
                answered, pending.answered = pending.answered, []
                self._relay.start(answered)
        if events:
            self.events_received += len(events)
            try:
                self._owner.publish(events, origin)
            except Exception:
                # What is wrong with one subscriber is no reason to end the session of all.
                logger.exception("publishing events raised")

    def _ended_by_peer(self) -> None:
        held = self._protocol.framer.pending
        reason = "the server closed the connection"
        self.close(ConnectionLost(f"{reason} in the middle of a message" if held else reason))

    def _broke(self, exc: BaseException) -> None:
        lost = ConnectionLost(getattr(exc, "strerror", None) or str(exc) or type(exc).__name__)
        lost.__cause__ = exc
        self.close(lost)

    def broken(self, exc: BaseException) -> None:
        """End it because serving it raised."""
        self._broke(exc)

    def _pump(self) -> None:
        """Read a transport that can only block; the engine's thread still does everything else."""
        while self.end is None:
            try:
                chunk = self.channel.receive() or b""
            except Exception as exc:
                self._broke(exc)
                return
            if self.end is not None:
                return
            done = Event()
            self.engine.call_soon(partial(self._pumped, chunk, done))
            # One chunk at a time: what a fast peer sends waits in the transport, not in memory.
            while not done.wait(1.0) and self.end is None:
                pass
            if not chunk:
                return

    def _pumped(self, chunk: bytes, done: Event) -> None:
        try:
            self.received(chunk)
        finally:
            done.set()

    # Calling

    def request(self, call: Call) -> None:
        """Send an action; its call gets the outcome.

        Blocks only while thousands of frames wait for a peer that reads too slowly, and then not longer than
        the call may take.

        Raises:
            InvalidAction: it can't be sent.
            ConnectionLost: the connection is over; nothing was sent.
            ActionTimeout: no room to send it in time; nothing was sent.

        """
        frame = call.action._frame(call.key, self.encoding)
        reader = self._turn.holders.get(None)
        if reader is not call and isinstance(reader, BlockingCall) and reader.thread == get_ident():
            # A signal's handler calls while this very thread reads: it would wait for itself.
            self._stop_reading(reader)
        if len(self._out) > MOST_QUEUED:
            self._stop_reading(call)
            self._wait_for_room(call)
        with self._order:
            fence = self.pending.add(call)
            self._out.append((frame, call))
            if fence is not None:
                self._queue_fence(fence)
        if self.end is not None and self.pending.remove(call):
            # The end may have come between the look at the caller's side and here.
            call.given_up = True
            raise self.lost(sent=call.sent)
        # In a relay a caller who is woken behind this one sends what both have to say.
        if not (self._relay.waiting and isinstance(call, BlockingCall)):
            self._flush()

    def _queue_fence(self, fence: Fence) -> None:
        self._out.append((fence.action._frame(fence.key, "utf-8"), fence))

    def lost(self, *, sent: bool) -> ConnectionLost:
        """A fresh exception for one more caller; raising one instance from two threads mixes up tracebacks."""
        end = self.end
        exc = ConnectionLost(end.reason if isinstance(end, ConnectionLost | ConnectError) else str(end), sent=sent)
        exc.__cause__ = end.__cause__ if end is not None else None
        return exc

    def make_key(self, action: Action[Any]) -> bytes:
        """The ActionID that an action goes out with."""
        if action.action_id is None:
            return self.pending.new_key()
        check_action_id(action.action_id)  # of one made of bytes nobody has yet
        return action.action_id.encode("ascii")

    def rule(self, action: Action[Any]) -> AnswerRule | None:
        """How an action answers; :data:`None` for one Response."""
        return self._find_rule(action.name)

    def call(self, action: Action[Any], timeout: float | None, begun: float | None = None) -> Response:
        """Send an action and wait for its answer.

        Args:
            action: may be sent.
            timeout: seconds that it may take.
            begun: since when they count, by :func:`time.monotonic`; now unless given.

        Raises:
            ActionError: the server answered ``Response: Error``.
            ActionTimeout: no complete answer within ``timeout`` seconds.
            ConnectionLost: the connection ended first.
            InvalidAction: it can't be sent.

        """
        key = self.pending.new_key() if action.action_id is None else self.make_key(action)
        call = BlockingCall(action, key, self._find_rule(action.name), timeout, begun)
        try:
            reads = call.rule is None and self._may_read(call)
            self.request(call)
            answer = self._read_answer(call) if reads else None
            if answer is not None:
                return answer
            left = -1.0
            if call.deadline is not None:
                left = call.deadline - time.monotonic()
                left = LONGEST_WAIT if left > LONGEST_WAIT else left if left > LEAST else LEAST
            done = call.wait(True, left)
            if done:  # if not, its turn to be woken may be yet to come
                self._relay.pass_on(call)  # first of all, so that the next one gets up meanwhile
        except BaseException:  # Ctrl-C, wherever it strikes: nobody waits for it any more
            try:
                self._stop_reading(call)
                call.given_up = True
                self.pending.remove(call)
            finally:
                self._stop_reading(call)  # once more: people press it twice
            self._relay.pass_on(call)
            raise
        if not done:
            if self.pending.remove(call):
                raise call.timed_out()
            call.wait()  # its answer is there, and its turn to be woken comes
            self._relay.pass_on(call)
        result = call.outcome
        if isinstance(result, Response):
            return result
        assert result is not None
        try:
            raise result
        finally:
            del result, call  # the traceback must not keep what it is about alive

    def _may_read(self, call: Call) -> bool:
        """Take the reading over for one call, if nothing stands before its answer; before it is sent.

        To wait at the socket oneself saves waking two threads. Bytes that the engine holds, other callers'
        answers or frames that wait to be sent would come first.
        """
        turn = self._turn
        if self.pending.table or self._out or self.tapping or not turn.offered() or not turn.take(call):
            return False
        # The engine starts a relay while it has the turn, so that only now it is sure that there is none.
        if turn.left or self._relay.waiting or self._protocol.framer.pending or self.end is not None:
            self._stop_reading(call)
            return False
        turn.mute(call)
        self.engine.rearm(self)
        return True

    def _read_answer(self, call: Call) -> Response | None:
        turn = self._turn
        try:
            if turn.read(call, self.channel, call.deadline):
                self.last_received = time.monotonic()
                left = turn.left
                chunk = left[0] if left else None  # gone: a signal's handler has left it to the engine
                if isinstance(chunk, bytes) and len(chunk) <= self._protocol.framer.harmless:
                    answer = self.pending.take_own(call, chunk, make_origin((self.encoding, time.time(), self.node)))
                    if answer is not None:
                        if chunk in left:
                            left.remove(chunk)
                        self.bytes_received += len(chunk)
                        if logger.isEnabledFor(logging.DEBUG):
                            logger.debug("< %s", _shown(chunk[:-4]))
                        return answer
                turn.in_vain()
            return None
        finally:
            self._stop_reading(call)

    def _stop_reading(self, call: Call) -> None:
        """Give the socket back to the engine, if this call has it; safe to repeat, as after Ctrl-C in here."""
        turn = self._turn
        if turn.held_by(call):
            turn.muted = False
            self.engine.rearm(self)  # again if need be: the first time may have been interrupted before it
            turn.leave(call)
        if turn.left:
            self.engine.serve_soon(self)

    @property
    def crowded(self) -> bool:
        """Whether so many frames wait for a slow peer that the next one would have to wait for room."""
        return len(self._out) > MOST_QUEUED

    def _wait_for_room(self, call: Call) -> None:
        self.engine.check_thread("sending to a slow peer")
        deadline = Deadline(None if call.deadline is None else call.deadline - time.monotonic())
        with self._room:
            self._crowded += 1
            try:
                while self.crowded and self.end is None:
                    if not self._room.wait(deadline.remaining()) and deadline.expired:
                        raise ActionTimeout(call.action.name, call.timeout, sent=False)
            finally:
                self._crowded -= 1

    # Writing: on whichever thread comes

    def writable(self) -> None:
        """Go on sending; called by the engine."""
        self._blocked = False
        self.engine.rearm(self)
        self._flush()

    def _flush(self) -> None:
        # Who comes second leaves its frame to the first, who looks once more after letting go. The first is known by
        # what it put there, not by a lock: a Ctrl-C behind taking that would leave it locked for good.
        writers, me = self._writers, None
        while (self._out or self._unsent or self.channel.owes) and not self._blocked:
            me = me or object()
            try:
                if writers.setdefault(None, me) is not me:
                    return
                self._drain()
            except OSError as exc:
                # What the server sent before it went can still be read, so the engine ends it, in its turn.
                logger.debug("sending failed: %s", exc)
                self._out.clear()
                self._unsent = b""
                if self.channel.blocking:
                    self._broke(exc)
            finally:
                if None in writers and writers[None] is me:
                    del writers[None]

    def _drain(self) -> None:
        """Send what is queued; for one thread at a time."""
        channel, out = self.channel, self._out
        while self._unsent or out or channel.owes:
            data = self._unsent or channel.encode(self._next_frames() if out else b"")
            sent = channel.send(data) if data else 0
            self._unsent = data[sent:]
            if sent < len(data):
                self._blocked = True
                self.engine.rearm(self)
                return

    def _next_frames(self) -> bytes:
        out = self._out
        frames: list[bytes] = []
        size = 0
        while out and size < JOIN:
            frame, call = out.popleft()
            if call is not None:
                call.sent = True
                if call.given_up:
                    continue
            frames.append(frame)
            size += len(frame)
        if self._crowded and len(out) <= MOST_QUEUED:
            with self._room:
                self._room.notify_all()
        if self.tapping and frames:
            self._owner.tapped("sent", list(frames))
        if logger.isEnabledFor(logging.DEBUG):
            for frame in frames:
                logger.debug("> %s", _shown(frame))
        return frames[0] if len(frames) == 1 else b"".join(frames)


def no_greeting(seconds: float | None) -> ConnectError:
    """What to say of a server that says nothing."""
    within = "in time" if seconds is None else f"within {seconds:g} s"
    return ConnectError(
        f"connected, but no greeting {within}: is this an AMI port (5038), not one"
        " that expects TLS (use amis://) or HTTP? A stalled server looks the same"
    )


def _nothing() -> None:
    """Nobody wants to know."""


def _shown(frame: bytes) -> str:
    """A message for the log: no secret, no control character that could forge a line of it."""
    text = redact(frame[:2000]).decode("utf-8", "backslashreplace")
    return text.encode("unicode_escape").decode("ascii")
