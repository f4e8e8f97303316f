"""Links that die at random moments of a busy session."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest

from pyami_sync import AMIClient, AMIError, ConnectionLost, Event, ReconnectPolicy
from pyami_sync import events as ami_events
from pyami_sync.testing import Simulator
from tests.asterisk import scenario
from tests.asterisk.plugin import AsteriskFactory

from .proxy import Pair, Proxy

THREADS = 16
TIMEOUT = 1.0
SLACK = 3.0  # what a busy machine may add to a timeout
POLICY = ReconnectPolicy(initial=0.01, maximum=0.05)
KINDS = ("drop", "reset", "cut", "drop", "cut", "stall")


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


class Busy:
    """Threads that call without end and note whatever is not as promised."""

    def __init__(self, ami: AMIClient) -> None:
        self.ami = ami
        self.broken: list[str] = []
        self.outcomes: dict[str, int] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(number,), daemon=True) for number in range(THREADS)]

    def start(self) -> None:
        """Begin to call."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the calls under way end, and say how long is too long."""
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT + SLACK)
        assert not [thread for thread in self._threads if thread.is_alive()], "a call hangs"

    def _call(self, number: int) -> None:
        chance = random.Random(number)
        while not self._stop.is_set():
            started = time.monotonic()
            unique = f"{number}-{started}"
            try:
                outcome = self._ask(chance.randrange(4), unique)
            except AMIError as exc:
                outcome = type(exc).__name__
            except BaseException as exc:
                outcome = f"untyped {exc!r}"
            took = time.monotonic() - started
            with self._lock:
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
                if took > TIMEOUT + SLACK:
                    self.broken.append(f"{unique} took {took:.1f} s and ended in {outcome}")
                if outcome.startswith(("untyped", "wrong")):
                    self.broken.append(outcome)

    def _ask(self, question: int, unique: str) -> str:
        ami = self.ami
        if question == 0:
            return "result" if ami.send("Ping")["Ping"] == "Pong" else "wrong ping"
        if question == 1:
            response = ami.send("CoreShowChannels")
            whole = response.complete is not None and int(response.complete["ListItems"]) == len(response.events)
            return "result" if whole else f"wrong list of {len(response.events)}"
        if question == 2:
            # Numbered, so that whoever listens can tell a lost or a doubled one.
            return "result" if ami.send("UserEvent", UserEvent="Busy", Unique=unique).ok else "wrong event"
        future = ami.submit("Setvar", Variable="BUSY", Value=unique)
        return "result" if future.result(TIMEOUT + SLACK).ok else "wrong answer"


def arrived(pair: Pair) -> list[bytes]:
    """Return the whole events that a connection brought, in order."""
    frames = bytes(pair.passed).split(b"\r\n\r\n")[:-1]
    return [frame for frame in frames if frame.startswith(b"Event: UserEvent\r\n")]


def kill_at_random(port: int, secret: str, kills: int, *, flood: Simulator | None) -> dict[str, int]:
    """Break the link so often, then check what came through against what the proxy passed on."""
    chance = random.Random(kills)
    seen: list[Event] = []
    with Proxy(port) as proxy:
        threads_before, files_before = threading.active_count(), descriptors()
        ami = AMIClient(
            "127.0.0.1",
            proxy.port,
            username="admin",
            secret=secret,
            timeout=TIMEOUT,
            keepalive=0.2,
            keepalive_timeout=0.2,
            connect_timeout=2.0,
            reconnect=POLICY,
        )
        called: list[bytes] = []
        resets: set[int] = set()
        with ami:
            ami.on("UserEvent", lambda event: called.append(event.to_bytes()), maxsize=10_000_000)
            with ami.events("UserEvent", ami_events.ConnectionLost, ami_events.Reconnected, maxsize=10_000_000) as all_:
                taker = threading.Thread(target=lambda: seen.extend(all_), daemon=True)
                taker.start()
                busy = Busy(ami)
                busy.start()
                for number in range(kills):
                    wait_connected(ami, number + 1)
                    if flood is not None:
                        for extra in range(200):
                            flood.emit("UserEvent", UserEvent="Flood", Number=f"{number}-{extra}")
                    time.sleep(chance.random() * 0.02)  # the random moment itself
                    kind = KINDS[number % len(KINDS)]
                    if kind == "cut":
                        proxy.cut(chance.randrange(1, 3000))
                    else:
                        if kind == "reset":
                            resets.add(len(proxy.pairs) - 1)
                        getattr(proxy, kind)()
                wait_connected(ami, kills + 1)
                busy.stop()
                stats = ami.stats()
                with ami.expect("UserEvent", where={"UserEvent": "Last"}) as last:
                    ami.send("UserEvent", UserEvent="Last")
                    last.result(20)
                scenario.wait_until(lambda: seen and seen[-1].get("UserEvent") == "Last", "the stream's last")
                scenario.wait_until(lambda: called[-1:] and b"UserEvent: Last\r\n" in called[-1], "the callback's last")
            taker.join(10)
        assert not busy.broken, busy.broken[:10]
        assert stats.losses == kills
        assert stats.events_lost == 0
        check_arrivals(proxy, seen, resets, kills)
        assert called == [event.to_bytes() for event in seen if event.name == "UserEvent"]
        proxy.drop()
        scenario.wait_until(lambda: threading.active_count() <= threads_before, "the threads are gone")
        scenario.wait_until(lambda: descriptors() <= files_before, "the files are closed")
        return busy.outcomes


def wait_connected(ami: AMIClient, connects: int) -> None:
    """Wait until the client has logged in so often."""
    scenario.wait_until(lambda: ami.stats().connects >= connects, f"login number {connects}")


def check_arrivals(proxy: Proxy, seen: list[Event], resets: set[int], kills: int) -> None:
    """Compare the events that were seen, life by life, with those that arrived."""
    lives: list[list[bytes]] = [[]]
    marks: list[str] = []
    for event in seen:
        if event.name == "UserEvent":
            lives[-1].append(event.to_bytes().removesuffix(b"\r\n\r\n"))
            continue
        marks.append(event.name)
        if event.name == "ConnectionLost":
            lives.append([])
    assert marks == ["ConnectionLost", "Reconnected"] * kills
    # A connection that ended before its login brought nothing; the others are the lives, in order.
    logged_in = [place for place, pair in enumerate(proxy.pairs) if b"Authentication accepted" in pair.passed]
    wanted = {place: arrived(proxy.pairs[place]) for place in logged_in}
    matched = iter(logged_in)
    for life in lives:
        for place in matched:
            came = wanted[place]
            # An RST destroys what the kernel had not handed over yet: the end may be missing, nothing else.
            if life == came or (place in resets and life == came[: len(life)]):
                break
            assert not life or place in resets, f"{len(life)} events seen of {len(came)}"
        else:
            pytest.fail(f"a life of {len(life)} events on no connection")


@pytest.mark.promise(3)
@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_on_the_simulator(kills: int) -> None:
    with Simulator(secret="admin-secret") as sim:
        outcomes = kill_at_random(sim.port, "admin-secret", kills, flood=sim)
    assert outcomes["result"] > kills
    assert outcomes.get("ConnectionLost", 0) > 0


@pytest.mark.promise(3)
@pytest.mark.asterisk
@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_on_a_real_server(killable: AsteriskFactory, kills: int) -> None:
    server = killable(22)
    scenario.channels_up(server, 5)
    outcomes = kill_at_random(server.port, "admin-secret", kills, flood=None)
    assert outcomes["result"] > kills


@pytest.mark.promise(4)
@pytest.mark.asterisk
def test_killed_in_the_middle_of_a_list(asterisk_version: int, killable: AsteriskFactory) -> None:
    server = killable(asterisk_version)
    with server.session() as raw:
        for number in range(3000):
            raw.action("DBPut", ("Family", "many"), ("Key", f"{number:05}"), ("Val", "v" * 500))
        raw.ask("Ping", timeout=60)
    options = {"username": "patient", "secret": "patient-secret", "event_mask": "off", "reconnect": None}
    with Proxy(server.port) as proxy, AMIClient("127.0.0.1", proxy.port, **options, timeout=30) as ami:
        proxy.hold_after = 100_000
        # Several, so that the kernel's buffers can't hold all of it: the server stands in the middle of one.
        lists = [ami.submit("DBGetTree", Family="many") for _ in range(8)]
        behind = [ami.submit("Ping") for _ in range(20)]
        scenario.wait_until(lambda: proxy.pairs[0].held, "the server is in the middle of a list")
        server.kill()
        killed = time.monotonic()
        proxy.release()
        outcomes = [each.exception(10) for each in (*lists, *behind)]
        took = time.monotonic() - killed
        with pytest.raises(ConnectionLost):
            ami.ping()
    assert took < 0.5
    lost = [exc for exc in outcomes if exc is not None]
    assert len(lost) > 20
    assert all(isinstance(exc, ConnectionLost) and exc.sent for exc in lost)
    assert outcomes[: -len(lost)] == [None] * (len(outcomes) - len(lost))
    in_middle, *others = lost
    assert isinstance(in_middle, ConnectionLost)
    assert 0 < len(in_middle.partial) < 3000
    keys = [event["Key"] for event in in_middle.partial]
    assert keys == [f"/many/{number:05}" for number in range(len(keys))]
    assert "list items had arrived" in str(in_middle)
    assert not any(exc.partial for exc in others if isinstance(exc, ConnectionLost))
