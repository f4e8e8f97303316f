"""The listings of ``top``: calls, queues, agents and endpoints of the live model as rows of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ...live import Call, Queue, QueueMember, View
from ..output import person, span

__all__ = ["LISTINGS", "Listing", "Row"]

AMBER, RED = "yellow", "bold red"
WAIT_AMBER, WAIT_RED = 60.0, 180.0  # seconds that a caller has waited
LEVEL_AMBER, LEVEL_RED = 80.0, 60.0  # percent of calls answered within the service level
LOST_AMBER, LOST_RED = 5.0, 10.0  # percent of callers who give up
STATES = {1: "free", 2: "in use", 3: "busy", 4: "invalid", 5: "unavailable", 6: "ringing", 7: "ringing", 8: "on hold"}
Views = Mapping[str, View]


@dataclass
class Row:
    """One row of a listing."""

    key: tuple[str, ...]
    """Identifies the row across updates, so that the cursor stays on it."""
    cells: list[str]
    order: list[Any]
    """The sort keys of the cells."""
    style: str = ""
    node: str = ""
    details: Callable[[], list[str]] = field(default=list, repr=False)
    hangup: str | None = None
    """The channel to hang up, for a call."""
    agent: tuple[str, bool] | None = None
    """The interface and True if it is paused, for an agent."""


@dataclass(frozen=True)
class Listing:
    """One kind of rows."""

    title: str
    columns: tuple[str, ...]
    rows: Callable[[Views, datetime], Iterator[Row]]
    numbers: tuple[str, ...] = ()
    """Columns to align right."""
    first: int = 0
    """The column by which rows are sorted at first."""
    descending: bool = False


def since(when: datetime | None, now: datetime) -> float | None:
    return None if when is None else max(0.0, (now - when).total_seconds())


def party(leg: Any) -> str:
    """Return the party of a leg: name and number, or the device."""
    device = leg.channel.rpartition("-")[0] or leg.channel
    return person(leg.caller_id_name, leg.caller_id_num) or str(device)


# Calls


def call_rows(views: Views, now: datetime) -> Iterator[Row]:
    for node, view in views.items():
        for call in view.calls.values():
            if call.state != "ended":
                yield call_row(node, call, view, now)


def call_row(node: str, call: Call, view: View, now: datetime) -> Row:
    groups = call.talking
    legs = list(groups[0]) if groups else [leg for leg in call.parties if not leg.ended] or list(call.parties)
    first = legs[0]
    to = first.connected_line_num or ""
    if len(legs) > 1:
        to = party(legs[1])
        if to == party(first):  # the leg of an agent behind a Local channel carries the caller's number
            to = legs[1].channel.rpartition("-")[0] if groups else ""
        to += f" +{len(legs) - 2}" if len(legs) > 2 else ""
    elif not to and first.uniqueid in view.channels:
        to = view.channels[first.uniqueid].exten
    talk = max((leg.talk_since for leg in legs if leg.talk_since is not None), default=None)
    took = since(talk or call.started, now)
    style = ""
    if call.state == "queued" and took is not None:
        style = RED if took >= WAIT_RED else AMBER if took >= WAIT_AMBER else ""
    queue = call.queues[-1] if call.queues else ""
    return Row(
        (node, call.linkedid),
        [party(first), to, call.state, queue, span(took)],
        [party(first).lower(), to.lower(), call.state, queue, took or 0.0],
        style,
        node,
        lambda: call_details(call, now),
        first.channel,
    )


def call_details(call: Call, now: datetime) -> list[str]:
    lines = [f"call {call.linkedid}: {call.state}", ""]
    for leg in call.legs:
        facts = [
            leg.state or ("ended" if leg.ended else ""),
            f"{leg.direction}bound" if leg.direction else "",
            f"dial {leg.dial_status}" if leg.dial_status else "",
            f"queue {leg.queue}" if leg.queue else "",
            "on hold" if leg.hold_since else "",
            f"cause {leg.cause}" if leg.cause is not None else "",
            span(since(leg.started, now)),
        ]
        lines.append(f"{leg.channel}   {party(leg)}   {', '.join(filter(None, facts))}")
    lines += [f"{each.kind} transfer to {each.to} {each.result}".rstrip() for each in call.transfers]
    return lines


# Queues


def queue_rows(views: Views, now: datetime) -> Iterator[Row]:
    for node, view in views.items():
        for queue in view.queues.values():
            yield queue_row(node, queue, now)


def queue_row(node: str, queue: Queue, now: datetime) -> Row:
    free = sum(agent_state(each) == "free" for each in queue.members)
    there = sum(agent_state(each) not in ("unavailable", "invalid") for each in queue.members)
    total = queue.completed + queue.abandoned
    lost = 100 * queue.abandoned / total if total else 0.0
    level = queue.servicelevel_perf if total else None
    bad = queue.longest_wait >= WAIT_RED or (level is not None and level < LEVEL_RED) or lost >= LOST_RED
    poor = queue.longest_wait >= WAIT_AMBER or (level is not None and level < LEVEL_AMBER) or lost >= LOST_AMBER
    stuck = bool(queue.waiting) and not there
    return Row(
        (node, queue.name),
        [
            queue.name,
            str(len(queue.waiting)),
            span(queue.longest_wait) if queue.waiting else "",
            f"{free}/{len(queue.members)}",
            str(queue.completed),
            f"{queue.abandoned} ({lost:.0f}%)" if total else "0",
            "" if level is None else f"{level:.0f}%",
            span(queue.talk_time) if queue.talk_time else "",
        ],
        [
            queue.name.lower(),
            len(queue.waiting),
            queue.longest_wait,
            free,
            queue.completed,
            queue.abandoned,
            -1.0 if level is None else level,
            queue.talk_time,
        ],
        RED if bad or stuck else AMBER if poor else "",
        node,
        lambda: queue_details(queue, now),
    )


def queue_details(queue: Queue, now: datetime) -> list[str]:
    lines = [f"queue {queue.name}, strategy {queue.strategy or 'unknown'}", ""]
    for caller in queue.waiting:
        who = caller.caller_id_name or caller.caller_id_num or caller.channel
        lines.append(f"{caller.position:>3}  {who}   {caller.channel}   waits {span(since(caller.since, now)) or '?'}")
    if not queue.waiting:
        lines.append("nobody waits")
    lines.append("")
    for member in queue.members:
        reason = f" ({member.paused_reason})" if member.paused and member.paused_reason else ""
        lines.append(f"{member.name or member.interface}   {agent_state(member)}{reason}   {member.calls_taken} calls")
    if not queue.members:
        lines.append("no members")
    return lines


# Agents


def agent_state(member: QueueMember) -> str:
    if member.status in (4, 5):
        return STATES[member.status]
    if member.in_call:
        return "talking"
    if member.status in (6, 7):
        return "ringing"
    if member.paused:
        return "paused"
    return STATES.get(member.status, "unknown")


def agent_rows(views: Views, now: datetime) -> Iterator[Row]:
    """Yield each agent once, whatever the number of queues."""
    for node, view in views.items():
        found: dict[str, list[tuple[str, QueueMember]]] = {}
        for queue in view.queues.values():
            for member in queue.members:
                found.setdefault(member.interface, []).append((queue.name, member))
        for interface, members in found.items():
            yield agent_row(node, interface, members, now)


def agent_row(node: str, interface: str, members: list[tuple[str, QueueMember]], now: datetime) -> Row:
    order = ("talking", "ringing", "in use", "busy", "on hold", "paused", "free", "unknown", "unavailable", "invalid")
    _, member = min(members, key=lambda each: order.index(agent_state(each[1])))
    state = agent_state(member)
    moments = {"talking": member.in_call_since, "ringing": member.ringing_since, "paused": member.last_pause}
    took = since(moments.get(state, member.last_call), now)
    taken = sum(each.calls_taken for _, each in members)
    names = ", ".join(name for name, _ in members)
    reason = member.paused_reason if member.paused else ""
    name = member.name or interface
    style = {"unavailable": RED, "invalid": RED, "paused": AMBER}.get(state, "")

    def details() -> list[str]:
        lines = [f"{name}, {interface}", ""]
        for each, one in members:
            flags = f", paused {one.paused_reason}".rstrip() if one.paused else ""
            lines.append(f"{each}   {agent_state(one)}{flags}   penalty {one.penalty}   {one.calls_taken} calls")
        return lines

    return Row(
        (node, interface),
        [name, state, reason, span(took), str(taken), names],
        [name.lower(), order.index(state), reason, took or 0.0, taken, names],
        style,
        node,
        details,
        agent=(interface, member.paused),
    )


# Endpoints


def endpoint_rows(views: Views, now: datetime) -> Iterator[Row]:
    for node, view in views.items():
        for endpoint in view.endpoints.values():
            reached = [
                each for each in endpoint.contacts if each.status.lower() in ("reachable", "nonqualified", "avail")
            ]
            trips = [each.roundtrip_usec for each in endpoint.contacts if each.roundtrip_usec]
            trip = f"{min(trips) / 1000:.0f} ms" if trips else ""
            down = endpoint.device_state.lower() in ("unavailable", "invalid")
            lines = [f"endpoint {endpoint.name}: {endpoint.device_state}", ""]
            lines += [f"{each.uri}   {each.status}" for each in endpoint.contacts] or ["no contacts"]
            yield Row(
                (node, endpoint.name),
                [endpoint.name, endpoint.device_state, f"{len(reached)}/{len(endpoint.contacts)}", trip],
                [endpoint.name.lower(), endpoint.device_state, len(reached), min(trips, default=0)],
                RED if down else "",
                node,
                lambda lines=lines: lines,  # type: ignore[misc]
            )


LISTINGS = (
    Listing("Calls", ("From", "To", "State", "Queue", "For"), call_rows, ("For",), 4, True),
    Listing(
        "Queues",
        ("Queue", "Waiting", "Longest", "Free", "Answered", "Lost", "Level", "Talk"),
        queue_rows,
        ("Waiting", "Longest", "Free", "Answered", "Lost", "Level", "Talk"),
    ),
    Listing("Agents", ("Agent", "State", "Reason", "For", "Calls", "Queues"), agent_rows, ("For", "Calls")),
    Listing("Endpoints", ("Endpoint", "State", "Contacts", "Trip"), endpoint_rows, ("Contacts", "Trip")),
)


def now_of(views: Views) -> datetime:
    """Return the latest of the servers' times, or if there is none, this machine's time."""
    return max((view.moment for view in views.values() if view.moment is not None), default=datetime.now(UTC))
