"""The commands ``dial`` and ``originate``: place a call and report its outcome."""

from __future__ import annotations

import time
from typing import Any

import click

from ...calls import Call, Outcome
from ...calls.outcome import from_cause
from ...engine.deadline import Deadline
from ...exceptions import EventsLost, WaitTimeout
from ..events import print_event
from ..exits import FAILED, INTERRUPTED, OK
from ..following import record_of, show_call
from ..output import Output, span
from ..program import Command
from ..settings import Settings, pass_settings
from ..types import DURATION, HEADER
from .acting import extension

__all__ = ["dial", "originate"]

LOOK = 0.5  # seconds between two checks of the length of the talk


@click.command(
    cls=Command,
    examples=[
        "originate PJSIP/1101 --exten 1102 --context internal",
        "originate PJSIP/1101 --app Playback --data hello-world --ring 20s",
        "originate PJSIP/1101 --app Wait --data 5 --follow",
        "originate Local/600@default --app Echo --variable CUSTOMER=42 --caller-id 'Office <100>' --no-wait",
    ],
)
@click.argument("channel")
@click.option("-e", "--exten", help="Extension to connect the channel with.")
@click.option("-c", "--context", default="default", show_default=True, help="Its context.")
@click.option("--priority", default="1", show_default=True, help="Its priority.")
@click.option("-a", "--app", help="Application to run, in place of an extension.")
@click.option("-d", "--data", help="The application's arguments.")
@click.option("--caller-id", help="Such as 'Office <100>'.")
@click.option("-v", "--variable", type=HEADER, multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@click.option("-H", "--header", type=HEADER, multiple=True, metavar="HEADER=VALUE", help="Any other header.")
@click.option("--ring", type=DURATION, default="30s", show_default=True, metavar="TIME", help="How long it may ring.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the outcome.")
@click.option("--follow", is_flag=True, help="Show the call's events until it is over.")
@pass_settings
def originate(
    settings: Settings,
    channel: str,
    exten: str | None,
    context: str,
    priority: str,
    app: str | None,
    data: str | None,
    caller_id: str | None,
    variable: tuple[tuple[str, str], ...],
    header: tuple[tuple[str, str], ...],
    ring: float,
    no_wait: bool,
    follow: bool,
) -> int:
    """Call CHANNEL, such as PJSIP/1101, and connect it with an extension or an application.

    Waits for the outcome, and ends with 0 if the call was answered, with 1 if not. With --follow it waits until the
    end of the call, and shows its length.
    """
    if bool(exten) == bool(app):
        raise click.UsageError("give either --exten or --app, which the channel is to be connected with")
    if no_wait and follow:
        raise click.UsageError("--no-wait and --follow exclude each other")
    to = f"{exten}@{context},{priority}" if exten else f"{app}({data or ''})"
    options: dict[str, Any] = {"ring": ring, "caller_id": caller_id, "variables": dict(variable), **dict(header)}
    output = settings.output
    with settings.connect(events=not no_wait and "call,dialplan") as client:
        try:
            call = client.call(channel, to=to, hangup_on_exit=False, **options)
        except ValueError as exc:
            raise click.UsageError(str(exc)) from None
        if no_wait:
            output.record({"uniqueid": call.id}) if output.as_json else output.text(f"queued: {call.id}")
            return OK
        with output.busy(f"calling {channel}"):
            outcome = call.wait_answered()
        if follow or outcome is not Outcome.ANSWERED:
            for event in call.events():
                if follow:
                    print_event(output, event)
                    output.flush()
            call.wait_ended()
        show_call(output, call)
    return OK if outcome is Outcome.ANSWERED else FAILED


@click.command(
    cls=Command,
    examples=[
        "dial PJSIP/1101 1102",
        "dial PJSIP/1101 00493012345@outbound --ring 20s --caller-id 'Office <100>'",
        "dial PJSIP/1101 1102 --for 30s --json | jq .talk_time",
    ],
)
@click.argument("device")
@click.argument("target", metavar="EXTEN[@CONTEXT]")
@click.option(
    "--ring", type=DURATION, default="30s", show_default=True, metavar="TIME", help="How long DEVICE may ring."
)
@click.option("--for", "period", type=DURATION, metavar="TIME", help="Hang up after so long a talk.")
@click.option("--caller-id", help="Such as 'Office <100>'.")
@click.option("-v", "--variable", type=HEADER, multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@pass_settings
def dial(
    settings: Settings,
    device: str,
    target: str,
    ring: float,
    period: float | None,
    caller_id: str | None,
    variable: tuple[tuple[str, str], ...],
) -> int:
    """Call DEVICE, such as PJSIP/1101, connect it with an extension, and follow the call to its end.

    Reports the outcome, the hangup cause and the length of the talk. Ends with 0 when DEVICE and the party that the
    extension dials have answered, otherwise with 1. Ctrl-C hangs up. Needs the write class `originate`, and `call` or
    `system` to hang up.
    """
    exten, context = extension(target)
    output = settings.output
    interrupted = False
    with settings.connect(events="call,dialplan") as client:
        try:
            call = client.call(
                device,
                to=f"{exten}@{context or 'default'}",
                ring=ring,
                caller_id=caller_id,
                variables=dict(variable),
            )
        except ValueError as exc:
            raise click.UsageError(str(exc)) from None
        with call:
            try:
                _follow(output, call, exten, period)
            except KeyboardInterrupt:
                interrupted = True
                call.hangup()
            call.wait_ended(client.options.timeout)
            ok = _report(output, call, exten)
    return INTERRUPTED if interrupted else OK if ok else FAILED


def _others(call: Call) -> list[Any]:
    """Return the legs that were dialled from the called device."""
    own = call.id.rpartition("-")[0]
    return [leg for leg in call.legs if leg.device and leg.uniqueid.rpartition("-")[0] != own]


def _stage(call: Call, exten: str) -> str:
    """Return the present stage of the call as text."""
    if call.outcome is None:
        ringing = any(leg.ringing_at is not None for leg in call.legs)
        return f"{call.device} is ringing" if ringing else f"calling {call.device}"
    if call.outcome is not Outcome.ANSWERED:
        return f"{call.device}: {call.outcome.value}"
    if call.connected is Outcome.ANSWERED:
        return f"{call.device} talks with {exten}"
    if any(leg.ringing_at is not None and not leg.ended for leg in _others(call)):
        return f"{call.device} has answered, {exten} is ringing"
    return f"{call.device} has answered"


def _follow(output: Output, call: Call, exten: str, period: float | None) -> None:
    """Print each stage of a call until it ends, and hang up after ``period`` seconds of talk."""
    told = ""
    talk: Deadline | None = None
    shows = output.progress
    with call.events() as events:
        while True:
            stage = _stage(call, exten)
            if stage != told:
                told = stage
                if not (shows or output.as_json):
                    output.note(stage)
            if call.outcome is Outcome.ANSWERED and talk is None and period is not None and _talks(call):
                talk = Deadline(period)
            if talk is not None and talk.expired:
                call.hangup()
                return
            if shows:
                output.status(f"{stage}, {span(time.time() - call.started_at.timestamp())}; Ctrl-C hangs up")
            left = LOOK if talk is None else min(LOOK, talk.remaining() or 0.0)
            try:
                if events.get(left) is None:
                    return
            except (WaitTimeout, EventsLost):
                output.check_reader()


def _talks(call: Call) -> bool:
    """Return True if the device talks with another party, or with an application of the extension."""
    return call.connected is Outcome.ANSWERED or not _others(call)


def _report(output: Output, call: Call, exten: str) -> bool:
    """Print the outcome; return True if all called parties have answered."""
    outcome, connected = call.outcome or Outcome.UNKNOWN, call.connected or Outcome.UNKNOWN
    others = _others(call)
    alone = outcome is Outcome.ANSWERED and connected is Outcome.FAILED and not others
    if alone:  # with an application of the extension, for which there is only the cause
        connected = from_cause(call.cause) or Outcome.ANSWERED
    talk = call.talk_time if alone else None
    answers = [leg.answered_at for leg in others if leg.answered_at is not None]
    if answers and call.ended_at is not None:  # the end of the other leg may not have been reported yet
        talk = max(0.0, (call.ended_at - max(answers)).total_seconds())
    ok = outcome is connected is Outcome.ANSWERED
    output.status("")
    if output.as_json:
        output.record({**record_of(call), "to": exten, "connected": connected.value, "talk_time": talk})
        return ok
    if outcome is not Outcome.ANSWERED:
        said = f"{call.device} did not answer: {outcome.value}"
    elif ok:
        said = f"{call.device} answered, connected with {exten}"
    else:
        said = f"{call.device} answered, {exten} did not: {connected.value}"
    parts = [said]
    if call.ring_time is not None:
        parts.append(f"rang {span(call.ring_time)}")
    if talk is not None:
        parts.append(f"talked {span(talk)}")
    if call.cause:
        parts.append(f"cause {call.cause}, {call.cause_text}")
    output.text("; ".join(parts), style="green" if ok else "bold red")
    return ok
