"""The truth that the live model is held to: what the server lists, field by field.

This reads lists by itself and shares nothing with the model's own way of taking them up.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pyami_sync import AMIClient, Event
from pyami_sync.exceptions import ActionError
from pyami_sync.live import View

SLACK = 2.0  # seconds that whole-second figures and the way of an event may differ


def items(ami: AMIClient, action: str, **headers: str) -> list[Event]:
    """Return the items of a list; none when the server says that there are none."""
    try:
        return ami.send(action, **headers).events
    except ActionError as exc:
        if "no active" in (exc.response.message or "").lower() or "no conference" in str(exc).lower():
            return []
        raise


class Truth:
    """Everything that a server lists, at one quiet moment."""

    def __init__(self, ami: AMIClient) -> None:
        self.at = float(ami.send("Ping")["Timestamp"])
        self.channels = items(ami, "CoreShowChannels")
        self.bridges = items(ami, "BridgeList")
        # A server may go on naming a bridge in a channel's snapshot that has ended and that no other list has.
        self.bridge_ids = {item["BridgeUniqueid"] for item in self.bridges}
        self.unlisted = {}
        for item in self.channels:
            if item["BridgeId"] and item["BridgeId"] not in self.bridge_ids:
                self.unlisted[item["BridgeId"]] = ami.send("BridgeInfo", BridgeUniqueid=item["BridgeId"], check=False)
        self.members = {
            bridge["BridgeUniqueid"]: items(ami, "BridgeInfo", BridgeUniqueid=bridge["BridgeUniqueid"])
            for bridge in self.bridges
        }
        self.queues = items(ami, "QueueStatus")
        self.summaries = items(ami, "QueueSummary")
        self.parked = items(ami, "ParkedCalls")
        self.lots = items(ami, "Parkinglots")
        self.rooms = items(ami, "ConfbridgeListRooms")
        self.conferences = {
            room["Conference"]: items(ami, "ConfbridgeList", Conference=room["Conference"]) for room in self.rooms
        }
        self.devices = items(ami, "DeviceStateList")
        self.extensions = items(ami, "ExtensionStateList")

    def differences(self, view: View) -> list[str]:
        """Return every field in which a view differs from the lists."""
        return [
            *(f"unlisted {name}: {answer!r} {answer.events}" for name, answer in self.unlisted.items() if answer.ok),
            *self._channels(view),
            *self._bridges(view),
            *self._queues(view),
            *self._summaries(view),
            *self._parked(view),
            *self._conferences(view),
            *self._states(view),
            *self._calls(view),
        ]

    def _channels(self, view: View) -> Iterator[str]:
        yield from same_keys("channel", view.channels, (item["Uniqueid"] for item in self.channels))
        for item in self.channels:
            channel = view.channels.get(item["Uniqueid"])
            if channel is None:
                continue
            wanted = {
                "channel": item["Channel"],
                "channel_state_desc": item["ChannelStateDesc"],
                "caller_id_num": known(item["CallerIDNum"]),
                "caller_id_name": known(item["CallerIDName"]),
                "connected_line_num": known(item["ConnectedLineNum"]),
                "connected_line_name": known(item["ConnectedLineName"]),
                "language": item["Language"],
                "account_code": item["AccountCode"],
                "context": item["Context"],
                "exten": item["Exten"],
                "linkedid": item["Linkedid"],
                "bridge": item["BridgeId"] if item["BridgeId"] in self.bridge_ids else None,
            }
            # Application and priority are not compared: servers change them without an event, the one while the
            # extension stays the same, the other of a channel that a redirect has taken from its dialplan.
            yield from same_fields(f"channel {item['Channel']}", channel, wanted)
            if view.channels[item["Channel"]] is not channel:
                yield f"channel {item['Channel']}: its name leads to another channel"
            hours, minutes, seconds = map(int, item["Duration"].split(":"))
            age = self.at - channel.since.timestamp() if channel.since else -99.0
            listed = hours * 3600 + minutes * 60 + seconds
            # A masquerade makes the server count a channel's age from its stand-in: that is less, never more.
            if channel.since is None or listed > age + SLACK:
                yield f"channel {item['Channel']}: age {age:.1f} s, listed {item['Duration']}"

    def _bridges(self, view: View) -> Iterator[str]:
        yield from same_keys("bridge", view.bridges, (item["BridgeUniqueid"] for item in self.bridges))
        for item in self.bridges:
            bridge = view.bridges.get(item["BridgeUniqueid"])
            if bridge is None:
                continue
            wanted = {
                "bridge_type": item["BridgeType"],
                "holding": item["BridgeTechnology"] == "holding_bridge",  # between others it changes without an event
                "bridge_creator": known(item["BridgeCreator"]),
                "bridge_name": known(item["BridgeName"]),
            }
            yield from same_fields(f"bridge {item['BridgeUniqueid']}", bridge, wanted)
            listed = {each["Uniqueid"] for each in self.members[item["BridgeUniqueid"]]}
            # Channels of the server's own (announcers, recorders) are in no list but this one.
            if set(bridge.channels) != listed or len(bridge.channels) != len(set(bridge.channels)):
                yield f"bridge {item['BridgeUniqueid']}: in it {sorted(bridge.channels)}, listed {sorted(listed)}"

    def _queues(self, view: View) -> Iterator[str]:
        params = [item for item in self.queues if item.name == "QueueParams"]
        yield from same_keys("queue", view.queues, (item["Queue"] for item in params))
        for item in params:
            queue = view.queues.get(item["Queue"])
            if queue is None:
                continue
            wanted = {
                "max": int(item["Max"]),
                "strategy": item["Strategy"],
                "calls": int(item["Calls"]),
                "hold_time": int(item["Holdtime"]),
                "talk_time": int(item["TalkTime"]),
                "completed": int(item["Completed"]),
                "abandoned": int(item["Abandoned"]),
                "service_level": int(item["ServiceLevel"]),
                "servicelevel_perf": float(item["ServicelevelPerf"]),
                "servicelevel_perf2": float(item["ServicelevelPerf2"]),
                "weight": int(item["Weight"]),
            }
            yield from same_fields(f"queue {queue.name}", queue, wanted)
            members = {each["Location"]: each for each in self._of("QueueMember", queue.name)}
            yield from same_keys(f"member of {queue.name}", (each.interface for each in queue.members), members)
            for member in queue.members:
                if member.interface in members:
                    yield from self._member(queue.name, member, members[member.interface])
            callers = {each["Uniqueid"]: each for each in self._of("QueueEntry", queue.name)}
            yield from same_keys(f"caller of {queue.name}", (each.uniqueid for each in queue.waiting), callers)
            for caller in queue.waiting:
                entry = callers.get(caller.uniqueid)
                if entry is None:
                    continue
                wanted = {"position": int(entry["Position"]), "channel": entry["Channel"]}
                yield from same_fields(f"caller {caller.channel} of {queue.name}", caller, wanted)
                waited = self.at - caller.since.timestamp() if caller.since else -99.0
                if abs(waited - int(entry["Wait"])) > SLACK:
                    yield f"caller {caller.channel} of {queue.name}: waited {waited:.1f}, listed {entry['Wait']}"

    def _of(self, name: str, queue: str) -> list[Event]:
        return [item for item in self.queues if item.name == name and item["Queue"] == queue]

    def _member(self, queue: str, member: Any, item: Event) -> Iterator[str]:
        wanted = {
            "name": item["Name"],
            "state_interface": item["StateInterface"],
            "membership": item["Membership"],
            "penalty": int(item["Penalty"]),
            "calls_taken": int(item["CallsTaken"]),
            "in_call": item["InCall"] == "1",
            "status": int(item["Status"]),
            "paused": item["Paused"] == "1",
            "paused_reason": item["PausedReason"],
            "wrapup_time": int(item["Wrapuptime"]),
        }
        yield from same_fields(f"member {member.name} of {queue}", member, wanted)
        yield from same_time(f"member {member.name} of {queue}: last_call", member.last_call, item["LastCall"])
        yield from same_time(f"member {member.name} of {queue}: last_pause", member.last_pause, item["LastPause"])
        if "LoginTime" in item:
            yield from same_time(f"member {member.name} of {queue}: login_time", member.login_time, item["LoginTime"])

    def _summaries(self, view: View) -> Iterator[str]:
        at = datetime.fromtimestamp(self.at, UTC)
        for item in self.summaries:
            queue = view.queues.get(item["Queue"])
            if queue is None:
                yield f"summary of {item['Queue']}: no such queue"
                continue
            wanted = {
                "logged_in": int(item["LoggedIn"]),
                "available": int(item["Available"]),
                "calls": int(item["Callers"]),
                "hold_time": int(item["HoldTime"]),
                "talk_time": int(item["TalkTime"]),
            }
            yield from same_fields(f"summary of {queue.name}", queue, wanted)
            waits = [(at - caller.since).total_seconds() for caller in queue.waiting if caller.since is not None]
            longest = max(waits, default=0.0)
            if abs(longest - int(item["LongestHoldTime"])) > SLACK:
                yield f"summary of {queue.name}: longest wait {longest}, listed {item['LongestHoldTime']}"

    def _parked(self, view: View) -> Iterator[str]:
        yield from same_keys("parking lot", view.parking_lots, (item["Name"] for item in self.lots))
        yield from same_keys("parked call", view.parked, (item["ParkeeUniqueid"] for item in self.parked))
        for item in self.parked:
            call = view.parked.get(item["ParkeeUniqueid"])
            if call is not None:
                wanted = {
                    "channel": item["ParkeeChannel"],
                    "parkinglot": item["Parkinglot"],
                    "parking_space": int(item["ParkingSpace"]),
                    "parker_dial_string": known(item["ParkerDialString"]) or "",
                }
                yield from same_fields(f"parked {item['ParkeeChannel']}", call, wanted)
                parked = self.at - call.since.timestamp() if call.since else -99.0
                if abs(parked - int(item["ParkingDuration"])) > SLACK:
                    yield f"parked {call.channel}: since {parked:.1f} s, listed {item['ParkingDuration']}"

    def _conferences(self, view: View) -> Iterator[str]:
        yield from same_keys("conference", view.conferences, self.conferences)
        for name, listed in self.conferences.items():
            conference = view.conferences.get(name)
            if conference is None:
                continue
            members = {item["Uniqueid"]: item for item in listed}
            yield from same_keys(f"member of {name}", (each.uniqueid for each in conference.members), members)
            for member in conference.members:
                item = members.get(member.uniqueid)
                if item is not None:
                    wanted = {
                        "channel": item["Channel"],
                        "admin": item["Admin"] == "Yes",
                        "muted": item["Muted"] == "Yes",
                        "talking": item["Talking"] == "Yes",
                    }
                    yield from same_fields(f"member {member.channel} of conference {name}", member, wanted)

    def _states(self, view: View) -> Iterator[str]:
        yield from same_keys("device", view.devices, (item["Device"] for item in self.devices))
        for item in self.devices:
            device = view.devices.get(item["Device"])
            if device is not None:
                yield from same_fields(f"device {item['Device']}", device, {"state": item["State"]})
        for item in self.extensions:
            extension = view.extensions.get(f"{item['Exten']}@{item['Context']}")
            if extension is None:
                yield f"extension {item['Exten']}: missing"
            else:
                wanted = {"status": int(item["Status"]), "status_text": item["StatusText"], "hint": item["Hint"]}
                yield from same_fields(f"extension {item['Exten']}", extension, wanted)

    def _calls(self, view: View) -> Iterator[str]:
        """Each channel is one leg that lives, of the call of its Linkedid; nothing else is left over."""
        legs = {leg.uniqueid: leg for call in view.calls.values() for leg in call.legs if not leg.ended}
        yield from same_keys("leg", legs, (item["Uniqueid"] for item in self.channels))
        for item in self.channels:
            leg = legs.get(item["Uniqueid"])
            if leg is not None:
                wanted = {
                    "channel": item["Channel"],
                    "state": item["ChannelStateDesc"],
                    "linkedid": item["Linkedid"],
                    "bridge": item["BridgeId"] if item["BridgeId"] in self.bridge_ids else None,
                    "parked": item["Uniqueid"] in {each["ParkeeUniqueid"] for each in self.parked},
                }
                yield from same_fields(f"leg {item['Channel']}", leg, wanted)
        for linkedid, call in view.calls.items():
            if call.linkedid != linkedid or any(leg.linkedid != linkedid for leg in call.legs):
                yield f"call {linkedid}: has legs of another one"
            if all(leg.ended for leg in call.legs):
                yield f"call {linkedid}: ended and still there"
        index = set(view.tables.call_of) - {leg.uniqueid for call in view.calls.values() for leg in call.legs}
        if index or len(view.tables.names) != len(view.channels):
            yield f"left over: {index}, {len(view.tables.names)} names of {len(view.channels)} channels"


def known(text: str) -> str | None:
    """Return text, or None for what a server writes when there is none."""
    return None if text in ("", "<unknown>") else text


def same_keys(what: str, have: Any, listed: Any) -> Iterator[str]:
    """Compare two sets of keys."""
    mine, theirs = set(have), set(listed)
    yield from (f"{what} {key}: missing" for key in sorted(theirs - mine))
    yield from (f"{what} {key}: not listed" for key in sorted(mine - theirs))


def same_fields(what: str, entity: Any, wanted: dict[str, Any]) -> Iterator[str]:
    """Compare attributes with what they should be."""
    for name, value in wanted.items():
        have = getattr(entity, name)
        if have != value:
            yield f"{what}: {name} is {have!r}, listed {value!r}"


def same_time(what: str, have: datetime | None, listed: str) -> Iterator[str]:
    """Compare a time with one in seconds since 1970, where 0 is never."""
    mine = have.timestamp() if have is not None else 0.0
    if abs(mine - float(listed)) > SLACK:
        yield f"{what} is {mine}, listed {listed}"
