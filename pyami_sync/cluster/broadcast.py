"""Actions that go to many nodes, or to one of many."""

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
    """Send an action to nodes at the same time; each one's answer, or the exception in its place.

    Raises:
        InvalidAction: it can't be sent, and was not.

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
        order: puts them in the order in which to try them.
        attempt: makes a round over them.
        waits: whether to wait for a node when none is there.

    Raises:
        NoNodeAvailable: no node took it.
        AMIError: one may have run it, or answered with an error.

    """
    while True:
        changes = members.changes  # before looking, so that no change is missed
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
    """One round over the nodes with one action."""

    def __init__(self, action: Action[Any], deadline: Deadline, check: bool, repeatable: bool) -> None:
        self.response: Response | None = None
        self.errors: dict[str, AMIError] = {}
        self.last: AMIError | None = None
        self.may_have_run = False
        """True if a node may have run it, so that only a caller can decide about another round."""
        self._action = action
        self.deadline = deadline
        self._check = check
        self._repeatable = repeatable

    def on(self, node: Node) -> bool:
        """Try a node; tell whether it has answered.

        Raises:
            AMIError: the action may have run, and must not be repeated.

        """
        left = self.deadline.remaining()
        if self._repeatable and left is not None:
            left /= 2  # some must be left for the next
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
    """Return True if a server on its way down has refused an action unseen."""
    return not response.ok and response.message.lower() == "asterisk is shutting down"


def _about(exc: AMIError, node: Node) -> AMIError:
    exc.node = node.id
    return exc


def _outcome(node: Node, future: DetachedFuture[Any], action: Action[Any], deadline: Deadline) -> Any:
    """A node's answer to a broadcast, or the exception in its place."""
    outcome = future.settled(deadline)
    if outcome is None:
        # Its own timer is about to say the same, unless the engine is busy.
        if future.cancel():
            return _about(ActionTimeout(action.name, deadline.timeout), node)
        outcome = future.settled(Deadline(None))
        assert outcome is not None
    answer, exc = outcome
    if exc is None:
        return answer
    return _about(exc, node) if isinstance(exc, AMIError) else exc
