"""What is measured: each scenario takes one figure, and others beside it, of one client."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, get_native_id
from typing import Any

from .clients import IN_PYTHON, OWN, Client, client_class
from .sender import Sender
from .traffic import END, Load

__all__ = ["SCENARIOS", "Figures", "Setting", "measure"]

Figures = dict[str, float]
TYPED = ("VarSet", "Newexten", "Newchannel", "NewConnectedLine", "NewCallerid", "Newstate", "Hangup", "BridgeEnter")


@dataclass
class Setting:
    """What a measurement has to work with."""

    client: str
    load: Load
    command: list[str]
    """Starts the server."""
    scale: float = 1.0
    """Part of the full work that is done; below 1 for a quick look."""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def cls(self) -> type[Client]:
        return client_class(self.client)

    def size(self, full: int, least: int = 1) -> int:
        """A number of things to do."""
        return max(least, int(full * self.scale))

    def serve(self, list_size: int = 0, line_count: int = 0) -> Sender:
        """Start the server."""
        return Sender(self.command, self.load, list_size, line_count)


class Opened:
    """A client that is logged in to a server of its own."""

    def __init__(self, setting: Setting, list_size: int = 0, line_count: int = 0) -> None:
        self.sender = setting.serve(list_size, line_count)
        self.client: Any = setting.cls(self.sender.port)

    def __enter__(self) -> Opened:
        try:
            self.client.open()
        except BaseException:
            self.sender.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.client.close()
        self.sender.close()

    def flood(self, tally: Any, count: int) -> tuple[float, float]:
        """Let a flood pass by a tally; seconds of the clock and of this process's processors."""
        tally.count = 0
        tally.done.clear()
        begun, cpu = time.perf_counter(), time.process_time()
        self.sender.flood(count)
        if not self.client.wait(tally):
            raise TimeoutError("the last event of the flood never came")
        return time.perf_counter() - begun, time.process_time() - cpu


def _flooded(setting: Setting, names: tuple[str, ...] | None, listen: Callable[[Any], Any]) -> Figures:
    count = setting.size(int(400_000 * setting.cls.pace), 2_000)
    with Opened(setting) as opened:
        tally = listen(opened.client)
        opened.flood(tally, 2_000)  # warm-up
        seconds, cpu = opened.flood(tally, count)
    expected = setting.load.expected(count, names)
    return {"value": count / seconds, "cpu_us": cpu / count * 1e6, "lost": expected - tally.count, "events": count}


def events_all(setting: Setting) -> Figures:
    return _flooded(setting, None, lambda client: client.listen(None))


def events_filtered(setting: Setting) -> Figures:
    names = ("Hangup", END)
    return _flooded(setting, names, lambda client: client.listen(names))


def _read(setting: Setting, how: str) -> Figures:
    return _flooded(setting, None, lambda client: client.read(how))


def events_read(setting: Setting) -> Figures:
    return _read(setting, "headers")


def events_items(setting: Setting) -> Figures:
    return _read(setting, "items")


def events_dict(setting: Setting) -> Figures:
    return _read(setting, "dict")


def events_named(setting: Setting) -> Figures:
    names = (*TYPED, END)
    return _flooded(setting, names, lambda client: client.read_named(names))


def events_typed(setting: Setting) -> Figures:
    names = (*TYPED, END)
    return _flooded(setting, names, lambda client: client.read_typed(names))


def events_stream(setting: Setting) -> Figures:
    return _flooded(setting, None, lambda client: client.stream())


def _timed(job: Callable[[], int]) -> tuple[int, float, float]:
    begun, cpu = time.perf_counter(), time.process_time()
    count = job()
    return count, time.perf_counter() - begun, time.process_time() - cpu


def _fetched(setting: Setting, size: int, *, lines: bool = False, read: bool = False) -> Figures:
    with Opened(setting, 0 if lines else size, size if lines else 0) as opened:
        client = opened.client
        job = client.fetch_output if lines else client.read_list if read else client.fetch_list
        rounds = [_timed(job) for _ in range(1 if size > 100_000 else 5)]
    count, seconds, cpu = sorted(rounds, key=lambda each: each[1])[len(rounds) // 2]
    return {"value": size / seconds, "cpu_us": cpu / size * 1e6, "lost": size - count}


def list_20k(setting: Setting) -> Figures:
    return _fetched(setting, 20_000)


def list_read(setting: Setting) -> Figures:
    return _fetched(setting, 20_000, read=True)


def list_1m(setting: Setting) -> Figures:
    return _fetched(setting, setting.size(1_000_000))


def output_20k(setting: Setting) -> Figures:
    return _fetched(setting, 20_000, lines=True)


def output_1m(setting: Setting) -> Figures:
    return _fetched(setting, setting.size(1_000_000), lines=True)


def _latencies(times: list[float]) -> Figures:
    ordered = sorted(times)
    return {
        "value": statistics.median(ordered) * 1e6,
        "p99": ordered[int(len(ordered) * 0.99)] * 1e6,
        "count": len(ordered),
    }


def ping(setting: Setting) -> Figures:
    count = setting.size(5_000, 200)
    with Opened(setting) as opened:
        opened.client.ping_often(200)
        cpu = time.process_time()
        figures = _latencies(opened.client.ping_often(count))
        return figures | {"cpu_us": (time.process_time() - cpu) / count * 1e6}


def _side_by_side(setting: Setting, workers: int) -> Figures:
    each = setting.size(16_000 // workers, 10)
    with Opened(setting) as opened:
        opened.client.ping_side_by_side(workers, 10)
        begun, cpu = time.perf_counter(), time.process_time()
        opened.client.ping_side_by_side(workers, each)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {"value": workers * each / seconds, "cpu_us": cpu / (workers * each) * 1e6}


def ping_16(setting: Setting) -> Figures:
    return _side_by_side(setting, 16)


def ping_64(setting: Setting) -> Figures:
    return _side_by_side(setting, 64)


def mixed(setting: Setting) -> Figures:
    """Pings while 5,000 events a second come in, which every client can keep up with."""
    rate, seconds = 5_000, 4 * setting.scale
    count = int(rate * seconds)
    with Opened(setting) as opened:
        tally = opened.client.listen(None)
        opened.flood(tally, 2_000)
        tally.count = 0
        tally.done.clear()
        cpu, begun = time.process_time(), time.perf_counter()
        opened.sender.flood(count, rate)
        figures = _latencies(opened.client.ping_during(tally, 0.005))
        share = (time.process_time() - cpu) / (time.perf_counter() - begun)
    return figures | {"cpu_share": share * 100, "lost": count + 1 - tally.count}


def flood_ping(setting: Setting) -> Figures:
    """Pings while events come in as fast as they are taken."""
    count = setting.size(int(1_000_000 * setting.cls.pace), 20_000)
    with Opened(setting) as opened:
        tally = opened.client.listen(None)
        opened.flood(tally, 2_000)
        alone, _ = opened.flood(tally, count)
        tally.count = 0
        tally.done.clear()
        begun = time.perf_counter()
        opened.sender.flood(count)
        figures = _latencies(opened.client.ping_during(tally, 0.005))
        seconds = time.perf_counter() - begun
    return figures | {"rate": count / seconds, "rate_share": alone / seconds * 100, "lost": count + 1 - tally.count}


def resident(pid: int | str = "self") -> int:
    """Bytes of a process that lie in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def blocked(setting: Setting) -> Figures:
    """One callback blocks for five seconds of a flood; what that costs memory and another callback."""
    seconds = 5 * setting.scale
    release = Event()
    with Opened(setting) as opened:
        tally = opened.client.listen(None)
        opened.flood(tally, 50_000)
        usual, _, _ = _memory_of_floods(opened, tally, seconds / 2)  # with nobody blocked
        subscription = opened.client.ami.on(lambda event: release.wait(60), maxsize=50_000)
        blocking, events, lost = _memory_of_floods(opened, tally, seconds)
        held = list(subscription._buffer)
        dropped = subscription.lost
        release.set()
    size = sum(sys.getsizeof(each) + sys.getsizeof(getattr(each, "_raw", b"")) for each in held)
    return {
        "value": (blocking - usual) / 2**20,
        "buffer_mb": (size + sys.getsizeof(held)) / 2**20,
        "buffered": len(held),
        "dropped": dropped,
        "lost": lost,
        "events": events,
    }


def _memory_of_floods(opened: Opened, tally: Any, seconds: float) -> tuple[float, int, int]:
    """Let floods pass for some seconds; the median of resident memory, the events seen and those lost.

    (Not the peak: that is how far the other callback once fell behind, with a buffer of its own.)
    """
    samples: list[int] = []
    events = lost = 0
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        tally.count = 0
        tally.done.clear()
        opened.sender.flood(200_000)
        while not tally.done.wait(0.02):
            samples.append(resident())
        events += tally.count
        lost += 200_001 - tally.count
    return statistics.median(samples), events, lost


def _run(code: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begun


def import_time(setting: Setting) -> Figures:
    runs = setting.size(10, 2)
    bare = statistics.median(_run("pass") for _ in range(runs))
    full = statistics.median(_run(f"import {setting.cls.module}") for _ in range(runs))
    return {"value": (full - bare) * 1e3}


def connect_time(setting: Setting) -> Figures:
    times = []
    with setting.serve() as sender:
        for _ in range(setting.size(30, 5)):
            client = setting.cls(sender.port)
            begun = time.perf_counter()
            client.open()
            times.append(time.perf_counter() - begun)
            client.close()
    return {"value": statistics.median(times) * 1e3}


def _subscribed(setting: Setting, count: int) -> Figures:
    def listen(client: Any) -> Any:
        for number in range(count - 1):
            client.ami.on(f"Other{number}*" if number % 10 == 0 else f"Other{number}", print)
        return client.listen(("Hangup", END))

    return _flooded(setting, ("Hangup", END), listen)


def held(setting: Setting) -> Figures:
    """Memory of an event that is kept, as a multiple of its bytes on the wire."""
    count = setting.size(100_000, 5_000)
    with Opened(setting) as opened:
        kept = opened.client.hold()
        opened.sender.flood(2_000)
        while len(kept) < 2_001:
            time.sleep(0.01)
        before = resident()
        opened.sender.flood(count)
        while len(kept) < count + 2_002:
            time.sleep(0.01)
        size = (resident() - before) / count
    return {"value": size / setting.load.event_size, "bytes": size}


def idle(setting: Setting) -> Figures:
    """A session that nothing happens in: how often its threads wake, and what it weighs."""
    seconds = 60 * setting.scale
    # As installed: with its bytecode written. What compiles it first keeps megabytes of that.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(setting.load.folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with setting.serve() as sender:
        code = f"port = {sender.port}\n{setting.cls.session}\nprint('open', flush=True)\ninput()"
        command = [sys.executable, "-c", code]
        subprocess.run(command, input="\n", stdout=subprocess.DEVNULL, text=True, check=True, env=environment)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1)
        before, began = _switches(process.pid), time.monotonic()
        time.sleep(seconds)
        woken = _switches(process.pid) - before
        weight = resident(process.pid)
        passed = time.monotonic() - began
        process.communicate("\n")
    return {"value": weight / 2**20, "wakes_a_minute": woken / passed * 60}


def _switches(pid: int) -> int:
    """How often threads of a process went to sleep, other than its main thread."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        if int(status.parent.name) not in (pid, get_native_id()):
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            total += int(lines["voluntary_ctxt_switches"])
    return total


@dataclass(frozen=True)
class Scenario:
    """What is measured, and of whom."""

    run: Callable[[Setting], Figures]
    title: str
    unit: str
    clients: tuple[str, ...] = (OWN,)
    more_is_better: bool = True
    rounds: int | None = None
    """Fewer rounds than usual, for what takes long or hardly varies."""


LISTENERS = (OWN, IN_PYTHON, "asterisk-ami", "panoramisk", "pystrix", "pyami_asterisk")
CALLERS = (OWN, "asterisk-ami", "panoramisk", "basicami", "astami", "raw-socket", "reader-lock")
THREADED = (OWN, IN_PYTHON, "asterisk-ami", "panoramisk", "basicami", "reader-lock")
COLLECTORS = (OWN, IN_PYTHON, "asterisk-ami", "panoramisk", "split")
READERS = (OWN, IN_PYTHON, "asterisk-ami", "batches")
MIXED = (OWN, "asterisk-ami", "panoramisk")

SCENARIOS: dict[str, Scenario] = {
    "events-all": Scenario(events_all, "Events to one callback", "events/s", (*LISTENERS, "split", "batches", "eager")),
    "events-read": Scenario(events_read, "Events, name and three headers read", "events/s", READERS),
    "events-items": Scenario(events_items, "Events, all headers read", "events/s", READERS),
    "events-dict": Scenario(events_dict, "Events, each made a dict", "events/s", READERS),
    "events-filtered": Scenario(
        events_filtered, "Events, callback for one name", "events/s", (*LISTENERS, "batches", "eager")
    ),
    "events-named": Scenario(events_named, "Events by name (eight names), four headers read", "events/s"),
    "events-typed": Scenario(events_typed, "Events by class (the same eight), four attributes read", "events/s"),
    "events-stream": Scenario(events_stream, "Events from a stream", "events/s", (OWN, "basicami")),
    "list-20k": Scenario(list_20k, "List of 20,000 items", "items/s", (*COLLECTORS, "batches")),
    "list-read": Scenario(list_read, "List of 20,000 items, a header of each read", "items/s", READERS),
    "list-1m": Scenario(list_1m, "List of 1,000,000 items", "items/s", (OWN, "split"), rounds=2),
    "output-20k": Scenario(output_20k, "Command output of 20,000 lines", "lines/s", COLLECTORS),
    "output-1m": Scenario(output_1m, "Command output of 1,000,000 lines", "lines/s", (OWN, "split"), rounds=2),
    "ping": Scenario(ping, "Round trip", "µs", CALLERS, more_is_better=False),
    "ping-16": Scenario(ping_16, "Round trips from 16 threads", "actions/s", THREADED),
    "ping-64": Scenario(ping_64, "Round trips from 64 threads", "actions/s", THREADED),
    "mixed": Scenario(mixed, "Round trip at 5,000 events/s", "µs", MIXED, more_is_better=False),
    "flood-ping": Scenario(flood_ping, "Round trip in a flood", "µs", MIXED, more_is_better=False),
    "blocked": Scenario(blocked, "A callback blocks for 5 s of a flood", "MB more", more_is_better=False, rounds=3),
    "import": Scenario(import_time, "Import", "ms", (OWN, "asterisk-ami", "panoramisk"), more_is_better=False),
    "connect": Scenario(connect_time, "Connect and log in", "ms", MIXED, more_is_better=False),
    **{
        f"subscriptions-{count}": Scenario(
            lambda setting, count=count: _subscribed(setting, count),
            f"Events, {count:,} subscriptions of which one matches",
            "events/s",
        )
        for count in (1, 10, 100, 1000)
    },
    "held": Scenario(
        held, "Memory of a held event", "× wire size", (OWN, "asterisk-ami"), more_is_better=False, rounds=2
    ),
    "idle": Scenario(idle, "An idle session", "MB", (OWN, "asterisk-ami"), more_is_better=False, rounds=1),
}


def measure(name: str, setting: Setting) -> Figures:
    """Take the figures of one scenario in this process; ``value`` is the one that counts."""
    return SCENARIOS[name].run(setting)
