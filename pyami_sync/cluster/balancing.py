"""Selects the nodes of a cluster that match a filter, and orders them by a load-balancing strategy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Literal, TypeAlias

from ..session.state import State
from .node import Node

__all__ = ["Balancer", "Matcher", "NodeFilter", "Strategy", "matcher"]

Matcher: TypeAlias = Callable[[Node], object]
NodeFilter: TypeAlias = "str | State | Iterable[str] | Mapping[str, object] | Matcher | None"
"""Which nodes: a tag, several tags (a node must have all), a :class:`~pyami_sync.State`, a mapping of ``id``,
``tags`` and ``state`` to what they must be, or a predicate of a :class:`~pyami_sync.Node`."""
Named: TypeAlias = Literal["round_robin", "least_pending", "lowest_rtt", "hash"]
Chooser: TypeAlias = "Callable[[Sequence[Node]], Node | str | Iterable[Node | str] | None]"
Strategy: TypeAlias = "Named | Chooser"
"""How to choose a node: the name of a strategy, or a function that is given the nodes and returns one of them, or
several in the order in which to try them.
"""


def matcher(where: str | State | Iterable[str] | Mapping[str, object] | Matcher) -> Matcher:
    """Return a predicate for a node filter.

    Raises:
        TypeError: the filter is of another type.

    """
    if isinstance(where, State):
        return lambda node: node.state is where
    if isinstance(where, str):
        return lambda node: where in node.tags
    if callable(where):
        return where
    if isinstance(where, Mapping):
        return _mapping_matcher(where)
    tags = frozenset(where)
    if not all(isinstance(tag, str) for tag in tags):
        raise TypeError("nodes are chosen by tags, a State, a mapping or a predicate")
    return lambda node: tags <= node.tags


def _mapping_matcher(where: Mapping[str, object]) -> Matcher:
    unknown = sorted(set(where) - {"id", "tags", "state"})
    if unknown:
        raise TypeError(f"nodes are chosen by id, tags and state, not by {', '.join(unknown)}")
    ids = _texts(where["id"]) if "id" in where else None
    tags = _texts(where.get("tags", ()))
    states = {State(each) for each in _texts(where["state"])} if "state" in where else None
    return lambda node: (
        (ids is None or node.id in ids) and tags <= node.tags and (states is None or node.state in states)
    )


def _texts(value: object) -> frozenset[str]:
    if isinstance(value, str | State):
        value = (value,)
    if not isinstance(value, Iterable):
        raise TypeError(f"nodes are chosen by str, not by {value!r}")
    return frozenset(each.value if isinstance(each, State) else str(each) for each in value)


class Balancer:
    """Orders nodes by a strategy."""

    def __init__(self) -> None:
        self._turns = count()

    def order(self, strategy: Strategy, nodes: Sequence[Node], key: object = None) -> Iterator[Node]:
        """Yield the nodes, the best first.

        Nodes that have not answered for seconds come last, since their link may be dead; not with a function of the
        caller, nor with ``"hash"``.

        Args:
            strategy: name of a strategy, or a function.
            nodes: all nodes that match, connected or not.
            key: for ``"hash"``.

        Raises:
            ValueError: there is no such strategy, or no key for ``"hash"``.
            TypeError: the caller's function returned something other than nodes.

        """
        if strategy == "hash":
            if key is None:
                raise ValueError("strategy='hash' needs a key, such as the customer's number")
            return iter(ranked(nodes, key))
        if callable(strategy):
            return _chosen(strategy, nodes)
        there: list[Node] = []
        absent: list[Node] = []
        for node in nodes:
            (there if node.connected else absent).append(node)
        turn = next(self._turns) % (len(there) or 1)
        turned = [*there[turn:], *there[:turn]]  # equally good nodes take turns
        if strategy == "least_pending":
            turned.sort(key=lambda node: node.pending)
        elif strategy == "lowest_rtt":
            turned.sort(key=lambda node: float("inf") if node.round_trip is None else node.round_trip)
        elif strategy != "round_robin":
            raise ValueError(f"no such strategy: {strategy!r} (round_robin, least_pending, lowest_rtt, hash)")
        return _silent_last([*turned, *absent])


def ranked(nodes: Iterable[Node], key: object) -> list[Node]:
    """Order nodes by the hash of a key.

    Each key has its own order of nodes (rendezvous hashing): when a node is lost, only its keys move, each to the
    next node in its order, and they return when the node does. The order is the same in every process.
    """
    text = str(key).encode("utf-8", "surrogateescape")

    def weight(node: Node) -> bytes:
        name = node.id.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(len(name).to_bytes(4) + name + text, digest_size=8).digest()

    return sorted(nodes, key=weight)


def _silent_last(nodes: Iterable[Node]) -> Iterator[Node]:
    silent = []
    for node in nodes:
        if node.connected and not node.responsive:  # checked late: most calls need the first node only
            silent.append(node)
        else:
            yield node
    yield from silent


def _chosen(choose: Chooser, nodes: Sequence[Node]) -> Iterator[Node]:
    """Yield the nodes that the caller's function returns; call it again for each further node if it returns one at a
    time.
    """
    left = {node.id: node for node in nodes}
    while left:
        choice = choose(list(left.values()))
        if choice is None:
            return
        single = isinstance(choice, Node | str)
        for each in [choice] if isinstance(choice, Node | str) else choice:
            node_id = each.id if isinstance(each, Node) else each
            if not isinstance(node_id, str):
                raise TypeError(f"a strategy must return nodes or their ids, not {each!r}")
            if node_id in left:
                yield left.pop(node_id)
            elif single:
                return  # it returned a node that was tried already, or that does not match
        if not single:
            return
