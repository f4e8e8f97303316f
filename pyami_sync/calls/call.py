"""A handle for a telephone call that one has placed."""

from __future__ import annotations

import dataclasses
from collections import deque
from concurrent.futures import Future
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..engine.futures import DetachedFuture
from ..engine.waiting import Waiters
from ..exceptions import ActionError, AMIError, ConnectionClosed, WaitTimeout
from ..wire.message import Event
from .channel import Channel
from .outcome import Outcome
from .state import CallState, Leg
from .stream import CallEvents

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Call"]

HISTORY = 1_000  # events that a call remembers for those who ask later


class Call(Channel):
    """A call that :meth:`AMIClient.call() <pyami_sync.AMIClient.call>` has placed.

    Its outcome is that of the called device: a device that answers and is then connected with an extension where
    nobody answers has answered. :meth:`wait_connected` and :attr:`legs` say what became of the others.

    Any thread may use it. Leaving its ``with`` block hangs up, unless it was placed with ``hangup_on_exit=False``.
    """

    def __init__(self, server: Server, state: CallState, device: str, *, hangup_on_exit: bool = True) -> None:
        super().__init__(server, state.identity)
        self.device = device
        """What was called, such as ``"PJSIP/1101"``."""
        self.node = server.node
        """The node of the cluster that it was placed on."""
        self.hangup_on_exit = hangup_on_exit
        self._server = server
        self._state = state
        self._waiters = Waiters()
        self._answered: DetachedFuture[Outcome] = DetachedFuture(server.submit)
        self._ended: DetachedFuture[Outcome] = DetachedFuture(server.submit)
        # The events so far, counted from 1, and who reads them. The thread that follows calls adds to the history and
        # then looks who reads; who wants to read enters first and then looks at the history, so nobody misses one.
        self._count = 0
        self._history: deque[tuple[int, Event]] = deque(maxlen=HISTORY)
        self._streams: dict[CallEvents, None] = {}
        self._over = False  # all events have been handed out
        # For the thread that follows calls, on the monotonic clock:
        self.placed = monotonic()
        self.unsettled_since: float | None = None
        self.missing_since: float | None = None

    # What is known

    @property
    def id(self) -> str:
        """The unique id of its channel, chosen by the library; also its Linkedid at first."""
        return self._state.identity

    @property
    def channel(self) -> str:
        """The name of its channel; its unique id until the name is known."""
        return self._state.channel

    @property
    def outcome(self) -> Outcome | None:
        """How it went; :data:`None` until that is known. It does not change once it is known."""
        return self._state.outcome

    @property
    def connected(self) -> Outcome | None:
        """What came of connecting it with another party, as :meth:`wait_connected` returns it; None until then."""
        return self._state.connected

    @property
    def ending(self) -> Outcome | None:
        """The outcome, or UNKNOWN if the end was not seen because of a lost link; :data:`None` until it ends."""
        state = self._state
        if not state.ended:
            return None
        return state.outcome if state.ended_at is not None or not state.gap else Outcome.UNKNOWN

    @property
    def ended(self) -> bool:
        """True when it is over, or when nothing more can be learnt of it."""
        return self._state.ended

    @property
    def cause(self) -> int | None:
        """The hangup cause (Q.850) of its channel; :data:`None` until it ended, and where it is not known."""
        return self._state.cause

    @property
    def cause_text(self) -> str:
        """The cause in words."""
        return self._state.cause_text

    @property
    def tech_cause(self) -> str | None:
        """The technology's own code, such as ``"486"`` of SIP; servers before 20.17 and 22.7 do not tell it."""
        return self._state.tech_cause

    @property
    def started_at(self) -> datetime:
        """When it was placed (UTC)."""
        return self._state.started_at

    @property
    def answered_at(self) -> datetime | None:
        """When it was answered; :data:`None` if it was not, or at a moment that was not seen."""
        return self._state.answered_at

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; :data:`None` as long as it goes on, or if the end was not seen."""
        return self._state.ended_at

    @property
    def ring_time(self) -> float | None:
        """Seconds from the first ringing to the answer or the end; :data:`None` if it did not ring."""
        return self._state.ring_time

    @property
    def talk_time(self) -> float | None:
        """Seconds from the answer to the end, as CDR's ``billsec``; :data:`None` until both are known."""
        return self._state.talk_time

    @property
    def gap(self) -> bool:
        """True if events of it may be missing, because the link was lost or events were."""
        return self._state.gap

    @property
    def legs(self) -> tuple[Leg, ...]:
        """Copies of all channels of the call: the called one, and what was dialled from it on."""
        return tuple(dataclasses.replace(leg) for leg in self._state.legs.values())

    @property
    def talking_to(self) -> tuple[str, ...]:
        """The names of the channels that it is bridged with; through the halves of Local channels."""
        return self._server.talking_to(self._state)

    # Waiting

    def wait_answered(self, timeout: float | None = None) -> Outcome:
        """Wait until it is answered or fails, and return the outcome.

        Without ``timeout`` this takes at most as long as the device may ring, and some seconds.

        Raises:
            WaitTimeout: not within ``timeout`` seconds; the call goes on.

        """
        self._wait(lambda: self._state.outcome is not None, timeout, "the answer of the call")
        return self._state.outcome or Outcome.UNKNOWN

    def wait_connected(self, timeout: float | None = None) -> Outcome:
        """Wait until it talks with another party, and return what came of that.

        ANSWERED when it is bridged with another channel; otherwise, at its end, the outcome of the party dialled
        last: the customer was BUSY though the agent, whom this call is to, had answered. FAILED means that nobody
        was dialled.

        Raises:
            WaitTimeout: not within ``timeout`` seconds (:data:`None`: no limit); the call goes on.

        """
        self._wait(lambda: self._state.connected is not None, timeout, "the other party of the call")
        return self._state.connected or Outcome.UNKNOWN

    def wait_ended(self, timeout: float | None = None) -> Outcome:
        """Wait until it is over, and return :attr:`ending`.

        Raises:
            WaitTimeout: not within ``timeout`` seconds (:data:`None`: no limit); the call goes on.

        """
        self._wait(lambda: self._state.ended, timeout, "the end of the call")
        return self.ending or Outcome.UNKNOWN

    def _wait(self, ready: object, timeout: float | None, what: str) -> None:
        self._server.check_thread(f"waiting for {what}")
        if not self._waiters.wait(ready, timeout):  # type: ignore[arg-type]
            raise WaitTimeout(what, timeout)

    @property
    def answered_future(self) -> Future[Outcome]:
        """A future of :meth:`wait_answered`, for code that places many calls. Its callbacks run on callback threads."""
        return self._answered

    @property
    def ended_future(self) -> Future[Outcome]:
        """A future of :meth:`wait_ended`."""
        return self._ended

    def events(self, *, timeout: float | None = None) -> CallEvents:
        """Open a stream of the events of this call: those so far (the last 1,000) and those to come, until it ends.

        Args:
            timeout: seconds of silence after which iteration ends.

        """
        stream = CallEvents(timeout, self._server.check_thread)
        self._streams[stream] = None
        stream.begin(list(self._history))
        if self._over:
            stream.close()
        return stream

    # Doing

    def hangup(self, cause: int | None = None) -> None:
        """Hang it up; nothing happens if it is over.

        Before the answer this cancels it. A call whose channel does not exist yet is hung up as soon as it does.
        """
        state = self._state
        if state.ended:
            return
        if state.outcome is None:
            state.cancelled = (
                True  # before the action: the thread that follows calls hangs up a channel that comes late
            )
        super().hangup(cause)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.hangup_on_exit or self._state.ended:
            return
        try:
            self.hangup()
        except (ActionError, ConnectionClosed):
            if exc is None:
                raise
        except AMIError:
            if exc is None:
                raise

    # For the thread that follows calls

    def take(self, event: Event) -> None:
        """Hand an event to those who read the events of this call."""
        self._count += 1
        self._history.append((self._count, event))
        for stream in list(self._streams):
            stream.push(self._count, event)

    def announce(self) -> None:
        """Wake all waiting callers: something has become known; runs no user code."""
        state = self._state
        if state.outcome is not None and not self._answered.done():
            self._answered.resolve(state.outcome)
        if state.ended:
            if not self._ended.done():
                self._ended.resolve(self.ending or Outcome.UNKNOWN)
            self._over = True
            for stream in list(self._streams):
                stream.close()
        self._waiters.notify_all()

    def __repr__(self) -> str:
        shown = (self._state.ended and "ended") or (self._state.outcome and self._state.outcome.value) or "ringing"
        return f"<Call to {self.device}, {shown}>"
