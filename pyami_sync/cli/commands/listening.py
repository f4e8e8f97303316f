"""``events`` and ``wait``: what happens, as it happens."""

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
    """Conditions on headers: several for one header are alternatives, all others must hold together."""
    conditions: dict[str, list[str]] = {}
    for name, value in pairs:
        conditions.setdefault(name, []).append(value)
    return conditions or None


def report_link(client: AMIClient, output: Output) -> None:
    """Tell on standard error when the link is lost and when it is back."""

    def changed(state: State) -> None:
        if state is State.RECONNECTING:
            output.warn("the connection was lost; events are missing until it is back")
        elif state is State.CONNECTED:
            output.warn("connected again")

    client.on_state(changed)


def printing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options for a stream of events: which, how many, and how they are shown."""
    options = [
        click.option("--where", type=HEADER, multiple=True, metavar="HEADER=GLOB", help="Only those; may be repeated."),
        click.option("--for", "period", type=DURATION, metavar="TIME", help="Stop after this time."),
        click.option("-n", "--count", type=click.IntRange(1), help="Stop after so many events."),
        click.option("--mask", metavar="CLASSES", help="Event classes to ask the server for, such as call,agent."),
        click.option("--full", is_flag=True, help="Show all headers of an event."),
        click.option("--text", is_flag=True, help="Lines for reading in a pipe, too, where JSON is the default."),
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
    """Print the events of a stream as they come: for reading, or as JSON in a pipe unless ``text`` is wanted.

    Args:
        output: where they are printed.
        stream: gives them.
        period: seconds after which it is enough.
        count: number of events that is enough.
        full: whether all headers are for reading.
        text: whether a pipe gets lines for reading, too.
        shown: which of the events are printed.
        over: whether nothing more is to come; looked at after each event.

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

    In a pipe each is a line of JSON. A connection that is lost is opened again; standard error tells of it, and
    of events that were lost because they came faster than they could be printed.

    With --call, given the name of a channel, its Uniqueid or the call's Linkedid, it shows what happens to that call
    and ends with it. It needs the write class `system` or `reporting` for that.
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
    # All events are wanted here: those that are not shown tell which channels the call has.
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
@click.option("--exec", "announce", metavar="COMMAND", help="Run this in a shell once the wait is on.")
@pass_settings
def wait(
    settings: Settings, names: tuple[str, ...], where: tuple[tuple[str, str], ...], timeout: float, announce: str | None
) -> None:
    """Wait for one EVENT (names or patterns), print it, and end with 0; or with 5 when none came in time.

    With --exec the command that causes the event can be started when nothing can be missed any more.
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
