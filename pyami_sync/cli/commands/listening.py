"""The commands ``events`` and ``wait``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import click

from ...client import AMIClient
from ...engine.deadline import Deadline
from ...exceptions import EventsLost, WaitTimeout
from ...session.session import State
from ...subscriptions.selectors import Selectors, header_filter
from ...subscriptions.subscribers import EventStream
from ...wire.message import Event
from ..answers import show_headers
from ..events import print_event
from ..following import CallFilter, next_event
from ..output import Output, hide_secrets
from ..program import Command
from ..settings import Settings, connecting, pass_settings
from ..types import DURATION, HEADER
from .describe import complete_event

__all__ = ["events", "wait"]


def where_of(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]] | None:
    """Return conditions on headers: several for one header are alternatives; all headers must match."""
    conditions: dict[str, list[str]] = {}
    for name, value in pairs:
        conditions.setdefault(name, []).append(value)
    return conditions or None


def report_link(client: AMIClient, output: Output) -> None:
    """Print to standard error when the link is lost and when it is restored."""

    def changed(state: State) -> None:
        if state is State.RECONNECTING:
            output.warn("the connection was lost; events are missing until it is restored")
        elif state is State.CONNECTED:
            output.warn("connected again")

    client.on_state(changed)


def printing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for a stream of events to a command."""
    options = [
        click.option("--where", type=HEADER, multiple=True, metavar="HEADER=GLOB", help="Only those; may be repeated."),
        click.option("--for", "period", type=DURATION, metavar="TIME", help="Stop after this time."),
        click.option("-n", "--count", type=click.IntRange(1), help="Stop after so many events."),
        click.option("--mask", metavar="CLASSES", help="Event classes to ask the server for, such as call,agent."),
        click.option("--full", is_flag=True, help="Show all headers of an event."),
        click.option("--text", is_flag=True, help="Print readable lines in a pipe, too, where JSON is the default."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def print_events(
    output: Output,
    stream: EventStream,
    *,
    period: float | None,
    count: int | None,
    full: bool,
    text: bool,
    shown: Callable[[Event], object] = lambda event: True,
    over: Callable[[], object] = lambda: False,
) -> None:
    """Print the events of a stream as they arrive: as readable lines, or as JSON in a pipe unless ``text`` is true.

    Args:
        output: where they are printed.
        stream: the stream.
        period: seconds after which to stop.
        count: number of events after which to stop.
        full: whether to show all headers.
        text: whether to print readable lines in a pipe, too.
        shown: predicate of the events to print.
        over: called after each event; returns True if no more will come.

    """
    as_json = not text and not output.terminal
    deadline = Deadline(period)
    left = count
    while left is None or left > 0:
        try:
            event = next_event(stream, deadline, output)
        except WaitTimeout:
            break
        except EventsLost as exc:
            output.warn(f"{exc.count} events were lost here: they came faster than they could be printed")
            continue
        if shown(event):
            print_event(output, event, full=full, as_json=as_json)
            if left is not None:
                left -= 1
        if not stream.pending:
            output.flush()
        if over():
            break


@click.command(
    cls=Command,
    examples=[
        "events",
        "events 'Queue*' --where Queue=support",
        "events Hangup --where 'Channel=PJSIP/trunk-*' --for 10m > hangups.jsonl",
        "events --count 100 --json | jq -r .Event | sort | uniq -c",
        "events --mask call,agent --full",
        "events --call PJSIP/1101-00000017",
    ],
)
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...", shell_complete=complete_event)
@printing
@click.option("--call", metavar="CALL", help="Only those of one call, until it is over: a channel, or an id of it.")
@click.option("--no-reconnect", is_flag=True, help="End with 3 when the connection is lost.")
@pass_settings
def events(
    settings: Settings,
    patterns: tuple[str, ...],
    where: tuple[tuple[str, str], ...],
    period: float | None,
    count: int | None,
    mask: str | None,
    full: bool,
    text: bool,
    call: str | None,
    no_reconnect: bool,
) -> None:
    """Show events as they happen: all, or those whose names match a PATTERN such as Hangup or 'Queue*'.

    In a pipe each event is a line of JSON. A lost connection is restored. Messages about that, and about events that
    were lost because they arrived faster than they could be printed, go to standard error.

    With --call and the name of a channel, its Uniqueid or the call's Linkedid, it shows the events of that call and
    ends with it; this needs the write class `system` or `reporting`.
    """
    output = settings.output
    conditions = where_of(where)
    stay = not no_reconnect
    if call is None:
        with settings.listen(patterns, conditions, events=mask or True, stay=stay) as (client, stream):
            report_link(client, output)
            output.note(f"listening on {connecting(client)}; Ctrl-C ends it")
            print_events(output, stream, period=period, count=count, full=full, text=text)
        return
    # All events are needed: those that are not shown determine which channels belong to the call.
    with settings.listen((), None, events=mask or True, stay=stay) as (client, stream):
        report_link(client, output)
        mine = CallFilter(client, call)
        output.note(f"listening to the call of {call} on {connecting(client)}; Ctrl-C ends it")
        wanted, accepted = Selectors(patterns), header_filter(conditions or {})

        def shown(event: Event) -> bool:
            return mine(event) and wanted.want(event.name, type(event)) and accepted(event)

        print_events(
            output,
            stream,
            period=period,
            count=count,
            full=full,
            text=text,
            shown=shown,
            over=lambda: mine.over,
        )


@click.command(
    cls=Command,
    examples=[
        "wait FullyBooted --timeout 2m",
        "wait Hangup --where 'Channel=PJSIP/1101-*' --timeout 30s",
        "wait ContactStatus --where AOR=trunk --where ContactStatus=Reachable && echo back",
        "wait QueueCallerJoin --json | jq -r .CallerIDNum",
    ],
)
@click.argument("names", nargs=-1, required=True, metavar="EVENT...", shell_complete=complete_event)
@click.option("--where", type=HEADER, multiple=True, metavar="HEADER=GLOB", help="Only those; may be repeated.")
@click.option("--timeout", type=DURATION, default="1m", show_default=True, metavar="TIME", help="How long to wait.")
@click.option("--exec", "announce", metavar="COMMAND", help="Run this command in a shell once the wait has begun.")
@pass_settings
def wait(
    settings: Settings, names: tuple[str, ...], where: tuple[tuple[str, str], ...], timeout: float, announce: str | None
) -> None:
    """Wait for one EVENT (names or patterns), print it, and end with 0; or with 5 when none came in time.

    With --exec, the command that causes the event is started once no event can be missed.
    """
    output = settings.output
    with settings.listen(names, where_of(where), overflow="drop_oldest") as (client, stream):
        output.note(f"waiting for {', '.join(names)} on {connecting(client)}")
        deadline = Deadline(timeout)
        if announce:
            output.flush()
            if os.waitstatus_to_exitcode(os.system(announce)):
                raise click.ClickException("the command of --exec failed")
        with output.busy(f"waiting for {', '.join(names)}"):
            try:
                event = next_event(stream, deadline, output)
            except WaitTimeout:
                raise WaitTimeout(", ".join(names), timeout) from None
        if output.as_json:
            print_event(output, event)
        else:
            show_headers(output, hide_secrets(event))
