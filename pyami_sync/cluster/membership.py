"""Membership: the set of nodes of a cluster; adds, opens, awaits, drains and removes nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Event, RLock

from ..engine import forks
from ..engine.deadline import Deadline
from ..engine.engine import Engine
from ..engine.hooks import Hook
from ..engine.waiting import Waiters
from ..exceptions import ClusterError, ConcurrencyError, ConnectionClosed, UnknownNode
from ..session.connector import Connector
from ..session.state import State
from ..subscriptions.dispatch import Subscriptions
from .balancing import NodeFilter, matcher
from .config import NodeConfig
from .node import Node, NodeClient

__all__ = ["Membership"]


class Membership:
    """The nodes of a cluster, and the engine that they share.

    Args:
        engine: polls their connections.
        merged: the subscribers to the events of all nodes.
        health_hook: called when the health of a node changes.
        health_interval: seconds between two health checks of a node.

    """

    def __init__(self, engine: Engine, merged: Subscriptions, health_hook: Hook, health_interval: float | None) -> None:
        self.engine = engine
        self.nodes: Mapping[str, Node] = {}  # replaced as a whole, so that readers need no lock
        self.opened = False
        self.closed = False
        self.changes = 0  # incremented by each change after which a node may take an action that none took before
        self._merged = merged
        self._health_hook = health_hook
        self._health_interval = health_interval
        self._connector = Connector(engine)
        self._told: dict[str, State] = {}  # the states last reported to the health hook
        self._make_locks()

    def _make_locks(self) -> None:
        # Guards the set of nodes and whether it is open. Reentrant: a signal handler may call close() while it is held.
        self._lock = RLock()
        # Notified after every change of a node; not a Condition, whose lock the engine would need.
        self._changed = Waiters()

    def after_fork(self) -> None:
        """Reset the state in a forked child; the nodes' clients have been reset already."""
        self._make_locks()
        self.opened = False
        self._told = {}
        self._connector.after_fork()

    # All nodes

    def node(self, node_id: str) -> Node:
        """Return the node with an id.

        Raises:
            UnknownNode: there is none.

        """
        try:
            return self.nodes[node_id]
        except KeyError:
            raise UnknownNode(node_id) from None

    def matching(self, where: NodeFilter) -> list[Node]:
        """The nodes that match, in the order in which they were added.

        Raises:
            TypeError: ``where`` is no filter of nodes.

        """
        if where is None:
            return list(self.nodes.values())
        accepts = matcher(where)
        return [node for node in self.nodes.values() if accepts(node)]

    def start(self) -> None:
        """Begin to connect to all nodes, unless that has been done.

        Raises:
            ConnectionClosed: the cluster was closed.

        """
        forks.check()
        if self.opened:
            return
        with self._lock:
            if self.opened:
                return
            if self.closed:
                raise ConnectionClosed("the cluster was closed")
            try:
                self.engine.start()
            except (OSError, RuntimeError) as exc:  # no descriptors, no threads; the next use tries again
                raise ClusterError(f"the cluster can't be opened, this process lacks resources ({exc})") from exc
            if self.closed:  # closed by a signal handler meanwhile
                raise ConnectionClosed("the cluster was closed")
            self.opened = True
            nodes = list(self.nodes.values())
        for node in nodes:
            node.start()

    def close(self, timeout: float | None, drain: float) -> None:
        """Close all sessions and end the threads; actions under way get ``drain`` seconds to finish."""
        with self._lock:
            was_open, self.opened, self.closed = self.opened, False, True
            nodes = list(self.nodes.values())
        if was_open:
            self._drain(nodes, Deadline(drain))
        deadline = Deadline(timeout)
        members = [node.config.member for node in nodes if node.config.member is not None]
        for node in nodes:  # ending a node does not block, so all end at the same time
            node.client.close()
        for member in members:
            member.stop()
        self._connector.close(deadline)
        self._merged.finish(None)
        self.changes += 1
        self._changed.notify_all()
        self.engine.close(deadline.remaining())
        for member in members:
            member.close(1.0)
        self._changed.notify_all()

    def wait(self, done: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until ``done()`` is true or the cluster is closed; return False if the deadline passes first."""
        self._changed.wait(lambda: self.closed or done(), deadline.remaining())
        return done()

    # Single nodes

    def add(self, config: NodeConfig, prepare: Callable[[NodeClient], object] | None = None) -> Node:
        """Add a node, and connect to it if the cluster is open; ``prepare`` is called before that with its client.

        Raises:
            ValueError: there is a node with this id.
            ConnectionClosed: the cluster was closed.

        """
        client = NodeClient(config, self.engine, self._connector, self._merged, lambda: self._observed(node))
        node = Node(config, client, self._health_interval, self._tell)
        if prepare is not None:
            prepare(client)  # before another thread that opens the cluster can see the node
        with self._lock:
            if self.closed:
                raise ConnectionClosed("the cluster was closed")
            if config.id in self.nodes:
                raise ValueError(f"the cluster has a node {config.id!r}")
            self.nodes = {**self.nodes, config.id: node}
            opened = self.opened
        if opened:
            node.start()
        return node

    def remove(self, node_id: str, timeout: float) -> None:
        """Remove a node once its actions under way have ended, or after ``timeout`` seconds.

        Raises:
            UnknownNode: there is none.

        """
        with self._lock:
            node = self.node(node_id)
            self.nodes = {each: other for each, other in self.nodes.items() if each != node_id}
            opened = self.opened
        if not opened:
            node.client.close()
            return
        self._drain([node], Deadline(timeout))
        ended = Event()
        node.end("the node was removed from the cluster", ended.set)
        self._told.pop(node_id, None)
        if node.config.member is not None:
            node.config.member.stop()
        if self._may_wait():
            ended.wait(timeout)
            if node.config.member is not None:
                node.config.member.close(timeout)

    def _drain(self, nodes: Iterable[Node], deadline: Deadline) -> None:
        """Wait until no caller waits for an answer of these nodes."""
        if not self._may_wait():
            return
        for node in nodes:
            for call in node.calls:
                while call in node.calls and not deadline.expired:
                    # Polled, since a notification for each answer would cost every call something for a rare close.
                    time.sleep(0.002)

    def _may_wait(self) -> bool:
        """Return True if the calling thread may block: the engine thread, which brings the answers, may not."""
        try:
            self.engine.check_thread("waiting for answers")
        except ConcurrencyError:
            return False
        return True

    # Reports of nodes

    def _observed(self, node: Node) -> None:
        """Handle that a node's state has changed, or that an attempt to connect has failed; on the engine thread."""
        state = node.state
        told = self._told.get(node.id) is state
        self._told[node.id] = state
        self.changes += 1
        self._changed.notify_all()
        if not told:
            if state is State.CONNECTED:
                self.engine.call_soon(node.begin_to_look)
            self._tell(node)

    def _tell(self, node: Node) -> None:
        if self._health_hook:
            self._health_hook(node.health())
