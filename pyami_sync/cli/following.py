"""Helpers of the commands that follow events and calls."""

from __future__ import annotations

from typing import Any

import click

from ..calls import Call, Outcome
from ..client import AMIClient
from ..engine.deadline import Deadline
from ..exceptions import WaitTimeout
from ..subscriptions.subscribers import EventStream
from ..wire.message import Event
from .output import Output, span

__all__ = ["CallFilter", "next_event", "record_of", "show_call"]

LOOK = 0.5  # seconds


def next_event(stream: EventStream, deadline: Deadline, output: Output) -> Any:
    """Wait for the next event and return it; check regularly that the reader of the output is still there.

    Raises:
        WaitTimeout: none came in time.
        EventsLost: events are missing at this place.
        BrokenPipeError: the reader of the output has gone.

    """
    while True:
        left = deadline.remaining()
        try:
            return stream.get(LOOK if left is None else min(LOOK, left))
        except WaitTimeout:
            if deadline.expired:
                raise
            output.check_reader()


class CallFilter:
    """Selects the events of one call: all that name one of its channels, even if its Linkedid changes.

    Args:
        client: used to get the present channels of the call; the subscription to events must exist already.
        call: a Linkedid, or the name or Uniqueid of a channel.

    Raises:
        click.UsageError: there is no such call.

    """

    def __init__(self, client: AMIClient, call: str) -> None:
        listed = client.send("CoreShowChannels").events
        self._linked = {
            item["Linkedid"]
            for item in listed
            if call.lower() in (item[name].lower() for name in ("Linkedid", "Uniqueid", "Channel"))
        }
        if not self._linked:
            raise click.UsageError(f"there is no call {call!r} now; `pyami-sync channels` shows those that there are")
        self._channels = {item["Uniqueid"] for item in listed if item["Linkedid"] in self._linked}
        self._up = set(self._channels)

    @property
    def over(self) -> bool:
        """True once all channels of the call have been hung up."""
        return not self._up

    def __call__(self, event: Event) -> bool:
        """Return True if the event belongs to the call."""
        linked, channels = set(), set()
        for name, value in event.items():
            if name.endswith("Linkedid"):
                linked.add(value)
            elif name.endswith("Uniqueid") and name != "BridgeUniqueid":
                channels.add(value)
        if not (linked & self._linked or channels & self._channels):
            return False
        # A channel that joins another call gets that call's Linkedid, so the channels of that call belong to this
        # one, too.
        self._linked |= linked
        self._channels |= channels
        if event.name == "Newchannel":
            self._up |= channels
        elif event.name == "Hangup":
            self._up -= channels
        return True


def record_of(call: Call) -> dict[str, Any]:
    """Return the outcome of a call, for JSON."""
    outcome = call.outcome or Outcome.UNKNOWN
    return {
        "outcome": outcome.value,
        "answered": outcome is Outcome.ANSWERED,
        "channel": call.channel,
        "uniqueid": call.id,
        "ended": call.ended,
        "cause": call.cause,
        "cause_text": call.cause_text or None,
        "tech_cause": call.tech_cause,
        "ring_time": call.ring_time,
        "talk_time": call.talk_time,
    }


def show_call(output: Output, call: Call) -> None:
    """Print the outcome of a call, its cause if it has ended, and its times."""
    if output.as_json:
        output.record(record_of(call))
        return
    outcome = call.outcome or Outcome.UNKNOWN
    parts = [outcome.value if outcome is Outcome.ANSWERED else f"not answered: {outcome.value}"]
    if call.cause:
        parts.append(f"cause {call.cause}, {call.cause_text}")
    if call.ring_time is not None:
        parts.append(f"rang {span(call.ring_time)}")
    if call.talk_time is not None:
        parts.append(f"lasted {span(call.talk_time)}")
    output.text(f"{call.channel}: {'; '.join(parts)}", style="green" if outcome is Outcome.ANSWERED else "bold red")
