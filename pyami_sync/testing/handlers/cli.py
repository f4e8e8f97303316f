"""The simulator's answers to the action ``Command``: a few console commands, in the form of the version."""

from __future__ import annotations

import time

from ..rights import names_of
from .registry import Call, handler

__all__: list[str] = []


@handler("Command", "command", about="run a command of the console")
def command(call: Call) -> bytes:
    text = call.get("Command")
    if not text and call.simulator.major >= 13:
        return call.error("No command provided")
    if text.startswith(("module load", "module unload", "restart gracefully")):
        return call.error("Command blacklisted")
    lines = _run(call, text)
    failed = lines is None
    if lines is None:
        lines = [f"No such command '{text}' (type 'core show help {text}' for other possible commands)"]
    if call.simulator.major < 14:
        # Console text between LF and an end marker; it says "Follows" whatever became of the command.
        head = call.response("Follows", ("Privilege", "Command")).removesuffix(b"\r\n")
        # A real server puts the ActionID after the privilege.
        names = head.split(b"\r\n")
        if call.id:
            names[1], names[2] = names[2], names[1]
        body = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        return b"\r\n".join(names) + body + b"--END COMMAND--\r\n\r\n"
    return call.response(
        "Error" if failed else "Success",
        ("Message", "Command output follows"),
        *(("Output", line) for line in lines or [""]),
    )


def _run(call: Call, text: str) -> list[str] | None:
    """Return the output of a command; :data:`None` if there is no such command."""
    simulator = call.simulator
    pbx = simulator.pbx
    match text.split():
        case ["core", "show", "version"]:
            return [f"Asterisk {simulator.version} built by nobody @ localhost on a simulator"]
        case ["core", "show", "uptime", *_]:
            seconds = int(time.time() - simulator.started)
            return [f"System uptime: {seconds} seconds", f"Last reload: {seconds} seconds"]
        case ["core", "show", "channels", *_]:
            lines = [f"{'Channel':<20} {'Location':<20} {'State':<7} Application(Data)"]
            for channel in pbx.matching(bool):
                place = f"{channel.exten}@{channel.context}:{channel.priority}"
                state = "Up" if channel.state == 6 else "Ring"
                run = f"{channel.application}({channel.data})"
                lines.append(f"{channel.name[:20]:<20} {place[:20]:<20} {state:<7} {run}")
            count = len(pbx.channels)
            lines.append(f"{count} active channel{'' if count == 1 else 's'}")
            return [*lines, f"{pbx.calls} calls processed"]
        case ["queue", "show"]:
            return [line for queue in pbx.queues for line in _queue(call, queue)]
        case ["queue", "show", name]:
            return _queue(call, name) if name in pbx.queues else [f"No such queue: {name}."]
        case ["database", "show", *path]:
            found = [
                f"/{family}/{key:<40}: {value}"
                for (family, key), value in sorted(pbx.database.items())
                if [family, *key.split("/")][: len(path)] == path
            ]
            return [*found, f"{len(found)} results found."]
        case ["dialplan", "show", *_]:
            return _dialplan(call)
        case ["pjsip", "show", "endpoints"]:
            return [" Endpoint:  <Endpoint/CID>", *(f" Endpoint:  {name}" for name in pbx.endpoints), ""]
        case ["manager", "show", "user", name]:
            return _user(call, name)
        case ["core", "reload"] | ["queue", "reset", *_]:
            return []
        case _:
            return None


def _user(call: Call, name: str) -> list[str]:
    user = call.simulator.users.get(name)
    if user is None:
        return [f"There is no manager called {name}"]
    return [
        "",
        f"          username: {name}",
        "            secret: <Set>",
        "               ACL: no",
        f"         read perm: {names_of(user.read_bits).removesuffix(',all')}",
        f"        write perm: {names_of(user.write_bits).removesuffix(',all')}",
        "   displayconnects: no",
        "allowmultiplelogin: yes",
        "         Variables: ",
        "",
    ]


def _queue(call: Call, name: str) -> list[str]:
    queue = call.simulator.pbx.queues[name]
    lines = [
        f"{name} has {len(queue.callers)} calls (max unlimited) in '{queue.strategy}' strategy"
        f" ({queue.hold_time}s holdtime, {queue.talk_time}s talktime), W:0, C:{queue.completed},"
        f" A:{queue.abandoned}, SL:0.0%, SL2:0.0% within 0s"
    ]
    lines += ["   Members: "] if queue.members else ["   No Members"]
    lines += [f"      {each.name} ({each.interface}) has taken {each.calls} calls" for each in queue.members.values()]
    lines += ["   Callers: "] if queue.callers else ["   No Callers"]
    lines += [f"      {each.position}. {each.channel.name}" for each in queue.callers]
    return [*lines, ""]


def _dialplan(call: Call) -> list[str]:
    lines = []
    for context, extensions in call.simulator.pbx.dialplan.items():
        lines.append(f"[ Context '{context}' created by 'pbx_config' ]")
        for exten, steps in extensions.items():
            for number, (name, data) in enumerate(steps, 1):
                label = f"'{exten}' =>" if number == 1 else ""
                lines.append(f"  {label:<16} {number}. {name}({data})".ljust(62) + "[pbx_config]")
        lines.append("")
    return lines
