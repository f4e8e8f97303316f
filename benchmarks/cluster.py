"""A thousand nodes in one pool: ``python -m benchmarks.cluster``.

Measures threads, memory, the time to connect, a broadcast, the throughput of the merged stream without loss,
and a broadcast while a tenth of the nodes is black-holed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import threading
import time
from typing import Any

from pyami_sync import ActionTimeout, ClusterPool, ConnectionLost
from tests.cluster.nodes import Farm


def resident() -> float:
    """Memory of this process in MB."""
    text = pathlib.Path("/proc/self/status").read_text("ascii")
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def threads() -> int:
    """Threads of this process."""
    return len(os.listdir("/proc/self/task"))


class Merged:
    """Takes the merged stream on a thread and checks that nothing is missing, doubled or out of order."""

    def __init__(self, pool: ClusterPool) -> None:
        self.count = 0
        self.wrong: list[str] = []
        self.next: dict[str, int] = {}
        self.busy_until = 0.0
        self._stream = pool.events("Newexten", maxsize=2_000_000)
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        following = self.next
        for event in self._stream:
            node = event.node
            number = int(event["Number"])
            if number != following.get(node, 0):
                self.wrong.append(f"{node}: {number} after {following.get(node, 0) - 1}")
            following[node] = number + 1
            self.count += 1

    def wait_for(self, count: int, timeout: float) -> float:
        """Wait until so many events have come; give the moment."""
        deadline = time.monotonic() + timeout
        while self.count < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return time.monotonic()

    def close(self) -> None:
        """End it."""
        self._stream.close()
        self._thread.join(5)


def measure(nodes: int, processes: int, rate: int, seconds: float) -> dict[str, Any]:
    """Run it all; give the figures."""
    found: dict[str, Any] = {"nodes": nodes}
    empty = resident()
    with Farm(nodes, processes) as farm:
        started = time.monotonic()
        with ClusterPool(farm.urls) as pool:
            found["connect_s"] = round(time.monotonic() - started, 2)
            found["connected"] = sum(node.connected for node in pool.nodes.values())
            found["threads"] = threads()
            started = time.monotonic()
            answers = pool.broadcast("Ping")
            found["broadcast_s"] = round(time.monotonic() - started, 3)
            found["broadcast_ok"] = sum(getattr(each, "ok", False) for each in answers.values())
            found["memory_mb"] = round(resident(), 1)
            found["memory_before_mb"] = round(empty, 1)

            merged = Merged(pool)
            started = time.monotonic()
            cpu = time.process_time()
            farm.flood(rate / nodes, seconds)
            slowest = 0.0
            while (status := farm.status())["busy"]:
                begun = time.monotonic()
                pool.send_any("Ping")
                slowest = max(slowest, time.monotonic() - begun)
                time.sleep(0.1)
            total = sum(status["sent"].values())
            ended = merged.wait_for(total, 60)
            found["events"] = total
            found["events_received"] = merged.count
            found["events_wrong"] = merged.wrong[:5]
            found["events_lost"] = merged._stream.lost
            found["events_per_s"] = round(merged.count / (ended - started))
            found["flood_cpu_s"] = round(time.process_time() - cpu, 2)
            found["flood_s"] = round(ended - started, 2)
            found["slowest_ping_under_flood_s"] = round(slowest, 3)
            found["senders_late_s"] = round(status["late"], 3)
            merged.close()

            holes = sorted(farm.ports)[:: max(1, nodes // 100)][:100]
            farm.stall(holes)
            started = time.monotonic()
            answers = pool.broadcast("Ping", timeout=2.0)
            found["holed_broadcast_s"] = round(time.monotonic() - started, 3)
            found["holed_named"] = sorted(n for n, a in answers.items() if isinstance(a, ActionTimeout)) == holes
            found["holed_ok"] = sum(getattr(each, "ok", False) for each in answers.values())
            found["threads_at_end"] = threads()
            found["memory_at_end_mb"] = round(resident(), 1)
            started = time.monotonic()
        found["close_s"] = round(time.monotonic() - started, 2)
        found.update(measure_cold(farm, holes))
    return found


def measure_cold(farm: Farm, holes: list[str]) -> dict[str, Any]:
    """Connect while some nodes are black-holed from the beginning."""
    found: dict[str, Any] = {}
    pool = ClusterPool(farm.urls, connect_timeout=60)
    try:
        started = time.monotonic()
        pool.probe()  # begins to connect, and waits for nothing
        there = len(farm.ports) - len(holes)
        while sum(node.connected for node in pool.nodes.values()) < there and time.monotonic() < started + 60:
            time.sleep(0.01)
        found["holed_connect_others_s"] = round(time.monotonic() - started, 2)
        started = time.monotonic()
        answers = pool.broadcast("Ping", timeout=2.0)
        found["holed_cold_broadcast_s"] = round(time.monotonic() - started, 3)
        found["holed_cold_named"] = sorted(n for n, a in answers.items() if isinstance(a, ConnectionLost)) == holes
        found["holed_threads"] = threads()
    finally:
        pool.close()
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rate", type=int, default=100_000, help="events a second of all nodes together")
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    for name, value in measure(given.nodes, given.processes, given.rate, given.seconds).items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
