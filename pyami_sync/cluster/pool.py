"""ClusterPool: many servers with one interface, one stream of events, and the health of each."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from ..client import AMIClient
from ..engine import forks
from ..engine.deadline import DEFAULT, Deadline
from ..engine.engine import Engine
from ..engine.handle import Handle
from ..engine.hooks import Hook
from ..exceptions import AMIError, NoNodeAvailable
from ..session.filters import let_through
from ..session.keywords import NodeDefaults, NodeOptions
from ..subscriptions.dispatch import Subscriptions
from ..subscriptions.errors import ErrorCallback, ErrorReports
from ..subscriptions.subscribers import Subscriber
from ..vocabulary.model import event_class
from ..wire.response import Response
from .balancing import Balancer, NodeFilter
from .config import Nodes, Target, check_defaults, node_config, read_nodes
from .health import NodeHealth, Readiness
from .membership import Membership
from .node import SILENT, Node, NodeClient
from .sender import ClusterSender

if TYPE_CHECKING:
    from ..calls import Call, Calls, Channel
    from ..calls.channel import HasUniqueid
    from ..calls.server import Server
    from ..live import ClusterLive

__all__ = ["ClusterPool"]

R = TypeVar("R", bound=Response)
HealthCallback = TypeVar("HealthCallback", bound=Callable[[NodeHealth], object])

_unique_id = re.compile(r"(?P<system>.+)-\d+\.\d+").fullmatch

pools: weakref.WeakSet[ClusterPool] = weakref.WeakSet()


class ClusterPool(ClusterSender):
    """Sessions with any number of servers, on a few shared threads.

    ::

        nodes = {"paris": "ami://admin:secret@10.1.0.1", "tokyo": "ami://admin:secret@10.2.0.1"}
        with ClusterPool(nodes) as pool:
            pool.send_to("paris", "QueueAdd", Queue="support", Interface="PJSIP/1101")
            for node, answer in pool.broadcast("CoreStatus").items():
                print(node, answer)
            for event in pool.events("Hangup"):
                print(event.node, event.channel)

    Subscriptions get the events of all nodes, each with its ``node``; the events of one node are in wire order. A
    node whose link is lost is reconnected automatically; both are marked (``events.ConnectionLost``,
    ``events.Reconnected``). A node that is dead, stalled or flooded does not delay the others.

    Any thread may use it. It is opened by ``with``, :meth:`open` or its first use. In a forked child the first use
    opens sessions of its own.

    Args:
        nodes: a mapping of ids to URLs, hosts or options; URLs, whose ids are then ``host:port``; the path of
            a TOML file (for its format see the reference, *Clusters*); nothing, to add nodes later.
        health_interval: seconds between two health checks of a node; :data:`None` for one check at each login.
        callback_threads: most callback threads, and so the number of callbacks that may block at a time.
        name: prefix of the names of the threads.
        defaults: default options of the nodes; see :class:`~pyami_sync.AMIClient`.

    Raises:
        TypeError: an option that does not exist.
        ValueError: a value that is not allowed, or nodes with the same id.
        OSError: the file can't be read.

    """

    __module__ = "pyami_sync"  # its public path
    _calls: Calls | None = None  # made with the first call

    def __init__(
        self,
        nodes: Nodes = None,
        *,
        health_interval: float | None = 15.0,
        callback_threads: int = 12,
        name: str = "pyami-cluster",
        **defaults: Unpack[NodeDefaults],
    ) -> None:
        check_defaults(defaults)
        self._defaults: dict[str, Any] = {**defaults}
        self._timeout: float | None = defaults.get("timeout", 10.0)
        self._waits = defaults.get("when_down", "wait") == "wait"
        configs = read_nodes(nodes, self._defaults)
        self.engine = Engine(name, callback_threads)
        self._errors = ErrorReports(self._submit)
        self.subscriptions = Subscriptions(
            self._submit, event_class, self._errors.report, self.engine.check_thread, self._subscribed
        )
        self._health_hook = Hook("health", self._submit)
        self._members = Membership(self.engine, self.subscriptions, self._health_hook, health_interval)
        self._balancer = Balancer()
        for config in configs:
            self._members.add(config)
        pools.add(self)

    # Opening and closing

    def open(self, timeout: float | None = DEFAULT, *, required: int = 0) -> Self:
        """Connect to all nodes; blocks until the first attempt of each node has succeeded or failed.

        Nodes that could not be reached are tried again in the background (but not after a rejected login).

        Args:
            timeout: most seconds to block (by default the longest ``connect_timeout`` of the nodes); :data:`None` for
                no limit.
            required: number of nodes that must be connected.

        Raises:
            NoNodeAvailable: fewer nodes are connected; the cluster is closed again.

        """
        self.engine.check_thread("connecting")
        self._members.start()
        nodes = list(self._members.nodes.values())
        if timeout is DEFAULT:
            timeout = 1.0 + max((node.config.options.connect_timeout for node in nodes), default=0.0)
        self._members.wait(lambda: all(node.settled for node in nodes), Deadline(timeout))
        up = sum(node.connected for node in nodes)
        if up < required:
            errors: dict[str, AMIError] = {node.id: node.client.session.down() for node in nodes if not node.connected}
            self.close()
            raise NoNodeAvailable(f"{up} of {required} required nodes could be reached", errors=errors)
        return self

    def close(self, timeout: float | None = 5.0, *, drain: float = 1.0) -> None:
        """Close all sessions: streams end, all threads are joined.

        Idempotent; may be called from any thread, callbacks included. A closed cluster can't be opened again.

        Args:
            timeout: seconds to wait for running callbacks.
            drain: seconds that actions under way get to finish; after that they fail.

        """
        self._members.close(timeout, drain)
        if self._calls is not None:
            self._calls.close(timeout)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=1.0 if exc is None else 0.0)
        self._errors.reraise_exit(exc)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until the cluster is closed; return False after ``timeout`` seconds."""
        self.engine.check_thread("waiting for the end")
        return self._over() or self._members.wait(lambda: self._members.closed, Deadline(timeout))

    # Nodes

    def add_node(
        self,
        node_id: str,
        target: Target = None,
        *,
        tags: Iterable[str] = (),
        wait: bool = True,
        prepare: Callable[[AMIClient], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Node:
        """Add a node, and connect to it if the cluster is open.

        Args:
            node_id: id of the node.
            target: its URL, its host, or options.
            tags: words to choose it by.
            wait: whether to block until the first attempt to connect has succeeded or failed.
            prepare: called with the node's client before the first attempt to connect begins, for example to subscribe
                to its events: a subscription that is made later may miss the first ones.
            options: options of :class:`~pyami_sync.AMIClient`, which take precedence over the target's.

        Raises:
            ValueError: there is a node with this id, or the value of an option is not allowed.
            TypeError: an option that does not exist.
            ConnectionClosed: the cluster was closed.

        """
        config = node_config(node_id, target, tags=tags, defaults=self._defaults, **options)
        node = self._members.add(config, prepare)
        if wait and self._members.opened:
            self.engine.check_thread("connecting")
            self._members.wait(lambda: node.settled, Deadline(1.0 + config.options.connect_timeout))
        return node

    def remove_node(self, node_id: str, timeout: float = 5.0) -> None:
        """Remove a node; blocks until it is removed.

        It gets no further actions. Actions under way may finish; after ``timeout`` seconds they fail. Its last event
        is the marker ``events.ConnectionLost``.

        Raises:
            UnknownNode: there is none.

        """
        self._members.remove(node_id, timeout)

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The present nodes, by id."""
        return MappingProxyType(self._members.nodes)

    def __getitem__(self, node_id: str) -> NodeClient:
        """Return the client of one node."""
        return self._client(node_id)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._members.nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._members.nodes)

    def __len__(self) -> int:
        return len(self._members.nodes)

    # Telephone calls

    def call(self, device: str, *, to: str, node: str, **options: Any) -> Call:
        """Place a call on one node; otherwise like :meth:`AMIClient.call() <pyami_sync.AMIClient.call>`.

        Raises:
            UnknownNode: there is no such node.

        """
        return self._call_server(node).place(device, to, **options)

    def channel(self, channel: str | HasUniqueid, *, node: str) -> Channel:
        """Return a handle for any channel of one node."""
        from ..calls import Channel

        return Channel(self._call_server(node), channel)

    def _call_server(self, node: str) -> Server:
        from ..calls.hub import Calls

        client = self[node]
        if self._calls is None:
            # One step, not a lock: a signal handler may place a call, too, and several threads agree on one.
            self.__dict__.setdefault("_calls", Calls(self))
            assert self._calls is not None
        return self._calls.server(client, node)

    # Health

    def health(self) -> Mapping[str, NodeHealth]:
        """Return an immutable snapshot of each node's health, by id; sends nothing and does not block."""
        return MappingProxyType({node.id: node.health() for node in self._members.nodes.values()})

    def on_health(self, callback: HealthCallback) -> Handle[HealthCallback]:
        """Call ``callback`` with a node's new :class:`NodeHealth` when its state changes, or when it stops answering
        or answers again.

        Calls run one at a time, in order, on a callback thread. Return a :class:`~pyami_sync.engine.handle.Handle`.
        """
        return Handle(callback, self._health_hook.add(callback))

    def probe(self, required: int | float = 1, *, where: NodeFilter = None) -> Readiness:
        """Return whether enough nodes are available, for the health check of a web service; sends nothing.

        Args:
            required: how many nodes must be connected and answer: a number, or a share of them such as 0.5.
            where: which nodes to count; as in :meth:`broadcast`.

        """
        self._members.start()
        nodes = self._members.matching(where)
        down = {}
        for node in nodes:
            if not node.connected:
                down[node.id] = str(node.client.session.last_error or node.state.value)
            elif not node.responsive:
                down[node.id] = "it does not answer"
        up = len(nodes) - len(down)
        least = required * len(nodes) if isinstance(required, float) else required
        return Readiness(ok=up >= least, up=up, total=len(nodes), down=MappingProxyType(down))

    def on_error(self, callback: ErrorCallback) -> Handle[ErrorCallback]:
        """Call ``callback(exception, subscription, event)`` when a callback for events raised or lost events
        (:exc:`EventsLost`; ``event`` is :data:`None` then). Return a :class:`~pyami_sync.engine.handle.Handle`.
        """
        return Handle(callback, self._errors.hook.add(callback))

    def live(
        self,
        *areas: str,
        audit: float | None = None,
        history: int = 20_000,
        records: int = 1_000,
        timeout: float | None = 30.0,
    ) -> ClusterLive:
        """Start the live models of all nodes; blocks until the lists of the connected ones have been loaded.

        The arguments are those of :meth:`AMIClient.live`. Nodes that are added or connected later are included
        automatically.
        """
        from ..live import ClusterLive

        return ClusterLive(self, areas, audit=audit, history=history, records=records, timeout=timeout)

    # Inside

    def _submit(self, job: Callable[[], None]) -> None:
        self.engine.submit(job)

    def _default_timeout(self) -> float | None:
        return self._timeout

    def _before_listening(self, *, callback: bool) -> None:
        forks.check()
        if not callback and not self._members.closed:
            self._members.start()

    def _subscribed(self, subscriber: Subscriber) -> None:
        filters = [node.client.session.plan.event_filter for node in self._members.nodes.values()]
        let_through(filters, subscriber, self._timeout, patience=SILENT)

    def _over(self) -> bool:
        return self._members.closed

    def after_fork(self) -> None:
        """Reset the cluster in a forked child: nodes and subscriptions stay, and the first use opens the sessions."""
        for hook in (self._health_hook, self._errors.hook):
            hook.after_fork()
        self.subscriptions.after_fork()
        self._members.after_fork()
        if self._calls is not None:
            self._calls.after_fork()

    def __repr__(self) -> str:
        nodes = list(self._members.nodes.values())
        return f"<ClusterPool of {len(nodes)} nodes, {sum(node.connected for node in nodes)} connected>"


def _after_fork() -> None:
    for pool in list(pools):
        pool.after_fork()


forks.register(_after_fork)  # runs after those of the engines and clients
