"""ClusterLive: the live models of all servers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..exceptions import UnknownNode
from .base import Base
from .view import View

if TYPE_CHECKING:
    from ..cluster.pool import ClusterPool

__all__ = ["ClusterLive"]


class ClusterLive(Base, Mapping[str, View]):
    """The live models of all servers of a cluster; made by :meth:`ClusterPool.live`.

    ``live["paris"]`` is a view of one node; iterating gives the nodes' ids. Changes have their ``node``.
    """

    _source: ClusterPool

    def __init__(
        self,
        pool: ClusterPool,
        areas: tuple[str, ...] = (),
        *,
        audit: float | None = None,
        history: int = 20_000,
        records: int = 1_000,
        timeout: float | None = 30.0,
    ) -> None:
        super().__init__(pool, areas, audit, history, records)
        self._stop_health = pool.on_health(lambda health: self._consider(health.node))
        try:
            for node_id, node in pool.nodes.items():
                if node.connected:
                    self._add(node_id)
            self._open()
            self._wait(self._settled, timeout)
        except BaseException:
            self.close()
            raise

    def _consider(self, node_id: str) -> None:
        """Begin with a node once it is connected; runs on callback threads."""
        node = self._source.nodes.get(node_id)
        if node is None or not node.connected or self._closed:
            return
        tracker = self._tracker(node_id)
        with tracker.lock:
            if tracker.health == "gap":  # a node that was removed and added again gets no Reconnected
                tracker.load()

    def _settled(self) -> bool:
        nodes = self._source.nodes
        return all(
            tracker.health == "consistent" or node not in nodes or not nodes[node].connected
            for node, tracker in list(self._trackers.items())
            if node is not None
        )

    def _sender(self, node: str | None) -> Callable[..., Any]:
        assert node is not None
        return lambda action, **headers: self._source.send_to(node, action, **headers)

    def __getitem__(self, node_id: str) -> View:
        tracker = self._trackers.get(node_id)
        if tracker is None:
            raise UnknownNode(node_id)
        return tracker.view()

    def __iter__(self) -> Iterator[str]:
        return iter([node for node in list(self._trackers) if node is not None and node in self._source.nodes])

    def __len__(self) -> int:
        return len(list(iter(self)))

    __eq__ = object.__eq__  # as a mapping it would be compared by its content, which changes
    __hash__ = object.__hash__

    def views(self) -> dict[str, View]:
        """Return a view of each node, by its id."""
        return {node: self[node] for node in self}

    def wait(self, predicate: Callable[[Mapping[str, View]], object], timeout: float | None = None) -> dict[str, View]:
        """Block until the predicate accepts the views of all nodes, and return these; see :meth:`Live.wait`."""

        def look() -> dict[str, View] | None:
            views = self.views()
            return views if predicate(views) else None

        return self._wait(look, timeout)

    @property
    def health(self) -> dict[str, str]:
        """Health of each node's model, by its id."""
        return {node: view.health for node, view in self.views().items()}

    def close(self) -> None:
        self._stop_health()
        super().close()

    def __repr__(self) -> str:
        return f"<ClusterLive {self.health}>"
