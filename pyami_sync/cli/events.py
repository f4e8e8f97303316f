"""Prints an event as one line, with the time, the name and the most important headers, or as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from .. import Event
from .output import Output, clean, hide_secrets

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["event_record", "print_event"]

COLORS = {
    "call": "green",
    "agent": "magenta",
    "dialplan": "blue",
    "user": "yellow",
    "security": "red",
    "system": "cyan",
    "dtmf": "bright_blue",
    "cdr": "bright_black",
    "reporting": "bright_black",
}
"""Colours of events by class."""

MARKERS = {
    "ConnectionLost": "bold red",
    "Reconnected": "bold green",
    "Stalled": "bold red",
    "Recovered": "bold green",
}
ENDS = {"Hangup": "red", "DialEnd": "green", "BridgeLeave": "red"}

FACTS = (
    "Queue",
    "MemberName",
    "Interface",
    "Channel",
    "DestChannel",
    "Device",
    "Peer",
    "AOR",
    "ChannelStateDesc",
    "State",
    "ContactStatus",
    "PeerStatus",
    "DialStatus",
    "CallerIDNum",
    "CallerIDName",
    "Exten",
    "Application",
    "AppData",
    "Variable",
    "Value",
    "BridgeNumChannels",
    "Digit",
    "Position",
    "Count",
    "Paused",
    "Status",
    "HoldTime",
    "Response",
    "Reason",
    "Cause",
    "Cause-txt",
    "UserEvent",
    "Gap",
)
"""The headers shown in a line, in this order."""

EMPTY = {"", "<unknown>", "<none>"}
NOISE = {"event", "privilege", "timestamp", "systemname", "actionid", "received_at"}
NAME_WIDTH = 20


def event_record(event: Event) -> dict[str, Any]:
    """Return an event for JSON: its headers, its time of arrival and, in a cluster, its node."""
    received = event.received_at
    record: dict[str, Any] = dict(hide_secrets(event).to_dict())
    if received is not None:
        record["received_at"] = received.isoformat(timespec="microseconds")
    if event.node is not None:
        record["node"] = event.node
    return record


def print_event(output: Output, event: Event, *, full: bool = False, as_json: bool = False) -> None:
    """Print an event as JSON or as a readable line; with ``full``, with all of its headers."""
    if as_json or output.as_json:
        output.record(event_record(event))
    elif output.terminal:
        output.console.print(_line(event, full), soft_wrap=True)
    else:
        output.text(clean(_line(event, full).plain))


def _line(event: Event, full: bool) -> Text:
    event = hide_secrets(event)  # type: ignore[assignment]
    name = event.name
    classes = event.get("Privilege", "").split(",")
    color = MARKERS.get(name) or ENDS.get(name) or next((COLORS[each] for each in classes if each in COLORS), "")
    received = (event.received_at or datetime.now().astimezone()).astimezone()
    node = f"{event.node} " if event.node is not None else ""
    parts: list[Any] = [
        (f"{received:%H:%M:%S}.{received.microsecond // 1000:03} ", "dim"),
        (node, "bold"),
        (f"{clean(name):<{NAME_WIDTH}} ", f"bold {color}" if color else "bold"),
    ]
    if full:
        for header, value in event.items():
            if header.lower() not in NOISE:
                parts += [(clean(header), "dim"), "=", clean(value), " "]
        return _assemble(parts)
    lowered = {key.lower(): value for key, value in reversed(event.items())}
    for header in FACTS:
        value = lowered.get(header.lower(), "")
        if value in EMPTY:
            continue
        parts += [(f"{header}=", "dim"), clean(value), " "]
    return _assemble(parts)


def _assemble(parts: list[Any]) -> Text:
    from rich.text import Text

    line = Text.assemble(*parts)
    line.rstrip()
    return line
