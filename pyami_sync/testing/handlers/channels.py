"""The simulator's answers to actions about channels and calls."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from ..apps import APPS, await_answer, run_application, run_dialplan
from ..flow import Steps
from ..state import UP, Channel, Pair, escape
from .registry import Call, Item, handler

__all__: list[str] = []

REASONS = {"ANSWER": 4, "BUSY": 5, "CONGESTION": 8}


def clock(seconds: float) -> str:
    """Return a duration in the form of the header ``Duration``."""
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


@handler("CoreStatus", "system,reporting", about="tell when it started and how many calls there are")
def core_status(call: Call) -> bytes:
    simulator = call.simulator
    started = time.localtime(simulator.started)
    date, moment = time.strftime("%Y-%m-%d", started), time.strftime("%H:%M:%S", started)
    processed = simulator.pbx.calls if simulator.major >= 20 else None
    return call.response(
        "Success",
        ("CoreStartupDate", date),
        ("CoreStartupTime", moment),
        ("CoreReloadDate", date),
        ("CoreReloadTime", moment),
        ("CoreCurrentCalls", len(simulator.pbx.channels)),
        ("CoreProcessedCalls", processed),
    )


@handler("CoreShowChannels", "system,reporting", about="list all channels")
def core_show_channels(call: Call) -> bytes:
    pbx = call.simulator.pbx

    def items() -> Iterator[Item]:
        for channel in pbx.matching(bool):
            yield (
                "CoreShowChannel",
                [
                    *channel.snapshot(),
                    ("Application", channel.application),
                    ("ApplicationData", channel.data),
                    ("Duration", clock(pbx.now - channel.created)),
                    ("BridgeId", channel.bridge.uniqueid if channel.bridge else ""),
                ],
            )

    return call.listing("Channels will follow", items(), "CoreShowChannelsComplete")


@handler("CoreShowChannelMap", "system,reporting", about="list the channels joined with one", since=18)
def core_show_channel_map(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name = call.get("Channel")
    if not name:
        return call.error("CoreShowChannelMap requires a channel.\n")
    channel = pbx.find(name)
    if channel is None:
        return call.error("Could not get channel snapshot\n")
    joined = channel.bridge.channels if channel.bridge else []
    items: list[Item] = [("CoreShowChannelMap", each.snapshot()) for each in joined if each is not channel]
    return call.listing("Channel map will follow", items, "CoreShowChannelMapComplete")


@handler("Status", "system,call,reporting", about="list channels with their details")
def status(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name = call.get("Channel")
    channels = pbx.matching(bool)
    if name:
        found = pbx.find(name)
        if found is None:
            return call.error("No such channel")
        channels = [found]
    names = [each for text in call.all("Variables") for each in text.split(",") if each]
    items: list[Item] = [("Status", _status(call, channel, names)) for channel in channels]
    return call.listing(
        "Channel status will follow",
        items,
        "StatusComplete",
        extra=[("Items", len(items))],
        id_last=True,
        uniform=False,
    )


def _status(call: Call, channel: Channel, names: list[str]) -> list[Pair]:
    pbx = call.simulator.pbx
    values = {"CHANNEL(state)": "Up" if channel.state == UP else "Down"}
    variables = [f"{name}={_value(call, channel, name, values)}" for name in names]
    return [
        ("Privilege", "Call"),
        *channel.snapshot(),
        ("Type", channel.name.partition("/")[0]),
        ("DNID", ""),
        ("EffectiveConnectedLineNum", channel.connected_number or "<unknown>"),
        ("EffectiveConnectedLineName", channel.connected or "<unknown>"),
        ("TimeToHangup", 0),
        ("BridgeID", channel.bridge.uniqueid if channel.bridge else ""),
        ("Application", channel.application),
        ("Data", channel.data),
        ("Nativeformats", "(slin)"),
        ("Readformat", "slin"),
        ("Readtrans", ""),
        ("Writeformat", "slin"),
        ("Writetrans", ""),
        ("Callgroup", 0),
        ("Pickupgroup", 0),
        ("Seconds", pbx.since(channel.created)),
        *(("Variable", text) for text in variables),
    ]


def _value(call: Call, channel: Channel, name: str, values: dict[str, str]) -> str:
    found = values.get(name, channel.variables.get(name, call.simulator.pbx.variables.get(name)))
    return "(null)" if found is None else found


@handler("Getvar", "call,reporting", about="read a variable")
def getvar(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name, where = call.get("Variable"), call.get("Channel")
    if not name:
        return call.error("No variable specified")
    channel = pbx.find(where) if where else None
    if where and channel is None:
        return call.error("No such channel")
    own = channel.variables if channel is not None else {}
    return call.response("Success", ("Variable", name), ("Value", own.get(name, pbx.variables.get(name, ""))))


@handler("Setvar", "call", about="set a variable")
def setvar(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name, where = call.get("Variable"), call.get("Channel")
    if not name:
        return call.error("No variable specified")
    channel = pbx.find(where) if where else None
    if where and channel is None:
        return call.error("No such channel")
    pbx.set_variable(channel, name, call.get("Value"))
    return call.success("Variable Set")


@handler("Hangup", "system,call", about="hang up a channel, or all that match /an expression/")
def hangup(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name = call.get("Channel")
    if not name:
        return call.error("No channel specified")
    cause = call.number("Cause")
    if len(name) > 1 and name[0] == "/" == name[-1]:
        try:
            accept = re.compile(name[1:-1]).search
        except re.error:
            return call.error(f"Regex compile failed on: {name}")
        channels = pbx.matching(accept)
        items: list[Item] = [("ChannelHungup", [("Channel", channel.name)]) for channel in channels]
        for channel in channels:
            pbx.hangup(channel, cause)
        return call.listing("Channels hung up will follow", items, "ChannelsHungupListComplete", id_last=True)
    found = pbx.find(name)
    if found is None:
        return call.error("No such channel")
    pbx.hangup(found, cause)
    return call.success("Channel Hungup")


@handler("AbsoluteTimeout", "system,call", about="hang up a channel later")
def absolute_timeout(call: Call) -> bytes:
    pbx = call.simulator.pbx
    if not call.get("Channel"):
        return call.error("No channel specified")
    channel = pbx.find(call.get("Channel"))
    if channel is None:
        return call.error("No such channel")
    seconds = call.number("Timeout")

    def later() -> Steps[None]:
        yield float(seconds)
        pbx.hangup(channel)

    pbx.spawn(later())
    return call.success("Timeout Set")


@handler("Redirect", "call", about="send a channel to an extension")
def redirect(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name = call.get("Channel")
    if not name:
        return call.error("Channel not specified")
    channel = pbx.find(name)
    if channel is None:
        return call.error(f"Channel does not exist: {name}")
    context, exten = call.get("Context") or channel.context, call.get("Exten")
    if exten not in pbx.dialplan.get(context, {}):
        return call.error("Invalid destination")
    second = pbx.find(call.get("ExtraChannel")) if call.get("ExtraChannel") else None
    if call.get("ExtraChannel") and second is None:
        return call.error(f"ExtraChannel does not exist: {call.get('ExtraChannel')}")
    priority = call.number("Priority", 1)
    send_to(call, channel, context, exten, priority)
    if second is not None:
        where = call.get("ExtraContext") or context, call.get("ExtraExten") or exten
        send_to(call, second, *where, call.number("ExtraPriority", priority))
        return call.success("Dual Redirect successful")
    return call.success("Redirect successful")


def send_to(call: Call, channel: Channel, context: str, exten: str, priority: int) -> None:
    """Send a channel to a place in the dialplan, from whatever it executes."""
    pbx = call.simulator.pbx
    tasks, channel.tasks = channel.tasks, []
    for task in tasks:
        task.stop()
    pbx.leave(channel)
    channel.context, channel.exten, channel.priority = context, exten, priority
    pbx.run(channel, run_dialplan(pbx, channel))


@handler("Originate", "originate", about="make a call")
def originate(call: Call) -> bytes | None:
    pbx = call.simulator.pbx
    target, exten, application = call.get("Channel"), call.get("Exten"), call.get("Application")
    if not target:
        return call.error("Channel not specified")
    if not application and not (exten and call.get("Context") and call.get("Priority")):
        return call.error("Originate with 'Exten' requires 'Context' and 'Priority'")
    timeout = call.get("Timeout")
    if timeout and not timeout.isdigit():
        return call.error("Invalid timeout")
    if "/" not in target:
        return call.error("Invalid channel")
    if not application and exten not in pbx.dialplan.get(call.get("Context"), {}):
        return call.error("Extension does not exist.")
    asynchronous = call.flag("Async")

    def done(status: str, channel: Channel | None) -> None:
        if asynchronous:
            _originate_response(call, status, channel)
        elif status == "ANSWER":
            call.release(call.success("Originate successfully queued"))
        else:
            call.release(call.error("Originate failed"))

    steps = _originate(call, target, int(timeout or 30_000) / 1000, done)
    if asynchronous:
        # On a thread of its own, so that the answer is sent first.
        call.simulator.loop.call_later(0.0, lambda: pbx.spawn(steps))
        return call.success("Originate successfully queued")
    pbx.spawn(steps)
    return None


def _originate(call: Call, target: str, timeout: float, done: Callable[[str, Channel | None], object]) -> Steps[None]:
    pbx = call.simulator.pbx
    pbx.calls += 1
    channel = pbx.dial(target, uniqueid=call.get("ChannelId"), other_uniqueid=call.get("OtherChannelId"))
    if channel is None:
        done("CHANUNAVAIL", None)
        return
    channel.account = call.get("Account")
    pbx.execute(channel, "AppDial2", "(Outgoing Line)")
    for text in call.all("Variable"):
        for each in split_variables(text):
            name, _, value = each.partition("=")
            pbx.set_variable(channel, name, value)
            if name.startswith("_") and channel.peer is not None:
                pbx.set_variable(channel.peer, name, value)
    name, number = split_caller_id(call.get("CallerID"))
    if name or number:
        pbx.set_caller(channel, number, name)
    pbx.local_bridge(channel)
    string = target.partition("/")[2]
    pbx.emit("DialBegin", channel.snapshot("Dest"), [("DialString", string)])
    pbx.ring(channel)
    status = yield from await_answer(pbx, channel, timeout)
    pbx.emit("DialEnd", channel.snapshot("Dest"), [("DialStatus", status)])
    done(status, channel)
    if status != "ANSWER":
        timed_out = status == "NOANSWER" and not channel.failure and call.simulator.major >= 20
        pbx.hangup(channel, channel.cause or (17 if status == "BUSY" else 19 if timed_out else 0))
        return
    if call.get("Application"):
        name, data = call.get("Application"), call.get("Data")
        if name.lower() in APPS:
            pbx.run(channel, run_application(pbx, channel, name, data), requests=False)
        else:
            pbx.hangup(channel)
        return
    channel.context, channel.exten = call.get("Context"), call.get("Exten")
    channel.priority = call.number("Priority", 1)
    pbx.run(channel, run_dialplan(pbx, channel))


def _originate_response(call: Call, status: str, channel: Channel | None) -> None:
    answered = status == "ANSWER" and channel is not None
    reason = REASONS.get(status, 3 if channel is not None and channel.state == 5 else 0)
    if call.get("Application"):
        where: list[Pair] = [("Application", call.get("Application")), ("Data", call.get("Data"))]
    else:
        where = [("Context", call.get("Context")), ("Exten", call.get("Exten"))]
    call.simulator.pbx.emit(
        "OriginateResponse",
        [("ActionID", call.id)] if call.id else [],
        [
            ("Response", "Success" if answered else "Failure"),
            ("Channel", channel.name if answered and channel else call.get("Channel")),
        ],
        where,
        [
            ("Reason", reason),
            ("Uniqueid", channel.uniqueid if answered and channel else call.get("ChannelId") or "<unknown>"),
            ("CallerIDNum", (channel.number if channel else "") or "<unknown>"),
            ("CallerIDName", (channel.caller if channel else "") or "<unknown>"),
        ],
    )


def split_variables(text: str) -> list[str]:
    """Cut a ``Variable`` header at its commas, outside of quotes and brackets; drop the quoting."""
    found, current, depth, quoted, escaped = [], "", 0, False, False
    for char in text:
        if escaped:
            current, escaped = current + char, False
        elif char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted and not depth:
            found.append(current)
            current = ""
        else:
            depth += (char in "([") - (char in ")]")
            current += char
    return [each for each in [*found, current] if each]


def split_caller_id(text: str) -> tuple[str, str]:
    """Return name and number of ``"Name" <number>``, where the last ``<`` counts, or of a bare number."""
    match = re.fullmatch(r'\s*"?(.*?)"?\s*<([^<>]*)>\s*', text)
    if match:
        return match[1], match[2]
    return ("", text.strip()) if re.fullmatch(r"\s*\+?[\d*#]+\s*", text) else (text.strip(' "'), "")


@handler("SendText", "call", about="send text to a channel")
def send_text(call: Call) -> bytes:
    if not call.get("Channel"):
        return call.error("No channel specified")
    if not call.get("Message"):
        return call.error("No Message specified")
    if call.simulator.pbx.find(call.get("Channel")) is None:
        return call.error("No such channel")
    return call.success("Success")


@handler("PlayDTMF", "call", about="send a digit to a channel")
def play_dtmf(call: Call) -> bytes:
    pbx = call.simulator.pbx
    channel = pbx.find(call.get("Channel")) if call.get("Channel") else None
    if channel is None:
        return call.error("Channel not found")
    digit = call.get("Digit")
    if not digit:
        return call.error("No digit specified")
    way: list[Pair] = [("Digit", escape(digit)), ("Direction", "Sent")]
    pbx.emit("DTMFBegin", channel.snapshot(), way)
    pbx.emit("DTMFEnd", channel.snapshot(), [way[0], ("DurationMs", 100), way[1]])
    return call.success("DTMF successfully queued")


@handler("BlindTransfer", "call", about="send the other party of a channel to an extension")
def blind_transfer(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name = call.get("Channel")
    if not name:
        return call.error("No channel specified")
    if not call.get("Exten"):
        return call.error("No extension specified")
    channel = pbx.find(name)
    if channel is None:
        return call.error("Channel specified does not exist")
    others = [each for each in channel.bridge.channels if each is not channel] if channel.bridge else []
    context = call.get("Context") or channel.context
    if not others or call.get("Exten") not in pbx.dialplan.get(context, {}):
        return call.error("Transfer failed")
    send_to(call, others[0], context, call.get("Exten"), 1)
    return call.success("Transfer succeeded")
