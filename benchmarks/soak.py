"""``python -m benchmarks.soak``: ten million events through one session, a slow subscriber beside a fast one.

Memory must stay flat after the warm-up (within 5 MB), the fast subscriber must lose nothing, and each event that
the slow one lost must have been counted. Exit status 1 when one of these does not hold.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from pyami_sync import AMIClient

from .environment import cache_folder
from .scenarios import resident
from .sender import Sender, build
from .traffic import END, Load, prepare

__all__ = ["Outcome", "main", "soak"]

PART = 500_000  # events in one flood; memory is looked at between two of them
BUFFER = 50_000  # of the slow subscriber


@dataclass
class Outcome:
    """What a soak showed."""

    events: int
    seconds: float
    lost: int
    """Events that the fast subscriber missed."""
    unaccounted: int
    """Events that the slow one neither got, nor lost with a count, nor has in its buffer."""
    slow_delivered: int
    slow_lost: int
    sizes: list[int]
    """Bytes resident after each part."""

    @property
    def growth(self) -> int:
        """Bytes that memory grew by after the warm-up, the first fifth of the parts."""
        settled = self.sizes[max(1, len(self.sizes) // 5) - 1 :]
        return max(settled[-len(settled) // 2 :]) - settled[0]


def soak(load: Load, command: list[str], count: int, part: int = PART) -> Outcome:
    """Send that many events in floods of ``part``."""
    fast, over, stop = [0], Event(), Event()
    sizes: list[int] = []
    with Sender(command, load) as sender:
        with AMIClient("127.0.0.1", sender.port, username="admin", secret="amp111") as ami:

            @ami.on(maxsize=10 * part)
            def quick(event: Any) -> None:
                fast[0] += 1
                if event.name == END:
                    over.set()

            @ami.on(maxsize=BUFFER, overflow="drop_oldest")
            def slow(event: Any) -> None:
                stop.wait(0.001)

            sender.flood(10)
            over.wait(60)
            before = fast[0]  # FullyBooted may have come before the subscription, or behind it
            begun = time.monotonic()
            parts = -(-count // part)
            for _ in range(parts):
                over.clear()
                sender.flood(part)
                if not over.wait(300):
                    raise TimeoutError("the last event of a flood never came")
                sizes.append(resident())
            seconds = time.monotonic() - begun
            stop.set()
            while slow.pending:  # what is in its buffer is delivered now that it is quick
                time.sleep(0.05)
            time.sleep(0.1)
            delivered, lost = slow.delivered, slow.lost
            got = fast[0]
    sent = parts * (part + 1)
    return Outcome(sent, seconds, sent - (got - before), got - delivered - lost, delivered, lost, sizes)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; give its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    options = parser.parse_args(arguments)
    folder: Path = cache_folder()
    outcome = soak(prepare(folder / "load"), build(folder), options.events)
    grown = outcome.growth / 2**20
    print(f"{outcome.events:,} events in {outcome.seconds:.1f} s: {outcome.events / outcome.seconds:,.0f} a second")
    print(f"fast subscriber: {outcome.lost} lost")
    print(
        f"slow subscriber: {outcome.slow_delivered:,} delivered, {outcome.slow_lost:,} dropped and counted,"
        f" {outcome.unaccounted} unaccounted for"
    )
    print(f"memory after each part, in MB: {' '.join(f'{size / 2**20:.1f}' for size in outcome.sizes)}")
    print(f"growth after the warm-up: {grown:.1f} MB")
    return int(bool(outcome.lost or outcome.unaccounted or grown > 5))


if __name__ == "__main__":
    sys.exit(main())
