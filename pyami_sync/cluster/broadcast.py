"""Sends an action to many nodes at the same time, or to the first of several nodes that takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..engine.deadline import Deadline
from ..engine.futures import DetachedFuture
from ..exceptions import ActionError, ActionTimeout, AMIError, ConnectionClosed, InvalidAction, NoNodeAvailable
from ..wire.action import Action
from ..wire.response import Response
from .balancing import NodeFilter
from .membership import Membership
from .node import Node, certainly_not_run

__all__ = ["Attempt", "send_to_all", "send_to_any"]


def send_to_all(nodes: list[Node], action: Action[Any], deadline: Deadline, check: bool) -> dict[str, Any]:
    """Send an action to nodes at the same time; return each node's answer, or its exception, by node id.

    Raises:
        InvalidAction: the action is not valid; nothing was sent.

    """
    answers: dict[str, Any] = {}
    under_way: list[tuple[Node, DetachedFuture[Any]]] = []
    limit = deadline.remaining()
    for node in nodes:
        answers[node.id] = None  # in this order
        try:
            under_way.append((node, node.client.submit_now(action, limit, check)))
        except AMIError as exc:
            if isinstance(exc, InvalidAction) and not under_way:
                raise
            answers[node.id] = _about(exc, node)
    for node, future in under_way:
        answers[node.id] = _outcome(node, future, action, deadline)
    return answers


def send_to_any(
    members: Membership,
    where: NodeFilter,
    order: Callable[[list[Node]], Iterator[Node]],
    attempt: Callable[[], Attempt],
    *,
    waits: bool,
) -> Response:
    """Send an action to the first node that takes it.

    Args:
        members: the nodes.
        where: which of them come into question.
        order: orders the nodes.
        attempt: tries one node after the other.
        waits: whether to wait for a node while none is connected.

    Raises:
        NoNodeAvailable: no node took it.
        AMIError: a node may have run the action, or answered with an error.

    """
    while True:
        changes = members.changes  # before the nodes are checked, so that no change is missed
        nodes = members.matching(where)
        if not nodes:
            raise NoNodeAvailable("the cluster has no node that matches")
        round_ = attempt()
        for node in order(nodes):
            if round_.on(node):
                assert round_.response is not None
                return round_.response
        over = round_.may_have_run or not waits or members.closed
        if over or not members.wait(lambda changes=changes: members.changes != changes, round_.deadline):  # type: ignore[misc]
            raise NoNodeAvailable("no node took the action", errors=round_.errors) from round_.last


class Attempt:
    """Tries an action on one node after the other."""

    def __init__(self, action: Action[Any], deadline: Deadline, check: bool, repeatable: bool) -> None:
        self.response: Response | None = None
        self.errors: dict[str, AMIError] = {}
        self.last: AMIError | None = None
        self.may_have_run = False
        """True if a node may have run the action, so that only the caller can decide whether to repeat it."""
        self._action = action
        self.deadline = deadline
        self._check = check
        self._repeatable = repeatable

    def on(self, node: Node) -> bool:
        """Try a node; return True if it has answered.

        Raises:
            AMIError: the action may have run, and must not be repeated.

        """
        left = self.deadline.remaining()
        if self._repeatable and left is not None:
            left /= 2  # leave some time for the next node
        try:
            self.response = node.client.send_now(self._action, left, self._check)
        except ActionError as exc:
            if not _refused(exc.response):
                raise _about(exc, node)
            self._failed(exc, node)
        except (ActionTimeout, ConnectionClosed) as exc:
            if not certainly_not_run(exc):
                if not self._repeatable:
                    raise _about(exc, node)
                self.may_have_run = True
            self._failed(exc, node)
        else:
            if not _refused(self.response):
                return True
            self._failed(ActionError(self._action.name, self.response), node)
        return False

    def _failed(self, exc: AMIError, node: Node) -> None:
        self.last = self.errors[node.id] = _about(exc, node)


def _refused(response: Response) -> bool:
    """Return True if a server has refused the action because it is shutting down."""
    return not response.ok and response.message.lower() == "asterisk is shutting down"


def _about(exc: AMIError, node: Node) -> AMIError:
    exc.node = node.id
    return exc


def _outcome(node: Node, future: DetachedFuture[Any], action: Action[Any], deadline: Deadline) -> Any:
    """Return a node's answer to a broadcast, or its exception."""
    outcome = future.settled(deadline)
    if outcome is None:
        # The request's own timer reports the same, but late if the engine thread is busy.
        if future.cancel():
            return _about(ActionTimeout(action.name, deadline.timeout), node)
        outcome = future.settled(Deadline(None))
        assert outcome is not None
    answer, exc = outcome
    if exc is None:
        return answer
    return _about(exc, node) if isinstance(exc, AMIError) else exc
