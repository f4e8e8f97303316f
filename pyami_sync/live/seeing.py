"""Updates channels from the headers that every event about a channel contains (its snapshot)."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from ..wire.escapes import unescape
from .calls import Leg
from .draft import Draft, Headers, text_or_none
from .entities import Channel, evolve
from .legs import add_leg, find_leg, move_leg, set_leg

__all__ = ["PLAIN", "Prefix", "pair", "rename", "see"]

SNAPSHOT = (
    *("Channel", "ChannelStateDesc", "CallerIDNum", "CallerIDName", "ConnectedLineNum", "ConnectedLineName"),
    *("Linkedid", "Language", "AccountCode", "Context", "Exten", "Priority"),
)
"""The headers of a channel's snapshot; first those that its leg has, too."""
OF_LEG = 7


class Prefix:
    """The names of a channel's headers with a prefix."""

    def __init__(self, prefix: str) -> None:
        self.uniqueid = prefix + "Uniqueid"
        self.names = tuple(prefix + name for name in SNAPSHOT)
        self.pick = itemgetter(*self.names)


PLAIN = Prefix("")


def see(d: Draft, h: Headers, prefix: Prefix = PLAIN, *, new: bool = False, listed: bool = False) -> str | None:
    """Update a channel from its snapshot in an event, and return its unique id.

    Args:
        d: the model.
        h: headers of the event, or of an item of a list.
        prefix: prefix of the names of the headers.
        new: True if the event reports the channel's beginning.
        listed: True for an item of a list, after which no further list is needed.

    Returns:
        The unique id; None if the event names no channel, or one that has ended already.

    """
    uniqueid = h.get(prefix.uniqueid)
    if uniqueid is None or uniqueid == "none":  # VarSet of a global variable
        return None
    try:
        wire = prefix.pick(h)
    except KeyError:
        if prefix.names[0] not in h:
            return None
        wire = tuple(h.get(name, "") for name in prefix.names)
    old = d.channels.get(uniqueid)
    if old is None:
        if d.is_gone(uniqueid):
            return None
        if not new and not listed:
            d.unknown.add(uniqueid)
        appear(d, uniqueid, wire, new=new)
    elif old.wire != wire:
        update(d, old, wire)
    return uniqueid


def fields_of_wire(wire: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a channel from its headers."""
    channel, state, num, name, connected_num, connected_name, linkedid, language, account, context, exten, prio = wire
    return {
        "channel": channel,
        "channel_state_desc": state,
        "caller_id_num": text_or_none(num),
        "caller_id_name": text_or_none(unescape(name)),
        "connected_line_num": text_or_none(connected_num),
        "connected_line_name": text_or_none(unescape(connected_name)),
        "linkedid": linkedid,
        "language": language,
        "account_code": account,
        "context": context,
        "exten": exten,
        "priority": prio,
        "wire": wire,
    }


def appear(d: Draft, uniqueid: str, wire: tuple[str, ...], *, new: bool) -> None:
    """Add a channel and its leg."""
    fields = fields_of_wire(wire)
    name, state = fields["channel"], fields["channel_state_desc"]
    began = d.when if new else None
    local = name.startswith("Local/")
    answered_at = began if state == "Up" else None
    other = other_half(d, name) if local else None
    del fields["wire"]
    made = Channel(uniqueid, **fields, since=began, answered_at=answered_at, other_half=other)
    made = evolve(made, {"wire": wire})
    d.names.put(name, uniqueid)
    d.put(d.channels, uniqueid, None, made)
    incoming = new and not local and state == "Ring"
    leg = Leg(
        uniqueid,
        name,
        made.linkedid,
        state,
        made.caller_id_num,
        made.caller_id_name,
        made.connected_line_num,
        made.connected_line_name,
        direction="in" if incoming else None,
        other_half=other,
        started=began,
        answered_at=answered_at,
        ringing_at=began if state == "Ringing" else None,
        inferred=not new,
        parked=uniqueid in d.parked,  # the event of the parking may arrive first
        queue=d.queue_of.get(uniqueid),
    )
    add_leg(d, leg, from_start=new)
    if other is not None:
        pair(d, other, uniqueid)


def other_half(d: Draft, name: str) -> str | None:
    """Return the unique id of the other half of a Local channel, if it exists."""
    base, _, half = name.rpartition(";")
    return d.names.get(f"{base};{'2' if half == '1' else '1'}") if base else None


def pair(d: Draft, uniqueid: str, other: str) -> None:
    """Note which channel is the other half of a Local channel."""
    channel = d.channels.get(uniqueid)
    if channel is not None and channel.other_half != other:
        d.put(d.channels, uniqueid, channel, evolve(channel, {"other_half": other}))
        set_leg(d, uniqueid, other_half=other)


def update(d: Draft, old: Channel, wire: tuple[str, ...]) -> None:
    """Update a channel by changed headers."""
    changes = fields_of_wire(wire)
    name, state = wire[0], wire[1]
    if state == "Up" and old.channel_state_desc != "Up" and old.answered_at is None:
        changes["answered_at"] = d.when
    if name != old.channel:
        rename(d, old.uniqueid, old.channel, name)
    d.put(d.channels, old.uniqueid, old, evolve(old, changes))
    if wire[:OF_LEG] == old.wire[:OF_LEG]:
        return
    if wire[6] != old.linkedid:
        move_leg(d, old.uniqueid, wire[6])
    leg: dict[str, Any] = {
        "channel": name,
        "state": state,
        "caller_id_num": changes["caller_id_num"],
        "caller_id_name": changes["caller_id_name"],
        "connected_line_num": changes["connected_line_num"],
        "connected_line_name": changes["connected_line_name"],
    }
    if "answered_at" in changes:
        leg["answered_at"] = d.when
    elif state == "Ringing" and old.channel_state_desc != "Ringing":
        known = find_leg(d, old.uniqueid)
        if known is not None and known.ringing_at is None:
            leg["ringing_at"] = d.when
    set_leg(d, old.uniqueid, **leg)


def rename(d: Draft, uniqueid: str, old: str, new: str) -> None:
    """Note that a channel has another name; another channel may have its old one by now."""
    if d.names.get(old) == uniqueid:
        d.names.pop(old)
    d.names.put(new, uniqueid)
