"""Event handlers for parked calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from ..wire.escapes import unescape
from .draft import Draft, Headers, ago, number, text_or_none
from .entities import ParkedCall
from .legs import set_leg

__all__ = ["HANDLERS", "parked_call", "unpark"]


def parked_call(d: Draft, h: Headers) -> ParkedCall | None:
    """Return the parked call described by an event or an item of a list."""
    uniqueid = h.get("ParkeeUniqueid")
    if not uniqueid:
        return None
    left = number(h.get("ParkingTimeout"))
    return ParkedCall(
        uniqueid,
        h.get("ParkeeChannel", ""),
        h.get("Parkinglot", ""),
        number(h.get("ParkingSpace")),
        text_or_none(h.get("ParkerDialString")) or "",
        ago(d.when, number(h.get("ParkingDuration"))),
        d.when + timedelta(seconds=left) if d.when is not None and left else None,
        text_or_none(h.get("ParkeeCallerIDNum")),
        text_or_none(unescape(h.get("ParkeeCallerIDName", ""))),
    )


def park(d: Draft, call: ParkedCall) -> None:
    """Add a parked call."""
    d.put(d.parked, call.uniqueid, d.parked.get(call.uniqueid), call)
    set_leg(d, call.uniqueid, parked=True, parked_since=call.since)


def unpark(d: Draft, uniqueid: str) -> None:
    """Remove a parked call."""
    d.drop(d.parked, uniqueid)
    set_leg(d, uniqueid, parked=False)


def on_parked(d: Draft, h: Headers) -> None:
    if "ActionID" in h:
        return  # an item of a list, which has the same name as the event
    call = parked_call(d, h)
    if call is not None and not d.is_gone(call.uniqueid):
        park(d, call)


def on_unparked(d: Draft, h: Headers) -> None:
    unpark(d, h.get("ParkeeUniqueid", ""))


def on_swap(d: Draft, h: Headers) -> None:
    """Replace a channel by another one: a Local channel was optimised away, or a transfer was completed."""
    call = parked_call(d, h)
    if call is None:
        return
    for each in [each for each in d.parked.values() if place(each) == place(call)]:
        unpark(d, each.uniqueid)
    if not d.is_gone(call.uniqueid):
        park(d, call)


def place(call: ParkedCall) -> tuple[str, int]:
    """Return where a call is parked."""
    return call.parkinglot, call.parking_space


HANDLERS: dict[str, Callable[[Draft, Headers], None]] = {
    "ParkedCall": on_parked,
    "UnParkedCall": on_unparked,
    "ParkedCallGiveUp": on_unparked,
    "ParkedCallTimeOut": on_unparked,
    "ParkedCallSwap": on_swap,
}
