"""The commands ``hangup``, ``transfer``, ``park``, ``pause``, ``unpause`` and ``reload``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import click

from ...client import AMIClient
from ...exceptions import ActionError
from ...wire.action import Action
from ..exits import FAILED, OK
from ..output import Output
from ..program import Command
from ..settings import Settings, pass_settings
from ..types import DURATION

__all__ = ["act", "hangup", "park", "pause", "reload", "transfer", "unpause"]

GLOB = frozenset("*?[")


def act(output: Output, client: AMIClient, action: Action[Any], done: str, **more: Any) -> bool:
    """Send an action, report its outcome, and return whether it succeeded.

    Args:
        output: where to print it.
        client: sends it.
        action: the action.
        done: text to print on success, unless the output is JSON.
        more: further fields of the JSON record.

    """
    try:
        response = client.send(action)
    except ActionError as exc:
        output.error(exc, FAILED)
        return False
    if output.as_json:
        output.record({"action": action.name, **more, "ok": True, "message": response.message})
    elif not output.quiet:
        output.text(f"{done}: {response.message}" if response.message else done)
    return True


def matching(client: AMIClient, names: Iterable[str]) -> list[str]:
    """Return the channels for the arguments: names and Uniqueids as they are, and for globs all matching channels.

    Raises:
        click.UsageError: no channel matches a glob or has that Uniqueid.

    """
    found: list[str] = []
    listed: list[Mapping[str, Any]] | None = None
    for name in names:
        if "/" in name and not GLOB & set(name):
            matches = [name]
        else:
            if listed is None:
                listed = [item.to_dict() for item in client.send("CoreShowChannels").events]
            matches = [
                str(each["Channel"])
                for each in listed
                if each.get("Uniqueid") == name or fnmatchcase(str(each["Channel"]).lower(), name.lower())
            ]
            if not matches:
                raise click.UsageError(f"no channel matches {name!r}; `pyami-sync channels` lists those that are up")
        found += (each for each in matches if each not in found)
    return found


@click.command(
    cls=Command,
    examples=["hangup PJSIP/1101-00000017", "hangup 'PJSIP/trunk-*' --yes", "hangup 1764254000.12 --cause 21"],
)
@click.argument("channels", nargs=-1, required=True, metavar="CHANNEL...")
@click.option("--cause", type=click.IntRange(1, 127), help="Hangup cause (Q.850), such as 16, 17 or 21.")
@click.option("-y", "--yes", is_flag=True, help="Hang up all that a pattern matches without asking.")
@pass_settings
def hangup(settings: Settings, channels: tuple[str, ...], cause: int | None, yes: bool) -> int:
    """Hang up a CHANNEL, given by its name, its Uniqueid or a pattern.

    Needs the write class `call` or `system`. Ends with 1 when a channel could not be hung up.
    """
    with settings.connect() as client:
        found = matching(client, channels)
        if len(found) > len(channels) and not yes:
            text = f"hang up {len(found)} channels ({', '.join(found[:3])}{', …' if len(found) > 3 else ''})"
            if settings.output.as_json or not sys.stdin.isatty():
                raise click.UsageError(f"this would {text}; add --yes to do it")
            click.confirm(f"{text[0].upper()}{text[1:]}?", abort=True, err=True)
        done = [
            act(
                settings.output,
                client,
                Action("Hangup", Channel=channel, Cause=cause),
                f"hung up {channel}",
                channel=channel,
            )
            for channel in found
        ]
    return OK if all(done) else FAILED


def extension(text: str) -> tuple[str, str | None]:
    """Split ``300@internal`` into extension and context.

    Raises:
        click.BadParameter: it names no extension.

    """
    exten, at, context = text.partition("@")
    if not exten or (at and not context):
        raise click.BadParameter(f"{text!r} is not EXTEN or EXTEN@CONTEXT", param_hint="EXTEN")
    return exten, context or None


@click.command(
    cls=Command,
    examples=[
        "transfer PJSIP/1101-00000017 300@internal",
        "transfer PJSIP/1101-00000017 300@internal --attended",
        "transfer PJSIP/trunk-00000016 700@default --self",
    ],
)
@click.argument("channel")
@click.argument("target", metavar="EXTEN[@CONTEXT]")
@click.option("--attended", is_flag=True, help="Let the transferring party talk to the target first.")
@click.option("--self", "itself", is_flag=True, help="Send CHANNEL itself there, not the party it talks to.")
@pass_settings
def transfer(settings: Settings, channel: str, target: str, attended: bool, itself: bool) -> int:
    """Transfer the party that CHANNEL talks to; with --self, CHANNEL itself, whether it talks or not.

    Without a context, the server uses the one of the channel. Needs the write class `call`.
    """
    exten, context = extension(target)
    if attended and itself:
        raise click.UsageError("--attended and --self exclude each other: a channel can't announce itself")
    name = "Atxfer" if attended else "Redirect" if itself else "BlindTransfer"
    with settings.connect() as client:
        (channel,) = matching(client, [channel])[:1]
        where: dict[str, Any] = {"Exten": exten, "Context": context}
        if name != "BlindTransfer":
            where["Priority"] = 1
        if context is None and name != "Atxfer":
            where["Context"] = client.send("Getvar", Channel=channel, Variable="CONTEXT")["Value"]
        ok = act(
            settings.output,
            client,
            Action(name, Channel=channel, **where),
            f"transferred {channel} to {exten}",
            channel=channel,
            exten=exten,
            context=where["Context"],
        )
    return OK if ok else FAILED


@click.command(cls=Command, examples=["park PJSIP/trunk-00000016", "park PJSIP/trunk-00000016 --lot vip --timeout 2m"])
@click.argument("channel")
@click.option("--announce", metavar="CHANNEL", help="Channel that hears the number of the parking space.")
@click.option("--lot", help="Parking lot.  [default]")
@click.option("--for", "seconds", type=DURATION, metavar="TIME", help="How long until it is called back.")
@pass_settings
def park(settings: Settings, channel: str, announce: str | None, lot: str | None, seconds: float | None) -> int:
    """Park CHANNEL. Needs the write class `call`."""
    with settings.connect() as client:
        (channel,) = matching(client, [channel])[:1]
        action: Action[Any] = Action(
            "Park",
            Channel=channel,
            AnnounceChannel=announce,
            Parkinglot=lot,
            Timeout=None if seconds is None else round(seconds * 1000),
        )
        ok = act(settings.output, client, action, f"parked {channel}", channel=channel)
    return OK if ok else FAILED


def _set_paused(settings: Settings, interface: str, queue: str | None, reason: str | None, paused: bool) -> int:
    action: Action[Any] = Action("QueuePause", Interface=interface, Paused=paused, Queue=queue, Reason=reason)
    state = "paused" if paused else "unpaused"
    where = f"in {queue}" if queue else "in all queues"
    with settings.connect() as client:
        ok = act(
            settings.output,
            client,
            action,
            f"{state} {interface} {where}",
            interface=interface,
            queue=queue,
            paused=paused,
        )
    return OK if ok else FAILED


@click.command(cls=Command, examples=["pause PJSIP/1101 --reason lunch", "pause PJSIP/1101 --queue support"])
@click.argument("interface")
@click.option("--queue", help="Only in this queue.  [all]")
@click.option("--reason", help="Shown in lists, events and the queue log.")
@pass_settings
def pause(settings: Settings, interface: str, queue: str | None, reason: str | None) -> int:
    """Pause a queue member: it gets no calls until it is unpaused. Needs the write class `agent`."""
    return _set_paused(settings, interface, queue, reason, True)


@click.command(cls=Command, examples=["unpause PJSIP/1101", "unpause PJSIP/1101 --queue support"])
@click.argument("interface")
@click.option("--queue", help="Only in this queue.  [all]")
@pass_settings
def unpause(settings: Settings, interface: str, queue: str | None) -> int:
    """End the pause of a queue member. Needs the write class `agent`."""
    return _set_paused(settings, interface, queue, None, False)


@click.command("reload", cls=Command, examples=["reload", "reload app_queue.so", "reload res_pjsip.so"])
@click.argument("module", required=False)
@pass_settings
def reload(settings: Settings, module: str | None) -> int:
    """Reload the server's configuration: all of it, or that of one MODULE.

    Needs the write class `config` or `system`. Ends with 1 when there is no such module or its reload failed.
    """
    with settings.connect() as client:
        ok = act(
            settings.output,
            client,
            Action("Reload", Module=module),
            f"reloaded {module or 'all modules'}",
            module=module,
        )
    return OK if ok else FAILED
