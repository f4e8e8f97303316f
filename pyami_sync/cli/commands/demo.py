"""The command ``demo``: shows the main features in a few seconds, on a simulated or a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ...calls import Outcome
from ...client import AMIClient
from ...exceptions import ActionError, WaitTimeout
from ..events import print_event
from ..output import Output
from ..program import Command
from ..settings import Settings, connecting, pass_settings
from ..tables import channel_table, endpoint_table, queue_table, read_channels, read_endpoints, read_queues

__all__ = ["demo"]

CONTEXT = "pyami-sync-demo"
STEPS = ("1,1,Answer", "1,2,Wait(1)", "1,3,Hangup")
PATIENCE = 10.0


@click.command(
    cls=Command,
    examples=["demo", "demo --json", "demo --url ami://admin@pbx", "demo --url ami://admin@pbx --call PJSIP/1101"],
)
@click.option("--call", metavar="CHANNEL", help="Whom to call, such as PJSIP/1101.  [nobody's phone rings]")
@pass_settings
def demo(settings: Settings, call: str | None) -> None:
    """Connect, ask, list, place a call and follow it through its events.

    Without the address of a server it runs on a simulated one, so it needs no Asterisk. On a real server (--url,
    --profile) no phone rings either: the call goes to a dialplan context that is added for it and removed afterwards,
    unless --call names a phone.
    """
    output = settings.output
    started = time.monotonic()
    embedded = not settings.url and not settings.profile
    with _embedded(output) if embedded else settings.connect(events=True) as client:
        _say(output, "Connected", f"logged in as {connecting(client)}, AMI {client.ami_version or '?'}")
        _ask(output, client)
        _list(output, client)
        if embedded:
            # Alice answers and is connected with Bob.
            _call(output, client, call or "PJSIP/alice", "201@default")
        elif call:
            _call(output, client, call, "Wait(1)")
        else:
            _call_nobody(output, client)
    _say(output, "Closed", f"the session is over, after {time.monotonic() - started:.1f} s")
    if embedded:
        output.note(
            "Next: pyami-sync --url ami://user@your-asterisk ping, or pyami-sync doctor when it does not work;"
            " without an Asterisk, pyami-sync simulate"
        )


@contextmanager
def _embedded(output: Output) -> Iterator[AMIClient]:
    """Start a simulated server, and yield a client of it."""
    from ...testing import Simulator

    with Simulator() as simulator:
        for endpoint in simulator.pbx.endpoints.values():
            endpoint.rings, endpoint.answers = 0.2, 0.4
        simulator.pbx.endpoints["alice"].talks = 1.6
        _say(output, "Server", "a simulated Asterisk on a port of this machine")
        with AMIClient.from_url(simulator.url) as client:
            yield client


def _say(output: Output, what: str, text: str, /, **facts: object) -> None:
    """Print one step."""
    if output.as_json:
        output.record({"step": what.lower(), "text": text, **facts})
    elif output.terminal:
        from rich.text import Text

        output.show(Text.assemble(("\n" if what != "Server" else "") + "● ", (what, "bold green"), f"  {text}"))
    else:
        output.text(f"{what}: {text}")
    output.flush()


def _ask(output: Output, client: AMIClient) -> None:
    trips = [client.ping() for _ in range(5)]
    _say(output, "Ping", f"{min(trips) * 1000:.2f} ms, the best of {len(trips)}", ms=round(min(trips) * 1000, 3))
    try:
        version = client.server_version
        lines = client.command("core show version")
    except ActionError as exc:
        _say(output, "Version", str(exc))
        return
    _say(output, "Version", f"Asterisk {version or 'unknown'}", version=version)
    _say(output, "Command", f"core show version → {lines[0] if lines else ''}", output=lines)


def _list(output: Output, client: AMIClient) -> None:
    tables = (
        ("Queues", read_queues, queue_table),
        ("Endpoints", read_endpoints, endpoint_table),
        ("Channels", read_channels, channel_table),
    )
    for what, read, show in tables:
        try:
            rows = read(client)
        except ActionError as exc:
            _say(output, what, str(exc))
            continue
        _say(output, what, f"{len(rows)}", count=len(rows))
        if output.as_json:
            for row in rows:
                output.record(row)
        elif rows:
            show(output, rows, title="")


def _call_nobody(output: Output, client: AMIClient) -> None:
    """Place a call that rings no phone: to a new dialplan context, which answers and hangs up."""
    try:
        for step in STEPS:
            client.send("Command", Command=f"dialplan add extension {step} into {CONTEXT}")
    except ActionError as exc:
        _say(output, "Call", f"not placed: no context could be added for it ({exc}); name a phone with --call")
        return
    try:
        _call(output, client, f"Local/1@{CONTEXT}", "Wait(1)")
    finally:
        client.send("Command", Command=f"dialplan remove context {CONTEXT}", check=False)


def _call(output: Output, client: AMIClient, channel: str, to: str) -> None:
    """Place a call and show its events until it is over."""
    _say(output, "Call", f"calling {channel}; these are its events")
    try:
        with client.call(channel, to=to, ring=PATIENCE) as call:
            for event in call.events(timeout=PATIENCE):
                print_event(output, event)
                output.flush()
            call.wait_answered(PATIENCE)
    except (ActionError, WaitTimeout) as exc:
        _say(output, "Outcome", str(exc))
        return
    answered = call.outcome is Outcome.ANSWERED
    _say(output, "Outcome", "answered" if answered else f"not answered: {call.outcome or 'unknown'}")
