"""How the nodes of a cluster are: immutable pictures of a moment."""

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
    """One node at one moment."""

    __module__ = "pyami_sync"  # its public path

    node: str
    """Its id."""
    state: State
    since: float
    """When that state began, in seconds since the epoch."""
    responsive: bool
    """True if it is connected and answers: false while an action has waited for seconds and nothing came."""
    address: str
    tags: frozenset[str] = frozenset()
    round_trip: float | None = None
    """Seconds that its latest Ping took; :data:`None` before the first."""
    pending: int = 0
    """Actions under way."""
    last_event: float | None = None
    """When its latest event came, in seconds since the epoch."""
    reconnects: int = 0
    """How often its link was lost and restored."""
    clock_offset: float | None = None
    """Seconds that its clock is ahead of this machine's, as far as the round trip lets one know;
    :data:`None` if its Ping tells no time."""
    server_version: str | None = None
    """Asterisk's version; :data:`None` if the user may not ask."""
    system_name: str | None = None
    """``systemname`` of its asterisk.conf, which begins the unique ids of its channels."""
    last_error: AMIError | None = None
    """Why it is, or last was, not connected; :data:`None` once it is connected again."""

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
    """True if enough of a cluster is there; true or false by itself."""

    __module__ = "pyami_sync"  # its public path

    ok: bool
    up: int
    """Nodes that are connected and answer."""
    total: int
    down: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Why each of the others is not, by its id."""

    @property
    def status_code(self) -> int:
        """For an answer by HTTP: 200, or 503 for a load balancer to look elsewhere."""
        return 200 if self.ok else 503

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"ok": self.ok, "up": self.up, "total": self.total, "down": dict(self.down)}

    def __bool__(self) -> bool:
        return self.ok
