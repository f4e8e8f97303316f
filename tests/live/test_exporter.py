"""The exporter's figures against the lists of real servers, at the quiet moments of storms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry

from pyami_sync import AMIClient
from pyami_sync.integrations.prometheus_live import LiveCollector
from pyami_sync.live import Live

from .oracle import SLACK, Truth
from .server import StormServer
from .storm import Watch, weather

STORMS = 4
STATES = {"1": "free", "2": "in use", "3": "in use", "4": "unavailable", "5": "unavailable", "6": "ringing"}
STATES |= {"7": "ringing", "8": "on hold"}


def state_of(item: object) -> str:
    """Return the state of a listed queue member, as a supervisor would say it."""
    get = item.get  # type: ignore[attr-defined]
    if get("Status") in ("4", "5"):
        return "unavailable"
    if get("InCall") == "1":
        return "talking"
    if get("Status") in ("6", "7"):
        return "ringing"
    return "paused" if get("Paused") == "1" else STATES.get(get("Status"), "unknown")


class ExporterWatch(Watch):
    """Compares metrics with lists."""

    def __init__(self, ami: AMIClient) -> None:
        super().__init__(ami)
        self.figures = 0

    def differences(self, truth: Truth, live: Live) -> list[str]:
        collector = LiveCollector(live)
        registry = CollectorRegistry()
        registry.register(collector)
        try:
            shown = {
                (sample.name, *sorted(sample.labels.values())): sample.value
                for family in registry.collect()
                for sample in family.samples
            }
        finally:
            collector.close()
        found = []
        for key, value, slack in figures(truth):
            self.figures += 1
            if abs(shown.get(key, -1.0) - value) > slack:
                found.append(f"{key}: {shown.get(key)} is shown, {value} is listed")
        return found


def figures(truth: Truth) -> Iterator[tuple[tuple[str, ...], float, float]]:
    """Yield what the lists say: the metric with its label values, the value, and by how much it may differ."""
    yield ("asterisk_channels",), len(truth.channels), 0
    for item in truth.queues:
        if item.name == "QueueParams":
            name = item["Queue"]
            waits = [float(each["Wait"]) for each in truth._of("QueueEntry", name)]
            yield ("asterisk_queue_waiting", name), float(item["Calls"]), 0
            yield ("asterisk_queue_longest_wait_seconds", name), max(waits, default=0.0), SLACK
            yield ("asterisk_queue_answered_total", name), float(item["Completed"]), 0
            yield ("asterisk_queue_abandoned_total", name), float(item["Abandoned"]), 0
            yield ("asterisk_queue_service_level_percent", name), float(item["ServicelevelPerf"]), 0.06
            yield ("asterisk_queue_hold_seconds", name), float(item["Holdtime"]), 0
            yield ("asterisk_queue_talk_seconds", name), float(item["TalkTime"]), 0
            states = Counter(state_of(each) for each in truth._of("QueueMember", name))
            for state in ("free", "ringing", "talking", "in use", "paused", "on hold", "unavailable", "unknown"):
                yield ("asterisk_queue_agents", *sorted((name, state))), states[state], 0
    parked = Counter({lot["Name"]: 0 for lot in truth.lots})
    parked.update(item["Parkinglot"] for item in truth.parked)
    for lot, count in parked.items():
        yield ("asterisk_parked_calls", lot), count, 0
    for room, members in truth.conferences.items():
        yield ("asterisk_conference_members", room), len(members), 0


@pytest.mark.asterisk
def test_figures_are_those_of_the_lists(asterisk_storm: StormServer) -> None:
    said: list[str] = []
    made: list[ExporterWatch] = []

    def watching(ami: AMIClient) -> Watch:
        made.append(ExporterWatch(ami))
        return made[-1]

    checked, found = weather(asterisk_storm, 11, STORMS, report=said.append, restarts=False, watching=watching)
    assert (checked, found) == (STORMS, 0), "\n".join(said)
    assert made[0].figures > STORMS * 30
