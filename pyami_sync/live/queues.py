"""Event handlers for queues, their callers and their members.

The server publishes each change of a member's state, but not the figures of members and queues. They are computed
here as the server does: in whole seconds, with running averages in which a new call has the weight of a quarter. A
server does not count every call (not one whose member was removed or reloaded meanwhile) and does not report that, so
each of these events also requests a fresh list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..wire.escapes import unescape
from .draft import Draft, Headers, moment, number, seconds_between, text_or_none, truth
from .entities import Queue, QueueCaller, QueueMember, evolve
from .legs import find_leg, note_queue, set_leg
from .seeing import Prefix

__all__ = ["HANDLERS", "member_fields", "put_member"]

DEST = Prefix("Dest")


def queue_of(d: Draft, h: Headers) -> Queue | None:
    """Return the queue that an event is about; for an unknown one, request fresh lists."""
    name = h.get("Queue")
    if not name:
        return None
    queue = d.queues.get(name)
    if queue is None:
        d.stale.add("queues")
        queue = Queue(name)
        d.put(d.queues, name, None, queue)
    return queue


def set_queue(d: Draft, queue: Queue, **changes: Any) -> Queue:
    """Change a queue."""
    after = evolve(queue, changes)
    d.put(d.queues, queue.name, queue, after)
    return after


def put_member(members: tuple[QueueMember, ...], member: QueueMember) -> tuple[QueueMember, ...]:
    """Return the members with one replaced, or added."""
    if any(each.interface == member.interface for each in members):
        return tuple(member if each.interface == member.interface else each for each in members)
    return (*members, member)


def member_fields(h: Headers) -> dict[str, Any]:
    """Return the fields of a member from the headers of an event or an item of a list."""
    fields: dict[str, Any] = {
        "state_interface": h.get("StateInterface", ""),
        "membership": h.get("Membership", ""),
        "penalty": number(h.get("Penalty")),
        "calls_taken": number(h.get("CallsTaken")),
        "last_call": moment(h.get("LastCall")),
        "in_call": truth(h.get("InCall")),
        "status": number(h.get("Status")),
        "paused": truth(h.get("Paused")),
        # A reason given with the end of a pause is sent in the event, but not kept by the server.
        "paused_reason": h.get("PausedReason", "") if truth(h.get("Paused")) else "",
        "wrapup_time": number(h.get("Wrapuptime")),
    }
    if "LastPause" in h:
        fields["last_pause"] = moment(h["LastPause"])
    if "LoginTime" in h:
        fields["login_time"] = moment(h["LoginTime"])
    if "Ringinuse" in h:
        fields["ring_in_use"] = truth(h["Ringinuse"])
    return fields


# Members


def on_member(d: Draft, h: Headers) -> None:
    queue = queue_of(d, h)
    interface = h.get("Interface")
    if queue is None or not interface:
        return
    name = h.get("MemberName", "")
    old = queue.member(interface)
    fields = member_fields(h)
    if old is None:
        member = QueueMember(interface, name, **fields)
    else:
        fields["name"] = name
        if not fields["in_call"]:
            fields["in_call_since"] = None
        member = evolve(old, fields)
        if member == old:
            return
        if (member.calls_taken, member.in_call) != (old.calls_taken, old.in_call):
            d.stale.add("queues")  # the queue has counted a call, perhaps one without another event
    set_queue(d, queue, members=put_member(queue.members, member))


def on_member_removed(d: Draft, h: Headers) -> None:
    queue = d.queues.get(h.get("Queue", ""))
    if queue is not None:
        members = tuple(each for each in queue.members if each.interface != h.get("Interface"))
        if len(members) != len(queue.members):
            set_queue(d, queue, members=members)


def change_member(d: Draft, queue: Queue, interface: str | None, **changes: Any) -> Queue:
    """Change a member, if there is one with that interface."""
    member = queue.member(interface or "")
    if member is None:
        return queue
    after = evolve(member, changes)
    return queue if after == member else set_queue(d, queue, members=put_member(queue.members, after))


# Callers


def on_join(d: Draft, h: Headers) -> None:
    queue = queue_of(d, h)
    uniqueid = h.get("Uniqueid")
    if queue is None or uniqueid is None:
        return
    position = number(h.get("Position"), 1)
    caller = QueueCaller(
        uniqueid,
        h.get("Channel", ""),
        position,
        d.when,
    )
    caller = evolve(caller, parties(h))
    known = next((each for each in queue.waiting if each.uniqueid == uniqueid), None)
    if known is not None:  # a list has shown it before
        caller = evolve(caller, {"since": known.since or caller.since, "priority": known.priority})
    waiting = [each for each in queue.waiting if each.uniqueid != uniqueid]
    waiting.insert(position - 1, caller)
    set_queue(d, queue, waiting=numbered(waiting))
    d.queue_of.put(uniqueid, queue.name)
    note_queue(d, uniqueid, queue.name)
    set_leg(d, uniqueid, queue=queue.name, queued_since=caller.since)


def parties(h: Headers) -> dict[str, Any]:
    """Return the parties in an event, as fields."""
    return {
        "caller_id_num": text_or_none(h.get("CallerIDNum")),
        "caller_id_name": text_or_none(unescape(h.get("CallerIDName", ""))),
        "connected_line_num": text_or_none(h.get("ConnectedLineNum")),
        "connected_line_name": text_or_none(unescape(h.get("ConnectedLineName", ""))),
    }


def numbered(callers: list[QueueCaller]) -> tuple[QueueCaller, ...]:
    """Return the callers with new positions."""
    return tuple(
        each if each.position == position else evolve(each, {"position": position})
        for position, each in enumerate(callers, 1)
    )


def on_leave(d: Draft, h: Headers) -> None:
    leave(d, h.get("Queue", ""), h.get("Uniqueid", ""))
    d.stale.add("queues")  # it was answered, abandoned or neither, which the server may be unable to report


def leave(d: Draft, name: str, uniqueid: str) -> None:
    """Remove a caller from a queue."""
    queue = d.queues.get(name)
    if queue is not None and any(each.uniqueid == uniqueid for each in queue.waiting):
        set_queue(d, queue, waiting=numbered([each for each in queue.waiting if each.uniqueid != uniqueid]))
    if d.queue_of.get(uniqueid) == name:
        d.queue_of.pop(uniqueid)
    leg = find_leg(d, uniqueid)
    if leg is not None and leg.queue is not None:
        total = leg.queue_time + seconds_between(leg.queued_since, d.when)
        set_leg(d, uniqueid, queue=None, queued_since=None, queue_time=total)


def on_hangup(d: Draft, h: Headers) -> None:
    """Remove a caller whose leaving the server could not report, because the channel had ended already.

    For the same reason the end of a call with a member may be counted without an event.
    """
    uniqueid = h.get("Uniqueid", "")
    if uniqueid in d.served or h.get("Linkedid", "") in d.served:
        d.stale.add("queues")
    name = d.queue_of.get(uniqueid)
    if name is not None:
        leave(d, name, uniqueid)
        d.stale.add("queues")


def on_moved(d: Draft, h: Headers) -> None:
    """Request fresh lists of queues when a waiting channel executes something else.

    A channel moved by a masquerade leaves its queue under the identity of another channel, and no event reports that.
    """
    if h.get("Uniqueid", "") in d.queue_of:
        d.stale.add("queues")


def on_party(d: Draft, h: Headers) -> None:
    """Update the number and name of a waiting caller."""
    uniqueid = h.get("Uniqueid", "")
    queue = d.queues.get(d.queue_of.get(uniqueid) or "")
    if queue is not None:
        fields = parties(h)
        waiting = tuple(evolve(each, fields) if each.uniqueid == uniqueid else each for each in queue.waiting)
        if waiting != queue.waiting:
            set_queue(d, queue, waiting=waiting)


def on_abandon(d: Draft, h: Headers) -> None:
    queue = queue_of(d, h)
    if queue is None:
        return
    d.stale.add("queues")
    soon = number(h.get("HoldTime")) <= queue.service_level
    in_time = None if queue.abandoned_in_time is None else queue.abandoned_in_time + soon
    set_queue(d, queue, **figures(queue, abandoned=queue.abandoned + 1, abandoned_in_time=in_time))


# Calls to members


def on_called(d: Draft, h: Headers) -> None:
    queue = queue_of(d, h)
    if queue is not None:
        change_member(d, queue, h.get("Interface"), ringing_since=d.when)


def on_no_answer(d: Draft, h: Headers) -> None:
    queue = queue_of(d, h)
    if queue is not None:
        change_member(d, queue, h.get("Interface"), ringing_since=None)


def on_connect(d: Draft, h: Headers) -> None:
    queue = queue_of(d, h)
    if queue is None:
        return
    d.stale.add("queues")
    d.note_served(h.get("Uniqueid"), h.get("Linkedid"), h.get("DestUniqueid"), h.get("DestLinkedid"))
    held = number(h.get("HoldTime"))
    if queue.completed or queue.abandoned:
        held = average(queue.hold_time, held)
    queue = set_queue(d, queue, hold_time=held)
    members = tuple(
        evolve(each, {"ringing_since": None, **({"in_call": True, "in_call_since": d.when} if mine else {})})
        if (mine := each.interface == h.get("Interface")) or each.ringing_since is not None
        else each
        for each in queue.members
    )
    if members != queue.members:
        set_queue(d, queue, members=members)


def on_complete(d: Draft, h: Headers) -> None:
    queue = queue_of(d, h)
    if queue is None:
        return
    d.stale.add("queues")
    talked, held = number(h.get("TalkTime")), number(h.get("HoldTime"))
    talk_time = average(queue.talk_time, talked) if queue.completed else talked
    in_time = None if queue.answered_in_time is None else queue.answered_in_time + (held <= queue.service_level)
    changes = figures(queue, completed=queue.completed + 1, answered_in_time=in_time)
    queue = set_queue(d, queue, talk_time=talk_time, **changes)
    member = queue.member(h.get("Interface", ""))
    if member is not None and member.in_call:  # otherwise the member's new state, which counts this call, came first
        ended = d.when.replace(microsecond=0) if d.when is not None else None
        change_member(
            d,
            queue,
            member.interface,
            in_call=False,
            in_call_since=None,
            calls_taken=member.calls_taken + 1,
            last_call=ended,
        )


def average(old: int, new: int) -> int:
    """Return a running average as the server computes it, in whole seconds."""
    return ((old << 2) - old + new) >> 2


def figures(queue: Queue, **counts: int | None) -> dict[str, Any]:
    """Return the counts with the percentages computed from them."""
    after = evolve(queue, counts)
    completed, ended = after.completed, after.completed + after.abandoned
    made: dict[str, Any] = dict(counts)
    if after.answered_in_time is not None:
        made["servicelevel_perf"] = percentage(after.answered_in_time, completed)
        if after.abandoned_in_time is not None:
            made["servicelevel_perf2"] = percentage(after.answered_in_time + after.abandoned_in_time, ended)
    return made


def percentage(part: int, whole: int) -> float:
    """Return a percentage with one decimal; 0.0 if the whole is 0."""
    return round(100.0 * part / whole, 1) if whole else 0.0


HANDLERS: dict[str, Callable[[Draft, Headers], None]] = {
    "QueueMemberAdded": on_member,
    "QueueMemberStatus": on_member,
    "QueueMemberPause": on_member,
    "QueueMemberPenalty": on_member,
    "QueueMemberRinginuse": on_member,
    "QueueMemberRemoved": on_member_removed,
    "QueueCallerJoin": on_join,
    "QueueCallerLeave": on_leave,
    "QueueCallerAbandon": on_abandon,
    "AgentCalled": on_called,
    "AgentRingNoAnswer": on_no_answer,
    "AgentConnect": on_connect,
    "AgentComplete": on_complete,
    "NewCallerid": on_party,
    "NewConnectedLine": on_party,
    "Hangup": on_hangup,
    "BridgeEnter": on_moved,
    "Newexten": on_moved,
    "Rename": on_moved,
}
