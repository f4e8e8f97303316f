"""The simulator's answers to actions about bridges, parking lots and conferences."""

from __future__ import annotations

from ..apps import park as park_channel
from ..flow import Steps
from ..state import Channel, Conference
from .registry import Call, Item, handler

__all__: list[str] = []


@handler("BridgeList", about="list all bridges")
def bridge_list(call: Call) -> bytes:
    kind = call.get("BridgeType")
    items: list[Item] = [
        ("BridgeListItem", bridge.snapshot())
        for bridge in call.simulator.pbx.bridges.values()
        if not kind or bridge.type == kind
    ]
    return call.listing("Bridge listing will follow", items, "BridgeListComplete", uniform=False)


@handler("BridgeInfo", about="list the channels of a bridge")
def bridge_info(call: Call) -> bytes:
    name = call.get("BridgeUniqueid")
    if not name:
        return call.error("BridgeUniqueid must be provided")
    bridge = call.simulator.pbx.bridges.get(name)
    if bridge is None:
        return call.error("Specified BridgeUniqueid not found")
    items: list[Item] = [("BridgeInfoChannel", channel.snapshot()) for channel in bridge.channels]
    return call.listing(
        "Bridge channel listing will follow", items, "BridgeInfoComplete", extra=bridge.snapshot(), uniform=False
    )


@handler("BridgeDestroy", about="end a bridge and the calls in it")
def bridge_destroy(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name = call.get("BridgeUniqueid")
    if not name:
        return call.error("BridgeUniqueid must be provided")
    bridge = pbx.bridges.get(name)
    if bridge is None:
        return call.error("Specified BridgeUniqueid not found")
    for channel in list(bridge.channels):
        pbx.hangup(channel)
    return call.success("Bridge has been destroyed")


@handler("BridgeKick", about="take a channel out of its bridge and hang it up")
def bridge_kick(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name = call.get("Channel")
    if not name:
        return call.error("Channel must be provided")
    channel = pbx.find(name)
    if channel is None:
        return call.error("Specified Channel not found")
    if channel.bridge is None:
        return call.error("Channel is not in a bridge")
    pbx.hangup(channel)
    return call.success("Channel has been kicked")


@handler("Bridge", "call", about="join two channels")
def bridge(call: Call) -> bytes:
    pbx = call.simulator.pbx
    names = call.get("Channel1"), call.get("Channel2")
    if not all(names):
        return call.error("Missing channel parameter in request")
    found: list[Channel] = []
    for number, name in enumerate(names, 1):
        channel = pbx.find(name)
        if channel is None:
            return call.error(f"Channel{number} does not exist: {name}")
        found.append(channel)
    first, second = found
    for channel in found:
        tasks, channel.tasks = channel.tasks, []
        for task in tasks:
            task.stop()
        pbx.leave(channel)
    pbx.run(first, pbx.talk(first, second))
    return call.success("Channels have been bridged")


@handler("Park", "call", about="park a channel")
def park(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name = call.get("Channel")
    if not name:
        return call.error("Channel not specified")
    channel = pbx.find(name)
    if channel is None:
        return call.error(f"Channel does not exist: {name}")
    lot = call.get("Parkinglot") or "default"
    if lot not in pbx.lots:
        return call.error("Could not park call: unknown parking lot")
    tasks, channel.tasks = channel.tasks, []
    for task in tasks:
        task.stop()
    pbx.leave(channel)
    steps: Steps[None] = park_channel(pbx, channel, "", lot, call.get("TimeoutChannel"))  # type: ignore[call-arg]
    pbx.run(channel, steps)
    return call.success("Park successful\n")


@handler("ParkedCalls", "call", about="list parked calls")
def parked_calls(call: Call) -> bytes:
    pbx = call.simulator.pbx
    wanted = call.get("ParkingLot")
    if wanted and wanted not in pbx.lots:
        return call.error("Requested parking lot could not be found.")
    items: list[Item] = []
    for lot in pbx.lots.values():
        if wanted and lot.name != wanted:
            continue
        for parked in lot.calls.values():
            spent = pbx.since(parked.since)
            about = [
                ("ParkerDialString", parked.parker),
                ("Parkinglot", lot.name),
                ("ParkingSpace", parked.space),
                ("ParkingTimeout", lot.timeout - spent),
                ("ParkingDuration", spent),
            ]
            items.append(("ParkedCall", [*parked.channel.snapshot("Parkee"), *about]))
    return call.listing(
        "Parked calls will follow",
        items,
        "ParkedCallsComplete",
        extra=[("Total", len(items))],
        id_last=True,
        uniform=False,
    )


@handler("Parkinglots", "call", about="list parking lots")
def parking_lots(call: Call) -> bytes:
    items: list[Item] = [
        (
            "Parkinglot",
            [("Name", lot.name), ("StartSpace", lot.first), ("StopSpace", lot.last), ("Timeout", lot.timeout)],
        )
        for lot in call.simulator.pbx.lots.values()
    ]
    return call.listing("Parking lots will follow", items, "ParkinglotsComplete", uniform=False)


def _conference(call: Call) -> Conference | bytes:
    """The conference that an action names, or the error that it gets."""
    name = call.get("Conference")
    if not name:
        return call.error("No Conference name provided.")
    rooms = call.simulator.pbx.conferences
    if not rooms:
        return call.error("No active conferences.")
    return rooms.get(name) or call.error("No Conference by that name found.")


@handler("ConfbridgeList", "reporting", about="list who is in a conference")
def confbridge_list(call: Call) -> bytes:
    room = _conference(call)
    if isinstance(room, bytes):
        return room
    pbx = call.simulator.pbx
    flags = ("Admin", "MarkedUser", "WaitMarked", "EndMarked", "EndMarkedAny", "Waiting", "Muted", "Talking")
    items: list[Item] = [
        (
            "ConfbridgeList",
            [
                ("Conference", room.name),
                *((flag, "No") for flag in flags if flag != "EndMarkedAny" or call.simulator.major >= 16),
                ("AnsweredTime", pbx.since(since)),
                *channel.snapshot(),
            ],
        )
        for channel, since in room.channels.items()
    ]
    return call.listing("Confbridge user list will follow", items, "ConfbridgeListComplete")


@handler("ConfbridgeListRooms", "reporting", about="list conferences")
def confbridge_list_rooms(call: Call) -> bytes:
    rooms = call.simulator.pbx.conferences
    if not rooms:
        return call.error("No active conferences.")
    items: list[Item] = [
        (
            "ConfbridgeListRooms",
            [
                ("Conference", room.name),
                ("Parties", len(room.channels)),
                ("Marked", 0),
                ("Locked", "No"),
                ("Muted", "No"),
            ],
        )
        for room in rooms.values()
    ]
    return call.listing("Confbridge conferences will follow", items, "ConfbridgeListRoomsComplete")


@handler("ConfbridgeKick", "call", about="take someone out of a conference")
def confbridge_kick(call: Call) -> bytes:
    room = _conference(call)
    if isinstance(room, bytes):
        return room
    name = call.get("Channel")
    if not name:
        return call.error("No channel name provided.")
    found = [channel for channel in room.channels if name.lower() in ("all", "participants", channel.name.lower())]
    if not found:
        return call.error("No Channel by that name found in Conference.")
    for channel in found:
        call.simulator.pbx.hangup(channel)
    return call.success("User kicked")


@handler("ConfbridgeMute", "call", about="mute someone in a conference")
def confbridge_mute(call: Call) -> bytes:
    return _mute(call, "ConfbridgeMute", "User muted")


@handler("ConfbridgeUnmute", "call", about="let someone in a conference be heard again")
def confbridge_unmute(call: Call) -> bytes:
    return _mute(call, "ConfbridgeUnmute", "User unmuted")


def _mute(call: Call, event: str, message: str) -> bytes:
    room = _conference(call)
    if isinstance(room, bytes):
        return room
    name = call.get("Channel")
    channel = next((each for each in room.channels if each.name.lower() == name.lower()), None)
    if channel is None:
        return call.error("No Channel by that name found in Conference.")
    about = [("Conference", room.name)]
    call.simulator.pbx.emit(event, about, room.bridge.snapshot(), channel.snapshot(), [("Admin", "No")])
    return call.success(message)
