"""Maintains the legs of calls, and makes the record when a call ends."""

from __future__ import annotations

from typing import Any

from .calls import Call, CallRecord, Leg, Transfer
from .draft import Draft
from .entities import evolve

__all__ = ["add_leg", "close_calls", "end_leg", "move_leg", "note_queue", "note_transfer", "set_leg"]


def find_leg(d: Draft, uniqueid: str) -> Leg | None:
    """Return the leg of a channel, or None."""
    linkedid = d.call_of.get(uniqueid)
    call = d.calls.get(linkedid) if linkedid is not None else None
    return call.leg(uniqueid) if call is not None else None


def add_leg(d: Draft, leg: Leg, *, from_start: bool) -> None:
    """Add a leg to the call of its Linkedid, which begins with it if there is none yet."""
    call = d.calls.get(leg.linkedid)
    if call is None:
        after = Call(leg.linkedid, (leg,), from_start=from_start)
    else:
        after = evolve(call, {"legs": (*call.legs, leg)})
    d.call_of.put(leg.uniqueid, leg.linkedid)
    d.put(d.calls, leg.linkedid, call, after)


def set_leg(d: Draft, uniqueid: str, **changes: Any) -> None:
    """Change a leg; does nothing if there is no such leg or no difference."""
    linkedid = d.call_of.get(uniqueid)
    call = d.calls.get(linkedid) if linkedid is not None else None
    if call is None:
        return
    legs = list(call.legs)
    for number, leg in enumerate(legs):
        if leg.uniqueid == uniqueid:
            values = leg.__dict__
            if all(values[name] == value for name, value in changes.items()):
                return
            legs[number] = evolve(leg, changes)
            d.put(d.calls, call.linkedid, call, evolve(call, {"legs": tuple(legs)}))
            return


def move_leg(d: Draft, uniqueid: str, linkedid: str) -> None:
    """Move a leg to the call of another Linkedid: two calls have become one."""
    old = d.call_of.get(uniqueid)
    call = d.calls.get(old) if old is not None else None
    leg = call.leg(uniqueid) if call is not None else None
    if call is None or leg is None or old == linkedid:
        return
    rest = tuple(each for each in call.legs if each is not leg)
    target = d.calls.get(linkedid)
    leg = evolve(leg, {"linkedid": linkedid})
    if target is None:
        after = Call(linkedid, (leg,), call.transfers, call.queues, call.from_start)
    else:
        queues = (*target.queues, *(each for each in call.queues if each not in target.queues))
        transfers = target.transfers if rest else (*target.transfers, *call.transfers)
        legs = sorted((*target.legs, leg), key=started)
        after = evolve(target, {"legs": tuple(legs), "queues": queues, "transfers": transfers})
    d.call_of.put(uniqueid, linkedid)
    d.put(d.calls, linkedid, target, after)
    if rest:
        d.put(d.calls, call.linkedid, call, evolve(call, {"legs": rest}))
        d.ended.append(call.linkedid)
    else:
        d.drop(d.calls, call.linkedid)


def started(leg: Leg) -> float:
    """Return the sort key of a leg; legs that began before the model was started come first."""
    return leg.started.timestamp() if leg.started is not None else 0.0


def end_leg(d: Draft, uniqueid: str, cause: int | None, cause_txt: str = "", tech_cause: str = "") -> None:
    """Note that a leg has ended; `cause` is None when its end was not seen."""
    leg = find_leg(d, uniqueid)
    if leg is None:
        return
    when = None if d.inferred else d.when
    more: dict[str, Any] = {"bridge": None, "talk_since": None, "hold_since": None, "queue": None, "parked": False}
    if when is not None:
        for since, total in (("talk_since", "talk_time"), ("hold_since", "hold_time"), ("queued_since", "queue_time")):
            began = getattr(leg, since)
            if began is not None:
                more[total] = getattr(leg, total) + max(0.0, (when - began).total_seconds())
    set_leg(
        d,
        uniqueid,
        ended=True,
        ended_at=when,
        cause=cause,
        cause_txt=cause_txt,
        tech_cause=tech_cause,
        queued_since=None,
        inferred=leg.inferred or d.inferred,
        **more,
    )
    d.ended.append(d.call_of.get(uniqueid) or "")


def close_calls(d: Draft) -> None:
    """End the calls whose last leg has ended, and keep a record of each."""
    for linkedid in d.ended:
        call = d.calls.get(linkedid)
        if call is None or not all(leg.ended for leg in call.legs):
            continue
        d.drop(d.calls, linkedid)
        for leg in call.legs:
            if d.call_of.get(leg.uniqueid) == linkedid:
                d.call_of.pop(leg.uniqueid)
        complete = call.from_start and not any(leg.inferred for leg in call.legs)
        record = CallRecord(linkedid, call.legs, call.transfers, call.queues, complete, d.node)
        d.changes.append(d.change(None, record))
    d.ended.clear()


def note_transfer(d: Draft, transfer: Transfer, *uniqueids: str | None) -> None:
    """Add a transfer to the call of the first of these channels that has one."""
    for uniqueid in uniqueids:
        call = d.calls.get(d.call_of.get(uniqueid) or "") if uniqueid else None
        if call is not None:
            if transfer not in call.transfers:
                d.put(d.calls, call.linkedid, call, evolve(call, {"transfers": (*call.transfers, transfer)}))
            return


def note_queue(d: Draft, uniqueid: str, queue: str) -> None:
    """Note that the call of a channel is in a queue."""
    call = d.calls.get(d.call_of.get(uniqueid) or "")
    if call is not None and queue not in call.queues:
        d.put(d.calls, call.linkedid, call, evolve(call, {"queues": (*call.queues, queue)}))
