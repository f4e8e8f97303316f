"""The simulator's answers to actions about queues."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..state import Member, Pair, Queue
from .registry import Call, Item, handler

__all__: list[str] = []


def _chosen(call: Call) -> list[Queue]:
    wanted = call.get("Queue")
    return [queue for queue in call.simulator.pbx.queues.values() if not wanted or queue.name == wanted]


@handler("QueueStatus", about="list queues with their members and callers")
def queue_status(call: Call) -> bytes:
    pbx = call.simulator.pbx
    wanted = call.get("Member")

    def items() -> Iterator[Item]:
        for queue in _chosen(call):
            yield ("QueueParams", _params(queue))
            for member in queue.members.values():
                if not wanted or member.interface == wanted:
                    about: list[Pair] = [
                        ("Queue", queue.name),
                        ("Name", member.name),
                        ("Location", member.interface),
                        *member.headers(pbx.devices.member_status(member)),
                        ("Wrapuptime", 0),
                    ]
                    yield ("QueueMember", about)
            for caller in queue.callers:
                channel = caller.channel
                yield (
                    "QueueEntry",
                    [
                        ("Queue", queue.name),
                        ("Position", caller.position),
                        ("Channel", channel.name),
                        ("Uniqueid", channel.uniqueid),
                        ("CallerIDNum", channel.number or "unknown"),
                        ("CallerIDName", channel.caller or "unknown"),
                        ("ConnectedLineNum", channel.connected_number or "unknown"),
                        ("ConnectedLineName", channel.connected or "unknown"),
                        ("Wait", pbx.since(caller.since)),
                        ("Priority", caller.priority),
                    ],
                )

    return call.listing("Queue status will follow", items(), "QueueStatusComplete", id_last=True, uniform=False)


def _params(queue: Queue) -> list[Pair]:
    return [
        ("Queue", queue.name),
        ("Max", 0),
        ("Strategy", queue.strategy),
        ("Calls", len(queue.callers)),
        ("Holdtime", queue.hold_time),
        ("TalkTime", queue.talk_time),
        ("Completed", queue.completed),
        ("Abandoned", queue.abandoned),
        ("ServiceLevel", 0),
        ("ServicelevelPerf", "0.0"),
        ("ServicelevelPerf2", "0.0"),
        ("Weight", 0),
    ]


@handler("QueueSummary", about="list queues with their numbers")
def queue_summary(call: Call) -> bytes:
    pbx = call.simulator.pbx

    def items() -> Iterator[Item]:
        for queue in _chosen(call):
            states = [pbx.devices.member_status(member) for member in queue.members.values()]
            free = [
                member
                for member, state in zip(queue.members.values(), states, strict=True)
                if state in (0, 1) and not member.paused
            ]
            longest = max((pbx.since(caller.since) for caller in queue.callers), default=0)
            yield (
                "QueueSummary",
                [
                    ("Queue", queue.name),
                    ("LoggedIn", sum(state not in (4, 5) for state in states)),
                    ("Available", len(free)),
                    ("Callers", len(queue.callers)),
                    ("HoldTime", queue.hold_time),
                    ("TalkTime", queue.talk_time),
                    ("LongestHoldTime", longest),
                ],
            )

    return call.listing("Queue summary will follow", items(), "QueueSummaryComplete", id_last=True, uniform=False)


@handler("QueueAdd", "agent", about="add a member to a queue")
def queue_add(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name, interface = call.get("Queue"), call.get("Interface")
    if not name:
        return call.error("'Queue' not specified.")
    if not interface:
        return call.error("'Interface' not specified.")
    queue = pbx.queues.get(name)
    if queue is None:
        return call.error("Unable to add interface to queue: No such queue")
    if interface in queue.members:
        return call.error("Unable to add interface: Already there")
    member = Member(
        call.get("MemberName") or interface,
        interface,
        max(0, call.number("Penalty")),
        "dynamic",
        call.get("StateInterface"),
        call.flag("Paused"),
        call.get("Reason"),
        login=int(time.time()),
    )
    queue.members[interface] = member
    pbx.devices.member_event("QueueMemberAdded", queue, member)
    queue.wake()
    return call.success("Added interface to queue")


@handler("QueueRemove", "agent", about="take a member out of a queue")
def queue_remove(call: Call) -> bytes:
    pbx = call.simulator.pbx
    name, interface = call.get("Queue"), call.get("Interface")
    if not name or not interface:
        return call.error("Need 'Queue' and 'Interface' parameters.")
    queue = pbx.queues.get(name)
    if queue is None:
        return call.error("Unable to remove interface from queue: No such queue")
    member = queue.members.get(interface)
    if member is None:
        return call.error("Unable to remove interface: Not there")
    if member.membership != "dynamic":
        return call.error("Member not dynamic")
    pbx.devices.member_event("QueueMemberRemoved", queue, member)
    del queue.members[interface]
    return call.success("Removed interface from queue")


def _memberships(call: Call) -> list[tuple[Queue, Member]]:
    interface = call.get("Interface")
    return [(queue, queue.members[interface]) for queue in _chosen(call) if interface in queue.members]


@handler("QueuePause", "agent", about="let a member take a break")
def queue_pause(call: Call) -> bytes:
    if not call.get("Interface") or not call.get("Paused"):
        return call.error("Need 'Interface' and 'Paused' parameters.")
    paused = call.flag("Paused")
    found = _memberships(call)
    for queue, member in found:
        member.paused = paused
        member.reason = call.get("Reason") if paused else ""
        member.last_pause = int(time.time()) if paused else member.last_pause
        call.simulator.pbx.devices.member_event("QueueMemberPause", queue, member)
        queue.wake()
    if not found:
        return call.error("Interface not found")
    return call.success(f"Interface {'paused' if paused else 'unpaused'} successfully")


@handler("QueuePenalty", "agent", about="set the penalty of a member")
def queue_penalty(call: Call) -> bytes:
    if not call.get("Interface") or not call.get("Penalty"):
        return call.error("Need 'Interface' and 'Penalty' parameters.")
    found = _memberships(call)
    for queue, member in found:
        member.penalty = max(0, call.number("Penalty"))
        call.simulator.pbx.devices.member_event("QueueMemberPenalty", queue, member)
    if not found:
        return call.error("Invalid interface, queuename or penalty")
    return call.success("Interface penalty set successfully")


@handler("QueueMemberRingInUse", "agent", about="let a member be called while in use, or not")
def queue_ring_in_use(call: Call) -> bytes:
    if not call.get("Interface") or not call.get("RingInUse"):
        return call.error("Need 'Interface' and 'RingInUse' parameters.")
    found = _memberships(call)
    for queue, member in found:
        member.ring_in_use = call.flag("RingInUse")
        call.simulator.pbx.devices.member_event("QueueMemberRinginuse", queue, member)
    if not found:
        return call.error("Invalid interface, queuename, or ringinuse value")
    return call.success("Interface ringinuse set successfully")


@handler("QueueLog", "agent", about="write a line to the log of queues")
def queue_log(call: Call) -> bytes:
    if not call.get("Queue") or not call.get("Event"):
        return call.error("Need 'Queue' and 'Event' parameters.")
    return call.success("Event added successfully")


@handler("QueueReset", about="forget the numbers of queues")
def queue_reset(call: Call) -> bytes:
    for queue in _chosen(call):
        queue.completed = queue.abandoned = queue.hold_time = queue.talk_time = 0
    return call.success("Queue stats reset successfully")


@handler("QueueReload", about="read the configuration of queues again")
def queue_reload(call: Call) -> bytes:
    return call.success("Queue reloaded successfully")


@handler("QueueRule", about="list penalty rules")
def queue_rule(call: Call) -> bytes:
    # The answer of a real server ends in two blank lines, too.
    return call.response("Success", ("RuleList", "patience"), ("Rule", "10,+1,-1"), ("Rule", "60,10,0")) + b"\r\n"
