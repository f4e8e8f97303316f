"""Real servers and simulated ones as one cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pyami_sync import AMIClient, AMIError, ClusterPool, ReconnectPolicy, Response
from pyami_sync.testing import Simulator
from tests.asterisk.plugin import require_asterisk
from tests.asterisk.scenario import wait_until
from tests.asterisk.server import AsteriskServer
from tests.cluster.waiting import until

pytestmark = pytest.mark.asterisk

REAL = {"old": 16, "new": 22, "other": 22}
CALLS = 4


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, AsteriskServer]]:
    for version in set(REAL.values()):
        require_asterisk(version)
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(AsteriskServer(version, f"cluster-{name}", systemname=f"pbx-{name}"))
            for name, version in REAL.items()
        }


@pytest.fixture(scope="module")
def sims() -> Iterator[dict[str, Simulator]]:
    with ExitStack() as stack:
        yield {
            f"sim{number}": stack.enter_context(Simulator(system_name=f"pbx-sim{number}", asterisk=version))
            for number, version in enumerate((13, 16, 18, 20, 22))
        }


@pytest.fixture
def urls(servers: dict[str, AsteriskServer], sims: dict[str, Simulator]) -> dict[str, str]:
    for server in servers.values():
        server.start()
    real = {name: f"ami://patient:patient-secret@127.0.0.1:{server.port}" for name, server in servers.items()}
    return real | {name: sim.url for name, sim in sims.items()}


@pytest.fixture
def pool(urls: dict[str, str]) -> Iterator[ClusterPool]:
    nodes = {name: {"url": url, "tags": ["real" if name in REAL else "simulated"]} for name, url in urls.items()}
    with ClusterPool(nodes, timeout=20.0, reconnect=ReconnectPolicy(initial=0.1, maximum=0.5)) as made:
        until(lambda: all(each.system_name for each in made.health().values()))
        yield made


def call(client: AMIClient) -> None:
    """Make a short call, and wait until it has been answered."""
    answer = client.originate("Local/106@default", Context="default", Exten="107", Priority=1, wait=True)
    assert answer["Response"] == "Success"


def test_one_stream_is_the_sum_of_the_nodes_own(pool: ClusterPool, urls: dict[str, str]) -> None:
    with ExitStack() as stack:
        clients = {name: stack.enter_context(AMIClient.from_url(url, timeout=20.0)) for name, url in urls.items()}
        for client in clients.values():
            client.ping()
        merged = stack.enter_context(pool.events())
        own = {name: stack.enter_context(client.events()) for name, client in clients.items()}
        pool.broadcast("UserEvent", UserEvent="Begin")
        callers = [threading.Thread(target=lambda n=name: [call(pool[n]) for _ in range(CALLS)]) for name in urls]  # type: ignore[misc]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        until(lambda: all(no_channels(pool, name) for name in urls), 20)
        pool.broadcast("UserEvent", UserEvent="End")

        expected = {name: list(between(iter(stream))) for name, stream in own.items()}
        found: dict[str, list[bytes]] = {name: [] for name in urls}
        begun, ended = set(), set()
        while len(ended) < len(urls):
            event = merged.get(20)
            if event.get("UserEvent") == "Begin":
                begun.add(event.node)
            elif event.get("UserEvent") == "End":
                ended.add(event.node)
            elif event.node in begun and event.node not in ended and not asked_for(event):
                found[event.node].append(event.to_bytes())
        assert found == expected
        assert all(len(each) > 5 * CALLS for each in found.values())


def between(stream: Iterator[Any]) -> Iterator[bytes]:
    """The events between the marks."""
    for event in stream:
        if event.get("UserEvent") == "Begin":
            break
    for event in stream:
        if event.get("UserEvent") == "End":
            return
        if not asked_for(event):
            yield event.to_bytes()


def asked_for(event: Any) -> bool:
    """Whether it is an item of a list, which only the session that asked gets."""
    return bool(event.name.startswith("CoreShowChannel"))


def no_channels(pool: ClusterPool, name: str) -> bool:
    return not pool.send_to(name, "CoreShowChannels").events


def test_broadcast_to_all_versions(pool: ClusterPool, urls: dict[str, str]) -> None:
    answers = pool.broadcast("CoreStatus")
    assert list(answers) == list(urls)
    assert all(isinstance(each, Response) and "CoreCurrentCalls" in each for each in answers.values())
    lists = pool.broadcast("CoreShowChannels", where="real")
    assert all(isinstance(each, Response) and each.complete is not None for each in lists.values())
    versions = {name: health.server_version or "" for name, health in pool.health().items()}
    assert [versions[name].partition(".")[0] for name in REAL] == ["16", "22", "22"]
    for health in pool.health().values():
        assert health.clock_offset is not None
        assert abs(health.clock_offset) < 2


def test_an_action_on_a_channel_goes_where_it_lives(pool: ClusterPool) -> None:
    for name in REAL:
        with pool.expect("Newchannel", where={"Channel": "Local/100@default*;1"}) as made:
            pool.send_to(name, "Originate", Channel="Local/100@default", Application="Wait", Data="60", Async=True)
            channel = made.result(20)
        assert channel["Uniqueid"].startswith(f"pbx-{name}-")
        assert pool.node_of(channel["Uniqueid"]) == pool.node_of(channel) == name
        assert pool.node_of(channel["Channel"]) == name
        with pool.expect("Hangup", where={"Uniqueid": channel["Uniqueid"]}) as hangup:
            pool.send_to(pool.node_of(channel["Uniqueid"]) or "", "Hangup", Channel=channel["Channel"])
            assert hangup.result(20).node == name
        assert pool.node_of(channel["Channel"]) is None


def p99(values: list[float]) -> float:
    return sorted(values)[round((len(values) - 1) * 0.99)]


def test_a_node_that_dies_disturbs_no_other(
    pool: ClusterPool, servers: dict[str, AsteriskServer], urls: dict[str, str]
) -> None:
    over = threading.Event()
    others = [name for name in urls if name != "other"]
    trips: dict[str, list[float]] = {name: [] for name in others}
    failures: list[BaseException] = []
    calls = dict.fromkeys(urls, 0)

    def ping(name: str) -> None:
        client = pool[name]
        while not over.wait(0.005):
            try:
                trips[name].append(client.ping())
            except AMIError as exc:
                failures.append(exc)

    def load(name: str) -> None:
        while not over.wait(0.1):
            try:
                pool[name].originate("Local/106@default", Context="default", Exten="107", Priority=1)
                calls[name] += 1
            except AMIError as exc:
                if name != "other":
                    failures.append(exc)

    def collect(seconds: float) -> dict[str, float]:
        """Round trips of the others over some seconds."""
        for each in trips.values():
            each.clear()
        time.sleep(seconds)  # the span that is measured, not a wait for something
        return {name: p99(list(each)) for name, each in trips.items()}

    workers = [threading.Thread(target=ping, args=(name,)) for name in others]
    workers += [threading.Thread(target=load, args=(name,)) for name in REAL]
    with pool.events("ConnectionLost", "Reconnected") as stream:
        for worker in workers:
            worker.start()
        try:
            before = collect(2)
            servers["other"].kill()
            during = collect(2)
            servers["other"].start()
            marks = [stream.get(30), stream.get(30)]
        finally:
            over.set()
            for worker in workers:
                worker.join()
    assert [(mark.node, mark.name) for mark in marks] == [("other", "ConnectionLost"), ("other", "Reconnected")]
    assert marks[1].server_restarted is True
    assert not failures
    assert pool.send_to("other", "CoreStatus").ok
    assert all(calls[name] for name in REAL)
    worst = {name: (round(before[name] * 1000, 2), round(during[name] * 1000, 2)) for name in others}
    print("p99 in ms before and during:", worst)
    # Twice, and room for what else this machine does.
    assert all(during[name] <= 2 * before[name] + 0.02 for name in others), worst
    for name in REAL:
        servers[name].cli("channel request hangup all")
        wait_until(lambda name=name: "0 active channels" in servers[name].cli("core show channels count"), name)  # type: ignore[misc]
