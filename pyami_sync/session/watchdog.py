"""Noticing that a server's events and answers come late, while the link looks healthy.

Two things are compared with this machine's monotonic clock, on the engine thread, without a thread or a timer for
each event:

* the ``Timestamp`` of events (``timestampevents = yes`` in manager.conf), of one read at most every :data:`EVERY`
  seconds. The clocks of two machines differ, so that only the difference to the least delay that was seen lately is
  lateness;
* how long a Ping takes to be answered: that of the keepalive, or one that is sent because an event seems late. Its
  answer tells the server's time too. The reading of that clock was made within the round trip, so a clock that was set
  is told apart from events that are late.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from ..connection.connection import Connection
from ..connection.request import PING, Request
from ..engine.engine import Timer
from ..exceptions import AMIError
from ..wire.response import Response

__all__ = ["Beat", "Clock", "Watchdog"]

logger = logging.getLogger("pyami_sync")

EVERY = 0.5  # seconds between two events that are looked at
WINDOW = 600.0  # seconds that the least delay is remembered for, once or twice as long: clocks drift


class Clock:
    """Learns the least difference between a clock of this machine and the server's."""

    def __init__(self) -> None:
        self._since = -math.inf
        self._least = math.inf
        self._before = math.inf  # of the window before

    @property
    def least(self) -> float:
        """The least difference of late; infinite before the first."""
        return min(self._least, self._before)

    def late(self, difference: float, now: float) -> float:
        """Return by how many seconds a difference is above the least one, and learn from it."""
        if now - self._since >= WINDOW:
            self._since, self._before, self._least = now, self._least, math.inf
        late = max(0.0, difference - self.least) if self.least < math.inf else 0.0
        self._least = min(self._least, difference)
        return late

    def set(self, difference: float, now: float) -> None:
        """Forget what was learned: one of the clocks was set."""
        self._since, self._before, self._least = now, math.inf, difference


class Beat(Request):
    """A Ping that nobody waits for; tells when it was answered.

    Args:
        connection: to send it on.
        timeout: seconds that the answer may take.
        answered: called with the answer and the moment at which it came, on the thread that brings it.

    """

    __slots__ = ("_answered",)

    def __init__(
        self, connection: Connection, timeout: float | None, answered: Callable[[Beat, Response, float], None] | None
    ) -> None:
        super().__init__(PING, connection.make_key(PING), None, timeout)
        self._answered = answered

    def resolve(self, result: Response | BaseException) -> None:
        if self._answered is not None and isinstance(result, Response):
            self._answered(self, result, time.monotonic())


class Watchdog:
    """Watches how late one connection's events and answers are; on the engine thread.

    Args:
        connection: to watch.
        threshold: seconds that events or answers may be late.
        stalled: called with the seconds, and what is late, when that is exceeded.
        recovered: called with how long it took, and by how much they were late at most.

    """

    def __init__(
        self,
        connection: Connection,
        threshold: float,
        stalled: Callable[[float, str], None],
        recovered: Callable[[float, float], None],
    ) -> None:
        self.late = 0.0
        """By how many seconds the latest event or answer was late."""
        self.worst = 0.0
        """The most that any has been late."""
        self.since: float | None = None
        """When the stall of now began, on :func:`time.monotonic`'s clock."""
        self._connection = connection
        self._threshold = threshold
        self._stalled = stalled
        self._recovered = recovered
        self._clock = Clock()
        self._worst_now = 0.0  # of the stall of now
        self._events_late = 0.0
        self._overdue: Beat | None = None
        self._timers: dict[Beat, Timer] = {}
        self._probe: Beat | None = None
        self._suspect = 0.0  # by how much an event seems late, until a Ping says whether it is the clock

    def start(self) -> None:
        """Begin to watch."""
        self._connection.sample = self.sample
        self._connection.sample_at = 0.0

    def stop(self) -> None:
        """Watch no more."""
        self._connection.sample_at = math.inf
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    # Events

    def sample(self, frames: list[bytes]) -> None:
        """Look at the latest of some events; the connection calls it when :attr:`sample_at` has come."""
        now = time.monotonic()
        self._connection.sample_at = now + EVERY
        # The server's own header, behind Event and Privilege: others can be anybody's.
        lines = frames[-1].split(b"\r\n", 3)
        if len(lines) < 3 or not lines[2].startswith(b"Timestamp: "):
            return
        try:
            told = float(lines[2][11:])
        except ValueError:
            return
        late = self._clock.late(now - told, now)
        if late < self._threshold:
            self._suspect = 0.0
            self._event_was(late, now)
        elif self.since is not None:
            self._event_was(late, now)
        else:
            self._suspect = late
            if self._probe is None:
                self._probe = self.beat(self._threshold)
                try:
                    self._connection.send(self._probe)
                except AMIError:  # it has ended, or so much waits that the answer would say nothing
                    self._probe = None
                else:
                    self.sent(self._probe)

    def _event_was(self, late: float, now: float) -> None:
        self._events_late = late
        self._note(late, "events", now)

    # Answers

    def beat(self, timeout: float | None) -> Beat:
        """Return a Ping whose answer is looked at; once it is on its way, :meth:`sent` is to be called."""
        return Beat(self._connection, timeout, self._answered_on_any_thread)

    def sent(self, beat: Beat) -> None:
        """Begin to wait for the answer to a Ping."""
        due = beat.begun + self._threshold
        self._timers[beat] = self._connection.engine.call_at(due, lambda: self._look(beat))

    def _look(self, beat: Beat) -> None:
        if self._timers.pop(beat, None) is not None and self._connection.close_exc is None:
            self._overdue = beat
            now = time.monotonic()
            self._note(now - beat.begun, "answers", now)

    def _answered_on_any_thread(self, beat: Beat, answer: Response, at: float) -> None:
        self._connection.engine.call_soon(lambda: self._answered(beat, answer, at))

    def _answered(self, beat: Beat, answer: Response, at: float) -> None:
        timer = self._timers.pop(beat, None)
        if timer is not None:
            timer.cancel()
        trip = at - beat.begun
        suspect = self._suspect
        if beat is self._probe:
            self._probe = None
        try:
            told = float(answer.get("Timestamp", ""))
        except ValueError:
            told = math.nan
        # The server read its clock between these two, whatever delayed the Ping or its answer.
        if beat.begun - told > self._clock.least + self._threshold / 2:
            self._clock.set(at - told, at)
            suspect = 0.0
            if self.since is None:
                logger.info("the server's clock was set back, or this machine's forward")
        elif told == told:
            self._clock.late(at - told, at)
        if self._overdue is beat:
            self._overdue = None
            self._worst_now = max(self._worst_now, trip)
        self._suspect = 0.0
        if suspect >= self._threshold:
            self._event_was(suspect, at)
        elif trip < self._threshold:
            self._events_late = 0.0  # it came behind every event from before
        self._note(trip, "answers", at)

    # Both

    def _note(self, late: float, what: str, now: float) -> None:
        self.late = late
        self.worst = max(self.worst, late)
        over = self._overdue is not None or self._events_late >= self._threshold
        if over or (late >= self._threshold and self.since is not None):
            self._worst_now = max(self._worst_now, late)
        if over and self.since is None:
            self.since = now - late
            self._stalled(late, what)
        elif not over and self.since is not None:
            since, worst = self.since, self._worst_now
            self.since, self._worst_now = None, 0.0
            self._recovered(now - since, worst)
