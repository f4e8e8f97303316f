"""Events of several nodes at a time in one process: ``python -m benchmarks.nodes``, on whichever interpreter runs it.

Each node sends recorded traffic as fast as it is taken, and a callback reads the name and three headers of each event.
First with a client for each node, which has an engine thread of its own, then with one pool, whose nodes share one. On
a free-threaded interpreter the threads run side by side; compare ``--nodes 1`` with ``--nodes 4``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from threading import Event
from typing import Any

from pyami_sync import AMIClient, ClusterPool

from .environment import cache_folder
from .sender import Sender, build
from .traffic import END, prepare


class Reader:
    """A callback that reads events as users do."""

    def __init__(self, nodes: int = 1) -> None:
        self.count = 0
        self.nodes = self.left = nodes
        self.calls: dict[str | None, int] = {}
        self.done = Event()

    def __call__(self, event: Any) -> None:
        name = event.name
        event["Privilege"]
        call = event.get("Linkedid")
        self.calls[call] = self.calls.get(call, 0) + 1
        event.get("Nothing")
        self.count += 1
        if name == END:
            self.left -= 1
            if not self.left:
                self.done.set()

    def begin(self) -> None:
        """Count from nothing."""
        self.count, self.left = 0, self.nodes
        self.done.clear()


def measure(sender: Sender, nodes: int, count: int, *, pool: bool) -> tuple[float, float]:
    """Return events a second of all nodes together, and microseconds of processor time for each."""
    readers = [Reader() for _ in range(nodes)]
    with ExitStack() as stack:
        if pool:
            urls = {f"n{number}": f"ami://a:b@127.0.0.1:{sender.port}" for number in range(nodes)}
            readers = [Reader(nodes)]
            stack.enter_context(ClusterPool(urls)).on(readers[0], maxsize=10_000_000)
        else:
            for reader in readers:
                client = stack.enter_context(AMIClient("127.0.0.1", sender.port, username="a", secret="b"))
                client.on(reader, maxsize=10_000_000)
        for size in (2_000, count):  # the first to warm up
            for reader in readers:
                reader.begin()
            began, cpu = time.perf_counter(), time.process_time()
            sender.flood(size)
            for reader in readers:
                assert reader.done.wait(300)
            took, spent = time.perf_counter() - began, time.process_time() - cpu
        assert sum(reader.count for reader in readers) >= nodes * count
    return nodes * count / took, spent / (nodes * count) * 1e6


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nodes", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--events", type=int, default=50_000, help="of each node")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {sys.version.split()[0]}, {'with the' if locked else 'without'} GIL, {os.cpu_count()} processors")
    folder = cache_folder()
    load, command = prepare(folder / "load"), build(folder)
    for round_ in range(chosen.rounds):
        for nodes in chosen.nodes:
            for pool in (False, True):
                with Sender(command, load) as sender:
                    rate, each = measure(sender, nodes, chosen.events, pool=pool)
                what = "pool   " if pool else "clients"
                print(
                    f"{round_ + 1}: {nodes} nodes, {what}: {rate:>9,.0f} events/s, {each:.2f} us CPU each", flush=True
                )


if __name__ == "__main__":
    main()
