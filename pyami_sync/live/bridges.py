"""Event handlers for bridges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .draft import Draft, Headers, seconds_between, text_or_none
from .entities import Bridge, evolve
from .legs import find_leg, set_leg
from .seeing import see

__all__ = ["HANDLERS", "destroy", "join", "part", "see_bridge"]


def see_bridge(d: Draft, h: Headers, prefix: str = "", *, new: bool = False) -> Bridge | None:
    """Update a bridge from the headers of an event, and return it; None if it names none, or one that has ended."""
    uniqueid = h.get(prefix + "BridgeUniqueid")
    if not uniqueid or d.is_gone(uniqueid):
        return None
    fields = {
        "bridge_type": h.get(prefix + "BridgeType", ""),
        "bridge_technology": h.get(prefix + "BridgeTechnology", ""),
        "bridge_creator": text_or_none(h.get(prefix + "BridgeCreator")),
        "bridge_name": text_or_none(h.get(prefix + "BridgeName")),
    }
    bridge = d.bridges.get(uniqueid)
    if bridge is None:
        if not new:
            d.unknown.add(uniqueid)
        bridge = Bridge(uniqueid, **fields, since=d.when if new else None)  # type: ignore[arg-type]
        d.put(d.bridges, uniqueid, None, bridge)
        return bridge
    old = bridge.__dict__
    if any(old[name] != value for name, value in fields.items()):
        after = evolve(bridge, fields)
        d.put(d.bridges, uniqueid, bridge, after)
        if after.holding is not bridge.holding:
            talk(d, after)
        return after
    return bridge


def join(d: Draft, bridge: Bridge, uniqueid: str) -> None:
    """Put a channel into a bridge, and remove it from any other one in the model."""
    channel = d.channels.get(uniqueid)
    if channel is not None and channel.bridge not in (None, bridge.uniqueid):
        part(d, d.bridges.get(channel.bridge or ""), uniqueid)
        channel = d.channels.get(uniqueid)
    if channel is not None and channel.bridge != bridge.uniqueid:
        d.put(d.channels, uniqueid, channel, evolve(channel, {"bridge": bridge.uniqueid}))
    if uniqueid not in bridge.channels:
        after = evolve(bridge, {"channels": (*bridge.channels, uniqueid)})
        d.put(d.bridges, bridge.uniqueid, bridge, after)
        talk(d, after)
        if bridge.uniqueid in d.moved and len(after.channels) > 1:
            d.unknown.discard(bridge.uniqueid)  # the bridge continues with another channel


def part(d: Draft, bridge: Bridge | None, uniqueid: str) -> None:
    """Remove a channel from a bridge."""
    if bridge is None:
        return
    channel = d.channels.get(uniqueid)
    if channel is not None and channel.bridge == bridge.uniqueid:
        d.put(d.channels, uniqueid, channel, evolve(channel, {"bridge": None}))
    if uniqueid in bridge.channels:
        after = evolve(bridge, {"channels": tuple(each for each in bridge.channels if each != uniqueid)})
        d.put(d.bridges, bridge.uniqueid, bridge, after)
        stop_talking(d, uniqueid, bridge=None)
        talk(d, after)
        if not after.channels or (after.bridge_type == "basic" and len(after.channels) == 1):
            # A bridge without channels ends. If no event reports that soon, the model asks for fresh lists.
            d.unknown.add(bridge.uniqueid)
            d.note_move(bridge.uniqueid)


def talk(d: Draft, bridge: Bridge) -> None:
    """Note for each leg in a bridge whether it is in a conversation."""
    together = len(bridge.channels) > 1 and not bridge.holding
    for uniqueid in bridge.channels:
        if not together:
            stop_talking(d, uniqueid, bridge=bridge.uniqueid, holding=bridge.holding)
            continue
        leg = find_leg(d, uniqueid)
        if leg is not None and (leg.talk_since is None or leg.bridge != bridge.uniqueid):
            since = leg.talk_since or d.when
            set_leg(d, uniqueid, bridge=bridge.uniqueid, holding=False, talk_since=since)


def stop_talking(d: Draft, uniqueid: str, *, bridge: str | None, holding: bool = False) -> None:
    """Note that a leg is in no conversation."""
    leg = find_leg(d, uniqueid)
    if leg is None:
        return
    changes: dict[str, Any] = {"bridge": bridge, "holding": holding, "talk_since": None}
    if leg.talk_since is not None:
        changes["talk_time"] = leg.talk_time + seconds_between(leg.talk_since, d.when)
    set_leg(d, uniqueid, **changes)


def destroy(d: Draft, uniqueid: str) -> None:
    """Remove a bridge, and the channels that are still in it from it."""
    d.bury(uniqueid)
    bridge = d.bridges.get(uniqueid)
    if bridge is None:
        return
    for each in bridge.channels:
        part(d, d.bridges.get(uniqueid), each)
    d.drop(d.bridges, uniqueid)
    d.unknown.discard(uniqueid)


# Events


def on_create(d: Draft, h: Headers) -> None:
    see_bridge(d, h, new=True)


def on_bridge(d: Draft, h: Headers) -> None:
    see_bridge(d, h)


def on_enter(d: Draft, h: Headers) -> None:
    uniqueid = see(d, h)
    bridge = see_bridge(d, h)
    if bridge is not None and uniqueid is not None:
        d.note_move(uniqueid)
        join(d, bridge, uniqueid)


def on_leave(d: Draft, h: Headers) -> None:
    see(d, h)
    uniqueid = h.get("Uniqueid")
    bridge = see_bridge(d, h)
    if bridge is not None and uniqueid is not None:
        d.note_move(uniqueid)
        part(d, bridge, uniqueid)


def on_destroy(d: Draft, h: Headers) -> None:
    uniqueid = h.get("BridgeUniqueid")
    if uniqueid is not None:
        destroy(d, uniqueid)


def on_merge(d: Draft, h: Headers) -> None:
    see_bridge(d, h, "To")
    see_bridge(d, h, "From")


HANDLERS: dict[str, Callable[[Draft, Headers], None]] = {
    "BridgeCreate": on_create,
    "BridgeEnter": on_enter,
    "BridgeLeave": on_leave,
    "BridgeDestroy": on_destroy,
    "BridgeMerge": on_merge,
    "BridgeVideoSourceUpdate": on_bridge,
}
