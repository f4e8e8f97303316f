"""One connection with its requests: sending actions, and waiting for their answers.

Any thread may call :meth:`Connection.send`, which queues an action and writes it (:mod:`.outbox`), and
:meth:`Connection.call`, which also waits for the answer. Reading and the end of the connection are in :mod:`.base`.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from threading import get_ident
from typing import Any

from ..engine.deadline import Deadline
from ..exceptions import ActionTimeout, ConcurrencyError, ConnectError, ConnectionLost
from ..wire.action import Action, check_action_id
from ..wire.origin import make_origin
from ..wire.redaction import shown
from ..wire.response import Response
from .base import BaseConnection, no_greeting
from .leader import Lease
from .receiver import Owner
from .request import LEAST, BlockingRequest, Request, TimedRequest

__all__ = ["Connection", "Owner", "no_greeting"]

logger = logging.getLogger("pyami_sync")

LONGEST_WAIT = 2_592_000.0  # seconds; locks refuse to wait for much longer
LOOK = 1.0  # seconds after which a caller without a time limit checks the connection again


class Connection(BaseConnection):
    """A connected transport with its requests; see :class:`~pyami_sync.connection.base.BaseConnection`."""

    def make_key(self, action: Action[Any]) -> bytes:
        """Return the ActionID that an action goes out with."""
        if action.action_id is None:
            return self.pending.new_key()
        check_action_id(action.action_id)  # of one made of bytes nobody has yet
        return action.action_id.encode("ascii")

    @property
    def crowded(self) -> bool:
        """True if so many frames wait for a slow peer that the next caller would have to wait."""
        return self.outbox.crowded

    def lost(self, *, sent: bool) -> ConnectionLost:
        """Return a new exception for one more caller; raising one instance from two threads mixes up tracebacks."""
        end = self.close_exc
        exc = ConnectionLost(end.reason if isinstance(end, ConnectionLost | ConnectError) else str(end), sent=sent)
        exc.__cause__ = end.__cause__ if end is not None else None
        return exc

    def send(self, request: Request, lease: Lease | None = None) -> None:
        """Send an action; its request gets the outcome.

        Blocks only while thousands of frames wait for a peer that reads too slowly, and then no longer than the request
        may take.

        Args:
            request: the action under way.
            lease: the right to read, if the calling thread leads.

        Raises:
            InvalidAction: it can't be sent.
            ConnectionLost: the connection has ended; nothing was sent.
            ActionTimeout: no space in the write queue in time; nothing was sent.

        """
        frame = request.action._frame(request.key, self.encoding)
        leader = self._reading.holder.get(None)
        if leader is not lease and isinstance(leader, Lease) and leader.thread == get_ident():
            # A signal handler sends while this very thread leads: it would wait for itself.
            self._stop_leading(leader)
        outbox = self.outbox
        if len(outbox.queue) > outbox.high_water:
            if lease is not None:
                self._stop_leading(lease)
            self._wait_for_space(request)
        try:
            fence = self.pending.add(request)
            fence_frame = b"" if fence is None else fence.action._frame(fence.key, "utf-8")
            outbox.queue.append((frame, request, fence_frame, fence))
        except BaseException:
            self.pending.give_up(request)
            raise
        if self.close_exc is not None and self.pending.give_up(request):
            # The end may have come between the look at the session's connection and here.
            raise self.lost(sent=request.sent)
        # In a wake chain a caller that is woken after this one writes what both have queued.
        if not (self._wakeups.waiting and isinstance(request, BlockingRequest)):
            outbox.flush()

    def submit(self, request: TimedRequest, at: float | None) -> None:
        """Send an action as :meth:`send` does, and end its request at a moment of :func:`time.monotonic`."""
        if at is not None and request.timer is None:
            request.timer = self.engine.call_at(at, partial(self.pending.expire, request))
        self.send(request)
        if request.timer is not None and request.timer.callback is None:
            # The timer may have run before the request was entered, when there was nothing to end.
            self.pending.expire(request)

    def _wait_for_space(self, request: Request) -> None:
        self.engine.check_thread("sending to a slow peer")
        deadline = Deadline(None if request.deadline is None else request.deadline - time.monotonic())
        # A caller without a time limit is let in by the end of the connection, which notifies as well.
        if not self.outbox.wait_for_space(deadline.remaining()):
            raise ActionTimeout(request.action.name, request.timeout, sent=False)

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
            ConcurrencyError: in a signal handler or finalizer that interrupted this very thread while it was writing.

        """
        key = self.pending.new_key() if action.action_id is None else self.make_key(action)
        request = BlockingRequest(action, key, self.find_rule(action.name), timeout, begun)
        lease: Lease | None = None
        try:
            outbox = self.outbox
            # Bytes that the engine holds, answers of other callers, or frames that wait to be sent would come before
            # the answer of a caller that leads.
            if (
                request.rule is None
                and not (self.pending.table or outbox.queue or outbox.tapping)
                and self._reading.invites()
            ):
                lease = Lease(self._reading.number)
                if not self._lead(lease):
                    lease = None
            self.send(request, lease)
            if lease is not None:
                answer = self._read_answer(request, lease)
                if answer is not None:
                    return answer
            elif outbox.busy and outbox.written_here:
                raise ConcurrencyError(
                    f"{action.name} was sent in a signal handler or finalizer that interrupted this thread while it was"
                    " writing, so its answer can't be waited for here; use submit(), or another thread"
                )
            done = self._wait(request)
        except BaseException:  # of a signal handler, wherever it strikes: nobody waits for it any more
            try:
                if lease is not None:
                    self._stop_leading(lease)
                self.pending.give_up(request)
            finally:
                if lease is not None:
                    self._stop_leading(lease)  # once more: people press Ctrl-C twice
            self._wakeups.pass_on(request)
            raise
        if not done:
            if self.pending.give_up(request):
                raise request.timed_out() if self.close_exc is None else self.lost(sent=request.sent)
            # Its outcome is decided, and its caller is going to be woken.
            while not request.wait(True, LOOK):
                if self.close_exc is not None and request.outcome is None:
                    raise self.lost(sent=request.sent)
            self._wakeups.pass_on(request)
        result = request.outcome
        if isinstance(result, Response):
            return result
        assert result is not None
        try:
            raise result
        finally:
            del result, request  # the traceback must not keep what it is about alive

    def _wait(self, request: BlockingRequest) -> bool:
        """Wait for the outcome; return False when the time is up, or the connection has ended without one."""
        if request.deadline is None:
            while not (done := request.wait(True, LOOK)) and self.close_exc is None:
                pass
        else:
            left = request.deadline - time.monotonic()
            done = request.wait(True, LONGEST_WAIT if left > LONGEST_WAIT else left if left > LEAST else LEAST)
        if done:
            self._wakeups.pass_on(request)  # before anything else, so that the next one starts meanwhile
        return done

    # Leading: a lone caller reads its own answer

    def _lead(self, lease: Lease) -> bool:
        """Begin to lead, before the action is sent; return False if another thread reads, or has something to read."""
        reading = self._reading
        if reading.holder.setdefault(None, lease) is not lease:
            return False
        # The engine starts a wake chain while it reads, so that only now it is sure that there is none. While the
        # outbox is blocked the engine waits for the socket to accept more, which a caller that leads would undo.
        if (
            reading.left
            or self._wakeups.waiting
            or self._receiver.protocol.framer.pending
            or self.outbox.blocked
            or self.close_exc is not None
        ):
            self._stop_leading(lease)
            return False
        reading.mute(lease)
        return True

    def _read_answer(self, request: BlockingRequest, lease: Lease) -> Response | None:
        reading = self._reading
        try:
            if reading.read(lease, self.transport, request.deadline):
                receiver = self._receiver
                receiver.last_received = time.monotonic()
                left = reading.left
                chunk = left[0] if left else None  # gone: the engine has relieved this thread
                if isinstance(chunk, bytes) and len(chunk) <= receiver.protocol.framer.harmless:
                    origin = make_origin((self.encoding, time.time(), self.node))
                    answer = self.pending.claim_own(request, chunk, origin)
                    if answer is not None:
                        self.pending.answered_at = receiver.last_received
                        try:
                            left.remove(chunk)
                        except ValueError:  # the engine has taken it, and finds that nobody waits for it
                            pass
                        receiver.bytes_received += len(chunk)
                        if logger.isEnabledFor(logging.DEBUG):
                            logger.debug("< %s", shown(chunk[:-4]))
                        return answer
                reading.back_off()
            return None
        finally:
            self._stop_leading(lease)

    def _stop_leading(self, lease: Lease) -> None:
        """Return the socket to the engine, if this leader has it; safe to repeat, as after Ctrl-C in here."""
        reading = self._reading
        reading.stop(lease)
        if reading.left:
            self.engine.serve_soon(self)
