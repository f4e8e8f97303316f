"""The AGI commands of Asterisk 16 and 22, for simulated channels."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from .line import COMMANDS, SAMPLES, Command, Line, Listening

if TYPE_CHECKING:
    from ..state import Channel

__all__ = ["COMMANDS"]

_variable = re.compile(r"\$\{([^${}]*)\}")


def command(name: str, least: int = 0, most: int | None = None) -> Callable[[Command], Command]:
    """Register a command."""

    def register(function: Command) -> Command:
        COMMANDS[name] = (least, least if most is None else most, function)
        return function

    return register


def value_of(line: Line, name: str, channel: Channel | None = None) -> str | None:
    """Return a variable of a channel, or one of a few functions."""
    channel = channel or line.channel
    functions = {
        "CALLERID(num)": channel.number,
        "CALLERID(name)": channel.caller,
        "CALLERID(all)": f'"{channel.caller}" <{channel.number}>',
        "CHANNEL": channel.name,
        "CHANNEL(name)": channel.name,
        "CHANNEL(state)": "Up" if channel.state == 6 else "Ring",
        "CONTEXT": channel.context,
        "EXTEN": channel.exten,
        "UNIQUEID": channel.uniqueid,
    }
    if name in functions:
        return functions[name]
    return channel.variables.get(name, line.pbx.variables.get(name))


@command("answer")
def answer(line: Line) -> str:
    line.answer_call()
    return "200 result=0"


@command("asyncagi break")
@command("noop", 0, 64)
@command("set autohangup", 1)
@command("set music", 1, 2)
def accept(line: Line, *ignored: str) -> str:
    return "200 result=0"


@command("verbose", 1, 2)
@command("tdd mode", 1)
def agree(line: Line, *ignored: str) -> str:
    return "200 result=1"


@command("send text", 1)
def send_text(line: Line, text: str) -> str:
    line.heard.append(f"text:{text}")
    return "200 result=0"


@command("send image", 1)
def send_image(line: Line, name: str) -> str:
    line.heard.append(f"image:{name}")
    return "200 result=0"


@command("channel status", 0, 1)
def channel_status(line: Line, name: str = "") -> str:
    channel = line.pbx.find(name) if name else line.channel
    return f"200 result={-1 if channel is None else channel.state}"


@command("hangup", 0, 1)
def hangup(line: Line, name: str = "") -> str:
    if not name:
        line.hung_up = True
        return "200 result=1"
    channel = line.pbx.find(name)
    if channel is None:
        return "200 result=-1"
    line.pbx.hangup(channel)
    return "200 result=1"


@command("exec", 1, 2)
def execute(line: Line, name: str, data: str = "") -> str:
    known = line.apps.get(name.lower())
    if known is not None:
        return f"200 result={known(data) if callable(known) else known}"
    if name.lower() in ("playback", "background"):
        line.heard.extend(data.partition(",")[0].split("&"))
        line.channel.variables["PLAYBACKSTATUS"] = "SUCCESS"
        return "200 result=0"
    if name.lower() == "set":
        variable, _, value = data.partition("=")
        line.pbx.set_variable(line.channel, variable, value)
        return "200 result=0"
    if name.lower() in ("noop", "verbose", "wait", "ringing", "log"):
        return "200 result=0"
    return "200 result=-2"


@command("gosub", 3, 4)
def gosub(line: Line, context: str, exten: str, priority: str, arguments: str = "") -> str:
    if exten not in line.pbx.dialplan.get(context, {}):
        return "200 result=-1 Gosub label not found"
    return "100 result=0 Trying...\n200 result=0 Gosub complete"


# Variables and the database


@command("get variable", 1)
def get_variable(line: Line, name: str) -> str:
    value = value_of(line, name)
    return "200 result=0" if value is None else f"200 result=1 ({value})"


@command("get full variable", 1, 2)
def get_full_variable(line: Line, expression: str, name: str = "") -> str:
    channel = line.pbx.find(name) if name else line.channel
    if channel is None:
        return "200 result=0"
    return f"200 result=1 ({_variable.sub(lambda found: value_of(line, found[1], channel) or '', expression)})"


@command("set variable", 2)
def set_variable(line: Line, name: str, value: str) -> str:
    line.pbx.set_variable(line.channel, name, value)
    return "200 result=1"


@command("set callerid", 1)
def set_callerid(line: Line, text: str) -> str:
    name, bracket, number = text.partition("<")
    if not bracket:
        name, number = "", text
    line.pbx.set_caller(line.channel, number.rstrip("> "), name.strip(' "'))
    return "200 result=1"


@command("database get", 2)
def database_get(line: Line, family: str, key: str) -> str:
    value = line.pbx.database.get((family, key))
    return "200 result=0" if value is None else f"200 result=1 ({value})"


@command("database put", 3)
def database_put(line: Line, family: str, key: str, value: str) -> str:
    line.pbx.database[family, key] = value
    return "200 result=1"


@command("database del", 2)
def database_del(line: Line, family: str, key: str) -> str:
    line.pbx.database.pop((family, key), None)
    return "200 result=1"


@command("database deltree", 1, 2)
def database_deltree(line: Line, family: str, tree: str = "") -> str:
    database = line.pbx.database
    found = [key for key in database if key[0] == family and (not tree or key[1].startswith(tree))]
    for key in found:
        del database[key]
    return f"200 result={0 if found else 1}"


# Where the dialplan goes on


@command("set context", 1)
def set_context(line: Line, context: str) -> str:
    return line.move(context=context)


@command("set extension", 1)
def set_extension(line: Line, exten: str) -> str:
    return line.move(exten=exten)


@command("set priority", 1)
def set_priority(line: Line, priority: str) -> str | Listening:
    return line.move(priority=int(priority)) if priority.isdigit() else line.usage("set priority")


# What the caller hears and presses


@command("stream file", 2, 3)
def stream_file(line: Line, name: str, keys: str, offset: str = "") -> str | Listening:
    return line.hear(name, keys)


@command("control stream file", 2, 7)
def control_stream_file(line: Line, name: str, keys: str, *controls: str) -> str | Listening:
    return line.hear(name, keys)


@command("get option", 2, 3)
def get_option(line: Line, name: str, keys: str, timeout: str = "") -> str | Listening:
    return line.hear(name, keys)


@command("get data", 1, 3)
def get_data(line: Line, names: str, timeout: str = "", most: str = "1024") -> Listening:
    line.heard.extend(names.split("&"))
    line.changed.notify_all()
    return Listening("#", int(most), lambda got: f"200 result={got}", lambda got: f"200 result={got} (timeout)")


@command("wait for digit", 1)
def wait_for_digit(line: Line, timeout: str) -> Listening:
    return Listening("0123456789*#ABCD", 0, lambda digit: f"200 result={ord(digit)}", lambda got: "200 result=0")


@command("receive char", 1)
def receive_char(line: Line, timeout: str) -> Listening:
    every = "".join(map(chr, range(32, 127)))
    failed = "200 result=-1 (hangup)"
    return Listening(every, 0, lambda got: f"200 result={ord(got)}", lambda got: "200 result=0 (timeout)", failed)


@command("receive text", 1)
def receive_text(line: Line, timeout: str) -> Listening:
    return Listening("\n", 1024, lambda got: f"200 result=1 ({got})", lambda got: "200 result=-1")


@command("record file", 4, 7)
def record_file(line: Line, name: str, form: str, keys: str, longest: str, *more: str) -> str | Listening:
    line.heard.extend(["beep"] if "BEEP" in more else [])
    return Listening(
        keys,
        0,
        lambda digit: f"200 result={ord(digit)} (dtmf) endpos={SAMPLES}",
        lambda got: f"200 result=0 (timeout) endpos={SAMPLES}",
        "200 result=-1 (hangup) endpos=0",
    )


def _register_say(kind: str, most: int) -> None:
    @command(f"say {kind}", 2, most)
    def say(line: Line, text: str, keys: str, *more: str) -> str | Listening:
        said = line.hear(f"{kind}:{text}", keys)
        if isinstance(said, Listening):
            said.ended, said.timed_out = (lambda digit: f"200 result={ord(digit)}"), (lambda got: "200 result=0")
            said.hung_up = "200 result=-1"
            return said
        return "200 result=0"


for _kind, _most in (("alpha", 3), ("digits", 2), ("number", 3), ("phonetic", 2), ("date", 2), ("time", 2)):
    _register_say(_kind, _most)
_register_say("datetime", 4)


# There is no speech engine here, as on most servers


@command("speech create", 1)
@command("speech set", 2)
@command("speech destroy")
@command("speech load grammar", 2)
@command("speech unload grammar", 1)
@command("speech activate grammar", 1)
@command("speech deactivate grammar", 1)
@command("speech recognize", 2, 3)
def no_speech(line: Line, *ignored: str) -> str:
    return "200 result=0"
