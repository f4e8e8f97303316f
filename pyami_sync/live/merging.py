"""Merges lists into the model: entities in a list are added or updated, entities missing in it are removed.

A list can be older or newer than the events that are applied before and after it. So merging is idempotent, entities
that have ended are never added again, and a channel missing in a list is not removed at once, since its Hangup may be
about to arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .bridges import destroy, join, part, see_bridge
from .channels import vanish
from .conferences import set_conference
from .devices import put_contact, set_device, set_extension
from .draft import END_DELAY, LIST_DELAY, Draft, Headers, ago, decimal, number, seconds_since, text_or_none, truth
from .entities import (
    Conference,
    ConferenceMember,
    Contact,
    Endpoint,
    Mailbox,
    ParkingLot,
    Queue,
    QueueCaller,
    QueueMember,
    Registration,
    evolve,
)
from .legs import find_leg, note_queue, set_leg
from .parking import parked_call, unpark
from .queues import member_fields
from .seeing import see
from .table import Editor

__all__ = ["Ask", "Lists", "merge_calls", "merge_conferences", "merge_devices", "merge_endpoints"]
__all__ += ["merge_extensions", "merge_mailboxes", "merge_parking", "merge_queues", "settle"]

T = TypeVar("T")
RECHECKS = 3
Lists = dict[str, list[Headers] | None]
"""Items by action; None if the server could not answer, so that the known entities stay."""
Ask = Callable[..., list[Headers] | None]
"""Sends a list action and returns its items, or None if the server could not answer."""


def drop_others(d: Draft, table: Editor[Any], seen: set[str]) -> None:
    """Remove the entities that are missing in a list."""
    for key in table:
        if key not in seen:
            d.drop(table, key)


# Channels and bridges


def ask_calls(ask: Ask) -> Lists:
    return {"CoreShowChannels": ask("CoreShowChannels"), "BridgeList": ask("BridgeList")}


def merge_calls(d: Draft, lists: Lists) -> None:
    bridges, channels = lists["BridgeList"], lists["CoreShowChannels"]
    d.unknown = {each for each in d.unknown if each in d.bridges and d.just_moved(each, END_DELAY)}
    if bridges is not None:
        seen = {h.get("BridgeUniqueid", "") for h in bridges}
        for bridge in d.bridges.values():
            if bridge.uniqueid in seen:
                continue
            if bridge.since is not None and abs(seconds_since(bridge.since, d.when)) < LIST_DELAY:
                d.unknown.add(bridge.uniqueid)  # the list may be older than the bridge, so fetch another one
            else:
                destroy(d, bridge.uniqueid)
        for h in bridges:
            see_bridge(d, h, new=True)
    if channels is None:
        return
    for h in channels:
        uniqueid = see(d, h, listed=True)
        if uniqueid is not None:
            take_channel(d, uniqueid, h)
    seen = {h.get("Uniqueid", "") for h in channels}
    d.doubtful = {channel.uniqueid for channel in d.channels.values() if channel.uniqueid not in seen}


def take_channel(d: Draft, uniqueid: str, h: Headers) -> None:
    """Update a channel by the headers that only lists contain."""
    channel = d.channels.get(uniqueid)
    assert channel is not None
    changes: dict[str, Any] = {
        "application": h.get("Application", ""),
        "application_data": h.get("ApplicationData", ""),
    }
    if channel.since is None:
        changes["since"] = ago(d.when, clock(h.get("Duration", "")))
        set_leg(d, uniqueid, started=changes["since"])
    if any(getattr(channel, name) != value for name, value in changes.items()):
        d.put(d.channels, uniqueid, channel, evolve(channel, changes))
    name = h.get("BridgeId") or None
    if channel.bridge != name and d.just_moved(uniqueid):
        d.unknown.add(uniqueid)  # fetch another list
        return
    if channel.bridge is not None and channel.bridge != name:
        part(d, d.bridges.get(channel.bridge), uniqueid)
    bridge = d.bridges.get(name) if name is not None else None
    if bridge is not None:
        join(d, bridge, uniqueid)


def clock(text: str) -> float:
    """Return the seconds of a duration such as ``01:02:03``."""
    total = 0.0
    for digits in text.split(":"):
        total = total * 60 + decimal(digits)
    return total


def settle(d: Draft) -> None:
    """Remove the channels that were missing in a list and whose Hangup has not arrived since."""
    for uniqueid in d.doubtful:
        if uniqueid in d.channels:
            unpark(d, uniqueid)
            vanish(d, uniqueid, None)
    d.doubtful = set()


# Queues


def ask_queues(ask: Ask) -> Lists:
    return {"QueueStatus": ask("QueueStatus")}


def merge_queues(d: Draft, lists: Lists) -> None:
    items = lists["QueueStatus"]
    if items is None:
        return
    made: dict[str, Queue] = {}
    for h in items:
        name, event = h.get("Queue", ""), h.get("Event")
        if event == "QueueParams":
            made[name] = queue_of_list(d, h)
        elif name in made and event == "QueueMember":
            queue = made[name]
            made[name] = evolve(queue, {"members": (*queue.members, member_of_list(d, h))})
        elif name in made and event == "QueueEntry" and not d.is_gone(h.get("Uniqueid", "")):
            queue = made[name]
            made[name] = evolve(queue, {"waiting": (*queue.waiting, caller_of_list(d, h))})
    for name, queue in made.items():
        waiting = tuple(sorted(queue.waiting, key=lambda caller: caller.position))
        queue = evolve(queue, {"waiting": waiting})
        old = d.queues.get(name)
        if old is not None and behind(old, queue):
            d.rechecks = RECHECKS
        if old != queue:
            d.put(d.queues, name, old, queue)
        for caller in waiting:
            d.queue_of.put(caller.uniqueid, name)
            note_queue(d, caller.uniqueid, name)
            leg = find_leg(d, caller.uniqueid)
            if leg is not None and leg.queue != name:
                set_leg(d, caller.uniqueid, queue=name, queued_since=caller.since)
    drop_others(d, d.queues, set(made))
    if d.rechecks:
        d.rechecks -= 1
        d.stale.add("queues")
    there = {caller.uniqueid for queue in made.values() for caller in queue.waiting}
    for uniqueid in d.queue_of:
        if uniqueid not in there:
            d.queue_of.pop(uniqueid)
            set_leg(d, uniqueid, queue=None, queued_since=None)


def behind(old: Queue, listed: Queue) -> bool:
    """Return True if the counts of a listed queue may not include a call that has ended already.

    The server sends the event of a call's end before it counts the call, if it counts it at all. A caller whose
    leaving was not reported is counted later, too.
    """
    waiting = {caller.uniqueid for caller in listed.waiting}
    left = any(caller.uniqueid not in waiting for caller in old.waiting)
    return left or old.completed > listed.completed or old.abandoned > listed.abandoned


def queue_of_list(d: Draft, h: Headers) -> Queue:
    completed, abandoned = number(h.get("Completed")), number(h.get("Abandoned"))
    perf, perf2 = decimal(h.get("ServicelevelPerf")), decimal(h.get("ServicelevelPerf2"))
    in_time = round(perf * completed / 100)
    early = round(perf2 * (completed + abandoned) / 100) - in_time if "ServicelevelPerf2" in h else None
    return Queue(
        h["Queue"],
        number(h.get("Max")),
        h.get("Strategy", ""),
        hold_time=number(h.get("Holdtime")),
        talk_time=number(h.get("TalkTime")),
        completed=completed,
        abandoned=abandoned,
        service_level=number(h.get("ServiceLevel")),
        servicelevel_perf=perf,
        servicelevel_perf2=perf2,
        weight=number(h.get("Weight")),
        answered_in_time=in_time,
        abandoned_in_time=None if early is None else max(0, early),
    )


def member_of_list(d: Draft, h: Headers) -> QueueMember:
    interface = h.get("Location", "")
    queue = d.queues.get(h.get("Queue", ""))
    old = queue.member(interface) if queue is not None else None
    fields = member_fields(h)
    fields["name"] = h.get("Name", "")
    if not fields["in_call"]:
        fields["in_call_since"] = None
    if fields["status"] not in (6, 7):
        fields["ringing_since"] = None
    return evolve(old, fields) if old is not None else QueueMember(interface, **fields)


def caller_of_list(d: Draft, h: Headers) -> QueueCaller:
    uniqueid = h.get("Uniqueid", "")
    queue = d.queues.get(h.get("Queue", ""))
    old = next((each for each in queue.waiting if each.uniqueid == uniqueid), None) if queue is not None else None
    since = old.since if old is not None and old.since is not None else ago(d.when, number(h.get("Wait")))

    def known(name: str) -> str | None:
        return None if h.get(name) == "unknown" else text_or_none(h.get(name))  # this list alone spells it so

    return QueueCaller(
        uniqueid,
        h.get("Channel", ""),
        number(h.get("Position")),
        since,
        known("CallerIDNum"),
        known("CallerIDName"),
        known("ConnectedLineNum"),
        known("ConnectedLineName"),
        number(h.get("Priority")),
    )


# Conferences


def ask_conferences(ask: Ask) -> Lists:
    rooms = ask("ConfbridgeListRooms")
    lists: Lists = {"ConfbridgeListRooms": rooms}
    for h in rooms or ():
        name = h.get("Conference", "")
        lists[name] = ask("ConfbridgeList", Conference=name)
    return lists


def merge_conferences(d: Draft, lists: Lists) -> None:
    rooms = lists.pop("ConfbridgeListRooms")
    if rooms is None:
        return
    seen = set()
    for h in rooms:
        name = h.get("Conference", "")
        members = lists.get(name)
        if not members:
            continue  # it ended between the requests for the two lists
        seen.add(name)
        old = d.conferences.get(name)
        known = {each.uniqueid: each for each in old.members} if old is not None else {}
        made = tuple(conference_member(d, item, known.get(item.get("Uniqueid", ""))) for item in members)
        fields = {"members": made, "locked": truth(h.get("Locked")), "muted": truth(h.get("Muted"))}
        if old is None:
            d.put(d.conferences, name, None, Conference(name, **fields))  # type: ignore[arg-type]
        else:
            set_conference(d, old, **fields)
    drop_others(d, d.conferences, seen)


def conference_member(d: Draft, h: Headers, old: ConferenceMember | None) -> ConferenceMember:
    fields: dict[str, Any] = {
        "admin": truth(h.get("Admin")),
        "muted": truth(h.get("Muted")),
        "talking": truth(h.get("Talking")),
        "marked_user": truth(h.get("MarkedUser")),
        "wait_marked": truth(h.get("WaitMarked")),
        "end_marked": truth(h.get("EndMarked")),
        "waiting": truth(h.get("Waiting")),
        "caller_id_num": text_or_none(h.get("CallerIDNum")),
        "caller_id_name": text_or_none(h.get("CallerIDName")),
    }
    if old is not None:
        return evolve(old, fields)
    return ConferenceMember(h.get("Uniqueid", ""), h.get("Channel", ""), **fields)


# Parking


def ask_parking(ask: Ask) -> Lists:
    return {"Parkinglots": ask("Parkinglots"), "ParkedCalls": ask("ParkedCalls")}


def merge_parking(d: Draft, lists: Lists) -> None:
    lots, parked = lists["Parkinglots"], lists["ParkedCalls"]
    if lots is not None:
        for h in lots:
            name = h.get("Name", "")
            spaces = number(h.get("StartSpace")), number(h.get("StopSpace"))
            made = ParkingLot(name, *spaces, number(h.get("Timeout")))
            old = d.parking_lots.get(name)
            if old != made:
                d.put(d.parking_lots, name, old, made)
        drop_others(d, d.parking_lots, {h.get("Name", "") for h in lots})
    if parked is None:
        return
    seen = set()
    for h in parked:
        call = parked_call(d, h)
        if call is None or d.is_gone(call.uniqueid):
            continue
        seen.add(call.uniqueid)
        known = d.parked.get(call.uniqueid)
        if known is not None:
            call = evolve(call, {"since": known.since, "timeout_at": known.timeout_at})
        if known != call:
            d.put(d.parked, call.uniqueid, known, call)
        set_leg(d, call.uniqueid, parked=True, parked_since=call.since)
    for each in d.parked.values():
        if each.uniqueid not in seen:
            unpark(d, each.uniqueid)


# Devices, extensions, endpoints, mailboxes


def ask_devices(ask: Ask) -> Lists:
    return {"DeviceStateList": ask("DeviceStateList")}


def merge_devices(d: Draft, lists: Lists) -> None:
    items = lists["DeviceStateList"]
    if items is not None:
        for h in items:
            set_device(d, h.get("Device", ""), h.get("State", ""), seen=False)
        drop_others(d, d.devices, {h.get("Device", "") for h in items})


def ask_extensions(ask: Ask) -> Lists:
    return {"ExtensionStateList": ask("ExtensionStateList")}


def merge_extensions(d: Draft, lists: Lists) -> None:
    items = lists["ExtensionStateList"]
    if items is not None:
        for h in items:
            set_extension(d, h)
        drop_others(d, d.extensions, {f"{h.get('Exten', '')}@{h.get('Context', '')}" for h in items})


def ask_endpoints(ask: Ask) -> Lists:
    names = ("PJSIPShowEndpoints", "PJSIPShowContacts", "PJSIPShowRegistrationsOutbound")
    return {name: ask(name) for name in names}


def merge_endpoints(d: Draft, lists: Lists) -> None:
    endpoints, contacts = lists["PJSIPShowEndpoints"], lists["PJSIPShowContacts"]
    registrations = lists["PJSIPShowRegistrationsOutbound"]
    if endpoints is not None:
        for h in endpoints:
            name = h.get("ObjectName", "")
            old = d.endpoints.get(name)
            aors = tuple(each for each in h.get("Aor", "").split(",") if each)
            mine = old.contacts if old is not None else ()
            if contacts is not None:
                mine = ()
                for item in contacts:
                    if item.get("Endpoint") == name:
                        mine = put_contact(mine, contact_of_list(item))
            status = old.peer_status if old is not None else None
            made = Endpoint(name, h.get("DeviceState", ""), aors, mine, status)
            if old != made:
                d.put(d.endpoints, name, old, made)
        drop_others(d, d.endpoints, {h.get("ObjectName", "") for h in endpoints})
    if registrations is not None:
        seen = set()
        for h in registrations:
            if h.get("Event") != "OutboundRegistrationDetail":
                continue
            username, domain = h.get("ClientUri", ""), h.get("ServerUri", "")
            key = f"{username} {domain}"
            seen.add(key)
            known = d.registrations.get(key)
            registration = Registration(key, h.get("Status", ""), username, domain, known.cause if known else "")
            if known != registration:
                d.put(d.registrations, key, known, registration)
        drop_others(d, d.registrations, seen)


def contact_of_list(h: Headers) -> Contact:
    usec = h.get("RoundtripUsec", "")
    aor = h.get("ObjectName", "").partition(";@")[0]
    return Contact(h.get("Uri", ""), aor, h.get("Status", ""), int(usec) if usec.isdecimal() else None)


def ask_mailboxes(ask: Ask) -> Lists:
    return {"VoicemailUsersList": ask("VoicemailUsersList")}


def merge_mailboxes(d: Draft, lists: Lists) -> None:
    for h in lists["VoicemailUsersList"] or ():
        mailbox = f"{h.get('VoiceMailbox', '')}@{h.get('VMContext', '')}"
        new, old_count = h.get("NewMessageCount"), h.get("OldMessageCount")
        count = number(new)
        made = Mailbox(mailbox, count > 0, count, None if old_count is None else number(old_count))
        old = d.mailboxes.get(mailbox)
        if old != made:
            d.put(d.mailboxes, mailbox, old, made)
