"""``originate``: place a call and tell how it went."""

from __future__ import annotations

from typing import Any

import click

from ...calls import Outcome
from ..events import print_event
from ..exits import FAILED, OK
from ..following import show_call
from ..program import Command
from ..settings import Settings, pass_settings
from ..types import DURATION, HEADER

__all__ = ["originate"]


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

    Waits until it is answered or not: ends with 0 when it was, with 1 when it was not. With --follow it goes on to the
    end of the call, and shows how long it took.
    """
    if bool(exten) == bool(app):
        raise click.UsageError("either --exten or --app: what is the channel to be connected with?")
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
