"""Metrics of a client or a cluster for ``prometheus_client`` (extra ``prometheus``).

::

    REGISTRY.register(AMICollector(client))

Each scrape reads ``stats()``, which does not block and sends nothing. In a cluster every sample has the label ``node``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..session.metrics import Stats
from . import missing

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        Metric,
        StateSetMetricFamily,
        SummaryMetricFamily,
    )
except ModuleNotFoundError:
    raise missing("prometheus_client", "prometheus") from None

__all__ = ["AMICollector"]

STATES = ("connecting", "connected", "reconnecting", "closed")
OUTCOMES = ("ok", "error", "timeout", "lost", "cancelled")

COUNTERS: tuple[tuple[str, str, Callable[[Stats], float]], ...] = (
    ("connects", "Sessions that were opened.", lambda stats: stats.connects),
    ("connection_losses", "Links that were lost.", lambda stats: stats.losses),
    ("reconnect_attempts", "Attempts to reconnect after a loss.", lambda stats: stats.attempts),
    ("outage_seconds", "Time without a link, of outages that have ended.", lambda stats: stats.outage_total),
    ("stalls", "Number of stalls: events or answers arrived late.", lambda stats: stats.stalls),
    ("stall_seconds", "Total length of the stalls that have ended.", lambda stats: stats.stall_total),
    ("events_received", "Events received, wanted or not.", lambda stats: stats.events_received),
    ("received_bytes", "Bytes received.", lambda stats: stats.bytes_received),
)
GAUGES: tuple[tuple[str, str, Callable[[Stats], float]], ...] = (
    ("up", "Whether the session is connected and logged in.", lambda stats: stats.state == "connected"),
    ("last_outage_seconds", "Length of the latest outage that has ended.", lambda stats: stats.outage_last),
    ("late_seconds", "Present lateness of events or answers.", lambda stats: stats.late),
    ("actions_pending", "Actions under way.", lambda stats: stats.pending),
)


class AMICollector:
    """Turns the statistics of a client, or of each node of a cluster, into metrics.

    Args:
        source: an :class:`~pyami_sync.AMIClient`, a :class:`~pyami_sync.ClusterPool`, or a function that returns one
            of them, or :data:`None` while there is none (then the only metric is ``up``, which is 0).
        prefix: prefix of all names.
        labels: further labels with a fixed value, such as the process under a server with several workers.

    """

    def __init__(self, source: Any, *, prefix: str = "pyami", labels: Mapping[str, str] | None = None) -> None:
        self._source = source if callable(source) else lambda: source
        self._prefix = prefix
        self._fixed = dict(labels or {})

    def describe(self) -> Iterable[Metric]:
        """Return the names, so that the registry detects duplicates without reading statistics."""
        return self._families({})

    def collect(self) -> Iterable[Metric]:
        """Return the present metrics."""
        source = self._source()
        if source is None:
            return self._families({(): Stats()}, names=("up",))
        if hasattr(source, "stats") and not hasattr(source, "send_to"):
            return self._families({(): source.stats()})
        return self._families({(node_id,): source[node_id].stats() for node_id in source.nodes})

    def _families(self, found: dict[tuple[str, ...], Stats], names: tuple[str, ...] = ()) -> Iterator[Metric]:
        """Yield all metric families, or those with the given names, with their samples."""
        of_node = ["node"] if any(found) else []
        base = [*self._fixed, *of_node]
        rows = [([*self._fixed.values(), *node], stats) for node, stats in found.items()]
        for name, about, value in GAUGES:
            if not names or name in names:
                gauge = GaugeMetricFamily(f"{self._prefix}_{name}", about, labels=base)
                for labels, stats in rows:
                    gauge.add_metric(labels, float(value(stats)))
                yield gauge
        if names:
            return
        for name, about, value in COUNTERS:
            counter = CounterMetricFamily(f"{self._prefix}_{name}", about, labels=base)
            for labels, stats in rows:
                counter.add_metric(labels, value(stats))
            yield counter
        state = StateSetMetricFamily(f"{self._prefix}_state", "State of the session.", labels=base)
        actions = CounterMetricFamily(
            f"{self._prefix}_actions", "Actions that have ended, by outcome.", labels=[*base, "outcome"]
        )
        trips = SummaryMetricFamily(
            f"{self._prefix}_action_seconds", "Time from sending an action to its whole answer.", labels=base
        )
        for labels, stats in rows:
            state.add_metric(labels, {each: each == stats.state for each in STATES})
            for outcome in OUTCOMES:
                actions.add_metric([*labels, outcome], stats.actions.get(outcome, 0))
            _add_trips(trips, dict(zip(base, labels, strict=True)), stats)
        yield from (state, actions, trips)
        yield from self._subscribers(base, rows)

    def _subscribers(self, base: list[str], rows: list[tuple[list[str], Stats]]) -> Iterator[Metric]:
        """Yield sums over the present subscribers, as gauges, since subscribers end."""
        facts = (
            ("subscribers", "Subscriptions and streams."),
            ("subscriber_pending_events", "Events that wait in buffers."),
            ("subscriber_lost_events", "Events lost by the present subscribers because they were too slow."),
        )
        families = [
            GaugeMetricFamily(f"{self._prefix}_{name}", about, labels=[*base, "kind", "selectors"])
            for name, about in facts
        ]
        for labels, stats in rows:
            sums = [Counter[tuple[str, str]]() for _ in facts]
            for each in stats.subscriptions:
                for total, value in zip(sums, (1, each.pending, each.lost), strict=True):
                    total[each.kind, each.selectors] += value
            for family, total in zip(families, sums, strict=True):
                for key, value in sorted(total.items()):
                    family.add_metric([*labels, *key], value)
        yield from families


def _add_trips(family: SummaryMetricFamily, labels: dict[str, str], stats: Stats) -> None:
    trip = stats.round_trip
    for quantile, value in (("0.5", trip.p50), ("0.9", trip.p90), ("0.99", trip.p99)):
        family.add_sample(family.name, {**labels, "quantile": quantile}, value if trip.count else float("nan"))
    family.add_metric(list(labels.values()), trip.count, trip.total)
