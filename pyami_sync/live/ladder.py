"""The ladder of one call: what happened to each of its legs, line by line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ..wire.message import Event
from .calls import Call, CallRecord, Leg
from .draft import Change
from .reducer import Reducer, headers_of

__all__ = ["explain", "ladder"]

IDS = (
    *("Uniqueid", "DestUniqueid", "LocalOneUniqueid", "LocalTwoUniqueid", "ParkeeUniqueid", "TransfererUniqueid"),
    *("TransfereeUniqueid", "OrigTransfererUniqueid", "SecondTransfererUniqueid", "TransferTargetUniqueid"),
)
QUIET = frozenset({"VarSet", "NewCallerid", "NewConnectedLine", "NewAccountCode", "DeviceStateChange"})
DETAILS = {
    "Newexten": ("Context", "Exten", "Priority", "Application", "AppData"),
    "Newstate": ("ChannelStateDesc",),
    "Newchannel": ("ChannelStateDesc", "CallerIDNum", "Exten", "Context"),
    "Hangup": ("Cause", "Cause-txt", "TechCause"),
    "DialBegin": ("DialString",),
    "DialState": ("DialStatus",),
    "DialEnd": ("DialStatus", "Forward"),
    "BridgeEnter": ("BridgeType", "BridgeTechnology", "BridgeUniqueid"),
    "BridgeLeave": ("BridgeType", "BridgeUniqueid"),
    "QueueCallerJoin": ("Queue", "Position"),
    "QueueCallerLeave": ("Queue",),
    "QueueCallerAbandon": ("Queue", "HoldTime"),
    "AgentCalled": ("Queue", "Interface"),
    "AgentConnect": ("Queue", "Interface", "HoldTime"),
    "AgentComplete": ("Queue", "Interface", "TalkTime", "Reason"),
    "AgentRingNoAnswer": ("Queue", "Interface"),
    "ParkedCall": ("Parkinglot", "ParkingSpace"),
    "BlindTransfer": ("Result", "Context", "Extension"),
    "AttendedTransfer": ("Result", "DestType", "DestApp"),
    "ConfbridgeJoin": ("Conference",),
    "ConfbridgeLeave": ("Conference",),
}


def explain(events: Iterable[Event], key: str) -> str:
    """Return the ladder of a call as text.

    Args:
        events: events in wire order, from which those of the call are selected.
        key: a Linkedid, or unique id or name of one of its channels.

    """
    reducer = Reducer("calls", "queues", "parking", "conferences")
    linked: dict[str, set[str]] = {}
    seen: list[tuple[Event, list[Change[object]]]] = []
    names: dict[str, str] = {}
    for event in events:
        changes = reducer.apply(event)
        seen.append((event, changes))
        for change in changes:
            entity = change.after if change.after is not None else change.before
            if isinstance(entity, Call | CallRecord):
                for leg in entity.legs:
                    linked.setdefault(entity.linkedid, set()).add(leg.uniqueid)
                    names.setdefault(leg.channel, leg.uniqueid)
    uniqueid = names.get(key, key)
    mine = {uniqueid} | linked.get(uniqueid, set())
    while True:  # calls that were merged share legs
        more = mine.union(*(legs for legs in linked.values() if legs & mine))
        if more == mine:
            break
        mine = more
    return ladder(((event, changes) for event, changes in seen if mine & ids_of(event)), mine)


def ids_of(event: Event) -> set[str]:
    """Return the unique ids of the channels that an event names."""
    headers = headers_of(event)
    return {headers[name] for name in IDS if name in headers}


def ladder(steps: Iterable[tuple[Event, list[Change[object]]]], mine: set[str]) -> str:
    """Return lines of text for events and what they changed: time, leg, event, and the call's state when it changes."""
    legs: dict[str, str] = {}
    lines: list[str] = []
    began: datetime | None = None
    state = ""
    for event, changes in steps:
        headers = headers_of(event)
        uniqueid = headers.get("Uniqueid") or next((headers[name] for name in IDS if name in headers), "")
        if uniqueid in mine and uniqueid not in legs:
            legs[uniqueid] = chr(ord("A") + len(legs) % 26) + (str(len(legs) // 26) if len(legs) >= 26 else "")
            lines.append(f"{'':>9}  {legs[uniqueid]} is {headers.get('Channel') or uniqueid} ({uniqueid})")
        at = event.timestamp or event.received_at
        began = began or at
        offset = f"{(at - began).total_seconds():9.3f}" if at is not None and began is not None else f"{'':>9}"
        if event.name not in QUIET:
            told = " ".join(headers[name] for name in DETAILS.get(event.name, ()) if headers.get(name))
            other = headers.get("DestUniqueid")
            arrow = f" -> {legs.get(other, headers.get('DestChannel', other))}" if other else ""
            lines.append(f"{offset}  {legs.get(uniqueid, '?')}  {event.name}{arrow} {told}".rstrip())
        for change in changes:
            after = change.after
            if isinstance(after, Call):
                shown = f"{after.state} {talking(after, legs)}".rstrip()
                if shown != state and after.state != "ended" and any(leg.uniqueid in mine for leg in after.legs):
                    state = shown
                    lines.append(f"{'':>9}  =  {state}")
            elif isinstance(after, CallRecord):
                lines.append(f"{'':>9}  =  ended: {outcome(after.legs, legs)}")
    return "\n".join(lines)


def talking(call: Call, legs: dict[str, str]) -> str:
    """Return the conversations as text, by the letters of the legs."""
    return ", ".join("+".join(legs.get(leg.uniqueid, leg.channel) for leg in group) for group in call.talking)


def outcome(ended: tuple[Leg, ...], legs: dict[str, str]) -> str:
    """Return the outcome of each leg as text."""
    return ", ".join(f"{legs.get(leg.uniqueid, leg.channel)} {leg.disposition} ({leg.cause})" for leg in ended)
