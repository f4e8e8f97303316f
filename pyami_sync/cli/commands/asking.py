"""The commands ``ping``, ``send`` and ``command``."""

from __future__ import annotations

import sys
import time

import click

from ...exceptions import ActionError, ActionTimeout
from ...wire.action import Action
from ..answers import show_answer
from ..exits import FAILED, OK, TIMEOUT
from ..program import Command
from ..settings import Settings, pass_settings
from ..types import HEADER, Duration
from .describe import complete_action

__all__ = ["command", "ping", "send"]


@click.command(
    cls=Command,
    examples=["ping", "ping --count 100 --interval 10ms", "--json ping -p office", "ping --forever --interval 1s"],
)
@click.option("-c", "--count", type=click.IntRange(1), default=3, show_default=True, help="How many Pings to send.")
@click.option(
    "-i", "--interval", type=Duration(zero=True), default="50ms", show_default=True, help="Time between them."
)
@click.option("--forever", is_flag=True, help="Go on until Ctrl-C.")
@pass_settings
def ping(settings: Settings, count: int, interval: float, forever: bool) -> int:
    """Log in, send Pings, and measure the round trips.

    Ends with 5 when an answer did not come in time.
    """
    output = settings.output
    trips: list[float] = []
    sent = 0
    with settings.connect() as client:
        where = client.options.address
        try:
            while forever or sent < count:
                if sent:
                    time.sleep(interval)
                try:
                    trip = client.ping()
                except ActionTimeout as exc:
                    sent += 1
                    output.warn(f"seq={sent}: {exc}")
                    continue
                sent += 1  # not before: one that Ctrl-C interrupts does not count
                trips.append(trip)
                if output.as_json:
                    output.record({"host": where, "seq": sent, "ms": round(trip * 1000, 3)})
                else:
                    output.text(f"pong from {where}: seq={sent} time={trip * 1000:.2f} ms")
                output.flush()
        except KeyboardInterrupt:
            if not forever:
                raise
    _statistics(settings, where, sent, trips)
    return OK if len(trips) == sent else TIMEOUT


def _statistics(settings: Settings, where: str, sent: int, trips: list[float]) -> None:
    lost = 100 * (sent - len(trips)) / sent if sent else 0.0
    facts = {"sent": sent, "answered": len(trips), "lost_percent": round(lost, 1)}
    if trips:
        average = sum(trips) / len(trips)
        deviation = sum(abs(trip - average) for trip in trips) / len(trips)
        times = {"min": min(trips), "avg": average, "max": max(trips), "mdev": deviation}
        facts |= {f"{name}_ms": round(value * 1000, 3) for name, value in times.items()}
    output = settings.output
    if output.as_json:
        output.record({"host": where, "statistics": facts})
    elif not output.quiet:
        output.text(f"{sent} sent, {len(trips)} answered, {lost:.0f}% lost")
        if trips:
            output.text("/".join(times) + " = " + "/".join(f"{value * 1000:.2f}" for value in times.values()) + " ms")


@click.command(
    cls=Command,
    examples=[
        "send CoreStatus",
        "send QueueAdd Queue=support Interface=PJSIP/1101 Penalty=2",
        "send Originate Channel=PJSIP/1101 Application=Playback Data=hello-world Variable=a=1 Variable=b=2",
        "--json send QueueStatus | jq -r 'select(.Event==\"QueueMember\") | .Name'",
    ],
)
@click.argument("action", shell_complete=complete_action)
@click.argument("headers", nargs=-1, type=HEADER, metavar="[HEADER=VALUE]...")
@click.option("--show-secrets", is_flag=True, help="Show credentials in the answer, such as those of PJSIP.")
@pass_settings
def send(settings: Settings, action: str, headers: tuple[tuple[str, str], ...], show_secrets: bool) -> int:
    """Send an ACTION with headers, and print its whole answer; a header may be repeated.

    A list is printed as a table, or with --json as its response, its items and its closing event, one a line.
    Ends with 1 when the server answers with an error. See `pyami-sync describe ACTION` for its headers.
    """
    output = settings.output
    made: Action = Action(action, headers)  # before connecting, so that an invalid action is reported without a login
    with settings.connect() as client:
        try:
            with output.busy(f"waiting for {action}"):
                response = client.send(made)
        except ActionError as exc:
            # A part of the list may have arrived, and the answer may contain output: print them.
            if output.as_json or exc.partial or exc.response.output:
                exc.response.events[:] = exc.partial
                show_answer(output, exc.response, secrets=show_secrets)
            output.error(exc, FAILED)
            return FAILED
        except ActionTimeout as exc:
            for item in exc.partial:
                output.message(item) if output.as_json else output.text(str(item.to_dict()))
            raise
    show_answer(output, response, secrets=show_secrets)
    return OK


@click.command(
    cls=Command,
    examples=[
        'command "core show channels"',
        "command dialplan show default",
        "command < commands.txt",
        'command "queue show" | grep -i unavailable',
    ],
)
@click.argument("text", nargs=-1)
@pass_settings
def command(settings: Settings, text: tuple[str, ...]) -> int:
    """Run a console command and print its output; without TEXT, run each line of standard input.

    Needs the write class `command`. Ends with 1 when a command fails or does not exist (only with Asterisk 14 and
    later).
    """
    output = settings.output
    if text:
        lines = [" ".join(text)] if text != ("-",) else _lines()
    elif sys.stdin.isatty():
        raise click.UsageError("which command? For example: pyami-sync command core show version")
    else:
        lines = _lines()
    code = OK
    with settings.connect() as client:
        for line in lines:
            with output.busy(line):
                response = client.send("Command", Command=line, check=False)
            if not response.ok and "Output" not in response:
                raise ActionError("Command", response)
            if output.as_json:
                output.record({"command": line, "ok": response.ok, "output": response.output})
            else:
                for each in response.output:
                    output.text(each)
            output.flush()
            if not response.ok:
                code = FAILED
    return code


def _lines() -> list[str]:
    """Return the commands on standard input, one a line, without blank lines and comments."""
    return [line.strip() for line in sys.stdin if line.strip() and not line.lstrip().startswith("#")]
