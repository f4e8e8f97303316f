"""Many scripts at once on real servers, with callers who hang up and links that are cut: no answer goes astray."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pyami_sync import AMIClient, AMIError, ConnectionLost, connect
from pyami_sync.agi import AGICall, FastAGIServer, HungUp, Router
from tests.agi.real import scripts_dialplan, url
from tests.asterisk.server import AsteriskServer
from tests.faults.proxy import Proxy

ASYNC_CALLS = int(os.environ.get("PYAMI_AGI_ASYNC_CALLS", "60"))
FAST_CALLS = int(os.environ.get("PYAMI_AGI_FAST_CALLS", "60"))
"""500 and 200 are the long run."""
ECHOES = 10
TIMEOUT = 20.0
PATIENCE = 150.0


class Tally:
    """What became of the scripts."""

    def __init__(self) -> None:
        self.router = Router()
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.begun: list[str] = []
        self.longest = 0.0
        self.done = threading.Semaphore(0)
        self.router.route("echo")(self.echo)

    def echo(self, call: AGICall) -> None:
        """Send 20 commands, whose answers must be of this channel."""
        self.begun.append(call.channel)
        started = time.monotonic()
        try:
            for number in range(ECHOES):
                mine = f"{call.uniqueid} {number}"
                started = time.monotonic()
                call.variables["ECHO"] = mine
                self.longest = max(self.longest, time.monotonic() - started)
                started = time.monotonic()
                got = call.variables.get("ECHO")
                if got != mine:
                    self.wrong.append(f"{mine!r} came back as {got!r}")
            self.ended["done"] += 1
        except HungUp:
            self.ended["hung up"] += 1
            raise
        except ConnectionLost:
            self.ended["lost"] += 1
            raise
        except AMIError as exc:
            self.ended[type(exc).__name__] += 1
            raise
        finally:
            self.longest = max(self.longest, time.monotonic() - started)
            self.done.release()


@contextmanager
def hanging_up(ami: AMIClient, tally: Tally, share: float) -> Iterator[Counter[str]]:
    """Hang up a share of the channels as their scripts run, in an order left to chance."""
    chance = random.Random(3)
    stop = threading.Event()
    told: Counter[str] = Counter()

    def run() -> None:
        seen = 0
        while not stop.is_set():
            new = tally.begun[seen:]
            seen += len(new)
            for channel in new:
                if chance.random() < share:
                    told["hung up"] += ami.send("Hangup", Channel=channel, check=False).ok
            stop.wait(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join()


def place_all(ami: AMIClient, exten: str, count: int) -> None:
    futures = [
        ami.submit(
            *("Originate",),
            Channel=f"Local/{exten}@agi/n",
            Application="Wait",
            Data="120",
            Async="true",
            Timeout=30_000,
            timeout=60,
        )
        for _ in range(count)
    ]
    for future in futures:
        future.result(60)


def wait_for_scripts(tally: Tally, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    for number in range(count):
        assert tally.done.acquire(timeout=max(0.0, deadline - time.monotonic())), (
            f"{number} of {count} ended: {tally.ended}"
        )


def wait_for_no_channels(ami: AMIClient) -> None:
    """Every call has left its script and its channels are gone: nothing hangs in AGI."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        channels = ami.send("CoreShowChannels", timeout=30).events
        left = [each for each in channels if each.get("Application", "").lower() == "agi"]
        if not left:
            return
        time.sleep(0.2)
    pytest.fail(f"{len(left)} calls are still in AGI: {left[:3]}")


def hang_up_all(ami: AMIClient) -> None:
    ami.send("Hangup", Channel="/^Local/", check=False)
    deadline = time.monotonic() + 60
    while ami.send("CoreShowChannels", timeout=30).events and time.monotonic() < deadline:
        time.sleep(0.1)


@contextmanager
def serving(server: AsteriskServer, transport: str, count: int) -> Iterator[tuple[AMIClient, Tally, Proxy]]:
    tally = Tally()
    options = {"event_mask": "agi", "timeout": 60}
    with ExitStack() as stack:
        fast = stack.enter_context(FastAGIServer(tally.router, port=0, threads=count, timeout=TIMEOUT))
        stack.enter_context(scripts_dialplan(server, fast.port))
        proxy = stack.enter_context(Proxy(server.port))
        watcher = stack.enter_context(connect(url(server), event_mask="off", timeout=60))
        stack.callback(hang_up_all, watcher)
        if transport == "async":
            through = url(server).replace("admin:admin-secret", "patient:patient-secret")
            ami = stack.enter_context(connect(through.replace(str(server.port), str(proxy.port)), **options))
            agi = stack.enter_context(ami.agi(tally.router, threads=count, timeout=TIMEOUT))
            yield watcher, tally, proxy
            agi.close()
        else:
            yield watcher, tally, proxy
        fast.stop()
        left = [each.name for each in threading.enumerate() if each.name.startswith("pyami-agi-")]
        assert left == []


@pytest.mark.timeout(600)
def test_async_scripts_with_callers_who_hang_up(asterisk):
    with serving(asterisk, "async", ASYNC_CALLS) as (watcher, tally, _):
        with hanging_up(watcher, tally, 0.2) as told:
            started = time.monotonic()
            place_all(watcher, "1echo", ASYNC_CALLS)
            wait_for_scripts(tally, ASYNC_CALLS)
            took = time.monotonic() - started
        print(f"\n{ASYNC_CALLS} AsyncAGI scripts: {dict(tally.ended)}, {took:.1f} s, longest {tally.longest:.2f} s")
        assert tally.wrong == []
        assert set(tally.ended) <= {"done", "hung up"}
        assert tally.ended["hung up"] <= told["hung up"]
        assert tally.longest < TIMEOUT + 1
        wait_for_no_channels(watcher)


@pytest.mark.timeout(600)
def test_async_scripts_over_links_that_are_cut(asterisk):
    with serving(asterisk, "async", ASYNC_CALLS) as (watcher, tally, proxy):
        with hanging_up(watcher, tally, 0.1):
            for _ in range(4):  # calls come before, during and after each outage
                proxy.reset()
                place_all(watcher, "1echo", ASYNC_CALLS // 4)
                time.sleep(0.5)
            wait_for_no_channels(watcher)
        print(
            f"\n{len(tally.begun)} AsyncAGI scripts over cut links: {dict(tally.ended)}, longest {tally.longest:.2f} s"
        )
        assert tally.wrong == []
        assert set(tally.ended) <= {"done", "hung up", "lost"}
        assert tally.longest < TIMEOUT + 1


@pytest.mark.timeout(600)
def test_fast_scripts_with_callers_who_hang_up(asterisk):
    with serving(asterisk, "fast", FAST_CALLS) as (watcher, tally, _):
        with hanging_up(watcher, tally, 0.2) as told:
            started = time.monotonic()
            place_all(watcher, "2echo", FAST_CALLS)
            wait_for_scripts(tally, FAST_CALLS)
            took = time.monotonic() - started
        print(f"\n{FAST_CALLS} FastAGI scripts: {dict(tally.ended)}, {took:.1f} s, longest {tally.longest:.2f} s")
        assert tally.wrong == []
        assert set(tally.ended) <= {"done", "hung up"}
        assert tally.ended["hung up"] <= told["hung up"]
        assert tally.longest < TIMEOUT + 1
        wait_for_no_channels(watcher)
