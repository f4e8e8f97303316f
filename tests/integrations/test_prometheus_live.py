"""Metrics of the telephony: what the exporter shows is what the server's own lists say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from pyami_sync import AMIClient, ClusterPool, connect
from pyami_sync.integrations import prometheus_live
from pyami_sync.integrations.prometheus_live import LiveCollector, bounded
from pyami_sync.testing import Simulator
from tests.cli.running import Process, Server
from tests.cli.running import run as run_program

from .servers import Server as AnyServer
from .servers import server
from .waiting import until

__all__ = ["server"]
MONITORING = Path(__file__).parent.parent.parent / "examples" / "monitoring"


class Scrape:
    """Reads what a collector exports, as Prometheus would."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(generate_latest(self.registry).decode())
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def ami(server: AnyServer) -> Iterator[AMIClient]:
    with connect(server.url) as client:
        yield client


def test_equals_the_lists_of_the_server(ami: AMIClient) -> None:
    with ami.live() as live:
        registry = CollectorRegistry()
        collector = LiveCollector(live)
        registry.register(collector)
        scrape = Scrape(registry)
        for _ in range(3):
            ami.originate("Local/100@default/n", Context="default", Exten="501", Priority=1, CallerID="X <5550001>")
        ami.originate("Local/100@default/n", Context="default", Exten="101", Priority=1)
        until(lambda: scrape("asterisk_queue_waiting", queue="empty") == 3, "three callers wait", 20)
        until(lambda: scrape("asterisk_calls", state="queued") == 3, "three calls are queued", 20)
        channels = ami.send("CoreShowChannels").events
        until(lambda: scrape("asterisk_channels") == len(channels) == 8, "eight channels", 20)
        status = ami.send("QueueStatus").events
        for item in status:
            if item.name == "QueueParams":
                assert scrape("asterisk_queue_waiting", queue=item["Queue"]) == int(item["Calls"])
                assert scrape("asterisk_queue_answered_total", queue=item["Queue"]) == int(item["Completed"])
                assert scrape("asterisk_queue_abandoned_total", queue=item["Queue"]) == int(item["Abandoned"])
        members = [item for item in status if item.name == "QueueMember" and item["Queue"] == "support"]
        states = [
            value
            for (name, labels), value in scrape.samples().items()
            if name == "asterisk_queue_agents" and ("queue", "support") in labels
        ]
        assert sum(states) == len(members)
        ami.send("Hangup", Channel="/^Local/", Cause=16)
        until(lambda: scrape("asterisk_channels") == 0, "no channel is left", 20)
        until(lambda: scrape("asterisk_queue_abandoned_total", queue="empty") == 3, "three gave up", 20)
        until(
            lambda: sum(v for (name, _), v in scrape.samples().items() if name == "asterisk_calls_ended_total") == 4,
            "four calls ended",
            20,
        )
        assert scrape("asterisk_live_consistent") == 1
        assert scrape("asterisk_live_drift_total") == 0
        assert generate_openmetrics(registry)
        collector.close()


def test_names_the_node_in_a_cluster() -> None:
    with Simulator() as one, Simulator() as two, ClusterPool({"paris": one.url, "tokyo": two.url}) as pool:
        with pool.live("queues") as live:
            registry = CollectorRegistry()
            collector = LiveCollector(live, prefix="pbx", labels={"site": "eu"})
            registry.register(collector)
            scrape = Scrape(registry)
            until(
                lambda: scrape("pbx_queue_waiting", site="eu", node="tokyo", queue="support") == 0, "tokyo is there", 20
            )
            assert scrape("pbx_queue_waiting", site="eu", node="paris", queue="support") == 0
            collector.close()


def test_labels_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_live, "MOST_LABELS", 2)
    assert dict(bounded({"a": 1, "b": 2, "c": 3, "d": 4}, True)) == {"a": 1, "b": 2, "other": 7}
    assert dict(bounded({"a": 1, "b": 2, "c": 3, "d": 4}, False)) == {"a": 1, "b": 2, "other": 4}
    assert dict(bounded({"a": 1}, True)) == {"a": 1}


def test_the_program_serves_them() -> None:
    import urllib.request

    with Simulator(secret="Xk7-planted-secret") as simulator:
        told = Server(f"ami://admin@127.0.0.1:{simulator.port}", "Xk7-planted-secret")
        with Process("exporter", "--listen", "127.0.0.1:0", env=told.env) as process:
            url = process.line().strip()
            text = urllib.request.urlopen(url, timeout=20).read().decode()
            assert 'asterisk_queue_waiting{queue="support"} 0.0' in text
            assert "pyami_up 1.0" in text
            assert process.ended(by=2).code == 130
        assert told.run("exporter", "--listen", "nowhere").code == 2
        assert told.run("exporter", "--without", "nonsense").code == 2
        assert run_program("exporter", "--help").code == 0


METRIC = re.compile(r"\b((?:asterisk|pyami)_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def queries() -> Iterator[tuple[str, set[str]]]:
    """Yield each query of the dashboard and the alert rules, with the labels that its legend or its text shows."""
    board = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"], set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["expr"], set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))


def exposed() -> dict[str, dict[str, set[str]]]:
    """Return the labels, with their values, of every metric that the exporter exposes on a lively server."""
    with Simulator() as one, ClusterPool({"paris": one.url}) as pool, pool.live() as live, connect(one.url) as ami:
        from pyami_sync.integrations.prometheus import AMICollector

        registry = CollectorRegistry()
        collector = LiveCollector(live)
        registry.register(collector)
        registry.register(AMICollector(ami))
        ami.originate("Local/100@default/n", Context="default", Exten="501", Priority=1)
        scrape = Scrape(registry)
        until(lambda: scrape("asterisk_queue_waiting", node="paris", queue="empty") == 1, "somebody waits", 20)
        ami.send("Hangup", Channel="/^Local/", Cause=17)

        def ended() -> bool:
            return any(name == "asterisk_calls_ended_total" for name, _ in scrape.samples())

        until(ended, "a call has ended", 20)
        found: dict[str, dict[str, set[str]]] = {}
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            labels = found.setdefault(family.name, {})
            for sample in family.samples:
                for each in (labels, found.setdefault(sample.name, {})):
                    for name, value in sample.labels.items():
                        each.setdefault(name, set()).add(value)
        for family in collector.collect():  # the simulator has no registrations, for example
            labels = found.setdefault(family.name, {})
            labels.update({name: set() for name in family._labelnames if name not in labels})
        collector.close()
    return found


SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""


def test_dashboard_and_alerts_ask_for_metrics_and_labels_that_exist() -> None:
    known = exposed()
    asked = list(queries())
    assert len(asked) > 20
    for query, shown in asked:
        metrics = METRIC.findall(query)
        assert metrics, query
        for name, matchers in metrics:
            assert name in known, query
            for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
                assert label in known[name], query
                if operator == "=":
                    assert value in known[name][label], query
        grouped = {each.strip() for part in GROUPING.findall(query) for each in part.split(",")}
        of_all = set.intersection(*(set(known[name]) for name, _ in metrics)) | SCRAPED
        assert grouped <= of_all, query
        # What is left after an aggregation is what it groups by.
        left = grouped if re.search(r"^(?:sum|max|min|avg|count)\b", query) else of_all
        assert shown <= left, (query, shown, left)


def test_the_dashboard_is_fresh() -> None:
    import runpy

    made = runpy.run_path(str(MONITORING / "make_dashboard.py"))["dashboard"]()
    assert made == json.loads((MONITORING / "grafana-dashboard.json").read_text())
