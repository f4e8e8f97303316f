"""Sending actions to one node, to some or all of them, or to whichever is best."""

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
    """Something that sends actions to the nodes of a cluster."""

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
        """Send an action to one node and wait for its answer, as :meth:`AMIClient.send` does.

        Raises:
            UnknownNode: there is no such node.
            AMIError: what sending raises, with its ``node``.

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
