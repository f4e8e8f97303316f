"""How fast the live model is, and whether its memory stays flat.

``python -m benchmarks.live``; with ``--soak 1000000`` for so many calls.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import re
import resource
import statistics
import time
from collections.abc import Iterator
from typing import Any

from pyami_sync import connect
from pyami_sync.live import Reducer
from pyami_sync.testing import ReplayServer
from pyami_sync.testing.tape import Record
from pyami_sync.vocabulary.model import event_class
from pyami_sync.wire.message import Event
from tests.traffic import recorded

ROUNDS = 5


def frames() -> list[bytes]:
    """Return the recorded events as they came."""
    return [each for each in recorded().split(b"\r\n\r\n") if each.startswith(b"Event: ")]


def events_of(raw: list[bytes]) -> list[Event]:
    """Return events as a client gives them."""
    return [event_class(each[7 : each.index(b"\r\n")])._wire(each) for each in raw]


def reducer_rate() -> tuple[float, int]:
    """Return events per second of processor time through the reducer, the best of some rounds, and how many events."""
    events = events_of(frames())
    rates = []
    for _ in range(ROUNDS):
        reducer = Reducer()
        began = time.process_time()
        for event in events:
            reducer.apply(event)
        rates.append(len(events) / (time.process_time() - began))
    return max(rates), len(events)


def crowd(count: int) -> Reducer:
    """Return a model with so many channels, two in each bridge."""
    reducer = Reducer()
    for number in range(count):
        for event in events_of(list(life(number))):
            reducer.apply(event)
    return reducer


def life(number: int) -> Iterator[bytes]:
    """Return the first events of a channel."""
    name, uniqueid = f"PJSIP/{number % 500}-{number:08x}", f"pbx-1700000000.{number}"
    about = (
        f"Channel: {name}\r\nChannelState: 6\r\nChannelStateDesc: Up\r\nCallerIDNum: {number}\r\n"
        "CallerIDName: <unknown>\r\nConnectedLineNum: <unknown>\r\nConnectedLineName: <unknown>\r\nLanguage: en\r\n"
        f"AccountCode: \r\nContext: default\r\nExten: s\r\nPriority: 1\r\nUniqueid: {uniqueid}\r\n"
        f"Linkedid: pbx-1700000000.{number - number % 2}"
    )
    bridge = (
        f"BridgeUniqueid: bridge-{number // 2}\r\nBridgeType: basic\r\nBridgeTechnology: simple_bridge\r\n"
        f"BridgeCreator: <unknown>\r\nBridgeName: <unknown>\r\nBridgeNumChannels: {number % 2 + 1}"
    )
    stamp = f"Privilege: call,all\r\nTimestamp: {1700000000 + number / 1000}\r\n"
    yield f"Event: Newchannel\r\n{stamp}{about}".encode()
    yield f"Event: BridgeEnter\r\n{stamp}{bridge}\r\n{about}".encode()


def view_time(reducer: Reducer) -> float:
    """Return seconds that a view takes while events go on, the median."""
    hold = itertools.cycle((b"Hold", b"Unhold"))
    plain = next(iter(life(7)))
    took = []
    for _ in range(2_000):
        reducer.apply(events_of([plain.replace(b"Newchannel", next(hold), 1)])[0])
        began = time.perf_counter()
        reducer.view()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def soak(calls: int) -> Iterator[tuple[int, int]]:
    """Run so many calls through one model; yield their number and the resident kilobytes after each tenth of them."""
    raw = frames()
    ids = re.compile(rb"a22-1795311952\.(\d+)|-(0000[0-9a-f]{4})(;|\r)|([0-9a-f]{8})(-[0-9a-f]{4}-)")
    reducer = Reducer()
    rounds = max(10, calls // 400)
    for round_ in range(rounds):
        change = str(round_).encode()

        def renamed(match: re.Match[bytes], change: bytes = change) -> bytes:
            return match[0].replace(b"-", b"-" + change + b"x", 1)

        for event in events_of([ids.sub(renamed, each) for each in raw]):
            reducer.apply(event)
        if (round_ + 1) % (rounds // 10) == 0:
            gc.collect()
            assert len(reducer.draft.channels) == len(reducer.draft.calls) == 0
            yield (round_ + 1) * 400, resident()


def resident() -> int:
    """Return the resident memory in kilobytes."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1])


def ping_times(rate: float | None, seconds: float = 4.0) -> list[float]:
    """Return the round trips of pings while the model takes up so many events a second; None for an idle one."""
    raw = frames()
    if rate is None:
        tape = [Record(0.0, "received", b"Asterisk Call Manager/11.0.0\r\n")]
    else:
        count = int(rate * (seconds + 2))
        some = itertools.islice(itertools.cycle(raw), count)
        tape = [Record(number / rate, "received", each + b"\r\n\r\n") for number, each in enumerate(some)]
    with ReplayServer(tape) as server, connect(server.url) as ami, ami.live():
        time.sleep(1.0)
        took = []
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            took.append(ami.ping())
            time.sleep(0.005)
    return took


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--soak", type=int, default=0, metavar="CALLS")
    chosen: Any = parser.parse_args(arguments)
    for size in (100, 10_000):
        gc.collect()
        before = resident()
        reducer = crowd(size)
        channels = len(reducer.view().channels)
        memory = (resident() - before) / channels
        began = time.process_time()
        for number in range(2_000):
            reducer.apply(events_of([next(iter(life(number % size))).replace(b"Newchannel", b"Newstate")])[0])
        each = (time.process_time() - began) / 2_000
        print(
            f"{channels} channels: a view takes {view_time(reducer) * 1e6:.1f} µs, an event {each * 1e6:.1f} µs,"
            f" {memory:.1f} kB of memory a channel"
        )
    rate, count = reducer_rate()
    print(f"{count} recorded events: {rate:,.0f} events/s through the reducer on one core")
    idle, busy = ping_times(None), ping_times(2_000)
    print(
        f"ping: idle {statistics.median(idle) * 1e6:.0f} µs, at 2,000 events/s {statistics.median(busy) * 1e6:.0f} µs"
    )
    if chosen.soak:
        for calls, kilobytes in soak(chosen.soak):
            print(f"{calls:>9,} calls: {kilobytes:,} kB resident", flush=True)
        print(f"most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:,} kB")


if __name__ == "__main__":
    main()
