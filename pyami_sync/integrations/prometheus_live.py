"""Metrics of calls, queues, agents and endpoints from the live model, for ``prometheus_client`` (extra ``prometheus``).

::

    with connect() as ami, ami.live() as live:
        REGISTRY.register(LiveCollector(live))

A scrape reads one view of each server, which does not block and sends nothing. In a cluster every sample has the
label ``node``. The number of label values is bounded: beyond 200 queues or conferences, the rest is summed up as
``other``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import missing

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
except ModuleNotFoundError:
    raise missing("prometheus_client", "prometheus") from None

from ..live import CallRecord, Change, Queue, QueueMember, View

if TYPE_CHECKING:
    from ..live import ClusterLive, Live

__all__ = ["LiveCollector", "agent_state"]

MOST_LABELS = 200
OTHER = "other"
CALL_STATES = ("new", "dialing", "ringing", "queued", "up", "talking", "hold", "parked")
AGENT_STATES = ("free", "ringing", "talking", "in use", "paused", "on hold", "unavailable", "unknown")
_device_states = {1: "free", 2: "in use", 3: "in use", 4: "unavailable", 5: "unavailable", 6: "ringing", 7: "ringing"}
_device_states[8] = "on hold"


def agent_state(member: QueueMember) -> str:
    """Return the state of a queue member: one of ``AGENT_STATES``."""
    if member.status in (4, 5):
        return "unavailable"
    if member.in_call:
        return "talking"
    if member.status in (6, 7):
        return "ringing"
    if member.paused:
        return "paused"
    return _device_states.get(member.status, "unknown")


QUEUES: tuple[tuple[str, str, Callable[[Queue], float]], ...] = (
    ("queue_waiting", "Callers who wait.", lambda queue: len(queue.waiting)),
    ("queue_longest_wait_seconds", "How long the first of them has waited.", lambda queue: queue.longest_wait),
    (
        "queue_service_level_percent",
        "Completed calls that were answered within the service level.",
        lambda queue: queue.servicelevel_perf,
    ),
    (
        "queue_talk_seconds",
        "Running average of the talk time, as the server computes it.",
        lambda queue: queue.talk_time,
    ),
    (
        "queue_hold_seconds",
        "Running average of the waiting time, as the server computes it.",
        lambda queue: queue.hold_time,
    ),
)
QUEUE_COUNTERS: tuple[tuple[str, str, Callable[[Queue], float]], ...] = (
    ("queue_answered", "Calls that an agent answered and that have ended.", lambda queue: queue.completed),
    ("queue_abandoned", "Callers who hung up while they waited.", lambda queue: queue.abandoned),
)
ADDITIVE = frozenset({"queue_waiting", "queue_answered", "queue_abandoned"})
"""Figures of queues that may be summed up; for the rest, ``other`` has the largest value."""


class LiveCollector:
    """Turns the views of a live model into metrics.

    Args:
        live: the model of a server or of a cluster. It must outlive the collector.
        prefix: prefix of all names.
        labels: further labels with a fixed value.

    """

    def __init__(
        self, live: Live | ClusterLive, *, prefix: str = "asterisk", labels: Mapping[str, str] | None = None
    ) -> None:
        self._live = live
        self._prefix = prefix
        self._fixed = dict(labels or {})
        self._ended: Counter[tuple[str, str, str]] = Counter()
        self._subscription = live.on(CallRecord, self._count)

    def close(self) -> None:
        """Stop counting ended calls."""
        self._subscription.cancel()

    def _count(self, change: Change[CallRecord]) -> None:
        # The callbacks of one subscription run one at a time, so no lock is needed.
        record = change.after
        if record is not None:
            called = [leg for leg in record.parties if leg.direction == "out"] or [record.caller]
            best = next((leg for leg in called if leg.answered), called[-1])
            cause = "" if record.cause is None else str(record.cause)
            self._ended[change.node or "", best.disposition.lower().replace(" ", "_"), cause] += 1

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are not declared in advance."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the present metrics."""
        live: Any = self._live
        several = hasattr(live, "views")
        views: dict[str, View] = live.views() if several else {"": live.view()}
        base = [*self._fixed, *(["node"] if several else [])]

        def labels(node: str) -> list[str]:
            return [*self._fixed.values(), *([node] if several else [])]

        def gauge(name: str, about: str, *more: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"{self._prefix}_{name}", about, labels=[*base, *more])

        yield from self._health(views, gauge, labels, base)
        yield from self._calls(views, gauge, labels, base)
        yield from self._queues(views, gauge, labels, base)
        yield from self._others(views, gauge, labels)

    def _health(self, views: Mapping[str, View], gauge: Any, labels: Any, base: list[str]) -> Iterator[Metric]:
        consistent = gauge("live_consistent", "Whether the model agrees with the server, as far as is known.")
        age = gauge("live_age_seconds", "Seconds since the model was last known to be right.")
        for node, view in views.items():
            consistent.add_metric(labels(node), float(view.health == "consistent"))
            age.add_metric(labels(node), view.age)
        drift = CounterMetricFamily(
            f"{self._prefix}_live_drift", "Differences that audits have found and repaired.", labels=list(self._fixed)
        )
        drift.add_metric(list(self._fixed.values()), self._live.drift)
        yield from (consistent, age, drift)

    def _calls(self, views: Mapping[str, View], gauge: Any, labels: Any, base: list[str]) -> Iterator[Metric]:
        channels = gauge("channels", "Channels that are up.")
        calls = gauge("calls", "Calls under way, by what goes on in them.", "state")
        for node, view in views.items():
            channels.add_metric(labels(node), len(view.channels))
            states = Counter(call.state for call in view.calls.values())
            for state in CALL_STATES:
                calls.add_metric([*labels(node), state], states.get(state, 0))
        ended = CounterMetricFamily(
            f"{self._prefix}_calls_ended",
            "Calls that have ended while this was watching, by outcome and hangup cause.",
            labels=[*base, "outcome", "cause"],
        )
        for (node, outcome, cause), count in sorted(self._ended.items()):
            ended.add_metric([*labels(node), outcome, cause], count)
        yield from (channels, calls, ended)

    def _queues(self, views: Mapping[str, View], gauge: Any, labels: Any, base: list[str]) -> Iterator[Metric]:
        families: list[tuple[str, Metric, Callable[[Queue], float]]] = [
            (name, gauge(name, about, "queue"), value) for name, about, value in QUEUES
        ]
        families += [
            (name, CounterMetricFamily(f"{self._prefix}_{name}", about, labels=[*base, "queue"]), value)
            for name, about, value in QUEUE_COUNTERS
        ]
        agents = gauge("queue_agents", "Members of queues by state.", "queue", "state")
        for node, view in views.items():
            queues = dict(view.queues.items())
            for name, family, value in families:
                for queue, figure in bounded({key: value(each) for key, each in queues.items()}, name in ADDITIVE):
                    family.add_metric([*labels(node), queue], figure)  # type: ignore[attr-defined]
            for state in AGENT_STATES:
                counts = {
                    key: sum(agent_state(each) == state for each in queue.members) for key, queue in queues.items()
                }
                for queue, figure in bounded(counts, True):
                    agents.add_metric([*labels(node), queue, state], figure)
        yield from (family for _, family, _ in families)
        yield agents

    def _others(self, views: Mapping[str, View], gauge: Any, labels: Any) -> Iterator[Metric]:
        endpoints = gauge("endpoints", "PJSIP endpoints by device state.", "state")
        contacts = gauge("contacts", "Contacts of PJSIP endpoints by status.", "status")
        registrations = gauge("registrations", "Registrations of the server with others, by status.", "status")
        members = gauge("conference_members", "Members of a conference.", "conference")
        parked = gauge("parked_calls", "Parked calls.", "lot")
        for node, view in views.items():
            for family, found in (
                (endpoints, Counter(each.device_state.lower() for each in view.endpoints.values())),
                (contacts, Counter(one.status.lower() for each in view.endpoints.values() for one in each.contacts)),
                (registrations, Counter(each.status.lower() for each in view.registrations.values())),
            ):
                for key, number in sorted(found.items()):
                    family.add_metric([*labels(node), key or "unknown"], number)
            for name, count in bounded({key: each.parties for key, each in view.conferences.items()}, True):
                members.add_metric([*labels(node), name], count)
            lots = Counter(dict.fromkeys(view.parking_lots, 0))
            lots.update(each.parkinglot for each in view.parked.values())
            for name, count in bounded(dict(lots), True):
                parked.add_metric([*labels(node), name], count)
        yield from (endpoints, contacts, registrations, members, parked)


def bounded(figures: Mapping[str, float], additive: bool) -> Iterator[tuple[str, float]]:
    """Yield figures by name; those beyond the bound are combined as one."""
    names = sorted(figures)
    for name in names[:MOST_LABELS]:
        yield name, figures[name]
    rest = [figures[name] for name in names[MOST_LABELS:]]
    if rest:
        yield OTHER, sum(rest) if additive else max(rest)
