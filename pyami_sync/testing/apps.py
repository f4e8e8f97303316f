"""Applications of the dialplan, and the calls that they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .flow import Steps
from .state import RINGING, UP, Caller, Channel, Conference, Member, Parked, Queue

if TYPE_CHECKING:
    from .pbx import PBX

__all__ = ["APPS", "await_answer", "park", "run_application", "run_dialplan"]

App = Callable[["PBX", Channel, str], Steps[None]]

APPS: dict[str, App] = {}
"""Applications by their names in lower case."""


class _Goto(Exception):
    """Leave the extension for another."""


def app(*names: str) -> Callable[[App], App]:
    """Register an application."""

    def register(function: App) -> App:
        for name in names:
            APPS[name.lower()] = function
        return function

    return register


def run_application(pbx: PBX, channel: Channel, name: str, data: str) -> Steps[None]:
    """Run one application on a channel."""
    pbx.execute(channel, name, data)
    yield from APPS[name.lower()](pbx, channel, data)


def run_dialplan(pbx: PBX, channel: Channel) -> Steps[None]:
    """Run a channel through the dialplan from its extension on."""
    while True:
        steps = pbx.dialplan.get(channel.context, {}).get(channel.exten)
        if steps is None:
            channel.cause = 1
            pbx.fail(channel, "CHANUNAVAIL")
            return
        try:
            while channel.priority <= len(steps):
                name, data = steps[channel.priority - 1]
                if name.lower() == "hangup":
                    pbx.execute(channel, name, data)
                    channel.cause = int(data or 16)
                    return
                if name.lower() in APPS:
                    yield from run_application(pbx, channel, name, data)
                else:
                    pbx.execute(channel, name, data)
                if channel.failure:
                    return
                channel.priority += 1
            return
        except _Goto:
            continue


def await_answer(pbx: PBX, called: Channel, timeout: float, caller: Channel | None = None) -> Steps[str]:
    """Wait until a called channel answers; give what ``DialStatus`` says in the end."""
    until = pbx.now + timeout
    rang = False
    while True:
        if called.state == RINGING and not rang:
            rang = True
            head = caller.snapshot() if caller is not None else []
            pbx.emit("DialState", head, called.snapshot("Dest"), [("DialStatus", "RINGING")])
            if caller is not None and caller.state != UP:
                pbx.ringing(caller)
        if called.failure:
            return called.failure
        if called.state == UP:
            return "ANSWER"
        left = until - pbx.now
        if called.gone or left <= 0:
            return "NOANSWER"
        yield (called.changed, left)


@app("NoOp")
def no_op(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    yield from ()


@app("Answer")
def answer(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    pbx.set_state(channel, UP)
    yield from ()


@app("Wait")
def wait(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    yield float(data or 0)


@app("Echo", "MusicOnHold", "Milliwatt", "WaitForever", "Playback", "AgentLogin")
def stay(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    while True:
        yield channel.changed


@app("Ringing")
def ringing(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    pbx.ringing(channel)
    yield from ()


@app("Busy", "Congestion")
def refuse(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    status = channel.application.upper()
    channel.cause = 17 if status == "BUSY" else 34
    pbx.fail(channel, status)
    yield float(data or 10)


@app("Set")
def set_variable(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    name, _, value = data.partition("=")
    pbx.set_variable(channel, name, value)
    yield from ()


@app("Goto")
def goto(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    *where, priority = data.split(",")
    if where:
        channel.exten = where[-1]
    if len(where) > 1:
        channel.context = where[0]
    channel.priority = int(priority)
    yield from ()
    raise _Goto


@app("UserEvent")
def user_event(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    name, *body = data.split(",")
    headers = [part.partition(": ")[::2] for part in body]
    pbx.emit("UserEvent", channel.snapshot(), [("UserEvent", name)], headers)
    yield from ()


@app("Dial")
def dial(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    target, timeout, *_ = [*data.split(","), "", ""]
    for name in ("DIALSTATUS", "DIALEDPEERNUMBER", "DIALEDPEERNAME"):
        pbx.set_variable(channel, name, "")
    called = pbx.dial(target, linked=channel)
    if called is None:
        pbx.set_variable(channel, "DIALSTATUS", "CHANUNAVAIL")
        channel.cause = 20
        return
    number = target.partition("/")[2]
    try:
        called.exten, called.number, called.caller = channel.exten, channel.exten, ""
        called.connected_number, called.connected = channel.number, channel.caller
        if called.peer is not None:
            called.peer.number, called.peer.caller = channel.number, channel.caller
        pbx.execute(called, "AppDial", "(Outgoing Line)")
        pbx.local_bridge(called)
        pbx.emit("DialBegin", channel.snapshot(), called.snapshot("Dest"), [("DialString", number)])
        pbx.ring(called)
        status = yield from await_answer(pbx, called, float(timeout or 3600), channel)
        pbx.set_variable(channel, "DIALSTATUS", status)
        if status == "ANSWER":
            pbx.set_variable(channel, "DIALEDPEERNAME", called.name)
            pbx.set_variable(channel, "DIALEDPEERNUMBER", number)
        pbx.emit("DialEnd", channel.snapshot(), called.snapshot("Dest"), [("DialStatus", status)])
        if status != "ANSWER":
            channel.cause = {"BUSY": 17, "CONGESTION": 34}.get(status, 0)
            if status in ("BUSY", "CONGESTION"):
                pbx.fail(channel, status)
            return
        pbx.set_state(channel, UP)
        yield from pbx.talk(channel, called)
    finally:
        if called.bridge is None:
            pbx.hangup(called, 0 if called.state != UP else 16)


@app("Queue")
def queue(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    found = pbx.queues.get(data.partition(",")[0])
    if found is None:
        return
    caller = Caller(channel, len(found.callers) + 1, pbx.now)
    found.callers.append(caller)
    position = caller.position
    waiting = [("Queue", found.name), ("Position", position)]
    pbx.emit("QueueCallerJoin", channel.snapshot(), waiting, [("Count", len(found.callers))])
    pbx.emit("MusicOnHoldStart", channel.snapshot(), [("Class", "default")])
    called: Channel | None = None
    try:
        while True:
            # Callers are served in their order, but several at once when several members are free.
            is_turn = next(each for each in found.callers if not each.calling) is caller
            member = next_member(pbx, found) if is_turn else None
            called = pbx.dial(member.interface, linked=channel) if member is not None else None
            if member is None or called is None:
                yield caller.turn
                continue
            caller.calling = True
            found.wake()
            yield from _call_member(pbx, found, channel, called, member)
            if called.state == UP and not called.gone:
                break
            pbx.hangup(called, 0)
            called = None
            yield 1.0
            caller.calling = False
        pbx.emit("MusicOnHoldStop", channel.snapshot())
        _leave_queue(pbx, found, caller)
        yield from _serve(pbx, found, caller, called, member)
    finally:
        if caller in found.callers:
            if called is not None:
                pbx.hangup(called, 0)
            pbx.emit("MusicOnHoldStop", channel.snapshot())
            found.abandoned += 1
            held = pbx.since(caller.since)
            pbx.emit(
                "QueueCallerAbandon",
                channel.snapshot(),
                [
                    ("Queue", found.name),
                    ("Position", caller.position),
                    ("OriginalPosition", position),
                    ("HoldTime", held),
                ],
            )
            _leave_queue(pbx, found, caller)


def next_member(pbx: PBX, found: Queue) -> Member | None:
    """Return the member to call next: not paused or busy, with the least penalty and the fewest calls."""
    free = [
        member
        for member in found.members.values()
        if not member.paused
        and not member.in_call
        and not member.ringing
        and pbx.devices.member_status(member) in (0, 1)
    ]
    return min(free, key=lambda member: (member.penalty, member.last_call, member.calls), default=None)


def _call_member(pbx: PBX, found: Queue, channel: Channel, called: Channel, member: Member) -> Steps[None]:
    about = [("Queue", found.name), ("Interface", member.interface), ("MemberName", member.name)]
    called.number, called.caller = channel.exten, ""
    called.connected_number, called.connected = channel.number, channel.caller
    if called.peer is not None:
        called.peer.number, called.peer.caller = channel.number, channel.caller
    pbx.execute(called, "AppQueue", "(Outgoing Line)")
    pbx.local_bridge(called)
    pbx.emit("AgentCalled", channel.snapshot(), called.snapshot("Dest"), about)
    pbx.emit("DialBegin", channel.snapshot(), called.snapshot("Dest"), [("DialString", member.interface)])
    member.ringing = True
    began = pbx.now
    try:
        pbx.ring(called)
        status = yield from await_answer(pbx, called, found.timeout, channel)
    finally:
        member.ringing = False
    pbx.emit("DialEnd", channel.snapshot(), called.snapshot("Dest"), [("DialStatus", status)])
    if status != "ANSWER":
        spent = [("RingTime", int((pbx.now - began) * 1000))]
        pbx.emit("AgentRingNoAnswer", channel.snapshot(), called.snapshot("Dest"), about, spent)
        member.last_call = member.last_call or 1  # the others are tried first
    else:
        member.in_call = True


def _serve(pbx: PBX, found: Queue, caller: Caller, called: Channel, member: Member) -> Steps[None]:
    """Let a caller of a queue talk to the member who answered."""
    channel = caller.channel
    about = [("Queue", found.name), ("Interface", member.interface), ("MemberName", member.name)]
    held = pbx.since(caller.since)
    found.hold_time = (found.hold_time * 3 + held) // 4
    pbx.emit(
        "AgentConnect",
        channel.snapshot(),
        called.snapshot("Dest"),
        about,
        [("HoldTime", held), ("RingTime", 0)],
    )
    began = pbx.now
    by = "caller"
    try:
        yield from pbx.talk(channel, called)
        by = "agent"
    finally:
        talked = pbx.since(began)
        found.completed += 1
        found.talk_time = (found.talk_time * 3 + talked) // 4
        member.in_call = False
        member.calls += 1
        member.last_call = pbx.wall_clock()
        pbx.emit(
            "AgentComplete",
            channel.snapshot(),
            called.snapshot("Dest"),
            about,
            [("HoldTime", held), ("TalkTime", talked), ("Reason", by)],
        )
        pbx.devices.member_event("QueueMemberStatus", found, member)
        found.wake()


def _leave_queue(pbx: PBX, found: Queue, caller: Caller) -> None:
    found.callers.remove(caller)
    pbx.emit(
        "QueueCallerLeave",
        caller.channel.snapshot(),
        [("Queue", found.name), ("Position", caller.position), ("Count", len(found.callers))],
    )
    for position, each in enumerate(found.callers, 1):
        each.position = position
    found.wake()


@app("ConfBridge")
def confbridge(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    name = data.partition(",")[0]
    room = pbx.conferences.get(name)
    if room is None:
        bridge = pbx.new_bridge("base", "softmix", creator="ConfBridge", name=name)
        room = pbx.conferences[name] = Conference(name, bridge)
        pbx.emit("ConfbridgeStart", [("Conference", name)], bridge.snapshot())
    about = [("Conference", name)]
    room.channels[channel] = pbx.now
    pbx.enter(room.bridge, channel)
    pbx.emit(
        "ConfbridgeJoin",
        about,
        room.bridge.snapshot(),
        channel.snapshot(),
        [("Admin", "No"), ("Muted", "No")],
    )
    try:
        while channel.bridge is room.bridge:
            yield channel.changed
    finally:
        del room.channels[channel]
        pbx.emit("ConfbridgeLeave", about, room.bridge.snapshot(), channel.snapshot(), [("Admin", "No")])
        if not room.channels:
            del pbx.conferences[name]
            pbx.emit("ConfbridgeEnd", about, room.bridge.snapshot())
        if channel.bridge is room.bridge:
            pbx.leave(channel)


@app("Park")
def park(pbx: PBX, channel: Channel, data: str, lot_name: str = "default", parker: str = "") -> Steps[None]:
    lot = pbx.lots.get(lot_name) or pbx.lots["default"]
    space = next((number for number in range(lot.first, lot.last + 1) if number not in lot.calls), None)
    if space is None:
        return
    parked = Parked(channel, space, pbx.now, parker or channel.device)
    lot.calls[space] = parked
    if lot.bridge is None:
        lot.bridge = pbx.new_bridge("parking", "holding_bridge", creator="Parking", name=lot.name)
        lot.bridge.permanent = True
    bridge = lot.bridge
    pbx.enter(bridge, channel)

    def about() -> list[tuple[str, object]]:
        spent = pbx.since(parked.since)
        return [
            ("ParkerDialString", parked.parker),
            ("Parkinglot", lot.name),
            ("ParkingSpace", space),
            ("ParkingTimeout", lot.timeout - spent),
            ("ParkingDuration", spent),
        ]

    pbx.emit("ParkedCall", channel.snapshot("Parkee"), about())
    pbx.emit("MusicOnHoldStart", channel.snapshot(), [("Class", "default")])
    event = "ParkedCallGiveUp"
    try:
        came = yield (channel.changed, float(lot.timeout))
        while came and channel.bridge is bridge:
            came = yield (channel.changed, lot.timeout - (pbx.now - parked.since))
        event = "UnParkedCall" if came else "ParkedCallTimeOut"
    finally:
        del lot.calls[space]
        pbx.emit("MusicOnHoldStop", channel.snapshot())
        pbx.emit(event, channel.snapshot("Parkee"), about())
        if channel.bridge is bridge:
            pbx.leave(channel)
