"""NodeHealth and Readiness: immutable snapshots of the health of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..exceptions import AMIError
from ..session.state import State

__all__ = ["NodeHealth", "Readiness"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHealth:
    """The health of one node at one moment."""

    __module__ = "pyami_sync"  # its public path

    node: str
    """Its id."""
    state: State
    since: float
    """When the state began, in seconds since the epoch."""
    responsive: bool
    """True if it is connected and answers. False while an action has waited for 2 seconds in which nothing arrived."""
    address: str
    tags: frozenset[str] = frozenset()
    round_trip: float | None = None
    """Round trip of its latest Ping in seconds; :data:`None` before the first."""
    pending: int = 0
    """Number of actions that wait for their answer."""
    last_event: float | None = None
    """When its latest event arrived, in seconds since the epoch."""
    reconnects: int = 0
    """Number of times that its link was lost and restored."""
    clock_offset: float | None = None
    """Seconds by which its clock is ahead of this machine's, with the precision of a round trip; :data:`None` if its
    answers to Ping contain no time.
    """
    server_version: str | None = None
    """Asterisk's version; :data:`None` if the user may not ask."""
    system_name: str | None = None
    """``systemname`` of its asterisk.conf, which begins the unique ids of its channels."""
    last_error: AMIError | None = None
    """Why it is not connected, or could not be reached last; :data:`None` once it is connected again."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "node": self.node,
            "state": self.state.value,
            "since": self.since,
            "responsive": self.responsive,
            "address": self.address,
            "tags": sorted(self.tags),
            "round_trip": self.round_trip,
            "pending": self.pending,
            "last_event": self.last_event,
            "reconnects": self.reconnects,
            "clock_offset": self.clock_offset,
            "server_version": self.server_version,
            "system_name": self.system_name,
            "last_error": None if self.last_error is None else str(self.last_error),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether enough nodes of a cluster are available; its truth value says so, too."""

    __module__ = "pyami_sync"  # its public path

    ok: bool
    up: int
    """Number of nodes that are connected and answer."""
    total: int
    down: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The reason for each of the other nodes, by its id."""

    @property
    def status_code(self) -> int:
        """The status for an HTTP response: 200, or 503 if not enough nodes are available."""
        return 200 if self.ok else 503

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"ok": self.ok, "up": self.up, "total": self.total, "down": dict(self.down)}

    def __bool__(self) -> bool:
        return self.ok
