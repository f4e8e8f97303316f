"""send_to(), broadcast() and send_any(): sending actions to one node, to several, or to one chosen by a strategy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self, TypeVar, overload

from ..engine.deadline import DEFAULT, Deadline
from ..engine.engine import Engine
from ..exceptions import AMIError, ClusterError
from ..subscriptions.listener import Listener
from ..vocabulary.advice import advise, advise_timeout
from ..wire.action import Action, HeaderValue
from ..wire.message import Message
from ..wire.response import Response
from .balancing import Balancer, NodeFilter, Strategy
from .broadcast import Attempt, send_to_all, send_to_any
from .membership import Membership
from .node import NodeClient

__all__ = ["ClusterSender"]

R = TypeVar("R", bound=Response)

_unique_id = re.compile(r"(?P<system>.+)-\d+\.\d+").fullmatch


class ClusterSender(Listener):
    """Mixin with the methods that send actions to the nodes of a cluster."""

    engine: Engine
    _members: Membership
    _balancer: Balancer
    _defaults: dict[str, Any]
    _timeout: float | None
    _waits: bool
    """True if :meth:`send_any` waits for a node while none is connected."""

    def open(self, timeout: float | None = DEFAULT) -> Self:
        """Connect to all nodes."""
        raise NotImplementedError

    def _client(self, node_id: str) -> NodeClient:
        self._members.start()
        return self._members.node(node_id).client

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
        """Send an action to one node and wait for its answer, like :meth:`AMIClient.send`.

        Raises:
            UnknownNode: there is no such node.
            AMIError: as for :meth:`AMIClient.send`, with the attribute ``node`` set.

        """
        client = self._client(node_id)
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
        """Send an action to all matching nodes at the same time; blocks until each has answered or failed.

        Args:
            action: a typed action, an :class:`~pyami_sync.Action`, or a name.
            where: which nodes: a tag or several, a :class:`~pyami_sync.State`, a mapping of ``id``, ``tags``
                and ``state``, or a predicate of a :class:`~pyami_sync.Node`; :data:`None` means all.
            timeout: most seconds to block.
            check: whether ``Response: Error`` comes as an :exc:`ActionError`, not as the response.
            headers: of an action given by name.

        Returns:
            For each node id its answer, or its exception: :exc:`ConnectionLost` (at once) if the node's link is down,
            :exc:`ActionTimeout` if it did not answer in time.

        Raises:
            InvalidAction: the action is not valid; nothing was sent.

        """
        self.engine.check_thread("broadcast")
        made = self._make(action, headers, timeout)
        deadline = Deadline(self._timeout if timeout is DEFAULT else timeout)
        if not self._members.opened:
            self.open(None if deadline.timeout is None else deadline.timeout / 2)
        return send_to_all(self._members.matching(where), made, deadline, check)

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
        """Send an action to one node, chosen by a strategy, and wait for its answer; ``response.node`` is the node's
        id.

        If it is certain that the action has not run on that node (the link was down, or the server is shutting down),
        the next node is tried; if no node is connected, this waits for one within the timeout. An action that may
        have run is never sent again, unless it is ``repeatable``.

        Args:
            action: a typed action, an :class:`~pyami_sync.Action`, or a name.
            strategy: ``"round_robin"`` (the default), ``"least_pending"``, ``"lowest_rtt"``, ``"hash"`` (the default
                with a key), or a function that is given the nodes, as :class:`~pyami_sync.Node`, and returns one of
                them, or several in the order in which to try them.
            key: actions with the same key, such as a customer's number, go to the same node while that is connected.
            where: which nodes may be chosen; as in :meth:`broadcast`.
            timeout: most seconds to block.
            check: whether ``Response: Error`` raises; if not, it is returned.
            repeatable: whether two nodes may run the action; then the next node is tried after one that was lost or
                did not answer in time.
            headers: of an action given by name.

        Raises:
            NoNodeAvailable: no node took the action; ``errors`` has the reasons by node id.
            ActionError: the node answered with an error.
            ActionTimeout: no answer in time.
            ConnectionLost: the link was lost after it had been sent; it may or may not have run.
            InvalidAction: the action is not valid; nothing was sent.

        """
        self.engine.check_thread("send_any")
        self._members.start()
        made = self._make(action, headers, timeout)
        deadline = Deadline(self._timeout if timeout is DEFAULT else timeout)
        chosen = strategy or ("round_robin" if key is None else "hash")
        return send_to_any(
            self._members,
            where,
            lambda nodes: self._balancer.order(chosen, nodes, key),
            lambda: Attempt(made, deadline, check, repeatable),
            waits=self._waits,
        )

    def _make(
        self, action: Action[Any] | str, headers: Mapping[str, HeaderValue], timeout: float | None
    ) -> Action[Any]:
        if isinstance(action, str):
            made: Action[Any] = Action(action, headers, encoding=self._defaults.get("encoding", "utf-8"))
            if headers:
                advise(action, headers, stacklevel=4)
            if timeout is not DEFAULT:
                advise_timeout(action, headers, timeout, stacklevel=4)
            return made
        if not isinstance(action, Action):
            raise TypeError(f"an action is an Action or its name, not {type(action).__name__}")
        if headers:
            raise TypeError("headers go with an action's name; an Action brings its own")
        return action

    def node_of(self, channel: str | Message, *, timeout: float | None = DEFAULT) -> str | None:
        """Return the id of the node that has a channel, so that an action on it can be sent there.

        An event or a response contains its node's id. A unique id contains the ``systemname`` if asterisk.conf sets
        one (a different one on each node). For a channel's name, all nodes are asked, which blocks and needs the
        write class ``call``, ``system`` or ``reporting``.

        Args:
            channel: a unique id, a channel's name, an event or a response.
            timeout: most seconds to wait for the nodes' answers.

        Returns:
            The node's id; :data:`None` if no node has the channel, or if that can't be determined.

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
