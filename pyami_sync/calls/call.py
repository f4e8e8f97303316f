"""Call: the handle of a telephone call that the library has placed."""

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

HISTORY = 1_000  # events of a call that are kept for streams opened later


class Call(Channel):
    """A call that :meth:`AMIClient.call() <pyami_sync.AMIClient.call>` has placed.

    Its outcome is that of the called device: if the device answers, the outcome is ANSWERED, even if the extension
    that it is then connected with does not answer. :meth:`wait_connected` and :attr:`legs` have the outcomes of the
    other parties.

    Any thread may use it. Leaving its ``with`` block hangs up, unless it was placed with ``hangup_on_exit=False``.
    """

    def __init__(self, server: Server, state: CallState, device: str, *, hangup_on_exit: bool = True) -> None:
        super().__init__(server, state.identity)
        self.device = device
        """The called device, such as ``"PJSIP/1101"``."""
        self.node = server.node
        """Id of the node that it was placed on, in a cluster."""
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

    # Its state

    @property
    def id(self) -> str:
        """The unique id of its channel, chosen by the library; at first also its Linkedid."""
        return self._state.identity

    @property
    def channel(self) -> str:
        """The name of its channel; its unique id until the name is known."""
        return self._state.channel

    @property
    def outcome(self) -> Outcome | None:
        """Its outcome; :data:`None` until it is known, after which it does not change."""
        return self._state.outcome

    @property
    def connected(self) -> Outcome | None:
        """The outcome of connecting it with another party, as in :meth:`wait_connected`; :data:`None` until it is
        known.
        """
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
        """True once it has ended, or if nothing more can be learned about it."""
        return self._state.ended

    @property
    def cause(self) -> int | None:
        """The hangup cause (Q.850) of its channel; :data:`None` until it ends, and if it is not known."""
        return self._state.cause

    @property
    def cause_text(self) -> str:
        """The cause in words."""
        return self._state.cause_text

    @property
    def tech_cause(self) -> str | None:
        """The technology's own code, such as ``"486"`` of SIP; not sent by servers before 20.17 and 22.7."""
        return self._state.tech_cause

    @property
    def started_at(self) -> datetime:
        """When it was placed (UTC)."""
        return self._state.started_at

    @property
    def answered_at(self) -> datetime | None:
        """When it was answered; :data:`None` if it was not, or if the moment is not known."""
        return self._state.answered_at

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; :data:`None` until then, or if the end was not seen."""
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
        """True if events of the call may be missing, because the link or events were lost."""
        return self._state.gap

    @property
    def legs(self) -> tuple[Leg, ...]:
        """Copies of all channels of the call: the called one, and those that were dialled from it."""
        return tuple(dataclasses.replace(leg) for leg in self._state.legs.values())

    @property
    def talking_to(self) -> tuple[str, ...]:
        """The names of the channels that it talks with, also through Local channels."""
        return self._server.talking_to(self._state)

    # Waiting

    def wait_answered(self, timeout: float | None = None) -> Outcome:
        """Wait until it is answered or fails, and return the outcome.

        Without ``timeout`` it blocks at most as long as the device may ring, plus some seconds.

        Raises:
            WaitTimeout: not within ``timeout`` seconds; the call continues.

        """
        self._wait(lambda: self._state.outcome is not None, timeout, "the answer of the call")
        return self._state.outcome or Outcome.UNKNOWN

    def wait_connected(self, timeout: float | None = None) -> Outcome:
        """Wait until it talks with another party, and return the outcome of that.

        ANSWERED when it is bridged with another channel; otherwise, at its end, the outcome of the party that was
        dialled last, for example BUSY if the call is to an agent, who answered, and the customer dialled then was
        busy. FAILED means that no party was dialled.

        Raises:
            WaitTimeout: not within ``timeout`` seconds (:data:`None`: no limit); the call goes on.

        """
        self._wait(lambda: self._state.connected is not None, timeout, "the other party of the call")
        return self._state.connected or Outcome.UNKNOWN

    def wait_ended(self, timeout: float | None = None) -> Outcome:
        """Wait until it ends, and return :attr:`ending`.

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
        """Return a future of :meth:`wait_answered`, for code that places many calls; its callbacks run on callback
        threads.
        """
        return self._answered

    @property
    def ended_future(self) -> Future[Outcome]:
        """Return a future of :meth:`wait_ended`."""
        return self._ended

    def events(self, *, timeout: float | None = None) -> CallEvents:
        """Open a stream of the events of this call: the past ones (at most 1,000) and those to come, until it ends.

        Args:
            timeout: seconds of silence after which iteration ends.

        """
        stream = CallEvents(timeout, self._server.check_thread)
        self._streams[stream] = None
        stream.begin(list(self._history))
        if self._over:
            stream.close()
        return stream

    # Actions

    def hangup(self, cause: int | None = None) -> None:
        """Hang it up; does nothing if it has ended.

        Before the answer this cancels the call. If its channel does not exist yet, it is hung up as soon as it does.
        """
        state = self._state
        if state.ended:
            return
        if state.outcome is None:
            state.cancelled = (
                True  # before the action: the thread that follows calls hangs up a channel that is created later
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
        """Wake all waiting callers, after a change; runs no user code."""
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
