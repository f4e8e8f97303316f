"""Tracks which channels are in which bridge, for the conversations of calls."""

from __future__ import annotations

from ..wire.message import Event
from .state import CallState

__all__ = ["Bridges", "Key"]

Key = tuple[str | None, str]
"""A node, and a unique id or name on that node."""


class Bridges:
    """The channels in each bridge."""

    def __init__(self) -> None:
        self._members: dict[
            Key, dict[str, str]
        ] = {}  # names by unique id; the inner dicts are replaced, never modified

    def apply(self, event: Event) -> None:
        """Apply a BridgeEnter, BridgeLeave or BridgeDestroy."""
        key = event.node, event.get("BridgeUniqueid", "")
        uniqueid = event.get("Uniqueid", "")
        if event.name == "BridgeDestroy":
            self._members.pop(key, None)
        elif event.name == "BridgeEnter":
            self._members[key] = {**self._members.get(key, {}), uniqueid: event.get("Channel", "")}
        elif key in self._members:
            self._members[key] = {each: name for each, name in self._members[key].items() if each != uniqueid}

    def members(self, node: str | None, bridge: str) -> dict[str, str]:
        """Return the names of the channels in a bridge by their unique ids."""
        return self._members.get((node, bridge), {})

    def parties(self, node: str | None, state: CallState) -> tuple[str, ...]:
        """Return the channels that a call talks with; for half of a Local channel, those that its other half talks
        with.
        """
        legs, found, seen = state.legs, [], set()
        looking = [state.current]
        while looking:
            leg = legs.get(looking.pop())
            if leg is None or leg.uniqueid in seen:
                continue
            seen.add(leg.uniqueid)
            for uniqueid, name in self.members(node, leg.bridge).items():
                other = legs.get(uniqueid)
                half = legs.get(other.other_half) if other is not None else None
                if uniqueid in seen:
                    continue
                if half is not None and half.bridge:
                    seen.add(uniqueid)
                    looking.append(half.uniqueid)
                else:
                    found.append(name)
        return tuple(found)

    def clear(self) -> None:
        """Forget all, after a gap."""
        self._members = {}
