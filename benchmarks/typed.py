"""What typed access costs: events of recorded traffic, read by header name and by attribute.

::

    python -m benchmarks.typed            print the figures
    python -m benchmarks.typed --check    exit status 1 when typed access costs over 15 % more

Two things are compared, each as medians over rounds that take turns, so that a busy machine hits both alike:

* ``callback``: what a user's callback does with an event that it was given. A client makes every event of
  its class, whoever takes it, so this is what a user can choose between, and what ``--check`` looks at;
* ``whole path``: typed making and reading against a library without classes, which makes plain events.
"""

from __future__ import annotations

import argparse
import gc
import lzma
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyami_sync import Event, events
from pyami_sync.vocabulary.model import event_class

TRAFFIC = Path(__file__).resolve().parent.parent / "tests" / "traffic" / "asterisk-22.10-400-calls.ami.xz"
LIMIT = 1.15


def frames() -> list[bytes]:
    """Give the recorded events about channels, as bytes."""
    found = []
    for raw in lzma.decompress(TRAFFIC.read_bytes()).split(b"\r\n\r\n"):
        about_channel = raw.startswith(b"Event: ") and issubclass(event_class(name_of(raw)), events.ChannelEvent)
        if about_channel and b"\r\nChannel: " in raw:  # a UserEvent may be about none
            found.append(raw)
    return found


def name_of(raw: bytes) -> bytes:
    """Give an event's name as the subscriptions find it."""
    return raw[7 : raw.find(b"\r", 7)]


def untyped(event: Any) -> tuple[object, ...]:
    """Read as text by name, converting where a callback would."""
    state = event.get("ChannelState")
    return event["Channel"], event.get("CallerIDNum"), int(state) if state else None, event["Uniqueid"]


def typed(event: Any) -> tuple[object, ...]:
    """Read the same by attribute."""
    return event.channel, event.caller_id_num, event.channel_state, event.uniqueid


def run_callback(made: Sequence[Event], callback: Callable[[Any], object]) -> float:
    """Seconds for one callback over all events."""
    begin = time.perf_counter()
    for event in made:
        callback(event)
    return time.perf_counter() - begin


def run_untyped(raws: Sequence[bytes]) -> float:
    """Seconds for making plain events and reading them by name."""
    begin = time.perf_counter()
    for raw in raws:
        name_of(raw)
        untyped(Event._wire(raw))
    return time.perf_counter() - begin


def run_typed(raws: Sequence[bytes]) -> float:
    """Seconds for making typed events and reading them by attribute."""
    begin = time.perf_counter()
    for raw in raws:
        typed(event_class(name_of(raw))._wire(raw))
    return time.perf_counter() - begin


def compare(name: str, count: int, rounds: int, first: Callable[[], float], second: Callable[[], float]) -> float:
    """Measure both by turns, print a line, and give how many times the second takes of the first."""
    times: list[tuple[float, float]] = []
    for turn in range(rounds):
        # Who goes first alternates too: caches and clocks favour neither.
        a, b = (first(), second()) if turn % 2 else (second(), first())[::-1]
        times.append((a, b))
    one, other = (float(statistics.median(found)) for found in zip(*times, strict=True))
    print(f"{name:<11} untyped {1e9 * one / count:6.0f} ns  typed {1e9 * other / count:6.0f} ns  × {other / one:.3f}")
    return other / one


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.typed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--check", action="store_true", help="fail over the limit")
    options = parser.parse_args(arguments)
    raws = frames()
    made = [event_class(name_of(raw))._wire(raw) for raw in raws]
    assert [typed(event)[0] for event in made] == [untyped(event)[0] for event in made]
    print(f"{len(raws)} events about channels, {options.rounds} rounds, four headers each")
    gc.disable()
    rounds = options.rounds
    ratio = compare(
        "callback", len(raws), rounds, lambda: run_callback(made, untyped), lambda: run_callback(made, typed)
    )
    compare("whole path", len(raws), rounds, lambda: run_untyped(raws), lambda: run_typed(raws))
    return 1 if options.check and ratio > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
