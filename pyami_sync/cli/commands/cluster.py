"""``cluster``: many servers at once."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ...action import Action
from ...cluster import ClusterPool
from ...cluster_config import NodeConfig, read_toml
from ...deadline import Deadline
from ...exceptions import AMIError, EventsLost, WaitTimeout
from ...health import NodeHealth
from ...session import State
from ..answers import show_answer
from ..events import print_event
from ..exits import NO_CONNECTION, OK, code_of
from ..following import next_event
from ..output import Output, hide_secrets
from ..program import Command, Group
from ..settings import Settings, pass_settings
from ..types import DURATION, HEADER
from .describe import complete_action, complete_event
from .listening import where_of

__all__ = ["cluster"]

HEALTH_WAIT = 3.0
UP = {True: "bold green", False: "bold red"}


@click.group(
    cls=Group,
    connects=False,
    examples=[
        "cluster --config nodes.toml health",
        "cluster --config nodes.toml health --watch",
        "cluster --config nodes.toml broadcast CoreStatus --tag eu",
        "cluster --config nodes.toml events 'Queue*' --for 5m",
    ],
)
@click.option(
    "-c",
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="AMI_CLUSTER",
    required=True,
    metavar="FILE",
    help="TOML file of the nodes (else AMI_CLUSTER).",
)
@click.option("--timeout", type=DURATION, metavar="TIME", help="For connecting and for each action.  [10s]")
@click.pass_context
def cluster(context: click.Context, config: Path, timeout: float | None) -> None:
    """Ask, tell and watch many servers at once.

    The file names the nodes; AMI_SECRET is the secret of those that have none in it:

    \b
        [defaults]
        username = "admin"
        secret_file = "/run/secrets/ami"
        [nodes.paris]
        url = "ami://10.1.0.1"
        tags = ["eu"]
    """
    context.meta[__name__] = (config, timeout)


def open_pool(settings: Settings, context: click.Context, *, events: bool, tags: tuple[str, ...] = ()) -> ClusterPool:
    """Make the cluster that the file describes, or the nodes of it that have any of the tags.

    Raises:
        click.UsageError: the file is not as it should be, or names no such node.

    """
    path, timeout = context.meta[__name__]
    settings.start_logging()
    defaults: dict[str, Any] = {} if timeout is None else {"timeout": timeout, "connect_timeout": timeout}
    try:
        found = read_toml(path, {**defaults, **({} if events else {"event_mask": "off"})})
        secret = os.environ.get("AMI_SECRET", "")
        nodes = {each.id: _with_secret(each, secret) for each in found if not tags or each.tags & set(tags)}
        if not nodes:
            raise ValueError(f"{path}: no node{' with such a tag' if tags else ''}")
        return ClusterPool(nodes, **defaults)
    except (OSError, ValueError, TypeError) as exc:
        raise click.UsageError(str(exc)) from None


def _with_secret(node: NodeConfig, secret: str) -> NodeConfig:
    return node if node.options.secret else replace(node, options=replace(node.options, secret=secret))


@cluster.command(
    "health",
    cls=Command,
    connects=False,
    short_help="Show each node's state, round trip and version.",
    examples=["cluster --config nodes.toml health --watch"],
)
@click.option("-t", "--tag", "tags", multiple=True, help="Only nodes with this tag; may be repeated.")
@click.option("-w", "--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--every", type=DURATION, default="2s", show_default=True, metavar="TIME", help="How often with --watch.")
@pass_settings
@click.pass_context
def health(context: click.Context, settings: Settings, tags: tuple[str, ...], watch: bool, every: float) -> int:
    """Show each node's state, round trip, clock, version and last error; end with 3 unless all are up."""
    output = settings.output
    pool = open_pool(settings, context, events=False, tags=tags)
    try:
        with output.busy(f"connecting to {len(pool)} nodes"):
            pool.open()
            _wait_measured(pool)
        if watch and output.full_screen:
            _watch(output, pool, every)
            return OK
        while True:
            found = list(pool.health().values())
            _print(output, found)
            if not watch:
                return OK if all(each.responsive for each in found) else NO_CONNECTION
            output.flush()
            time.sleep(every)
    finally:
        pool.close(1.0)


def _wait_measured(pool: ClusterPool) -> None:
    """Give the nodes that are up the moment that their first measurement takes."""
    deadline = Deadline(HEALTH_WAIT)
    while not deadline.expired and any(
        each.state is State.CONNECTED and (each.round_trip is None or each.server_version is None)
        for each in pool.health().values()
    ):
        time.sleep(0.02)


def _rows(output: Output, found: list[NodeHealth]) -> list[list[object]]:
    rows: list[list[object]] = []
    for each in found:
        up: object = each.state.value if each.responsive or each.state is not State.CONNECTED else "silent"
        if output.terminal:
            from rich.text import Text

            up = Text(str(up), UP[each.responsive])
        rows.append(
            [
                each.node,
                up,
                _age(time.time() - each.since),
                "" if each.round_trip is None else f"{each.round_trip * 1000:.1f} ms",
                each.pending,
                each.reconnects,
                "" if each.clock_offset is None else f"{each.clock_offset:+.2f} s",
                each.server_version or "",
                each.address,
                "" if each.last_error is None else str(each.last_error),
            ]
        )
    return rows


COLUMNS = ["Node", "State", "Since", "Ping", "Pending", "Back", "Clock", "Version", "Address", "Last error"]
NUMBERS = ["Since", "Ping", "Pending", "Back", "Clock"]


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _print(output: Output, found: list[NodeHealth]) -> None:
    if output.as_json:
        for each in found:
            output.record(each.to_dict())
    else:
        up = sum(each.responsive for each in found)
        output.table(f"{up} of {len(found)} up", COLUMNS, _rows(output, found), numbers=NUMBERS)


def _watch(output: Output, pool: ClusterPool, every: float) -> None:
    from rich.console import Group as Lines
    from rich.text import Text

    from ..output import make_table
    from ..screen import FullScreen

    with FullScreen(output.console) as screen:
        while True:
            found = list(pool.health().values())
            up = sum(each.responsive for each in found)
            head = Text(f"{up} of {len(found)} up  {datetime.now():%H:%M:%S}  every {every:g} s, q ends it", "dim")
            # Those that need looking at come first, so that a screen that is too small shows them.
            found.sort(key=lambda each: each.responsive)
            screen.show(Lines(head, make_table("", COLUMNS, _rows(output, found), numbers=NUMBERS)))
            if screen.key(every).lower() == "q":
                return


@cluster.command(
    "broadcast",
    cls=Command,
    connects=False,
    short_help="Send an action to all nodes at once.",
    examples=[
        "cluster --config nodes.toml broadcast CoreStatus",
        "cluster --config nodes.toml broadcast Command 'Command=core show uptime' --tag eu",
        "cluster --config nodes.toml --json broadcast QueueSummary | jq -c '{node, ok}'",
    ],
)
@click.argument("action", shell_complete=complete_action)
@click.argument("headers", nargs=-1, type=HEADER, metavar="[HEADER=VALUE]...")
@click.option("-t", "--tag", "tags", multiple=True, help="Only nodes with this tag; may be repeated.")
@pass_settings
@click.pass_context
def broadcast(
    context: click.Context,
    settings: Settings,
    action: str,
    headers: tuple[tuple[str, str], ...],
    tags: tuple[str, ...],
) -> int:
    """Send an action to all nodes at once, and print each one's answer.

    Ends with 0 when all answered well, else with the exit code of the first node that did not.
    """
    output = settings.output
    made: Action = Action(action, headers)
    pool = open_pool(settings, context, events=False, tags=tags)
    try:
        with output.busy(f"connecting to {len(pool)} nodes"):
            pool.open()
        with output.busy(f"waiting for {len(pool)} answers to {action}"):
            answers = pool.broadcast(made)
    finally:
        pool.close(1.0)
    code = OK
    for node, answer in answers.items():
        if isinstance(answer, AMIError):
            code = code or code_of(answer)
            if output.as_json:
                output.record({"node": node, "ok": False, "error": str(answer), "type": type(answer).__name__})
            else:
                output.text(f"{node}: {answer}", style="bold red")
        elif output.as_json:
            output.record(
                {
                    "node": node,
                    "ok": True,
                    "response": hide_secrets(answer).to_dict(),
                    "events": [hide_secrets(event).to_dict() for event in answer.events],
                    "output": answer.output,
                }
            )
        else:
            output.text(f"{node}:", style="bold")
            show_answer(output, answer)
    return code


@cluster.command(
    "events",
    cls=Command,
    connects=False,
    short_help="Show the events of all nodes as one stream.",
    examples=["cluster --config nodes.toml events Hangup --for 1h > hangups.jsonl"],
)
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...", shell_complete=complete_event)
@click.option("-w", "--where", type=HEADER, multiple=True, metavar="HEADER=GLOB", help="Only those; may be repeated.")
@click.option("-t", "--tag", "tags", multiple=True, help="Only nodes with this tag; may be repeated.")
@click.option("--for", "period", type=DURATION, metavar="TIME", help="Stop after this time.")
@click.option("-n", "--count", type=click.IntRange(1), help="Stop after so many events.")
@click.option("--full", is_flag=True, help="Show all headers of an event.")
@pass_settings
@click.pass_context
def events(
    context: click.Context,
    settings: Settings,
    patterns: tuple[str, ...],
    where: tuple[tuple[str, str], ...],
    tags: tuple[str, ...],
    period: float | None,
    count: int | None,
    full: bool,
) -> None:
    """Show the events of all nodes as one stream, each with its node; JSON lines in a pipe."""
    output = settings.output
    pool = open_pool(settings, context, events=True, tags=tags)
    try:
        with pool.events(*patterns, where=where_of(where)) as stream:
            with output.busy(f"connecting to {len(pool)} nodes"):
                pool.open()
            readiness = pool.probe()
            for node, why in readiness.down.items():
                output.warn(f"{node}: {why}")
            output.note(f"listening on {readiness.up} of {readiness.total} nodes; Ctrl-C ends it")
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
                print_event(output, event, full=full, as_json=not output.terminal)
                if not stream.pending:
                    output.flush()
                if left is not None:
                    left -= 1
    finally:
        pool.close(1.0)
