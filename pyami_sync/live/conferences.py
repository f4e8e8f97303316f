"""Event handlers for conferences (ConfBridge)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..wire.escapes import unescape
from .draft import Draft, Headers, text_or_none, truth
from .entities import Conference, ConferenceMember, evolve

__all__ = ["HANDLERS", "set_conference"]


def conference_of(d: Draft, h: Headers) -> Conference | None:
    """Return the conference that an event is about; create it if it is not known."""
    name = h.get("Conference")
    if not name:
        return None
    bridge = h.get("BridgeUniqueid") or None
    conference = d.conferences.get(name)
    if conference is None:
        d.stale.add("conferences")
        conference = Conference(name, bridge)
        d.put(d.conferences, name, None, conference)
    elif bridge is not None and conference.bridge is None:
        conference = set_conference(d, conference, bridge=bridge)
    return conference


def set_conference(d: Draft, conference: Conference, **changes: Any) -> Conference:
    """Change a conference."""
    after = evolve(conference, changes)
    if after != conference:
        d.put(d.conferences, conference.name, conference, after)
    return after


def change_member(d: Draft, h: Headers, **changes: Any) -> None:
    """Change the member that an event is about."""
    conference = conference_of(d, h)
    uniqueid = h.get("Uniqueid")
    if conference is not None:
        members = tuple(evolve(each, changes) if each.uniqueid == uniqueid else each for each in conference.members)
        set_conference(d, conference, members=members)


def on_start(d: Draft, h: Headers) -> None:
    name = h.get("Conference")
    if not name:
        return
    bridge = h.get("BridgeUniqueid") or None
    old = d.conferences.get(name)
    if old is None or (old.bridge is not None and old.bridge != bridge):
        made = Conference(name, bridge, recording=False, locked=False, muted=False, since=d.when)
        d.put(d.conferences, name, old, made)


def on_end(d: Draft, h: Headers) -> None:
    name = h.get("Conference", "")
    old = d.conferences.get(name)
    bridge = h.get("BridgeUniqueid")
    if old is not None and (old.bridge is None or bridge is None or old.bridge == bridge):
        d.drop(d.conferences, name)


def on_join(d: Draft, h: Headers) -> None:
    conference = conference_of(d, h)
    uniqueid = h.get("Uniqueid")
    if conference is None or uniqueid is None:
        return
    known = next((each for each in conference.members if each.uniqueid == uniqueid), None)
    member = ConferenceMember(
        uniqueid,
        h.get("Channel", ""),
        admin=truth(h.get("Admin")),
        muted=truth(h.get("Muted")),
        caller_id_num=text_or_none(h.get("CallerIDNum")),
        caller_id_name=text_or_none(unescape(h.get("CallerIDName", ""))),
        since=d.when,
    )
    if known is None:
        set_conference(d, conference, members=(*conference.members, member))


def on_leave(d: Draft, h: Headers) -> None:
    conference = d.conferences.get(h.get("Conference", ""))
    if conference is not None:
        members = tuple(each for each in conference.members if each.uniqueid != h.get("Uniqueid"))
        set_conference(d, conference, members=members)


def on_mute(d: Draft, h: Headers) -> None:
    change_member(d, h, muted=True)


def on_unmute(d: Draft, h: Headers) -> None:
    change_member(d, h, muted=False)


def on_talking(d: Draft, h: Headers) -> None:
    change_member(d, h, talking=truth(h.get("TalkingStatus")))


def on_record(d: Draft, h: Headers) -> None:
    conference = conference_of(d, h)
    if conference is not None:
        set_conference(d, conference, recording=True)


def on_stop_record(d: Draft, h: Headers) -> None:
    conference = conference_of(d, h)
    if conference is not None:
        set_conference(d, conference, recording=False)


HANDLERS: dict[str, Callable[[Draft, Headers], None]] = {
    "ConfbridgeStart": on_start,
    "ConfbridgeEnd": on_end,
    "ConfbridgeJoin": on_join,
    "ConfbridgeLeave": on_leave,
    "ConfbridgeMute": on_mute,
    "ConfbridgeUnmute": on_unmute,
    "ConfbridgeTalking": on_talking,
    "ConfbridgeRecord": on_record,
    "ConfbridgeStopRecord": on_stop_record,
}
