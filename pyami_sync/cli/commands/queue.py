"""The commands ``queue add``, ``remove`` and ``show``: the members of queues."""

from __future__ import annotations

from typing import Any

import click

from ...wire.action import Action
from ..exits import FAILED, OK
from ..program import Command, Group
from ..settings import Settings, pass_settings
from .acting import act
from .tables import queues

__all__ = ["queue"]


@click.group(
    cls=Group,
    connects=True,
    examples=["queue show support", "queue add support PJSIP/1101", "queue remove support PJSIP/1101"],
)
def queue() -> None:
    """Add and remove members of queues, and show queues."""


@queue.command(
    "add",
    cls=Command,
    examples=["queue add support PJSIP/1101 --penalty 2 --name Alice", "queue add support PJSIP/1101 --paused"],
)
@click.argument("name", metavar="QUEUE")
@click.argument("interface")
@click.option("--penalty", type=click.IntRange(0), help="Members with lower ones are rung first.")
@click.option("--name", "member", help="Name of the member.")
@click.option("--paused", is_flag=True, help="Begin paused.")
@click.option("--state-interface", help="Device whose state is used instead of INTERFACE's.")
@pass_settings
def add(
    settings: Settings,
    name: str,
    interface: str,
    penalty: int | None,
    member: str | None,
    paused: bool,
    state_interface: str | None,
) -> int:
    """Add a member to a QUEUE. Needs the write class `agent`."""
    action: Action[Any] = Action(
        "QueueAdd",
        Queue=name,
        Interface=interface,
        Penalty=penalty,
        MemberName=member,
        Paused=paused or None,
        StateInterface=state_interface,
    )
    with settings.connect() as client:
        ok = act(settings.output, client, action, f"added {interface} to {name}", queue=name, interface=interface)
    return OK if ok else FAILED


@queue.command("remove", cls=Command, examples=["queue remove support PJSIP/1101"])
@click.argument("name", metavar="QUEUE")
@click.argument("interface")
@pass_settings
def remove(settings: Settings, name: str, interface: str) -> int:
    """Remove a dynamic member from a QUEUE. Needs the write class `agent`."""
    action: Action[Any] = Action("QueueRemove", Queue=name, Interface=interface)
    with settings.connect() as client:
        ok = act(settings.output, client, action, f"removed {interface} from {name}", queue=name, interface=interface)
    return OK if ok else FAILED


@queue.command("show", cls=Command, examples=["queue show", "queue show support --json"])
@click.argument("names", nargs=-1, metavar="[QUEUE]...")
@click.pass_context
def show(context: click.Context, names: tuple[str, ...]) -> Any:
    """Show queues with their members and callers; `pyami-sync queues` has more options."""
    return context.invoke(queues, names=names, members=True, watch=False, every=2.0)
