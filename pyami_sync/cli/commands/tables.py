"""The commands ``channels``, ``queues`` and ``endpoints``: tables, printed once or updated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import click

from ...client import AMIClient
from ...exceptions import ActionError, AMIError
from ...session.session import State
from ..exits import FAILED, OK
from ..fitting import Form, draw, show_table
from ..output import Output
from ..program import Command
from ..screen import FullScreen
from ..settings import Settings, connecting, pass_settings
from ..tables import (
    CHANNEL_FORM,
    MEMBER_FORM,
    QUEUE_FORM,
    Row,
    channel_rows,
    endpoint_rows,
    member_rows,
    queue_rows,
    read_channels,
    read_endpoints,
    read_queues,
)
from ..types import DURATION

__all__ = ["channels", "endpoints", "queues"]

Table = tuple[str, tuple[list[str], list[list[object]]], Form]
"""Title, columns and rows, and the form of a table."""


def watching(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for repetition to a command."""
    function = click.option(
        "--every", type=DURATION, default="2s", show_default=True, metavar="TIME", help="Interval of --watch."
    )(function)
    return click.option("-w", "--watch", is_flag=True, help="Update it until Ctrl-C.")(function)


def show(
    settings: Settings,
    read: Callable[[AMIClient], list[Row]],
    tables: Callable[[Output, list[Row]], list[Table]],
    watch: bool,
    every: float,
    check: Callable[[list[Row]], int] = lambda rows: OK,
) -> int:
    """Read rows and print them, once or repeatedly until Ctrl-C."""
    output = settings.output
    with settings.connect(stay=watch) as client:
        if not watch:
            with output.busy("asking"):
                rows = read(client)
            _print(output, rows, tables)
            return check(rows)
        if output.full_screen:
            return _watch_on_screen(output, client, read, tables, every)
        while True:
            found = _try(client, read)
            if isinstance(found, AMIError):
                output.warn(str(found))
            elif output.as_json:
                for row in found:
                    output.record({"at": _now(), **row})
            else:
                output.text(_now())
                _print(output, found, tables)
            output.flush()
            time.sleep(every)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _try(client: AMIClient, read: Callable[[AMIClient], list[Row]]) -> list[Row] | AMIError:
    """Read rows; return the error instead if the next try may succeed."""
    try:
        return read(client)
    except ActionError:
        raise
    except AMIError as exc:
        if client.state is State.CLOSED:
            raise
        return exc


def _print(output: Output, rows: list[Row], tables: Callable[[Output, list[Row]], list[Table]]) -> None:
    if output.as_json:
        for row in rows:
            output.record(row)
        return
    if not rows:
        output.note("none")
        return
    for title, (columns, cells), form in tables(output, rows):
        show_table(output, title, columns, cells, form)


def _watch_on_screen(
    output: Output,
    client: AMIClient,
    read: Callable[[AMIClient], list[Row]],
    tables: Callable[[Output, list[Row]], list[Table]],
    every: float,
) -> int:
    """Show the tables on the terminal's alternate screen until the user ends it."""
    from rich.console import Group, RenderableType
    from rich.text import Text

    with FullScreen(output.console) as screen:
        while True:
            head = f"{connecting(client)}  {datetime.now():%H:%M:%S}  every {every:g} s, q ends it"
            parts: list[RenderableType] = [Text(head, "dim")]
            found = _try(client, read)
            if isinstance(found, AMIError):
                parts.append(Text(str(found), "bold red"))
            elif not found:
                parts.append(Text("none"))
            else:
                parts += [
                    draw(output, title, columns, cells, form)
                    for title, (columns, cells), form in tables(output, found)
                    if cells
                ]
            screen.show(Group(*parts))
            if screen.key(every).lower() == "q":
                return OK


@click.command(cls=Command, examples=["channels", "channels 'PJSIP/trunk-*'", "channels --watch", "channels --json"])
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@watching
@pass_settings
def channels(settings: Settings, patterns: tuple[str, ...], watch: bool, every: float) -> int:
    """Show the active channels: all, or those whose names match a PATTERN.

    Needs the write class `system` or `reporting`. A terminal that is too narrow shows fewer columns.
    """

    def read(client: AMIClient) -> list[Row]:
        rows = read_channels(client)
        return [row for row in rows if _matches(row["channel"], patterns)]

    def tables(output: Output, rows: list[Row]) -> list[Table]:
        return [(f"{len(rows)} channels", channel_rows(output, rows), CHANNEL_FORM)]

    return show(settings, read, tables, watch, every)


@click.command(
    cls=Command, examples=["queues", "queues support --members", "queues --watch --every 5s", "queues --json"]
)
@click.argument("names", nargs=-1, metavar="[QUEUE]...")
@click.option("-m", "--members", is_flag=True, help="Show the members and the callers who wait, too.")
@watching
@pass_settings
def queues(settings: Settings, names: tuple[str, ...], members: bool, watch: bool, every: float) -> int:
    """Show queues: waiting callers, the longest wait, free members, completed and abandoned calls.

    With names, only these; ends with 1 when one of them does not exist. JSON always includes members and callers.
    """

    def tables(output: Output, rows: list[Row]) -> list[Table]:
        found: list[Table] = [("Queues", queue_rows(rows), QUEUE_FORM)]
        if members:
            found.append(("Members and callers", member_rows(output, rows), MEMBER_FORM))
        return found

    def check(rows: list[Row]) -> int:
        missing = {name.lower() for name in names} - {row["queue"].lower() for row in rows}
        for name in sorted(missing):
            settings.output.warn(f"there is no queue {name!r}")
        return FAILED if missing else OK

    return show(settings, lambda client: read_queues(client, names), tables, watch, every, check)


@click.command(
    cls=Command,
    examples=[
        "endpoints",
        "endpoints 'PJSIP/*' --watch",
        "endpoints PJSIP/trunk --check || echo 'the trunk is down'",
        "endpoints --json | jq -r 'select(.reachable == false) | .endpoint'",
    ],
)
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@click.option("--check", "checked", is_flag=True, help="End with 1 unless there is at least one and all are reachable.")
@watching
@pass_settings
def endpoints(settings: Settings, patterns: tuple[str, ...], checked: bool, watch: bool, every: float) -> int:
    """Show phones and trunks of PJSIP, SIP and IAX2: all, or those whose names match a PATTERN.

    A pattern may omit the technology: `trunk` matches PJSIP/trunk, SIP/trunk and IAX2/trunk. Needs the write class
    `system` (PJSIP) or `reporting`.
    """

    def read(client: AMIClient) -> list[Row]:
        rows = read_endpoints(client)
        return [
            row
            for row in rows
            if _matches(row["endpoint"], patterns) or _matches(row["endpoint"].partition("/")[2], patterns)
        ]

    def tables(output: Output, rows: list[Row]) -> list[Table]:
        return [(f"{len(rows)} endpoints", endpoint_rows(output, rows), Form())]

    def check(rows: list[Row]) -> int:
        if not checked:
            return OK
        names = {row["endpoint"] for row in rows} | {row["endpoint"].partition("/")[2] for row in rows}
        missing = [each for each in patterns if not any(_matches(name, (each,)) for name in names)]
        for each in missing:
            settings.output.warn(f"there is no endpoint {each!r}")
        bad = [row for row in rows if row["reachable"] is False]
        for row in bad:
            settings.output.warn(f"{row['endpoint']} can't be reached: {row['state']}")
        return FAILED if bad or missing or not rows else OK

    return show(settings, read, tables, watch, every, check)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
