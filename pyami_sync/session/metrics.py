"""Statistics of a session; the counters cost little and are always on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..subscriptions.dispatch import Subscriptions
    from .session import Session

__all__ = ["Metrics", "Quantiles", "Stats", "SubscriptionStats", "take_stats"]

KEPT = 1024  # round trips from which the quantiles are computed


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Round trips of the latest actions, in seconds; zero if there were none."""

    __module__ = "pyami_sync"  # its public path

    count: int = 0
    """Number of actions that were answered since the client was made."""
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    maximum: float = 0.0
    """The longest of the latest round trips, not of all."""
    total: float = 0.0
    """Sum of all round trips since the client was made."""


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """Statistics of one subscriber."""

    __module__ = "pyami_sync"  # its public path

    kind: str
    """``Subscription``, ``EventStream`` or ``Expectation``."""
    selectors: str
    delivered: int
    """Events delivered to the user."""
    lost: int
    """Events lost because its buffer was full."""
    pending: int
    """Events in its buffer."""
    maxsize: int
    """Most events in its buffer."""


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of a client's statistics; numbers count from the moment at which the client was made."""

    __module__ = "pyami_sync"  # its public path

    state: str = "closed"
    connects: int = 0
    """Number of times that the session was opened."""
    losses: int = 0
    """Number of times that the link was lost."""
    attempts: int = 0
    """Number of attempts to reconnect."""
    outage_total: float = 0.0
    """Total length of the outages that have ended, in seconds."""
    outage_last: float = 0.0
    """Length of the latest outage that has ended, in seconds."""
    actions: Mapping[str, int] = field(default_factory=dict)
    """Actions by outcome: ``ok``, ``error``, ``timeout``, ``lost``, ``cancelled``."""
    round_trip: Quantiles = Quantiles()
    pending: int = 0
    """Number of actions that wait for their answer."""
    events_received: int = 0
    bytes_received: int = 0
    subscriptions: tuple[SubscriptionStats, ...] = ()
    stalls: int = 0
    """How often events or answers came late by more than ``stall_after``."""
    stall_total: float = 0.0
    """Total length of the stalls that have ended, in seconds."""
    late: float = 0.0
    """Seconds by which events or answers are late at present, as far as that is known."""
    event_filter: tuple[str, ...] | None = None
    """The events that the server sends with ``event_filter="auto"``, in lower case; :data:`None` if it sends all."""
    wire_lost: int = 0
    """Messages that were not passed to slow :meth:`~pyami_sync.AMIClient.on_wire` callbacks."""

    @property
    def events_lost(self) -> int:
        """Events lost by all present subscribers together."""
        return sum(each.lost for each in self.subscriptions)


class Metrics:
    """The counters of one client; any thread may use them.

    The end of an action is noted without a lock, in one atomic step; a thousand of these are added up at a time.
    """

    def __init__(self) -> None:
        self._lock = RLock()  # a signal handler may read the counters, or end an action, while its own thread adds up
        self._noted: list[tuple[str, float | None]] = []  # outcomes and round trips not added up yet, in order
        self._sums: tuple[Counter[str], float, list[float]] = Counter(), 0.0, []
        self.connects = 0
        self.losses = 0
        self.attempts = 0
        self.outage_total = 0.0
        self.outage_last = 0.0
        self.stalls = 0
        self.stall_total = 0.0
        # The sums of past connections; the present connection has its own counters.
        self.events_before = 0
        self.bytes_before = 0

    def count(self, outcome: str, seconds: float | None = None) -> None:
        """Count an action, and its round trip if it was answered."""
        noted = self._noted
        noted.append((outcome, seconds))
        # The engine thread counts, too, so this never waits: the thread that holds the lock may be in a signal handler.
        if len(noted) >= KEPT and self._lock.acquire(blocking=False):
            try:
                self._add_up()
            finally:
                self._lock.release()

    def _add_up(self) -> tuple[Counter[str], float, list[float]]:
        """Return the actions by outcome, the sum of all round trips, and the latest of them."""
        with self._lock:
            noted = self._noted
            added = noted[:]
            number = len(added)
            actions, total, trips = self._sums
            new = [seconds for _, seconds in added if seconds is not None]
            sums = actions + Counter(map(itemgetter(0), added)), total + sum(new), [*trips, *new][-KEPT:]
            # No call between these two lines, so that Ctrl-C can't interrupt between them. Other threads only append.
            self._sums = sums
            del noted[:number]
            return sums

    def actions(self) -> dict[str, int]:
        """Return the number of actions by outcome."""
        return dict(self._add_up()[0])

    def round_trip(self) -> Quantiles:
        """Return the quantiles of the latest round trips."""
        actions, total, trips = self._add_up()
        trips = sorted(trips)
        count = actions["ok"] + actions["error"]
        if not trips:
            return Quantiles()
        last = len(trips) - 1
        p50, p90, p99 = (trips[round(last * share)] for share in (0.5, 0.9, 0.99))
        return Quantiles(count, p50, p90, p99, trips[-1], total)


def take_stats(session: Session, subscriptions: Subscriptions, wire_lost: int) -> Stats:
    """Return the statistics of a session and of its client's subscriptions."""
    metrics, connection = session.metrics, session.current
    return Stats(
        state=session.state.value,
        connects=metrics.connects,
        losses=metrics.losses,
        attempts=metrics.attempts,
        outage_total=metrics.outage_total,
        outage_last=metrics.outage_last,
        actions=metrics.actions(),
        round_trip=metrics.round_trip(),
        pending=len(connection.pending) if connection else 0,
        events_received=metrics.events_before + (connection.events_received if connection else 0),
        bytes_received=metrics.bytes_before + (connection.bytes_received if connection else 0),
        subscriptions=tuple(
            SubscriptionStats(
                type(each).__name__, each.selectors.text, each.delivered, each.lost, each.pending, each.maxsize
            )
            for each in subscriptions
        ),
        stalls=metrics.stalls,
        stall_total=metrics.stall_total,
        late=session.watchdog.late if session.watchdog is not None else 0.0,
        event_filter=session.plan.event_filter.passes if session.plan.event_filter is not None else None,
        wire_lost=wire_lost,
    )
