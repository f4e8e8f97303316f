"""Reads channels, queues and endpoints, sorts them, and prints them as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..client import AMIClient
from ..exceptions import ActionError
from ..wire.message import Message
from .fitting import WHOLE, Form, show_table
from .output import Output, person, span

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "CHANNEL_FORM",
    "MEMBER_FORM",
    "QUEUE_FORM",
    "Row",
    "channel_table",
    "endpoint_table",
    "member_table",
    "queue_table",
    "read_channels",
    "read_endpoints",
    "read_queues",
]

Row: TypeAlias = dict[str, Any]

NOTHING = {"", "<unknown>", "<none>", "(null)", "-none-"}
COLORS = {
    "Up": "green",
    "Ringing": "yellow",
    "Ring": "yellow",
    "Busy": "red",
    "Not in use": "green",
    "In use": "yellow",
    "Unavailable": "bold red",
    "Invalid": "bold red",
    "Unknown": "red",
    "Paused": "bright_black",
}
"""Colours of states by text."""

MEMBER_STATES = {
    "0": "Unknown",
    "1": "Not in use",
    "2": "In use",
    "3": "Busy",
    "4": "Invalid",
    "5": "Unavailable",
    "6": "Ringing",
    "7": "Ring, in use",
    "8": "On hold",
}
"""Texts for the ``Status`` of a queue's member."""


def _text(message: Message, *names: str) -> str:
    """Return the first of these headers that has a value."""
    return next((value for name in names if (value := message.get(name, "")) not in NOTHING), "")


def _number(message: Message, *names: str) -> int:
    text = _text(message, *names)
    return int(text) if text.lstrip("-").isdecimal() else 0


def colored(state: str) -> Text:
    """Return a state in its colour."""
    from rich.text import Text

    return Text(state, COLORS.get(state.partition(" (")[0], "red" if state.upper().startswith("UNREACH") else ""))


def _states(output: Output, rows: list[list[object]], at: int) -> list[list[object]]:
    """Return the rows with the states in one column coloured, if the output has colours."""
    if output.terminal:
        for row in rows:
            row[at] = colored(str(row[at]))
    return rows


# Channels


def read_channels(client: AMIClient) -> list[Row]:
    """Return the active channels.

    Raises:
        ActionError: the user may not ask (write class ``system`` or ``reporting``).

    """
    return [
        {
            "channel": item.get("Channel", ""),
            "state": item.get("ChannelStateDesc", ""),
            "caller": _text(item, "CallerIDNum"),
            "caller_name": _text(item, "CallerIDName"),
            "connected": _text(item, "ConnectedLineNum"),
            "context": _text(item, "Context"),
            "exten": _text(item, "Exten"),
            "application": _text(item, "Application"),
            "data": _text(item, "ApplicationData"),
            "duration": _text(item, "Duration"),
            "bridge": _text(item, "BridgeId"),
            "uniqueid": item.get("Uniqueid", ""),
            "linkedid": _text(item, "Linkedid"),
        }
        for item in client.send("CoreShowChannels").events
    ]


CHANNEL_FORM = Form(
    ["Duration"],
    {"Channel": WHOLE, "Caller": 10, "Connected": 10, "Application": 12},
    ["Connected", "State", "Caller", "Extension", "Application"],
)
"""A channel's name is an argument of other commands, so it is never cut; other columns are dropped instead."""


def channel_rows(output: Output, rows: Sequence[Row]) -> tuple[list[str], list[list[object]]]:
    """Return the columns and rows of the table of channels."""
    columns = ["Channel", "State", "Caller", "Connected", "Extension", "Application", "Duration"]
    cells: list[list[object]] = [
        [
            row["channel"],
            row["state"],
            person(row["caller_name"], row["caller"]),
            row["connected"],
            f"{row['exten']}@{row['context']}" if row["exten"] or row["context"] else "",
            f"{row['application']}({row['data']})" if row["application"] else "",
            row["duration"],
        ]
        for row in rows
    ]
    return columns, _states(output, cells, 1)


def channel_table(output: Output, rows: Sequence[Row], title: str = "Channels") -> None:
    """Show channels."""
    columns, cells = channel_rows(output, rows)
    show_table(output, title, columns, cells, CHANNEL_FORM)


# Queues


def read_queues(client: AMIClient, names: Sequence[str] = ()) -> list[Row]:
    """Return queues with their members and waiting callers; all of them, or those with the given names."""
    queues: dict[str, Row] = {}
    answers = [client.send("QueueStatus", Queue=name) for name in names] or [client.send("QueueStatus")]
    for item in (item for answer in answers for item in answer.events):
        name = item.get("Queue", "")
        if item.name == "QueueParams":
            queues[name] = {
                "queue": name,
                "strategy": item.get("Strategy", ""),
                "callers": _number(item, "Calls"),
                "longest_wait": 0,
                "members": 0,
                "available": 0,
                "paused": 0,
                "hold_time": _number(item, "Holdtime"),
                "talk_time": _number(item, "TalkTime"),
                "completed": _number(item, "Completed"),
                "abandoned": _number(item, "Abandoned"),
                "service_level": _text(item, "ServicelevelPerf"),
                "member_list": [],
                "caller_list": [],
            }
        elif name in queues and item.name == "QueueMember":
            _add_member(queues[name], item)
        elif name in queues and item.name == "QueueEntry":
            _add_caller(queues[name], item)
    return list(queues.values())


def _add_member(queue: Row, item: Message) -> None:
    paused = item.get("Paused", "0") != "0"
    status = item.get("Status", "")
    queue["members"] += 1
    queue["paused"] += paused
    queue["available"] += status in ("1", "") and not paused
    queue["member_list"].append(
        {
            "name": _text(item, "Name", "MemberName"),
            "interface": _text(item, "Location", "Interface", "StateInterface"),
            "state": "Paused" if paused else MEMBER_STATES.get(status, status),
            "paused": paused,
            "reason": _text(item, "PausedReason"),
            "penalty": _number(item, "Penalty"),
            "calls": _number(item, "CallsTaken"),
            "in_call": item.get("InCall", "0") == "1",
        }
    )


def _add_caller(queue: Row, item: Message) -> None:
    wait = _number(item, "Wait")
    queue["longest_wait"] = max(queue["longest_wait"], wait)
    queue["caller_list"].append(
        {
            "position": _number(item, "Position"),
            "channel": item.get("Channel", ""),
            "caller": _text(item, "CallerIDNum"),
            "caller_name": _text(item, "CallerIDName"),
            "wait": wait,
        }
    )


QUEUE_COLUMNS = ("Queue", "Callers", "Longest", "Free", "Members", "Paused", "Hold", "Done", "Left", "In time")


def queue_rows(rows: Sequence[Row]) -> tuple[list[str], list[list[object]]]:
    """Return the columns and rows of the table of queues."""
    columns = list(QUEUE_COLUMNS)
    cells: list[list[object]] = [
        [
            row["queue"],
            row["callers"],
            span(row["longest_wait"]) if row["callers"] else "",
            row["available"],
            row["members"],
            row["paused"],
            span(row["hold_time"]),
            row["completed"],
            row["abandoned"],
            f"{row['service_level']}%" if row["service_level"] else "",
        ]
        for row in rows
    ]
    return columns, cells


QUEUE_FORM = Form(QUEUE_COLUMNS[1:], {"Queue": WHOLE}, ["Paused", "Hold", "In time"])
"""See :data:`CHANNEL_FORM`."""


def queue_table(output: Output, rows: Sequence[Row], title: str = "Queues") -> None:
    """Show queues."""
    columns, cells = queue_rows(rows)
    show_table(output, title, columns, cells, QUEUE_FORM)


MEMBER_FORM = Form(
    ["Penalty", "Calls"], {"Queue": 10, "Who": 10, "Interface": WHOLE, "State": 12}, ["Penalty", "Calls", "Queue"]
)
"""See :data:`CHANNEL_FORM`."""


def member_rows(output: Output, rows: Sequence[Row]) -> tuple[list[str], list[list[object]]]:
    """Return the columns and rows of the members and callers of queues."""
    columns = ["Queue", "Who", "Interface", "State", "Penalty", "Calls"]
    cells: list[list[object]] = []
    for row in rows:
        for member in row["member_list"]:
            name, interface = member["name"], member["interface"]
            cells.append([row["queue"], name, interface, member["state"], member["penalty"], member["calls"]])
        for caller in row["caller_list"]:
            who = person(caller["caller_name"], caller["caller"]) or "caller"
            waiting = f"Waiting ({span(caller['wait'])}, place {caller['position']})"
            cells.append([row["queue"], who, caller["channel"], waiting, "", ""])
    return columns, _states(output, cells, 3)


def member_table(output: Output, rows: Sequence[Row], title: str = "Members and callers") -> None:
    """Show the members and callers of queues."""
    columns, cells = member_rows(output, rows)
    show_table(output, title, columns, cells, MEMBER_FORM)


# Endpoints


def read_endpoints(client: AMIClient) -> list[Row]:
    """Return the phones and trunks of PJSIP, SIP and IAX2, for the technologies that the server has.

    ``reachable`` is :data:`None` if the server does not monitor the device.

    Raises:
        ActionError: the user may list none of them (write classes ``system`` or ``reporting``).

    """
    rows: list[Row] = []
    refusal: ActionError | None = None
    asked = False
    for technology, action in (("PJSIP", "PJSIPShowEndpoints"), ("SIP", "SIPpeers"), ("IAX2", "IAXpeerlist")):
        try:
            items = client.send(action).events
        except ActionError as exc:
            said = exc.response.message
            if said == "Permission denied":
                refusal = exc
            elif "unknown command" not in said.lower():
                raise
            continue
        asked = True
        rows += [_endpoint(technology, item) for item in items]
    if not asked and refusal is not None:
        raise refusal
    return rows


def _endpoint(technology: str, item: Message) -> Row:
    name = _text(item, "ObjectName")
    if technology == "PJSIP":
        state = _text(item, "DeviceState") or "Unknown"
        contacts = [each.strip(", ") for value in item.get_all("Contacts") for each in value.split(",")]
        found = [each for each in contacts if each]
        channels = _text(item, "ActiveChannels")
        return {
            "endpoint": f"PJSIP/{name}",
            "technology": technology,
            "state": state,
            "reachable": state not in ("Unavailable", "Invalid", "Unknown"),
            "address": ", ".join(each.partition("/")[2] or each for each in found),
            "channels": [each.strip() for each in channels.split(",") if each.strip() and each.strip() != "0"],
        }
    status = _text(item, "Status") or "Unknown"
    address = _text(item, "IPaddress", "IPAddress", "IPport")
    port = _text(item, "IPport", "Port")
    return {
        "endpoint": f"{technology}/{name}",
        "technology": technology,
        "state": status,
        "reachable": None if status.lower().startswith("unmonitored") else status.upper().startswith(("OK", "LAGGED")),
        "address": f"{address}:{port}" if address and port not in ("", "0", address) else address,
        "channels": [],
    }


def endpoint_rows(output: Output, rows: Sequence[Row]) -> tuple[list[str], list[list[object]]]:
    """Return the columns and rows of the table of endpoints."""
    columns = ["Endpoint", "State", "Address", "Channels"]
    cells: list[list[object]] = [
        [row["endpoint"], row["state"], row["address"], ", ".join(row["channels"])] for row in rows
    ]
    return columns, _states(output, cells, 1)


def endpoint_table(output: Output, rows: Sequence[Row], title: str = "Endpoints") -> None:
    """Show endpoints."""
    columns, cells = endpoint_rows(output, rows)
    output.table(title, columns, cells)
