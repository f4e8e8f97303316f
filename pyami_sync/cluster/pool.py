"""ClusterPool: many servers as one, with one stream of events, and the health of each."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

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
    """Any number of servers, served by a handful of threads.

    ::

        nodes = {"paris": "ami://admin:secret@10.1.0.1", "tokyo": "ami://admin:secret@10.2.0.1"}
        with ClusterPool(nodes) as pool:
            pool.send_to("paris", "QueueAdd", Queue="support", Interface="PJSIP/1101")
            for node, answer in pool.broadcast("CoreStatus").items():
                print(node, answer)
            for event in pool.events("Hangup"):
                print(event.node, event.channel)

    Events of all nodes come as one stream, each with its ``node``, in the order of each node. A node that is
    lost is reconnected by itself; both are marked in the stream (``events.ConnectionLost``,
    ``events.Reconnected``). A node that is dead, stalled or floods delays no other.

    Any thread may use it. It opens with ``with``, :meth:`open` or its first use, and again, with sessions of
    its own, at the first use in a forked child.

    Args:
        nodes: a mapping of ids to URLs, hosts or options; URLs, whose ids are then ``host:port``; the path of
            a TOML file (its form is in the reference, *Clusters*); nothing, to add them later.
        health_interval: seconds between two looks at each node's health; :data:`None` for one at each login.
        callback_threads: most threads for callbacks; so many may block at a time.
        name: what the names of the threads begin with.
        defaults: options of :class:`~pyami_sync.AMIClient` for nodes that don't give them.

    Raises:
        TypeError: an option that does not exist.
        ValueError: a value that can't be; nodes that can't be told apart.
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

    # Life

    def open(self, timeout: float | None = DEFAULT, *, required: int = 0) -> Self:
        """Connect to all nodes; blocks until each of them has been reached, or has failed to be once.

        Those that can't be reached are tried again and again in the background (a rejected login is not).

        Args:
            timeout: seconds that it may take, what the slowest node's ``connect_timeout`` says unless given;
                :data:`None` for no limit.
            required: how many nodes must be there.

        Raises:
            NoNodeAvailable: fewer are; the cluster is closed again.

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
        """End all sessions: streams end, all threads are joined.

        Idempotent and safe from any thread, a callback included. A closed cluster stays closed.

        Args:
            timeout: seconds to wait for callbacks under way.
            drain: most seconds that actions under way get to finish; then they fail.

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
        """Block until the cluster is closed, as a script does that only has callbacks; tell whether it is."""
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
        **options: Unpack[NodeOptions],
    ) -> Node:
        """Add a node; when the cluster is open, connect to it.

        Args:
            node_id: what it is to be called.
            target: its URL, its host, or options.
            tags: words to choose it by.
            wait: whether to block until it has been reached, or has failed to be once.
            options: of :class:`~pyami_sync.AMIClient`, which win over the target's.

        Raises:
            ValueError: there is a node with this id, or an option can't be.
            TypeError: an option that does not exist.
            ConnectionClosed: the cluster was closed.

        """
        config = node_config(node_id, target, tags=tags, defaults=self._defaults, **options)
        node = self._members.add(config)
        if wait and self._members.opened:
            self.engine.check_thread("connecting")
            self._members.wait(lambda: node.settled, Deadline(1.0 + config.options.connect_timeout))
        return node

    def remove_node(self, node_id: str, timeout: float = 5.0) -> None:
        """Take a node out; blocks until it is.

        It gets no further actions. Those under way may finish, and fail after ``timeout`` seconds. The last
        of its events is a marker, ``events.ConnectionLost``.

        Raises:
            UnknownNode: there is none.

        """
        self._members.remove(node_id, timeout)

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes of now, by id."""
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

    # Calls

    def call(self, device: str, *, to: str, node: str, **options: Any) -> Call:
        """Place a call on one node; the rest is as for :meth:`AMIClient.call() <pyami_sync.AMIClient.call>`.

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
        """A picture of each node, by id; immutable, and cheap: it sends nothing."""
        return MappingProxyType({node.id: node.health() for node in self._members.nodes.values()})

    def on_health(self, callback: HealthCallback) -> Handle[HealthCallback]:
        """Call it with a node's new :class:`NodeHealth` when its state changes, or it stops or begins to answer.

        Calls run one at a time, in order, on a callback thread. Return a :class:`~pyami_sync.engine.handle.Handle`.
        """
        return Handle(callback, self._health_hook.add(callback))

    def probe(self, required: int | float = 1, *, where: NodeFilter = None) -> Readiness:
        """Return whether enough nodes are there, for the health check of a web service; sends nothing.

        Args:
            required: how many nodes must be connected and answer: a number, or a share of them such as 0.5.
            where: which nodes count; as in :meth:`broadcast`.

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
        """Call ``callback(exception, subscription, event)`` when an event's callback raised, or lost events
        (:exc:`EventsLost`, with no event); return a :class:`~pyami_sync.engine.handle.Handle`."""
        return Handle(callback, self._errors.hook.add(callback))

    def live(
        self,
        *areas: str,
        audit: float | None = None,
        history: int = 20_000,
        records: int = 1_000,
        timeout: float | None = 30.0,
    ) -> ClusterLive:
        """Start the live models of all nodes; blocks until those that are connected have been looked up.

        The arguments are those of :meth:`AMIClient.live`. Nodes that are added or connected later join by themselves.
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
        """Become the cluster of a forked child: same nodes and subscriptions, no session until first use."""
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


forks.register(_after_fork)  # after those of the engines and clients
