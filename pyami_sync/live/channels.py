"""Event handlers for channels and the legs of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .bridges import part
from .calls import Transfer
from .draft import Draft, Headers, number, seconds_between
from .entities import Channel, evolve
from .legs import end_leg, find_leg, note_transfer, set_leg
from .seeing import PLAIN, Prefix, pair, rename, see

__all__ = ["HANDLERS", "vanish"]

DEST = Prefix("Dest")
LOCAL_ONE, LOCAL_TWO = Prefix("LocalOne"), Prefix("LocalTwo")
TRANSFERER, TRANSFEREE = Prefix("Transferer"), Prefix("Transferee")
ORIG_TRANSFERER, SECOND_TRANSFERER = Prefix("OrigTransferer"), Prefix("SecondTransferer")
TRANSFER_TARGET, TARGET = Prefix("TransferTarget"), Prefix("Target")


def vanish(d: Draft, uniqueid: str, cause: int | None, cause_txt: str = "", tech_cause: str = "") -> None:
    """Remove a channel that has ended; `cause` is None when its end was not seen."""
    d.bury(uniqueid)
    d.unknown.discard(uniqueid)
    channel = d.channels.get(uniqueid)
    if channel is not None and channel.bridge is not None:
        part(d, d.bridges.get(channel.bridge), uniqueid)  # its BridgeLeave was not seen
    end_leg(d, uniqueid, cause, cause_txt, tech_cause)
    channel = d.drop(d.channels, uniqueid)
    if channel is not None and d.names.get(channel.channel) == uniqueid:
        d.names.pop(channel.channel)


def on_new(d: Draft, h: Headers) -> None:
    uniqueid = see(d, h, new=True)
    channel = d.channels.get(uniqueid) if uniqueid is not None else None
    if channel is not None and channel.since is None:
        began(d, channel)


def began(d: Draft, channel: Channel) -> None:
    """Note the beginning of a channel that an earlier event has named already."""
    d.unknown.discard(channel.uniqueid)
    d.put(d.channels, channel.uniqueid, channel, evolve(channel, {"since": d.when}))
    set_leg(d, channel.uniqueid, started=d.when, inferred=False)
    call = d.calls.get(d.call_of.get(channel.uniqueid) or "")
    if call is not None and not call.from_start and call.legs[0].uniqueid == channel.uniqueid:
        d.put(d.calls, call.linkedid, call, evolve(call, {"from_start": True}))


def mention(d: Draft, h: Headers, prefix: Prefix) -> str | None:
    """Return the unique id of a further channel in an event.

    If the channel is known, the event's headers do not update it: they may be older, or set temporarily by a queue or
    a transfer.
    """
    uniqueid = h.get(prefix.uniqueid)
    return uniqueid if uniqueid is not None and uniqueid in d.channels else see(d, h, prefix)


def on_channel(d: Draft, h: Headers) -> None:
    see(d, h)


def on_exten(d: Draft, h: Headers) -> None:
    uniqueid = see(d, h)
    channel = d.channels.get(uniqueid) if uniqueid is not None else None
    if channel is not None and uniqueid is not None:
        application, data = h.get("Application", ""), h.get("AppData", "")
        if (application, data) != (channel.application, channel.application_data):
            after = evolve(channel, {"application": application, "application_data": data})
            d.put(d.channels, uniqueid, channel, after)


def on_hangup(d: Draft, h: Headers) -> None:
    uniqueid = h.get("Uniqueid")
    if uniqueid is None or d.is_gone(uniqueid):
        return
    see(d, h)
    vanish(d, uniqueid, number(h.get("Cause"), 0), h.get("Cause-txt", ""), h.get("TechCause", ""))


def on_rename(d: Draft, h: Headers) -> None:
    channel = d.channels.get(h.get("Uniqueid", ""))
    new = h.get("Newname")
    if channel is not None and new and new != channel.channel:
        rename(d, channel.uniqueid, channel.channel, new)
        after = evolve(channel, {"channel": new, "wire": (new, *channel.wire[1:])})
        d.put(d.channels, channel.uniqueid, channel, after)
        set_leg(d, channel.uniqueid, channel=new)


def on_dial_begin(d: Draft, h: Headers) -> None:
    caller = mention(d, h, PLAIN)
    called = mention(d, h, DEST)
    if called is not None:
        dialed = {"dialed_by": caller, "dialed_at": d.when, "dial_string": h.get("DialString", ""), "direction": "out"}
        set_leg(d, called, **dialed)


def on_dial_state(d: Draft, h: Headers) -> None:
    mention(d, h, PLAIN)
    called = mention(d, h, DEST)
    if called is not None and h.get("DialStatus") == "RINGING":
        leg = find_leg(d, called)
        if leg is not None and leg.ringing_at is None:
            set_leg(d, called, ringing_at=d.when)


def on_dial_end(d: Draft, h: Headers) -> None:
    caller = mention(d, h, PLAIN)
    mention(d, h, DEST)
    called = h.get(DEST.uniqueid)
    if called is None:
        return
    forward = h.get("Forward")
    ending: dict[str, Any] = {"dial_status": h.get("DialStatus") or None}
    if caller is not None:
        ending["dialed_by"] = caller
    if forward:
        ending["forwarded_to"] = forward
        note_transfer(d, Transfer("forward", by=called, to=forward, result="Success", at=d.when), called, caller)
    set_leg(d, called, **ending)


def on_hold(d: Draft, h: Headers) -> None:
    hold(d, see(d, h), on=True)


def on_unhold(d: Draft, h: Headers) -> None:
    hold(d, see(d, h), on=False)


def hold(d: Draft, uniqueid: str | None, *, on: bool) -> None:
    channel = d.channels.get(uniqueid) if uniqueid is not None else None
    if channel is None or uniqueid is None or channel.hold is on:
        return
    d.put(d.channels, uniqueid, channel, evolve(channel, {"hold": on}))
    leg = find_leg(d, uniqueid)
    if leg is not None:
        total = leg.hold_time + (0.0 if on else seconds_between(leg.hold_since, d.when))
        set_leg(d, uniqueid, hold_since=d.when if on else None, hold_time=total)


def on_local_bridge(d: Draft, h: Headers) -> None:
    one, two = mention(d, h, LOCAL_ONE), mention(d, h, LOCAL_TWO)
    if one is not None and two is not None:
        pair(d, one, two)
        pair(d, two, one)


def on_optimized(d: Draft, h: Headers) -> None:
    one, two = mention(d, h, LOCAL_ONE), mention(d, h, LOCAL_TWO)
    if h.get("Success", "").lower() == "yes":
        for each in (one, two):
            if each is not None:
                set_leg(d, each, optimized=True)


def on_blind_transfer(d: Draft, h: Headers) -> None:
    by, transferee = mention(d, h, TRANSFERER), mention(d, h, TRANSFEREE)
    by = by or h.get(TRANSFERER.uniqueid)
    to = f"{h.get('Extension', '')}@{h.get('Context', '')}"
    result = h.get("Result", "")
    note_transfer(d, Transfer("blind", by, transferee, to=to, result=result, at=d.when), by, transferee)


def on_attended_transfer(d: Draft, h: Headers) -> None:
    by, second = mention(d, h, ORIG_TRANSFERER), mention(d, h, SECOND_TRANSFERER)
    transferee, target = mention(d, h, TRANSFEREE), mention(d, h, TRANSFER_TARGET)
    by = by or h.get(ORIG_TRANSFERER.uniqueid)
    leg = find_leg(d, target) if target is not None else None
    blonde = leg is not None and not leg.answered
    made = Transfer(
        "blonde" if blonde else "attended",
        by,
        transferee,
        target,
        h.get("DestApp") or h.get("DestBridgeUniqueid") or "",
        h.get("Result", ""),
        d.when,
    )
    note_transfer(d, made, by, second, transferee, target)


def on_pickup(d: Draft, h: Headers) -> None:
    by, target = see(d, h), see(d, h, TARGET)
    note_transfer(d, Transfer("pickup", by, None, target, result="Success", at=d.when), target, by)


HANDLERS: dict[str, Callable[[Draft, Headers], None]] = {
    "Newchannel": on_new,
    "Newstate": on_channel,
    "NewCallerid": on_channel,
    "NewConnectedLine": on_channel,
    "NewAccountCode": on_channel,
    "VarSet": on_channel,
    "HangupRequest": on_channel,
    "SoftHangupRequest": on_channel,
    "DTMFEnd": on_channel,
    "MusicOnHoldStart": on_channel,
    "MusicOnHoldStop": on_channel,
    "Newexten": on_exten,
    "Hangup": on_hangup,
    "Rename": on_rename,
    "DialBegin": on_dial_begin,
    "DialState": on_dial_state,
    "DialEnd": on_dial_end,
    "Hold": on_hold,
    "Unhold": on_unhold,
    "LocalBridge": on_local_bridge,
    "LocalOptimizationEnd": on_optimized,
    "BlindTransfer": on_blind_transfer,
    "AttendedTransfer": on_attended_transfer,
    "Pickup": on_pickup,
}
