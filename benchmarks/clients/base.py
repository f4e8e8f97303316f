"""What a scenario asks of a library.

A client that can't do something leaves its method as it is here; the scenario is then left out for it.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

__all__ = ["ENDLESS", "Client", "Tally", "Unsupported"]

ENDLESS = 300.0


class Unsupported(Exception):
    """The library has no such thing."""


class Tally:
    """What a subscriber saw."""

    __slots__ = ("calls", "count", "done", "names")

    def __init__(self, done: Any = None) -> None:
        self.count = 0
        self.names: dict[str, int] = {}
        """How many events of each name, where a scenario counts them."""
        self.calls: dict[str | None, int] = {}
        """How many events of each call (Linkedid)."""
        self.done: Any = done or Event()
        """Set by the last event of a flood."""


class Client:
    """A library, connected to the server on a port; opened by :meth:`open` and closed by :meth:`close`."""

    distribution = ""
    """What to install, with its version; empty for none."""
    pace = 1.0
    """How its event rate compares: it gets a flood of that part, so that all take about as long."""
    shown = ""
    """Its name in tables."""
    module = ""
    """What is imported to use it."""
    session = ""
    """Statements that open a session as ``ami`` on ``port``, for a process that does nothing else."""

    def __init__(self, port: int) -> None:
        self.port = port

    def open(self) -> None:
        """Connect and log in."""
        raise Unsupported

    def close(self) -> None:
        """End the session."""

    def hold(self) -> list[Any]:
        """Have all events kept in a list."""
        raise Unsupported

    def listen(self, names: tuple[str, ...] | None) -> Tally:
        """Have a callback called that counts events and reads the name and the Channel of each."""
        raise Unsupported

    def read(self, how: str, names: tuple[str, ...] | None = None) -> Tally:
        """Have a callback called that reads events as users do.

        Args:
            how: ``headers``: the name and three headers, an early one that every event has, a late one, and one that
                no event has, into counts of events by name and by call; ``items``: every pair, into a count of the
                characters; ``dict``: a dict of all headers, into a count of the entries.
            names: which events.

        """
        raise Unsupported

    def stream(self) -> Tally:
        """As :meth:`listen` for all events, but taken from an iterator or queue."""
        raise Unsupported

    def wait(self, tally: Tally) -> bool:
        """Wait until the last event of a flood has been seen."""
        return bool(tally.done.wait(ENDLESS))

    def ping(self) -> None:
        """Send a Ping and wait for the answer."""
        raise Unsupported

    def ping_often(self, count: int) -> list[float]:
        """Send Pings one after the other; seconds of each."""
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            self.ping()
            times.append(time.perf_counter() - begun)
        return times

    def ping_during(self, tally: Tally, pause: float) -> list[float]:
        """Send Pings until a flood has ended; seconds of each."""
        times = []
        while not tally.done.wait(pause):
            times += self.ping_often(1)
        return times

    def ping_side_by_side(self, workers: int, each: int) -> None:
        """Send Pings from several threads over the one connection."""
        with ThreadPoolExecutor(workers) as threads:
            for done in [threads.submit(self.ping_often, each) for _ in range(workers)]:
                done.result(ENDLESS)

    def fetch_list(self) -> int:
        """Ask for the list and give how many items came."""
        raise Unsupported

    def read_list(self) -> int:
        """As :meth:`fetch_list`, but count the items by a late header of each (Application)."""
        raise Unsupported

    def fetch_output(self) -> int:
        """Run the command and give how many lines of output came."""
        raise Unsupported
