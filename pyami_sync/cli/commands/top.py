"""The command ``top``: a live screen of one server, or of a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from ...exceptions import AMIError
from ...live import View
from ..exits import OK
from ..program import Command
from ..screen import FullScreen
from ..settings import Settings, connecting, pass_settings
from ..top.browser import Act, Browser
from ..top.drawing import draw
from ..top.listings import LISTINGS, now_of
from ..types import DURATION
from .cluster import open_pool

__all__ = ["top"]

AREAS = ("calls", "queues", "endpoints")


class Source:
    """The live models that are shown, and the client of their servers.

    Args:
        where: text that names the servers.
        owner: the client or the pool.
        live: the model of one server, or of a cluster.

    """

    def __init__(self, where: str, owner: Any, live: Any) -> None:
        self.where = where
        self._owner = owner
        self._live = live
        self._events = (time.monotonic(), self._received())
        self._rate = 0.0

    def views(self) -> dict[str, View]:
        """Return a view of each server by its id; a single server has an empty id."""
        return self._live.views() if hasattr(self._live, "views") else {"": self._live.view()}

    def submit(self, act: Act) -> Future[Any]:
        """Send an action to a server without waiting for the answer."""
        client = self._owner[act.node] if act.node else self._owner
        future: Future[Any] = client.submit(act.action, **act.headers)
        return future

    def _received(self) -> int:
        clients = [self._owner] if hasattr(self._owner, "stats") else [self._owner[node] for node in self._owner]
        return sum(each.stats().events_received for each in clients)

    def rate(self) -> float:
        """Return the number of events per second since the last measurement."""
        now = time.monotonic()
        then, before = self._events
        if now - then >= 0.5:
            received = self._received()
            self._rate = (received - before) / (now - then)
            self._events = (now, received)
        return self._rate

    @property
    def ended(self) -> bool:
        """True once no further events will arrive."""
        return bool(self._live._closed)


@contextmanager
def opened(settings: Settings) -> Iterator[Source]:
    """Open the session with the server, or with the servers of --config."""
    if settings.config:
        with open_pool(settings, events=True) as pool, pool.live(*AREAS) as live:
            yield Source(f"{len(pool)} servers", pool, live)
    else:
        with settings.connect(events=True, stay=True) as client, client.live(*AREAS) as live:
            yield Source(connecting(client), client, live)


@click.command(
    cls=Command, cluster=True, examples=["top", "top --config nodes.toml", "top --json --every 1m >> load.jsonl"]
)
@click.option("--every", type=DURATION, default="1s", show_default=True, metavar="TIME", help="Interval of updates.")
@click.option("-n", "--count", type=click.IntRange(1), help="Stop after this number of updates.")
@pass_settings
def top(settings: Settings, every: float, count: int | None) -> int:
    """Show calls, queues, agents and endpoints, live, until q or Ctrl-C; `?` lists the keys.

    With --config, those of many servers. In a pipe, or on a simple terminal, print one line for each update.
    """
    output = settings.output
    with opened(settings) as source:
        if output.full_screen:
            with FullScreen(output.console) as screen:
                run(screen, source, output.console, every, count)
            return OK
        left = count
        while left is None or left > 0:
            time.sleep(every)
            record = summary(source)
            if output.as_json:
                output.record(record)
            else:
                output.text(told(record))
            output.flush()
            left = None if left is None else left - 1
    return OK


def told(record: dict[str, Any]) -> str:
    """Return a summary as a readable line."""
    queues = record["queues"]
    waiting = sum(each["waiting"] for each in queues)
    rate = f"{record['events_per_second']:.0f} events/s"
    return f"{record['calls']} calls, {record['channels']} channels, {rate}, {waiting} callers in {len(queues)} queues"


def run(screen: FullScreen, source: Source, console: Any, every: float, count: int | None) -> None:
    """Draw and handle keys until the user ends it."""
    browser = Browser()
    under_way: Future[Any] | None = None
    left = count
    due = 0.0
    while not browser.ended and (left is None or left > 0):
        if time.monotonic() >= due:
            browser.look(source.views())
            left = None if left is None else left - 1
            due = time.monotonic() + every  # from now on, because thousands of calls take a while to process
        if under_way is not None and under_way.done():
            browser.message, under_way = outcome(under_way), None
        width, height = console.size
        at = now_of(browser.views).astimezone() if browser.held else datetime.now().astimezone()
        screen.show(draw(browser, source.where, source.rate(), width, height, at))
        key = screen.key(max(0.0, min(due - time.monotonic(), 0.2 if under_way else every)))
        if key:
            browser.message = ""
            act = browser.press(key)
            if act is not None:
                browser.message = "…"
                try:
                    under_way = source.submit(act)
                except AMIError as exc:
                    browser.message = str(exc)


def outcome(future: Future[Any]) -> str:
    """Return the outcome of an action as text."""
    exc = future.exception()
    return str(exc) if exc is not None else future.result().message or "done"


def summary(source: Source) -> dict[str, Any]:
    """Return figures of all servers, for JSON."""
    views = source.views()
    now = now_of(views)
    calls = [call for view in views.values() for call in view.calls.values() if call.state != "ended"]
    queue_rows = [
        {
            "server": node,
            "queue": queue.name,
            "waiting": len(queue.waiting),
            "longest_wait": round(queue.longest_wait, 1),
            "answered": queue.completed,
            "abandoned": queue.abandoned,
            "members": len(queue.members),
        }
        for node, view in views.items()
        for queue in view.queues.values()
    ]
    agents = list(LISTINGS[2].rows(views, now))
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "health": {node: view.health for node, view in views.items()},
        "events_per_second": round(source.rate(), 1),
        "calls": len(calls),
        "channels": sum(len(view.channels) for view in views.values()),
        "queues": queue_rows,
        "agents": len(agents),
    }
