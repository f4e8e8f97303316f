"""Processes and brokers that are killed, stopped and full: what was sent is delivered or told as lost.

``PYAMI_BRIDGE_KILLS`` is how many random kills are made (4 unless given).
"""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pyami_sync import ActionError, ActionTimeout
from pyami_sync.bridge import Bridge, BridgeClient, BrokerUnavailable, Sequence, event_of, open_transport
from pyami_sync.testing import Simulator

from .brokers import RabbitServer, RedisServer, require
from .support import ALL, leading, new_node, take_lease, until

ROOT = pathlib.Path(__file__).parents[2]
KILLS = int(os.environ.get("PYAMI_BRIDGE_KILLS", "4"))
RATE = 2000


class Leading:
    """A bridge in a process of its own."""

    def __init__(self, broker: str, name: str, ttl: float, *nodes: str) -> None:
        self.name = name
        arguments = [broker, name, str(ttl), *nodes]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bridge.leading", *arguments], cwd=ROOT, stderr=subprocess.DEVNULL
        )

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        self.process.wait(30)


class Emitter(threading.Thread):
    """Emits numbered events, about ``RATE`` a second, until it is stopped."""

    def __init__(self, sim: Simulator) -> None:
        super().__init__()
        self.sim = sim
        self.sent = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        step = 0.01
        while not self.stopping.wait(step):
            for _ in range(int(RATE * step)):
                self.sim.emit("Numbered", N=self.sent)
                self.sent += 1

    def stop(self) -> None:
        self.stopping.set()
        self.join()


class Consumer(threading.Thread):
    """Reads a node's events by the consumer's rule, over whatever happens to the broker."""

    def __init__(self, url: str, node: str) -> None:
        super().__init__()
        self.url = url
        self.node = node
        self.order = Sequence(node)
        self.found: list[tuple[str, int]] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        transport = open_transport(self.url)
        reader = None
        while not self.stopping.is_set():
            try:
                if reader is None:
                    reader = transport.reader([self.node], {self.node: self.order.last or "first"})
                records = reader.read(1000, 0.1)
            except BrokerUnavailable:
                if reader is not None:
                    reader.close()
                    reader = None
                time.sleep(0.05)
                continue
            for record in records:
                for each in self.order.accept(record):
                    event = event_of(each)
                    count = event.get("N") or event.get("Count") or "0"
                    self.found.append((event.name, int(count)))
        if reader is not None:
            reader.close()
        transport.close()

    def stop(self) -> None:
        self.stopping.set()
        self.join(30)


def check(found: list[tuple[str, int]], sent: int) -> tuple[int, int]:
    """Check that what was sent came in order, once, or is missing where a gap is told; return how much of each."""
    expected = 0
    missing = 0
    told = False
    for name, number in found:
        if name == "Numbered":
            assert number >= expected, f"{number} came behind {expected - 1}"
            if number > expected:
                assert told, f"{expected} to {number - 1} are missing, and nobody said so"
                missing += number - expected
            expected = number + 1
            told = False
        elif name in ("LeaderChanged", "ConnectionLost", "Reconnected", "EventsLost"):
            told = True
    if expected < sent:
        assert told, f"{expected} to {sent - 1} are missing at the end, and nobody said so"
        missing += sent - expected
    return expected - missing, missing


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[RedisServer | RabbitServer]:
    """A server of this test alone."""
    if request.param == "redis":
        require("redis-server", "PYAMI_REQUIRE_REDIS")
        server: RedisServer | RabbitServer = RedisServer(tmp_path)
    else:
        require("rabbitmq-server", "PYAMI_REQUIRE_RABBITMQ")
        server = RabbitServer(tmp_path)
    server.start()
    yield server
    server.kill()


@contextmanager
def url_of(server: RedisServer | RabbitServer, heartbeat: int = 1) -> Iterator[str]:
    yield server.url + (f"?heartbeat={heartbeat}" if isinstance(server, RabbitServer) else "")


def owner_of(transport, node: str) -> str | None:
    try:
        lease = transport.leaders([node]).get(node)
    except BrokerUnavailable:
        return None
    return lease.owner if lease else None


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * KILLS)
def test_nothing_is_missing_untold_whoever_is_killed(broker, sim):
    node = new_node()
    chance = random.Random(int(os.environ.get("PYAMI_BRIDGE_SEED", "7")))
    names = iter(range(10_000))
    with url_of(broker) as url:
        transport = open_transport(url)
        bridges = [Leading(url, f"b{next(names)}", 1.0, f"{node}={sim.url}") for _ in range(2)]
        until(lambda: owner_of(transport, node), 30)
        consumer = Consumer(url, node)
        emitter = Emitter(sim)
        consumer.start()
        until(lambda: consumer.found, 30)
        emitter.start()
        try:
            for number in range(KILLS):
                time.sleep(chance.uniform(0.3, 1.5))
                victim = ("leader", "broker", "standby", "server")[number % 4]
                if victim == "broker":
                    broker.kill()
                    broker.start()
                elif victim == "server":
                    sim.drop()
                else:
                    leader = owner_of(transport, node)
                    chosen = [each for each in bridges if (each.name == leader) == (victim == "leader")] or bridges
                    chosen[0].end(signal.SIGKILL)
                    bridges.remove(chosen[0])
                    bridges.append(Leading(url, f"b{next(names)}", 1.0, f"{node}={sim.url}"))
            settled = len(consumer.found)
            until(lambda: len(consumer.found) > settled + 2 * RATE, 60)
        finally:
            emitter.stop()
            sent = emitter.sent
            end = time.monotonic() + 15
            while time.monotonic() < end and ("Numbered", sent - 1) not in consumer.found[-5000:]:
                time.sleep(0.05)
            consumer.stop()
            for each in bridges:
                each.end(signal.SIGKILL)
            transport.close()
        delivered, missing = check(consumer.found, sent)
        print(
            f"\n{type(broker).__name__}: {KILLS} kills: sent {sent} = delivered {delivered} + in told gaps {missing};"
            f" duplicates dropped {consumer.order.duplicates}, old epochs refused {consumer.order.refused}"
        )
        assert delivered + missing == sent
        assert delivered > 0


@pytest.mark.slow
def test_a_stopped_leader_that_wakes_up_writes_nothing(broker, sim):
    ttl = 2.0
    node = new_node()
    with url_of(broker) as url:
        transport = open_transport(url)
        one = Leading(url, "one", ttl, f"{node}={sim.url}")
        two = None
        consumer = Consumer(url, node)
        emitter = Emitter(sim)
        try:
            until(lambda: owner_of(transport, node) == "one", 30)
            two = Leading(url, "two", ttl, f"{node}={sim.url}")
            consumer.start()
            emitter.start()
            until(lambda: len(consumer.found) > RATE, 30)
            time.sleep(ttl)  # the standby is at work
            one.process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            changes = [name for name, _ in consumer.found].count("LeaderChanged")
            until(lambda: [name for name, _ in consumer.found].count("LeaderChanged") > changes, 30)
            taken_over = time.monotonic() - stopped
            print(f"\n{type(broker).__name__}: taken over after {taken_over:.2f} s, {taken_over / ttl:.2f} lease times")
            assert taken_over < 2 * ttl + 0.5
            epoch = consumer.order.last.epoch
            time.sleep(max(0.0, stopped + 3 * ttl - time.monotonic()))
            one.process.send_signal(signal.SIGCONT)
            mark = len(consumer.found)
            until(lambda: len(consumer.found) > mark + 2 * RATE, 30)
            assert consumer.order.refused == 0  # nothing of the old epoch has reached the broker
            assert consumer.order.last.epoch == epoch
            assert owner_of(transport, node) == "two"
        finally:
            emitter.stop()
            until(lambda: ("Numbered", emitter.sent - 1) in consumer.found[-5000:], 20)
            consumer.stop()
            for each in (one, two):
                if each is not None:
                    each.end()
            transport.close()
        check(consumer.found, emitter.sent)


def numbers_and_loss(found: list[tuple[str, int]]) -> tuple[list[int], int]:
    return [n for name, n in found if name == "Numbered"], sum(n for name, n in found if name == "EventsLost")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("trouble", ["away", "full"])
def test_a_broker_in_trouble_costs_no_session_and_its_loss_is_exact(broker, sim, trouble):
    if trouble == "full" and isinstance(broker, RedisServer):
        pytest.importorskip("redis")
    seconds = float(os.environ.get("PYAMI_BRIDGE_AWAY", "3"))
    node = new_node()
    with url_of(broker) as url:
        transport = open_transport(url)
        consumer = Consumer(url, node)
        emitter = Emitter(sim)
        with Bridge({node: sim.url}, transport, ttl=1.0, allowed=ALL, spool=2000) as bridge:
            until(lambda: leading(bridge, node), 30)
            consumer.start()
            until(lambda: consumer.found, 30)
            emitter.start()
            until(lambda: len(consumer.found) > RATE, 30)
            recover = make_trouble(broker, trouble)
            time.sleep(seconds)
            until(lambda: bridge.health().leaders[0].lost > 0, 60)
            assert bridge.health().leaders[0].spool <= 2001
            recover()
            until(lambda: bridge.health().leaders[0].spool < 2000, 60)
            emitter.stop()
            sim.emit("Numbered", N=emitter.sent)
            until(lambda: ("Numbered", emitter.sent) in consumer.found[-10:], 60)
            stats = bridge.client(node).stats()
            assert (stats.connects, stats.losses) == (1, 0)
            assert [name for name, _ in consumer.found].count("LeaderChanged") == 1
        consumer.stop()
        transport.close()
    numbers, lost = numbers_and_loss(consumer.found)
    print(f"\n{type(broker).__name__} {trouble}: sent {emitter.sent + 1} = delivered {len(numbers)} + told lost {lost}")
    assert numbers == sorted(set(numbers))
    assert len(numbers) + lost == emitter.sent + 1


def make_trouble(broker: RedisServer | RabbitServer, trouble: str):
    if trouble == "away":
        broker.kill()
        return broker.start
    if isinstance(broker, RabbitServer):
        broker.control("set_vm_memory_high_watermark", "0.00001")
        return lambda: broker.control("set_vm_memory_high_watermark", "0.4")
    import redis

    client = redis.Redis.from_url(broker.url)
    client.config_set("maxmemory", "1mb")

    def recover() -> None:
        client.config_set("maxmemory", "0")
        client.close()

    return recover


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_action_runs_once_at_most_and_its_answer_is_never_wrong(broker, sim):
    rounds = int(os.environ.get("PYAMI_BRIDGE_ORIGINATES", "3"))
    node = new_node()
    chance = random.Random(5)
    outcomes = {"done": 0, "unknown": 0, "not run": 0, "wrong": 0}
    with url_of(broker) as url:
        transport = open_transport(url)
        bridge = Leading(url, "b", 1.0, f"{node}={sim.url}")
        client = BridgeClient(url + ("&" if "?" in url else "?") + f"node={node}", timeout=2.0)
        try:
            until(lambda: owner_of(transport, node), 30)
            with client:
                until(lambda: answers(client), 30)
                for number in range(rounds):
                    future = client.submit(
                        "Originate",
                        Channel="Local/100@default",
                        Application="Wait",
                        Data="0",
                        Async=True,
                        Account=number,
                    )
                    time.sleep(chance.uniform(0.0, 0.01))
                    bridge.end(signal.SIGKILL)
                    bridge = Leading(url, f"b{number}", 1.0, f"{node}={sim.url}")
                    try:
                        future.result(5)
                        outcome = "done"
                    except ActionTimeout:
                        outcome = "unknown"
                    except ActionError as exc:
                        outcome = "not run" if "has not run" in str(exc) else "wrong"
                    outcomes[outcome] += 1
                    until(lambda: answers(client), 30)
                    ran = [each for each in sim.actions if each.name == "Originate" and each["Account"] == str(number)]
                    assert len(ran) == {"done": 1, "not run": 0}.get(outcome, min(len(ran), 1)), (outcome, ran)
        finally:
            bridge.end(signal.SIGKILL)
            transport.close()
    print(f"\n{type(broker).__name__}: {rounds} kills: {outcomes}")
    assert outcomes["wrong"] == 0


def answers(client: BridgeClient) -> bool:
    try:
        return client.ping(timeout=1.0) > 0
    except (ActionError, ActionTimeout):
        return False


def test_a_lease_ends_with_its_holders_process(broker, sim):
    node = new_node()
    with url_of(broker) as url:
        one = Leading(url, "one", 1.0, f"{node}={sim.url}")
        transport = open_transport(url)
        until(lambda: owner_of(transport, node) == "one", 30)
        killed = time.monotonic()
        one.end(signal.SIGKILL)
        lease = take_lease(transport, node, "two", 1.0)
        assert time.monotonic() - killed < 3.0
        assert lease.owner == "two"
        transport.close()
