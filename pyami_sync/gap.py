"""The place in a subscriber's buffer where events are missing."""

from __future__ import annotations

from threading import Lock

from .exceptions import EventsLost

__all__ = ["Gap"]


class Gap:
    """Counts events that found no room; it stands in the buffer where they would have been.

    Its count grows until it is taken; the lock makes sure that no loss is added to one already reported.
    """

    __slots__ = ("_by_node", "_count", "_lock", "_taken")

    def __init__(self) -> None:
        self._count = 0
        self._by_node: dict[str, int] = {}
        self._taken = False
        self._lock = Lock()

    def grow(self, count: int, node: str | None) -> bool:
        """Add events of a node to it; False when it has been taken, so that another one is needed."""
        with self._lock:
            if not self._taken:
                self._count += count
                if node is not None:
                    self._by_node[node] = self._by_node.get(node, 0) + count
            return not self._taken

    def take(self) -> EventsLost:
        """What to tell the subscriber."""
        with self._lock:
            self._taken = True
            return EventsLost(self._count, lost_by_node=self._by_node)
