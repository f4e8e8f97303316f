"""Hundreds of nodes at once: few threads, little memory, nothing lost, nobody waits for the dead."""

from __future__ import annotations

import os
import pathlib
import threading
import time
from collections.abc import Iterator

import pytest

from pyami_sync import ActionTimeout, ClusterPool, ConnectionLost, ReconnectPolicy, Response
from tests.cluster.nodes import Farm
from tests.cluster.waiting import until

NODES = 200
# Generous, for machines that do other things besides.
CONNECT, BROADCAST = 20.0, 5.0


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm(NODES) as made:
        yield made


@pytest.fixture
def pool(farm: Farm) -> Iterator[ClusterPool]:
    made = ClusterPool(farm.urls, timeout=10.0, reconnect=ReconnectPolicy(initial=0.05, maximum=0.5))
    try:
        yield made.open(60.0, required=NODES)  # a node that is late on a busy machine would miss events
    finally:
        made.close()


def own_threads() -> int:
    return sum(each.name.startswith("pyami-cluster") for each in threading.enumerate())


def memory() -> int:
    text = pathlib.Path("/proc/self/status").read_text("ascii")
    return int(text.partition("VmRSS:")[2].split()[0])


def test_they_connect_and_answer(farm: Farm) -> None:
    before, files = memory(), len(os.listdir("/proc/self/fd"))
    started = time.monotonic()
    with ClusterPool(farm.urls) as pool:
        assert time.monotonic() - started < CONNECT
        assert all(node.connected for node in pool.nodes.values())
        started = time.monotonic()
        answers = pool.broadcast("Ping")
        assert time.monotonic() - started < BROADCAST
        assert list(answers) == list(farm.ports)
        assert all(isinstance(each, Response) and each.ok for each in answers.values())
        assert own_threads() <= 23
        assert memory() - before < NODES * 150  # KB for each, of which a part is buffers of the interpreter
        until(lambda: all(each.system_name for each in pool.health().values()))
        assert {pool.node_of(f"{name}-1700000000.1") for name in farm.ports} == set(farm.ports)
    until(lambda: len(os.listdir("/proc/self/fd")) <= files)
    until(lambda: not any(farm.status()["sessions"].values()))


@pytest.mark.promise(7)
def test_the_merged_stream_loses_nothing(farm: Farm, pool: ClusterPool) -> None:
    before = farm.status()["sent"]
    with pool.events("Newexten", maxsize=1_000_000) as stream:
        farm.flood(rate=100, seconds=2)
        until(lambda: not farm.status()["busy"], 30)
        sent = farm.status()["sent"]
        total = sum(sent.values()) - sum(before.values())
        assert total == NODES * 200
        following = dict(before)
        for _ in range(total):
            event = stream.get(10)
            assert int(event["Number"]) == following[event.node]
            following[event.node] += 1
        assert following == sent
        assert stream.lost == 0
        assert stream.pending == 0


def test_a_broadcast_names_those_that_went_silent(farm: Farm, pool: ClusterPool) -> None:
    silent = sorted(farm.ports)[::10]
    farm.stall(silent)
    try:
        started = time.monotonic()
        answers = pool.broadcast("Ping", timeout=1.0)
        assert time.monotonic() - started < 1.0 + BROADCAST
        assert sorted(name for name, each in answers.items() if isinstance(each, ActionTimeout)) == silent
        assert sum(isinstance(each, Response) for each in answers.values()) == NODES - len(silent)
    finally:
        farm.stall(silent, stalled=False)


def test_those_that_were_never_there_delay_nobody(farm: Farm) -> None:
    silent = sorted(farm.ports)[::10]
    farm.stall(silent)
    try:
        pool = ClusterPool(farm.urls, connect_timeout=60, timeout=10.0)
        try:
            pool.probe()  # begins to connect
            until(lambda: sum(node.connected for node in pool.nodes.values()) == NODES - len(silent), CONNECT)
            started = time.monotonic()
            answers = pool.broadcast("Ping")
            assert time.monotonic() - started < BROADCAST
            assert sorted(name for name, each in answers.items() if isinstance(each, ConnectionLost)) == silent
            assert own_threads() <= 23
        finally:
            pool.close()
    finally:
        farm.stall(silent, stalled=False)


def test_all_come_back_at_once(farm: Farm, pool: ClusterPool) -> None:
    with pool.events("ConnectionLost", "Reconnected") as stream:
        farm.drop(farm.ports)
        until(lambda: all(health.reconnects == 1 for health in pool.health().values()), CONNECT)
        marks: dict[str, list[str]] = {}
        for _ in range(2 * NODES):
            marker = stream.get(10)
            marks.setdefault(marker.node, []).append(marker.name)
        assert marks == {name: ["ConnectionLost", "Reconnected"] for name in marks}
        assert len(marks) == NODES
    assert own_threads() <= 23
    assert all(isinstance(each, Response) for each in pool.broadcast("Ping").values())
