"""Many servers as one: calls to one, some or all of them, one stream of events, and how each of them is."""

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Lock
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from ..client import ErrorCallback, interrupt_main
from ..engine import forks
from ..engine.deadline import Deadline
from ..engine.engine import Engine
from ..engine.handle import Handle
from ..engine.hooks import Hook
from ..exceptions import AMIError, ClusterError, EventsLost, NoNodeAvailable
from ..subscriptions.listener import DEFAULT, Listener
from ..subscriptions.subscribers import Subscription, Subscriptions
from ..vocabulary.advice import advise, advise_timeout
from ..vocabulary.model import event_class
from ..wire.action import Action, HeaderValue
from ..wire.message import Event, Message
from ..wire.response import Response
from .balancing import NodeFilter, Router, Strategy, matcher
from .broadcast import Attempt, send_to_all, send_to_any
from .config import Nodes, Target, node_config, read_nodes
from .health import NodeHealth, Readiness
from .membership import Membership
from .node import Node, NodeClient

if TYPE_CHECKING:
    from ..calls import Call, Calls, Channel
    from ..calls.channel import HasUniqueid
    from ..calls.server import Server
    from ..live import ClusterLive

__all__ = ["ClusterPool"]

logger = logging.getLogger("pyami_sync")
R = TypeVar("R", bound=Response)
HealthCallback = TypeVar("HealthCallback", bound=Callable[[NodeHealth], object])

_unique_id = re.compile(r"(?P<system>.+)-\d+\.\d+").fullmatch

pools: weakref.WeakSet[ClusterPool] = weakref.WeakSet()


class ClusterPool(Listener):
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
    lost comes back by itself; both are marked in the stream (``events.ConnectionLost``,
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

    def __init__(
        self,
        nodes: Nodes = None,
        *,
        health_interval: float | None = 15.0,
        callback_threads: int = 12,
        name: str = "pyami-cluster",
        **defaults: Any,
    ) -> None:
        self._defaults = defaults
        self._timeout: float | None = defaults.get("timeout", 10.0)
        self._waits = defaults.get("when_down", "wait") == "wait"
        configs = read_nodes(nodes, defaults)
        self.engine = Engine(name, callback_threads)
        self.subscriptions = Subscriptions(self._submit, event_class, self._report, self.engine.check_thread)
        self._health_hook = Hook("health", self._submit)
        self._error_hook = Hook("errors", self._submit)
        self._members = Membership(self.engine, self.subscriptions, self._health_hook, health_interval)
        self._router = Router()
        self._exit: SystemExit | None = None
        self._calls: Calls | None = None  # made with the first call
        self._opening_calls = Lock()
        for config in configs:
            self._members.add(config)
        pools.add(self)

    # Life

    def open(self, timeout: float | None = None, *, required: int = 0) -> Self:
        """Connect to all nodes; blocks until each of them has been reached, or has failed to be once.

        Those that can't be reached are tried again and again in the background (a rejected login is not).

        Args:
            timeout: most seconds; unless given, what the slowest node's ``connect_timeout`` says.
            required: how many nodes must be there.

        Raises:
            NoNodeAvailable: fewer are; the cluster is closed again.

        """
        self.engine.check_thread("connecting")
        self._members.start()
        nodes = list(self._members.nodes.values())
        if timeout is None:
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
        if isinstance(exc, KeyboardInterrupt) and self._exit is not None:
            raise self._exit

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until the cluster is closed, as a script does that only has callbacks; tell whether it is."""
        self.engine.check_thread("waiting for the end")
        return self._over() or self._members.wait(lambda: self._members.closed, Deadline(timeout))

    # Nodes

    def add_node(
        self, node_id: str, target: Target = None, *, tags: Iterable[str] = (), wait: bool = True, **options: Any
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
        """The client of one node."""
        self._members.start()
        return self._members.node(node_id).client

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
        with self._opening_calls:
            if self._calls is None:
                self._calls = Calls(self)
        return self._calls.server(client, node)

    # Actions

    @overload
    def send_to(self, node_id: str, action: Action[R], /, *, timeout: float | None = ..., check: bool = ...) -> R: ...
    @overload
    def send_to(
        self, node_id: str, action: str, /, *, timeout: float | None = ..., check: bool = ..., **headers: HeaderValue
    ) -> Response: ...
    def send_to(
        self,
        node_id: str,
        action: Action[Any] | str,
        /,
        *,
        timeout: float | None = DEFAULT,
        check: bool = True,
        **headers: HeaderValue,
    ) -> Response:
        """Send an action to one node and wait for its answer, as :meth:`AMIClient.send` does.

        Raises:
            UnknownNode: there is no such node.
            AMIError: what sending raises, with its ``node``.

        """
        client = self[node_id]
        try:
            response: Response = client.send(self._make(action, headers, timeout), timeout=timeout, check=check)
            return response
        except AMIError as exc:
            exc.node = node_id
            raise

    @overload
    def broadcast(
        self, action: Action[R], /, *, where: NodeFilter = ..., timeout: float | None = ..., check: bool = ...
    ) -> dict[str, R | AMIError]: ...
    @overload
    def broadcast(
        self,
        action: str,
        /,
        *,
        where: NodeFilter = ...,
        timeout: float | None = ...,
        check: bool = ...,
        **headers: HeaderValue,
    ) -> dict[str, Response | AMIError]: ...
    def broadcast(
        self,
        action: Action[Any] | str,
        /,
        *,
        where: NodeFilter = None,
        timeout: float | None = DEFAULT,
        check: bool = True,
        **headers: HeaderValue,
    ) -> dict[str, Any]:
        """Send an action to all nodes, or those that match, at the same time; blocks until all are accounted for.

        Args:
            action: a typed action, an :class:`~pyami_sync.Action`, or a name.
            where: which nodes: a tag or several, a :class:`~pyami_sync.State`, a mapping of ``id``, ``tags``
                and ``state``, or a predicate of a :class:`~pyami_sync.Node`; :data:`None` means all.
            timeout: seconds after which it ends in any case.
            check: whether ``Response: Error`` comes as an :exc:`ActionError`, not as the response.
            headers: of an action given by name.

        Returns:
            Each node's answer, or the exception in its place: :exc:`ConnectionLost` at once for a node whose
            link is down, :exc:`ActionTimeout` for one that did not answer in time.

        Raises:
            InvalidAction: it can't be sent, and was not.

        """
        self.engine.check_thread("broadcast")
        made = self._make(action, headers, timeout)
        deadline = Deadline(self._timeout if timeout is DEFAULT else timeout)
        if not self._members.opened:
            self.open(None if deadline.timeout is None else deadline.timeout / 2)
        return send_to_all(self._members.matching(matcher(where)), made, deadline, check)

    @overload
    def send_any(
        self,
        action: Action[R],
        /,
        *,
        strategy: Strategy = ...,
        key: object = ...,
        where: NodeFilter = ...,
        timeout: float | None = ...,
        check: bool = ...,
        repeatable: bool = ...,
    ) -> R: ...
    @overload
    def send_any(
        self,
        action: str,
        /,
        *,
        strategy: Strategy = ...,
        key: object = ...,
        where: NodeFilter = ...,
        timeout: float | None = ...,
        check: bool = ...,
        repeatable: bool = ...,
        **headers: HeaderValue,
    ) -> Response: ...
    def send_any(
        self,
        action: Action[Any] | str,
        /,
        *,
        strategy: Strategy | None = None,
        key: object = None,
        where: NodeFilter = None,
        timeout: float | None = DEFAULT,
        check: bool = True,
        repeatable: bool = False,
        **headers: HeaderValue,
    ) -> Response:
        """Send an action to one node, whichever, and wait for its answer; ``response.node`` tells which it was.

        If it is certain that the action has not run there (the link was down, or the server is shutting
        down), the next node gets it; if none is there, this waits for one within the timeout. An action that
        may have run is never sent again, unless the caller says that it may be.

        Args:
            action: a typed action, an :class:`~pyami_sync.Action`, or a name.
            strategy: ``"round_robin"`` (the usual), ``"least_pending"``, ``"lowest_rtt"``, ``"hash"`` (the
                usual with a key), or a function that is given the nodes, as :class:`~pyami_sync.Node`, and
                gives one of them, or several in the order in which to try them.
            key: what stays with one node as long as that is there, such as a customer's number.
            where: which nodes come into question; as in :meth:`broadcast`.
            timeout: seconds that the whole may take.
            check: whether ``Response: Error`` raises; if not, it is returned.
            repeatable: whether it does no harm if two nodes run it: then a node that is lost, or is too slow,
                is followed by the next.
            headers: of an action given by name.

        Raises:
            NoNodeAvailable: no node took it; ``errors`` tells why, by node.
            ActionError: the node answered with an error.
            ActionTimeout: no answer in time.
            ConnectionLost: the link was lost when it had been sent; it may or may not have run.
            InvalidAction: it can't be sent, and was not.

        """
        self.engine.check_thread("send_any")
        self._members.start()
        made = self._make(action, headers, timeout)
        deadline = Deadline(self._timeout if timeout is DEFAULT else timeout)
        chosen = strategy or ("round_robin" if key is None else "hash")
        return send_to_any(
            self._members,
            matcher(where),
            lambda nodes: self._router.order(chosen, nodes, key),
            lambda: Attempt(made, deadline, check, repeatable),
            waits=self._waits,
        )

    def _make(
        self, action: Action[Any] | str, headers: Mapping[str, HeaderValue], timeout: float | None
    ) -> Action[Any]:
        if isinstance(action, str):
            made: Action[Any] = Action(action, headers, encoding=self._defaults.get("encoding", "utf-8"))
            advise(action, headers, stacklevel=4)
            advise_timeout(action, headers, timeout, stacklevel=4)
            return made
        if not isinstance(action, Action):
            raise TypeError(f"an action is an Action or its name, not {type(action).__name__}")
        if headers:
            raise TypeError("headers go with an action's name; an Action brings its own")
        return action

    # Health

    def health(self) -> Mapping[str, NodeHealth]:
        """A picture of each node, by id; immutable, and cheap: it asks nobody."""
        return MappingProxyType({node.id: node.health() for node in self._members.nodes.values()})

    def on_health(self, callback: HealthCallback) -> Handle[HealthCallback]:
        """Call it with a node's new :class:`NodeHealth` when its state changes, or it stops or begins to answer.

        Calls run one at a time, in order, on a callback thread. Return a :class:`~pyami_sync.engine.handle.Handle`.
        """
        return Handle(callback, self._health_hook.add(callback))

    def probe(self, required: int | float = 1, *, where: NodeFilter = None) -> Readiness:
        """Tell whether enough nodes are there, for the health check of a web service; asks nobody.

        Args:
            required: how many nodes must be connected and answer: a number, or a share of them such as 0.5.
            where: which nodes count; as in :meth:`broadcast`.

        """
        self._members.start()
        nodes = self._members.matching(matcher(where))
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
        return Handle(callback, self._error_hook.add(callback))

    def node_of(self, channel: str | Message, *, timeout: float | None = DEFAULT) -> str | None:
        """Find the node that a channel lives on, so that an action on it goes there.

        An event or a response knows its node. A unique id tells it where asterisk.conf sets a ``systemname``
        (to each node another one). The name of a channel does not: for that all nodes are asked, which
        blocks, and needs the write class ``call``, ``system`` or ``reporting``.

        Args:
            channel: a unique id, a channel's name, an event or a response.
            timeout: seconds that asking may take.

        Returns:
            The node's id; :data:`None` if no node has the channel, or it can't be told.

        Raises:
            ClusterError: several nodes have a channel of that name.

        """
        if isinstance(channel, Message):
            return channel._origin.node
        found = _unique_id(channel)
        if found is not None:
            nodes = [node.id for node in self._members.nodes.values() if node.system_name == found["system"]]
            return nodes[0] if len(nodes) == 1 else None
        if "/" not in channel:
            return None
        answers = self.broadcast("Status", Channel=channel, timeout=timeout)
        having = [node_id for node_id, answer in answers.items() if isinstance(answer, Response) and answer.ok]
        if len(having) > 1:
            raise ClusterError(f"several nodes have a channel {channel!r}: {', '.join(having)}; use its unique id")
        return having[0] if having else None

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

    def _report(self, exc: BaseException, subscription: Subscription, event: Event | None) -> None:
        if isinstance(exc, SystemExit):
            self._exit = exc
            interrupt_main()
        elif isinstance(exc, EventsLost):
            logger.warning("%r: %s", subscription, exc)
        else:
            logger.error("%r raised at %r", subscription, event, exc_info=exc)
        self._error_hook(exc, subscription, event)

    def _default_timeout(self) -> float | None:
        return self._timeout

    def _before_listening(self, *, callback: bool) -> None:
        forks.check()
        if not callback and not self._members.closed:
            self._members.start()

    def _over(self) -> bool:
        return self._members.closed

    def after_fork(self) -> None:
        """Become the cluster of a forked child: same nodes and subscriptions, no session until first use."""
        for hook in (self._health_hook, self._error_hook):
            hook.after_fork()
        self.subscriptions.after_fork()
        self._members.after_fork()
        self._opening_calls = Lock()
        if self._calls is not None:
            self._calls.after_fork()

    def __repr__(self) -> str:
        nodes = list(self._members.nodes.values())
        return f"<ClusterPool of {len(nodes)} nodes, {sum(node.connected for node in nodes)} connected>"


def _after_fork() -> None:
    for pool in list(pools):
        pool.after_fork()


forks.register(_after_fork)  # after those of the engines and clients
