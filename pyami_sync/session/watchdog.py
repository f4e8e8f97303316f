"""The watchdog: detects that a server's events and answers arrive late (a stall) while the link looks healthy.

Two things are compared with this machine's monotonic clock on the engine thread:

* the ``Timestamp`` of events (``timestampevents = yes`` in manager.conf), of one read at most every :data:`EVERY`
  seconds. The clocks of two machines differ, so lateness is the difference to the least delay of recent events;
* how long a Ping takes to be answered: that of the keepalive, or one that is sent because an event seems late. Its
  answer also has the server's time, read within the round trip, by which a clock that was set is distinguished from
  late events.
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
from ..wire.origin import Origin
from ..wire.response import Response
from .gate import Publisher
from .metrics import Metrics

__all__ = ["Beat", "Clock", "Watchdog"]

logger = logging.getLogger("pyami_sync")

EVERY = 0.5  # seconds between two events that are examined
WINDOW = 600.0  # seconds that the least delay is remembered for, once or twice as long: clocks drift


class Clock:
    """Estimates the difference between this machine's monotonic clock and the server's clock."""

    def __init__(self) -> None:
        self._since = -math.inf
        self._least = math.inf
        self._before = math.inf  # the least difference of the previous window

    @property
    def least(self) -> float:
        """The least recent difference; infinite before the first."""
        return min(self._least, self._before)

    def late(self, difference: float, now: float) -> float:
        """Return by how many seconds a difference exceeds the least one, and update the latter."""
        if now - self._since >= WINDOW:
            self._since, self._before, self._least = now, self._least, math.inf
        late = max(0.0, difference - self.least) if self.least < math.inf else 0.0
        self._least = min(self._least, difference)
        return late

    def set(self, difference: float, now: float) -> None:
        """Restart the estimate, because one of the clocks was set."""
        self._since, self._before, self._least = now, math.inf, difference


class Beat(Request):
    """A Ping for which no thread waits; only the moment of its answer matters.

    Args:
        connection: to send it on.
        timeout: seconds that the answer may take.
        answered: called with the request and the moment of the answer, on the thread that reads the answer.

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
    """Measures how late one connection's events and answers are; on the engine thread.

    Args:
        connection: to watch.
        threshold: seconds of lateness from which on it is a stall.
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
        self._events_late = 0.0  # lateness of the latest event in seconds
        self._overdue: Beat | None = None  # a Ping that has waited too long for its answer
        self._worst = 0.0  # the greatest lateness of the present stall
        self._timers: dict[Beat, Timer] = {}  # for Pings that are not overdue
        self._probe: Beat | None = None  # the Ping that was sent because an event seems late
        self._suspected = 0.0  # lateness of that event in seconds

    def start(self) -> None:
        """Start watching."""
        self._connection.sample_events(0.0, self.sample)

    def stop(self) -> None:
        """Stop watching."""
        self._connection.sample_events(math.inf, None)
        timers, self._timers = self._timers, {}
        for timer in timers.values():
            timer.cancel()
        if self.since is not None:
            self._metrics.stall_total += time.monotonic() - self.since
            self.since = None

    @property
    def late(self) -> float:
        """The present lateness of events or answers in seconds; any thread may read it."""
        overdue = self._overdue
        return max(self._events_late, 0.0 if overdue is None else time.monotonic() - overdue.begun)

    # Events

    def sample(self, frames: list[bytes]) -> None:
        """Examine the latest of some events; the connection calls this at most every :data:`EVERY` seconds."""
        now = time.monotonic()
        self._connection.sample_events(now + EVERY, self.sample)
        # Only the server's own header, which follows Event and Privilege: later ones may come from a third party.
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
        """Send a Ping, unless one is under way; its answer contains the time of the server's clock."""
        if self._probe is not None:
            return
        earlier = self._connection.pending.requests()
        probe = self.beat(None)
        try:
            self._connection.send(probe)
        except AMIError:  # the connection has ended, or its write queue is full, so that the answer would prove nothing
            return
        self._probe = probe
        self.sent(probe, earlier)

    # Answers

    def beat(self, timeout: float | None) -> Beat:
        """Return a Ping whose answer is timed; the caller sends it and then calls :meth:`sent`."""
        return Beat(self._connection, timeout, self._answered_on_any_thread)

    def sent(self, beat: Beat, earlier: list[Request]) -> None:
        """Note that a Ping was sent, and which earlier actions the server has to run before it."""
        due = time.monotonic() + self._threshold
        self._timers[beat] = self._connection.engine.call_at(due, lambda: self._look(beat, earlier))

    def _look(self, beat: Beat, earlier: list[Request]) -> None:
        if self._timers.pop(beat, None) is None or self._connection.close_exc is not None:
            return
        living = set(self._connection.pending.requests())
        if any(request in living for request in earlier):  # such as a synchronous Originate, which may take long
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
            self._events_late = 0.0  # the answer arrived after all events that happened before it
        self._judge("events", at)

    def _learn(self, answer: Response, begun: float, at: float) -> bool:
        """Update the estimate by a time that the server read between two moments; return True if its clock was set."""
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
