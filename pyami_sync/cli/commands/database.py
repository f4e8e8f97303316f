"""The commands ``db get``, ``put``, ``del`` and ``show``: Asterisk's database (AstDB)."""

from __future__ import annotations

import click

from ...client import AMIClient
from ...exceptions import ActionError
from ...wire.action import Action
from ..exits import FAILED, OK
from ..program import Command, Group
from ..settings import Settings, pass_settings
from .acting import act

__all__ = ["db"]


@click.group(
    cls=Group,
    examples=["db show", "db get cfim 1101", "db put cfim 1101 5550", "db del cfim 1101", "db del cfim --tree"],
)
def db() -> None:
    """Read and write the server's database (AstDB)."""


@db.command("get", cls=Command, examples=["db get cfim 1101"])
@click.argument("family")
@click.argument("key")
@pass_settings
def get(settings: Settings, family: str, key: str) -> int:
    """Print the value of a KEY. Ends with 1 when there is none. Needs the write class `system` or `reporting`."""
    output = settings.output
    with settings.connect() as client:
        items = client.send("DBGet", Family=family, Key=key).events
    if not items:
        output.error(f"the database has no /{family}/{key}", FAILED)
        return FAILED
    value = items[0].get("Val", "")
    if output.as_json:
        output.record({"family": family, "key": key, "value": value})
    else:
        output.text(value)
    return OK


@db.command("put", cls=Command, examples=["db put cfim 1101 5550"])
@click.argument("family")
@click.argument("key")
@click.argument("value")
@pass_settings
def put(settings: Settings, family: str, key: str, value: str) -> int:
    """Set the VALUE of a KEY. Needs the write class `system`."""
    with settings.connect() as client:
        ok = act(
            settings.output,
            client,
            Action("DBPut", Family=family, Key=key, Val=value),
            f"/{family}/{key} = {value}",
            family=family,
            key=key,
            value=value,
        )
    return OK if ok else FAILED


@db.command("del", cls=Command, examples=["db del cfim 1101", "db del cfim --tree"])
@click.argument("family")
@click.argument("key", required=False)
@click.option("--tree", is_flag=True, help="Delete everything below FAMILY, or below KEY.")
@pass_settings
def delete(settings: Settings, family: str, key: str | None, tree: bool) -> int:
    """Delete a KEY, or a whole tree. Needs the write class `system`."""
    if key is None and not tree:
        raise click.UsageError("which key? With --tree, everything below the family is deleted")
    with settings.connect() as client:
        ok = act(
            settings.output,
            client,
            Action("DBDelTree" if tree else "DBDel", Family=family, Key=key),
            f"deleted /{family}{'/' + key if key else ''}",
            family=family,
            key=key,
        )
    return OK if ok else FAILED


@db.command("show", cls=Command, examples=["db show", "db show cfim", "db show --json | jq -r .value"])
@click.argument("family", required=False)
@click.argument("key", required=False)
@pass_settings
def show(settings: Settings, family: str | None, key: str | None) -> int:
    """Show keys and values: all of them, or those below FAMILY.

    Needs the write class `system` or `reporting`; before Asterisk 16, `command`.
    """
    output = settings.output
    with settings.connect() as client:
        rows = read_tree(client, family, key)
    if output.as_json:
        for path, value in rows:
            output.record({"key": path, "value": value})
    elif rows:
        output.table(f"{len(rows)} entries", ["Key", "Value"], rows, styles={"Key": "cyan"})
    else:
        output.note("none")
    return OK


def read_tree(client: AMIClient, family: str | None, key: str | None) -> list[tuple[str, str]]:
    """Return keys and values, by DBGetTree if the server has it, otherwise by a console command."""
    try:
        items = client.send("DBGetTree", Family=family, Key=key).events
    except ActionError as exc:
        if "unknown command" not in exc.response.message.lower():
            raise
    else:
        return [(item["Key"], item["Val"]) for item in items]
    lines = client.command(" ".join(["database show", *(each for each in (family, key) if each)]))
    pairs = (line.partition(":")[::2] for line in lines if line.startswith("/"))
    return [(path.strip(), value.strip()) for path, value in pairs]
