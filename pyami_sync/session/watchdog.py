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
from ..vocabulary.markers import Recovered, Stalled
from ..wire.message import Origin
from ..wire.response import Response
from .gate import Publisher
from .metrics import Metrics

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
    """A Ping that nobody waits for: when it was answered is all that counts.

    Args:
        connection: to send it on.
        timeout: seconds that the answer may take.
        answered: called with it and the moment at which the answer came, on the thread that brings it.

    """

    __slots__ = ("_answered",)

    def __init__(
        self,
        connection: Connection,
        timeout: float | None,
        answered: Callable[[Beat, Response, float], None] | None = None,
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
        metrics: count stalls.
        publisher: receives the markers of stalls.
        address: of the server, for the log.

    """

    def __init__(
        self, connection: Connection, threshold: float, metrics: Metrics, publisher: Publisher, address: str
    ) -> None:
        self.since: float | None = None
        """When the present stall began, on :func:`time.monotonic`'s clock; :data:`None` if there is none."""
        self._connection = connection
        self._threshold = threshold
        self._metrics = metrics
        self._publisher = publisher
        self._address = address
        self._clock = Clock()
        self._events_late = 0.0  # by how many seconds the latest event was
        self._overdue: Beat | None = None  # a Ping without an answer for too long
        self._worst = 0.0  # of the present stall
        self._timers: dict[Beat, Timer] = {}  # of Pings that are not overdue yet
        self._probe: Beat | None = None  # sent because of an event that seems late
        self._suspected = 0.0  # by how many seconds

    def start(self) -> None:
        """Begin to watch."""
        self._connection.sample_events(0.0, self.sample)

    def stop(self) -> None:
        """Watch no more."""
        self._connection.sample_events(math.inf, None)
        timers, self._timers = self._timers, {}
        for timer in timers.values():
            timer.cancel()
        if self.since is not None:
            self._metrics.stall_total += time.monotonic() - self.since
            self.since = None

    @property
    def late(self) -> float:
        """By how many seconds events or answers are late now; any thread may ask."""
        overdue = self._overdue
        return max(self._events_late, 0.0 if overdue is None else time.monotonic() - overdue.begun)

    # Events

    def sample(self, frames: list[bytes]) -> None:
        """Look at the latest of some events; the connection calls it when it is time."""
        now = time.monotonic()
        self._connection.sample_events(now + EVERY, self.sample)
        # The server's own header, which follows Event and Privilege: further ones can be anybody's.
        lines = frames[-1].split(b"\r\n", 3)
        if len(lines) < 3 or not lines[2].startswith(b"Timestamp: "):
            return
        try:
            told = float(lines[2][11:])
        except ValueError:
            return
        late = self._clock.late(now - told, now)
        if late < self._threshold or self.since is not None:
            self._suspected = 0.0
            self._events_late = late
            self._judge("events", now)
        else:
            self._suspected = late
            self._ask()

    def _ask(self) -> None:
        """Send a Ping, unless one is under way: its answer says what the server's clock says."""
        if self._probe is not None:
            return
        earlier = self._connection.pending.requests()
        probe = self.beat(None)
        try:
            self._connection.send(probe)
        except AMIError:  # it has ended, or so much waits to be sent that the answer would say nothing
            return
        self._probe = probe
        self.sent(probe, earlier)

    # Answers

    def beat(self, timeout: float | None) -> Beat:
        """Return a Ping whose answer is looked at; once it was sent, :meth:`sent` is to be called."""
        return Beat(self._connection, timeout, self._answered_on_any_thread)

    def sent(self, beat: Beat, earlier: list[Request]) -> None:
        """Note that a Ping was sent, and which actions the server has to run before it."""
        due = time.monotonic() + self._threshold
        self._timers[beat] = self._connection.engine.call_at(due, lambda: self._look(beat, earlier))

    def _look(self, beat: Beat, earlier: list[Request]) -> None:
        if self._timers.pop(beat, None) is None or self._connection.close_exc is not None:
            return
        living = set(self._connection.pending.requests())
        if any(request in living for request in earlier):  # such as a synchronous Originate, which may take its time
            self.sent(beat, earlier)
            return
        self._overdue = beat
        self._judge("answers", time.monotonic())

    def _answered_on_any_thread(self, beat: Beat, answer: Response, at: float) -> None:
        self._connection.engine.call_soon(lambda: self._answered(beat, answer, at))

    def _answered(self, beat: Beat, answer: Response, at: float) -> None:
        timer = self._timers.pop(beat, None)
        if timer is not None:
            timer.cancel()
        if beat is self._probe:
            self._probe = None
        suspected, self._suspected = self._suspected, 0.0
        if self._learn(answer, beat.begun, at):
            suspected = 0.0
        if self._overdue is beat:
            self._worst = max(self._worst, self.late)
            self._overdue = None
        if suspected:
            self._events_late = suspected
        elif at - beat.begun < self._threshold:
            self._events_late = 0.0  # it came after every event that had happened before
        self._judge("events", at)

    def _learn(self, answer: Response, begun: float, at: float) -> bool:
        """Learn from what the server's clock said between two moments; return True if that clock was set."""
        try:
            told = float(answer.get("Timestamp", ""))
        except ValueError:  # AMI 1.0
            return False
        if begun - told <= self._clock.least + self._threshold / 2:
            self._clock.late(at - told, at)
            return False
        logger.info("the clock of the server, or of this machine, was set")
        self._clock.set(at - told, at)
        return True

    # Both

    def _judge(self, what: str, now: float) -> None:
        late = self.late
        if self._overdue is not None or late >= self._threshold:
            self._worst = max(self._worst, late)
            if self.since is None:
                self.since = now - late
                self._metrics.stalls += 1
                subject = "an answer is" if what == "answers" else "events are"
                logger.warning(
                    "%s: %s %.1f s late: server, network or this process stall", self._address, subject, late
                )
                self._publisher.publish_marker(Stalled.make(late, what, origin=self._origin()))
        elif self.since is not None:
            lasted, worst = now - self.since, self._worst
            self.since, self._worst = None, 0.0
            self._metrics.stall_total += lasted
            text = "%s: events and answers are in time again, after %.1f s in which they were up to %.1f s late"
            logger.warning(text, self._address, lasted, worst)
            self._publisher.publish_marker(Recovered.make(lasted, worst, origin=self._origin()))

    def _origin(self) -> Origin:
        return Origin(self._connection.encoding, time.time(), self._connection.node)
