"""How the nodes are, and where a channel lives."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pyami_sync import ClusterError, ClusterPool, NodeHealth, ReconnectPolicy, State
from pyami_sync.testing import Simulator
from tests.cluster.waiting import until

FAST = ReconnectPolicy(initial=0.02, maximum=0.1)


@pytest.fixture
def sims() -> Iterator[dict[str, Simulator]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(Simulator(system_name=f"sys-{name}")) for name in "ab"}


@pytest.fixture
def pool(sims: dict[str, Simulator]) -> Iterator[ClusterPool]:
    nodes = {name: {"url": sim.url, "tags": [name.upper()]} for name, sim in sims.items()}
    with ClusterPool(nodes, timeout=5.0, reconnect=FAST, health_interval=0.05) as made:
        until(lambda: all(each.server_version for each in made.health().values()))
        yield made


def test_health_tells_what_there_is_to_know(pool: ClusterPool, sims: dict[str, Simulator]) -> None:
    sims["a"].emit("Foo")
    until(lambda: pool.health()["a"].last_event is not None)
    until(lambda: pool.health()["a"].round_trip is not None)
    health = pool.health()
    assert list(health) == ["a", "b"]
    a = health["a"]
    now = time.time()
    assert (a.node, a.state, a.responsive, a.reconnects) == ("a", State.CONNECTED, True, 0)
    assert now - 60 < a.since <= now
    assert a.last_event is not None
    assert now - 60 < a.last_event <= now
    assert a.round_trip is not None
    assert 0 < a.round_trip < 5
    assert a.clock_offset is not None
    assert abs(a.clock_offset) < 5
    assert (a.server_version, a.system_name) == (sims["a"].version, "sys-a")
    assert (a.address, a.tags, a.last_error) == (f"127.0.0.1:{sims['a'].port}", {"A"}, None)
    assert json.loads(json.dumps(a.to_dict()))["state"] == "connected"


def test_a_snapshot_does_not_change(pool: ClusterPool, sims: dict[str, Simulator]) -> None:
    health = pool.health()
    with pytest.raises(TypeError):
        health["x"] = health["a"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        health["a"].state = State.CLOSED  # type: ignore[misc]
    pool.remove_node("a")
    assert health["a"].state is State.CONNECTED
    assert list(pool.health()) == ["b"]


def test_a_clock_that_is_wrong_is_seen(pool: ClusterPool, sims: dict[str, Simulator]) -> None:
    ahead = lambda action, session: {"Response": "Success", "Ping": "Pong", "Timestamp": f"{time.time() + 90:.6f}"}  # noqa: E731
    sims["b"].on("Ping", ahead)
    until(lambda: (pool.health()["b"].clock_offset or 0) > 80)
    assert abs((pool.health()["b"].clock_offset or 0) - 90) < 5
    assert abs(pool.health()["a"].clock_offset or 0) < 5


def test_a_server_that_tells_no_time_or_version(sims: dict[str, Simulator]) -> None:
    sims["a"].on("Ping", {"Response": "Pong"})
    sims["a"].on("CoreSettings", {"Response": "Error", "Message": "Permission denied"})
    with ClusterPool({"a": sims["a"].url}) as pool:
        until(lambda: pool.health()["a"].round_trip is not None)
        health = pool.health()["a"]
        assert (health.clock_offset, health.server_version, health.system_name) == (None, None, None)


def test_loss_and_return_are_told(pool: ClusterPool, sims: dict[str, Simulator]) -> None:
    told: list[NodeHealth] = []
    stop = pool.on_health(told.append)
    sims["b"].stop_listening()
    sims["b"].drop()
    until(lambda: any(each.state is State.RECONNECTING for each in told))
    lost = next(each for each in told if each.state is State.RECONNECTING)
    assert (lost.node, lost.responsive, lost.round_trip is None) == ("b", False, False)
    assert lost.last_error is not None
    until(lambda: "refused" in str(pool.health()["b"].last_error))
    sims["b"].listen_again()
    until(lambda: told[-1].state is State.CONNECTED)
    assert (told[-1].node, told[-1].reconnects, told[-1].last_error) == ("b", 1, None)
    assert {each.node for each in told} == {"b"}
    count = len(told)
    stop()
    pool.remove_node("b")
    assert len(told) == count


def test_silence_and_its_end_are_told(
    pool: ClusterPool, sims: dict[str, Simulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyami_sync.cluster.node.SILENT", 0.2)
    told: list[NodeHealth] = []
    pool.on_health(told.append)
    sims["a"].stall()
    until(lambda: told)
    assert (told[0].node, told[0].state, told[0].responsive) == ("a", State.CONNECTED, False)
    assert pool.probe(required=1)
    ready = pool.probe(required=2)
    assert not ready
    assert (ready.up, ready.total, dict(ready.down)) == (1, 2, {"a": "it does not answer"})
    sims["a"].resume()
    until(lambda: told[-1].responsive)
    assert len(told) == 2
    assert pool.probe(required=2)


def test_a_probe_answers_for_the_web(pool: ClusterPool, sims: dict[str, Simulator]) -> None:
    assert pool.probe(2).to_dict() == {"ok": True, "up": 2, "total": 2, "down": {}}
    pool.add_node("dead", "ami://admin:secret@127.0.0.1:1")
    ready = pool.probe(3)
    assert (ready.ok, ready.status_code, ready.up, ready.total) == (False, 503, 2, 3)
    assert "refused" in ready.down["dead"]
    assert pool.probe(0.5).status_code == 200
    assert not pool.probe(0.9)
    assert not pool.probe(1, where="no such tag")
    assert pool.probe(1.0, where="A").total == 1


def test_channels_know_their_node(pool: ClusterPool, sims: dict[str, Simulator]) -> None:
    assert pool.node_of("sys-a-1700000000.1") == "a"
    assert pool.node_of("sys-b-1700000000.1") == "b"
    for unknown in ("1700000000.1", "other-1700000000.1", "sys-a", "sys-a-1700000000", ""):
        assert pool.node_of(unknown) is None
    with pool.events("Foo") as stream:
        sims["b"].emit("Foo")
        assert pool.node_of(stream.get(5)) == "b"
    assert pool.node_of(pool.send_to("a", "Ping")) == "a"


def test_nodes_of_one_name_are_not_told_apart(sims: dict[str, Simulator]) -> None:
    nodes: dict[str, Any] = {name: {"url": sim.url, "system_name": "same"} for name, sim in sims.items()}
    with ClusterPool(nodes) as pool:
        until(lambda: all(each.server_version for each in pool.health().values()))
        assert pool.health()["a"].system_name == "same"  # what is configured wins
        assert pool.node_of("same-1.2") is None


def test_a_channels_name_is_asked_for(pool: ClusterPool, sims: dict[str, Simulator]) -> None:
    there = {"Response": "Success", "Message": "Channel status will follow"}
    none = {"Response": "Error", "Message": "No such channel"}
    for sim in sims.values():
        sim.on("Status", none)
    assert pool.node_of("PJSIP/alice-00000001") is None
    sims["b"].on("Status", [{**there, "EventList": "start"}, {"Event": "StatusComplete", "EventList": "Complete"}])
    assert pool.node_of("PJSIP/alice-00000001") == "b"
    sims["a"].on("Status", [{**there, "EventList": "start"}, {"Event": "StatusComplete", "EventList": "Complete"}])
    with pytest.raises(ClusterError, match="a, b"):
        pool.node_of("PJSIP/alice-00000001")
