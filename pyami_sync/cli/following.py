"""Following events, and saying how a call went."""

from __future__ import annotations

from typing import Any

from ..calls import Call, Outcome
from ..engine.deadline import Deadline
from ..exceptions import WaitTimeout
from ..subscriptions.subscribers import EventStream
from .output import Output

__all__ = ["next_event", "show_call"]

LOOK = 0.5  # seconds


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


def show_call(output: Output, call: Call) -> None:
    """Print how a call went: the outcome, the cause if it is over, and how long it took."""
    outcome = call.outcome or Outcome.UNKNOWN
    if output.as_json:
        output.record(
            {
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
        )
        return
    parts = [outcome.value if outcome is Outcome.ANSWERED else f"not answered: {outcome.value}"]
    if call.cause:
        parts.append(f"cause {call.cause}, {call.cause_text}")
    if call.ring_time is not None:
        parts.append(f"rang {call.ring_time:.1f} s")
    if call.talk_time is not None:
        parts.append(f"lasted {call.talk_time:.1f} s")
    output.text(f"{call.channel}: {'; '.join(parts)}", style="green" if outcome is Outcome.ANSWERED else "bold red")
