"""The state of a node in Snapshot markers: made by the leader, read by consumers."""

from __future__ import annotations

import json
import time
from threading import Thread

from .. import AMIClient, Event
from ..live import Reducer, View, to_json, view_from_json
from ..live.tracker import Tracker

__all__ = ["NodeState", "view_of"]


class NodeState:
    """The live model of a node that is led, which applies exactly the events that its leader publishes.

    So the result of :meth:`take` is the state after the event that was fed last: a consumer that starts with it and
    applies every later event has the same model. Used on the leader's thread; lists are fetched on a thread of the
    tracker.

    Args:
        client: the node's session.
        node: its id.
        interval: seconds between two snapshots.

    """

    def __init__(self, client: AMIClient, node: str, interval: float) -> None:
        self._interval = interval
        self._due = 0.0
        self._tracker = Tracker(Reducer(node=node), client.send)
        with self._tracker.lock:
            self._tracker.load()

    def feed(self, event: Event) -> None:
        """Apply an event."""
        if event.name == "Reconnected":
            self._due = 0.0
        with self._tracker.lock:
            self._tracker.feed(event)

    def gap(self) -> None:
        """Note that events are missing at this place."""
        self._due = 0.0
        with self._tracker.lock:
            self._tracker.gap()

    def take(self) -> str | None:
        """Return the state as JSON, if it is time for a snapshot and all events so far have been applied."""
        now = time.monotonic()
        if now < self._due:
            return None
        with self._tracker.lock:
            if not self._tracker.current:
                return None
            self._tracker.tell()
            view = self._tracker.view()
        self._due = now + self._interval
        return json.dumps(to_json(view), ensure_ascii=False, separators=(",", ":"))

    def close(self) -> Thread | None:
        """Fetch no more lists; return the thread that does, if there is one."""
        loader = self._tracker.loader  # before: it ends by itself then
        self._tracker.close()
        return loader


def view_of(event: Event) -> View:
    """Return the view in a Snapshot marker; a :class:`~pyami_sync.live.Reducer` can continue from it with later events.

    Raises:
        ValueError: the event is not a Snapshot of a bridge.

    """
    if event.name != "Snapshot":
        raise ValueError(f"{event.name} is no Snapshot")
    return view_from_json(json.loads(event.get("State", "")))
