"""The command ``cluster``: sends actions to many servers, and shows their health and events."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import click

from ...cluster.config import NodeConfig, read_toml
from ...cluster.health import NodeHealth
from ...cluster.pool import ClusterPool
from ...engine.deadline import Deadline
from ...exceptions import AMIError
from ...session.session import State
from ...wire.action import Action
from ..answers import show_answer
from ..exits import NO_CONNECTION, OK, code_of
from ..fitting import WHOLE, Form, draw
from ..output import Output, clean, hide_secrets
from ..program import Command, Group
from ..settings import Settings, pass_settings
from ..types import DURATION, HEADER
from .describe import complete_action, complete_event
from .listening import print_events, printing, where_of

__all__ = ["cluster"]

HEALTH_WAIT = 3.0
UP = {True: "bold green", False: "bold red"}


@click.group(
    cls=Group,
    connects=False,
    cluster=True,
    examples=[
        "cluster --config nodes.toml health",
        "cluster --config nodes.toml health --watch",
        "cluster --config nodes.toml broadcast CoreStatus --tag eu",
        "cluster events 'Queue*' --config nodes.toml --for 5m",
    ],
)
def cluster() -> None:
    """Send actions to many servers at once, and show their health and events.

    The file names the nodes; AMI_SECRET is the secret of those that have none in it:

    \b
        [defaults]
        username = "admin"
        secret_file = "/run/secrets/ami"
        [nodes.paris]
        url = "ami://10.1.0.1"
        tags = ["eu"]
    """


def open_pool(settings: Settings, *, events: bool | str, tags: tuple[str, ...] = ()) -> ClusterPool:
    """Return a cluster of the nodes in the file, or of those that have any of the tags.

    Args:
        settings: of the command.
        events: event mask.
        tags: tags of the nodes; none means all nodes.

    Raises:
        click.UsageError: there is no file, it is not valid, or it has no such node.

    """
    path = settings.config or os.environ.get("AMI_CLUSTER")
    if not path:
        raise click.UsageError("no nodes given: --config FILE, or AMI_CLUSTER (see `pyami-sync cluster --help`)")
    settings.start_logging()
    # Options of the command take precedence over the file.
    limit = settings.timeout
    times: dict[str, Any] = {} if limit is None else {"timeout": limit, "connect_timeout": limit}
    said = times if events is True else times | {"event_mask": events or "off"}
    try:
        found = [each for each in read_toml(path) if not tags or each.tags & set(tags)]
        if not found:
            raise ValueError(f"{path}: no node{' with such a tag' if tags else ''}")
        return ClusterPool({each.id: _with(each, said) for each in found}, **times)
    except (OSError, ValueError, TypeError) as exc:
        raise click.UsageError(str(exc)) from None


def _with(node: NodeConfig, said: dict[str, Any]) -> NodeConfig:
    secret = node.options.secret or os.environ.get("AMI_SECRET", "")
    return replace(node, options=replace(node.options, secret=secret, **said))


@cluster.command(
    "health",
    cls=Command,
    connects=False,
    cluster=True,
    short_help="Show each node's state, round trip and version.",
    examples=["cluster --config nodes.toml health --watch"],
)
@click.option("-t", "--tag", "tags", multiple=True, help="Only nodes with this tag; may be repeated.")
@click.option("-w", "--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--every", type=DURATION, default="2s", show_default=True, metavar="TIME", help="How often with --watch.")
@pass_settings
def health(settings: Settings, tags: tuple[str, ...], watch: bool, every: float) -> int:
    """Show each node's state, round trip, clock, version and last error; end with 3 unless all are up."""
    output = settings.output
    pool = open_pool(settings, events=False, tags=tags)
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
    """Wait a moment for the first measurement of the connected nodes."""
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
FORM = Form(
    NUMBERS,
    {"Node": WHOLE, "State": WHOLE, "Address": WHOLE},
    ["Clock", "Back", "Pending", "Since", "Address", "Version"],
)


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
        title = f"{up} of {len(found)} up"
        if output.terminal:
            output.show(_drawn(output, title, found))
        else:
            output.table(title, COLUMNS, _rows(output, found), numbers=NUMBERS)


def _drawn(output: Output, title: str, found: list[NodeHealth]) -> Any:
    """Return the table for a terminal, with the errors below it, since a column is too narrow for them."""
    from rich.console import Group as Lines
    from rich.text import Text

    rows = [row[:-1] for row in _rows(output, found)]
    errors = [f"{each.node}: {each.last_error}" for each in found if each.last_error is not None]
    table = draw(output, title, COLUMNS[:-1], rows, FORM)
    return Lines(table, *(Text(clean(each), "red") for each in errors))


def _watch(output: Output, pool: ClusterPool, every: float) -> None:
    from rich.console import Group as Lines
    from rich.text import Text

    from ..screen import FullScreen

    with FullScreen(output.console) as screen:
        while True:
            found = list(pool.health().values())
            up = sum(each.responsive for each in found)
            head = Text(f"{up} of {len(found)} up  {datetime.now():%H:%M:%S}  every {every:g} s, q ends it", "dim")
            # Nodes with problems come first, so that a small screen shows them.
            found.sort(key=lambda each: each.responsive)
            screen.show(Lines(head, _drawn(output, "", found)))
            if screen.key(every).lower() == "q":
                return


@cluster.command(
    "broadcast",
    cls=Command,
    connects=False,
    cluster=True,
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
def broadcast(
    settings: Settings,
    action: str,
    headers: tuple[tuple[str, str], ...],
    tags: tuple[str, ...],
) -> int:
    """Send an action to all nodes at once, and print each one's answer.

    Ends with 0 when all nodes succeeded, otherwise with the exit code of the first node that did not.
    """
    output = settings.output
    made: Action = Action(action, headers)
    pool = open_pool(settings, events=False, tags=tags)
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
    cluster=True,
    short_help="Show the events of all nodes as one stream.",
    examples=["cluster --config nodes.toml events Hangup --for 1h > hangups.jsonl"],
)
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...", shell_complete=complete_event)
@printing
@click.option("-t", "--tag", "tags", multiple=True, help="Only nodes with this tag; may be repeated.")
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
    tags: tuple[str, ...],
) -> None:
    """Show the events of all nodes as one stream, each with its node.

    In a pipe each event is a line of JSON. Lost nodes are reconnected; messages about that go to standard error.
    """
    output = settings.output
    pool = open_pool(settings, events=mask or True, tags=tags)
    try:
        with pool.events(*patterns, where=where_of(where)) as stream:
            with output.busy(f"connecting to {len(pool)} nodes"):
                pool.open()
            report_nodes(pool, output)
            readiness = pool.probe()
            for node, why in readiness.down.items():
                output.warn(f"{node}: {why}")
            output.note(f"listening on {readiness.up} of {readiness.total} nodes; Ctrl-C ends it")
            print_events(output, stream, period=period, count=count, full=full, text=text)
    finally:
        pool.close(1.0)


def report_nodes(pool: ClusterPool, output: Output) -> None:
    """Print to standard error when a node is lost and when it is connected."""
    states = {name: each.state for name, each in pool.health().items()}

    def changed(health: NodeHealth) -> None:
        before, states[health.node] = states.get(health.node), health.state
        if before is State.CONNECTED and health.state is State.RECONNECTING:
            output.warn(f"{health.node}: the connection was lost; events are missing until it is restored")
        elif before is not State.CONNECTED and health.state is State.CONNECTED:
            output.warn(f"{health.node}: connected")

    pool.on_health(changed)
