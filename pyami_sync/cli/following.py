"""Following one call through its events until it is over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import Event
from ..deadline import Deadline
from ..exceptions import EventsLost, WaitTimeout
from ..subscriptions import EventStream
from .output import Output

__all__ = ["CALL_EVENTS", "follow_call", "next_event", "reason_of"]

LOOK = 0.5  # seconds

CALL_EVENTS = (
    "Newchannel",
    "Newstate",
    "Newexten",
    "DialBegin",
    "DialEnd",
    "BridgeEnter",
    "BridgeLeave",
    "Hold",
    "Unhold",
    "OriginateResponse",
    "Hangup",
)
"""The events that tell the story of a call."""

REASONS = {
    "0": "it failed, such as for a device that does not exist or is not registered",
    "1": "it was hung up",
    "3": "it rang and nobody answered",
    "4": "answered",
    "5": "busy",
    "8": "congestion, or no route",
}
"""``Reason`` of OriginateResponse."""


def reason_of(outcome: Event) -> str:
    """Tell how an Originate ended."""
    reason = outcome.get("Reason", "")
    return REASONS.get(reason, f"reason {reason}" if reason else "no reason given")


def next_event(stream: EventStream, deadline: Deadline, output: Output) -> Any:
    """Wait for the next event, and look now and then whether anybody still reads what is printed.

    Raises:
        WaitTimeout: none came in time.
        EventsLost: events are missing at this place.
        BrokenPipeError: nobody reads any more.

    """
    while True:
        left = deadline.remaining()
        try:
            return stream.get(LOOK if left is None else min(LOOK, left))
        except WaitTimeout:
            if deadline.expired:
                raise
            output.check_reader()


def follow_call(stream: EventStream, outcome: Event, deadline: Deadline) -> Iterator[Event]:
    """Give the events of a call, those before its outcome included, until the channel called has hung up.

    Args:
        stream: opened before the call was placed.
        outcome: its ``OriginateResponse``.
        deadline: when to stop following.

    """
    called = outcome.get("Uniqueid", "")
    channels = {called}
    while True:
        try:
            event = stream.get(deadline.remaining())
        except WaitTimeout:
            return
        except EventsLost:
            continue
        # A call's channels share the id of its first one; a Local channel's halves are both found by it.
        ids = {event.get(name, "") for name in ("Linkedid", "Uniqueid", "DestUniqueid", "DestLinkedid")}
        if ids & channels:
            channels.add(event.get("Uniqueid", called))
            yield event
        if event.name == "Hangup" and event.get("Uniqueid") == called:
            return
