"""What a scrape shows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from pyami_sync import AMIClient, ClusterPool, ReconnectPolicy
from pyami_sync.integrations.prometheus import AMICollector
from pyami_sync.testing import Simulator

from .waiting import until

LIMIT = 10.0


class Scrape:
    """Registers a collector and reads what it exports, as Prometheus would."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def __call__(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(generate_latest(self.registry).decode()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None


@pytest.fixture
def scrape(client: AMIClient) -> Iterator[Scrape]:
    found = Scrape()
    found.registry.register(AMICollector(client))
    return found


def test_counts_actions_by_outcome(sim: Simulator, client: AMIClient, scrape: Scrape) -> None:
    sim.on("QueueAdd", {"Response": "Error", "Message": "no"})
    for _ in range(3):
        client.send("Ping")
    client.send("QueueAdd", check=False, Queue="x", Interface="y")
    assert scrape("pyami_actions_total", outcome="ok") == 3
    assert scrape("pyami_actions_total", outcome="error") == 1
    assert scrape("pyami_actions_total", outcome="timeout") == 0
    assert scrape("pyami_action_seconds_count") == 4
    total, p99 = scrape("pyami_action_seconds_sum"), scrape("pyami_action_seconds", quantile="0.99")
    assert total is not None
    assert p99 is not None
    assert 0 < p99 <= total


def test_shows_the_link(sim: Simulator) -> None:
    scrape = Scrape()
    client = AMIClient.from_url(sim.url, reconnect=ReconnectPolicy(initial=0.01))
    scrape.registry.register(AMICollector(client))
    assert scrape("pyami_up") == 0
    assert scrape("pyami_state", pyami_state="closed") == 1
    with client:
        assert scrape("pyami_up") == 1
        assert scrape("pyami_state", pyami_state="connected") == 1
        back = threading.Event()
        client.on("Reconnected", lambda event: back.set())
        sim.drop()
        assert back.wait(LIMIT)
        client.ping()
        assert scrape("pyami_connects_total") == 2
        assert scrape("pyami_connection_losses_total") == 1
        outage = scrape("pyami_outage_seconds_total")
        assert outage
        assert outage == scrape("pyami_last_outage_seconds")


def test_shows_subscribers_and_traffic(sim: Simulator, client: AMIClient, scrape: Scrape) -> None:
    with client.events("Foo", maxsize=2), client.events("Foo", maxsize=2):
        for _ in range(5):
            sim.emit("Foo")
        with client.expect("Bar") as bar:
            sim.emit("Bar")
            bar.result(LIMIT)
        labels = {"kind": "EventStream", "selectors": "Foo"}
        assert scrape("pyami_subscribers", **labels) == 2
        assert scrape("pyami_subscriber_lost_events", **labels) == 6
        assert scrape("pyami_subscriber_pending_events", **labels) == 6
    received, count = scrape("pyami_received_bytes_total"), scrape("pyami_events_received_total")
    assert received
    assert count
    assert count >= 6


def test_follows_the_conventions(client: AMIClient, scrape: Scrape) -> None:
    client.ping()
    text = generate_openmetrics(scrape.registry).decode()
    assert text.endswith("# EOF\n")
    for family in scrape.registry.collect():
        assert family.name.startswith("pyami_")
        assert family.documentation
        assert not family.name.endswith("_total")  # counters get it on export


def test_labels_of_ones_own_and_a_source_made_later(client: AMIClient) -> None:
    made: list[Any] = []
    scrape = Scrape()
    scrape.registry.register(AMICollector(lambda: made[0] if made else None, prefix="pbx", labels={"process": "7"}))
    assert scrape("pbx_up", process="7") == 0
    assert scrape("pbx_connects_total", process="7") is None
    made.append(client)
    assert scrape("pbx_up", process="7") == 1
    assert scrape("pbx_connects_total", process="7") == 1


def test_a_cluster_has_every_node() -> None:
    with Simulator() as one, Simulator() as two, ClusterPool({"one": one.url, "two": two.url}) as pool:
        scrape = Scrape()
        scrape.registry.register(AMICollector(pool))
        pool.send_to("two", "Ping")
        assert scrape("pyami_up", node="one") == scrape("pyami_up", node="two") == 1
        actions = [scrape("pyami_actions_total", node=node, outcome="ok") for node in ("one", "two")]
        assert actions[0] is not None
        assert actions[1] is not None
        two.close()
        until(lambda: scrape("pyami_up", node="two") == 0, "the loss of a node")
        assert scrape("pyami_up", node="one") == 1
