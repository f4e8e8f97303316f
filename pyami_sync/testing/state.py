"""The state of the simulator's telephone system: channels, bridges, queues, endpoints, parked calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .flow import Signal, Task

__all__ = [
    "CAUSES",
    "DEVICE_STATES",
    "REFUSALS",
    "STATES",
    "Bridge",
    "Caller",
    "Channel",
    "Conference",
    "Endpoint",
    "Lot",
    "Member",
    "Parked",
    "Queue",
]

DOWN, RING, RINGING, UP, BUSY = 0, 4, 5, 6, 7
STATES = ["Down", "Rsrvd", "OffHook", "Dialing", "Ring", "Ringing", "Up", "Busy", "Dialing Offhook", "Pre-ring"]
"""``ChannelStateDesc`` by ``ChannelState``."""

CAUSES = {
    0: "Unknown",
    1: "Unallocated (unassigned) number",
    16: "Normal Clearing",
    17: "User busy",
    18: "No user responding",
    19: "User alerting, no answer",
    20: "Subscriber absent",
    21: "Call Rejected",
    26: "Answered elsewhere",
    34: "Circuit/channel congestion",
    58: "Bearer capability not available",
}

REFUSALS = {
    "busy": (17, "486"),
    "congestion": (34, "503"),
    "rejected": (21, "603"),
    "unreachable": (1, "404"),
    "failed": (58, "488"),
}
"""Hangup cause and SIP status of each outcome that a telephone can refuse with."""
"""``Cause-txt`` by ``Cause``."""

DEVICE_STATES = {
    "UNKNOWN": (0, "Unknown"),
    "NOT_INUSE": (1, "Not in use"),
    "INUSE": (2, "In use"),
    "BUSY": (3, "Busy"),
    "INVALID": (4, "Invalid"),
    "UNAVAILABLE": (5, "Unavailable"),
    "RINGING": (6, "Ringing"),
    "RINGINUSE": (7, "Ring+Inuse"),
    "ONHOLD": (8, "On Hold"),
}
"""Number (``Status`` of a queue member) and text of each state of a device."""

_ESCAPES = str.maketrans(
    {
        "\\": "\\\\",
        "'": "\\'",
        '"': '\\"',
        "?": "\\?",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\v": "\\v",
    }
)

Pair = tuple[str, object]


def escape(text: str) -> str:
    """Escape a text as in C, as servers do with names in snapshots of channels and values in VarSet."""
    return text.translate(_ESCAPES)


@dataclass(eq=False)
class Bridge:
    """A bridge, which joins channels."""

    uniqueid: str
    type: str = "basic"
    technology: str = "simple_bridge"
    creator: str = "<unknown>"
    name: str = "<unknown>"
    permanent: bool = False
    """True if it stays when it is empty, like that of a parking lot."""
    channels: list[Channel] = field(default_factory=list)

    def snapshot(self) -> list[Pair]:
        """Its headers as they stand in events."""
        return [
            ("BridgeUniqueid", self.uniqueid),
            ("BridgeType", self.type),
            ("BridgeTechnology", self.technology),
            ("BridgeCreator", self.creator),
            ("BridgeName", self.name),
            ("BridgeNumChannels", len(self.channels)),
            ("BridgeVideoSourceMode", "none"),
        ]


@dataclass(eq=False)
class Channel:
    """One leg of a call."""

    name: str
    uniqueid: str
    linkedid: str
    context: str
    exten: str
    created: float
    state: int = DOWN
    number: str = ""
    caller: str = ""
    connected_number: str = ""
    connected: str = ""
    priority: int = 1
    account: str = ""
    application: str = ""
    data: str = ""
    cause: int = 0
    tech_cause: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    bridge: Bridge | None = None
    peer: Channel | None = None
    """The other half of a Local channel."""
    endpoint: Endpoint | None = None
    failure: str = ""
    """Why a call to it will not be answered, in the spelling of ``DialStatus``."""
    gone: bool = False
    tasks: list[Task] = field(default_factory=list)
    changed: Signal = field(default_factory=Signal)

    @property
    def device(self) -> str:
        """The name without its unique suffix."""
        return self.name.rpartition("-")[0]

    def snapshot(self, prefix: str = "") -> list[Pair]:
        """Its headers as they stand in events."""
        return [
            (f"{prefix}Channel", self.name),
            (f"{prefix}ChannelState", self.state),
            (f"{prefix}ChannelStateDesc", STATES[self.state]),
            (f"{prefix}CallerIDNum", self.number or "<unknown>"),
            (f"{prefix}CallerIDName", escape(self.caller) or "<unknown>"),
            (f"{prefix}ConnectedLineNum", self.connected_number or "<unknown>"),
            (f"{prefix}ConnectedLineName", escape(self.connected) or "<unknown>"),
            (f"{prefix}Language", "en"),
            (f"{prefix}AccountCode", self.account),
            (f"{prefix}Context", self.context),
            (f"{prefix}Exten", self.exten),
            (f"{prefix}Priority", self.priority),
            (f"{prefix}Uniqueid", self.uniqueid),
            (f"{prefix}Linkedid", self.linkedid),
        ]


@dataclass(eq=False)
class Endpoint:
    """A telephone of PJSIP.

    Args:
        name: without ``PJSIP/``.
        contacts: its registered contacts; if there are none, it can't be reached.
        rings: seconds until it rings when it is called.
        answers: seconds that it rings before it answers; :data:`None` for never.
        talks: seconds after which it hangs up; :data:`None` for never.
        busy: whether it refuses calls as busy.
        refuses: the hangup cause with which it refuses calls; 0 for none.
        tech_cause: the SIP status of a refusal.
        transport: name of its transport.
        context: context of the calls that it makes.

    """

    name: str
    contacts: list[str] = field(default_factory=list)
    rings: float = 0.01
    answers: float | None = 0.03
    talks: float | None = None
    busy: bool = False
    refuses: int = 0
    tech_cause: str = ""
    transport: str = "udp"
    context: str = "default"

    @property
    def device(self) -> str:
        """The device's name."""
        return f"PJSIP/{self.name}"


@dataclass(eq=False)
class Member:
    """A member of a queue."""

    name: str
    interface: str
    penalty: int = 0
    membership: str = "static"
    state_interface: str = ""
    paused: bool = False
    reason: str = ""
    calls: int = 0
    last_call: int = 0
    last_pause: int = 0
    login: int = 0
    in_call: bool = False
    ringing: bool = False
    ring_in_use: bool = True

    def headers(self, status: int) -> list[Pair]:
        """Return its headers in events, without ``Queue`` and the headers of its name and interface."""
        return [
            ("StateInterface", self.state_interface or self.interface),
            ("Membership", self.membership),
            ("Penalty", self.penalty),
            ("CallsTaken", self.calls),
            ("LastCall", self.last_call),
            ("LastPause", self.last_pause),
            ("LoginTime", self.login),
            ("InCall", int(self.in_call)),
            ("Status", status),
            ("Paused", int(self.paused)),
            ("PausedReason", self.reason),
        ]


@dataclass(eq=False)
class Caller:
    """A caller who waits in a queue."""

    channel: Channel
    position: int
    since: float
    priority: int = 0
    calling: bool = False
    """True while a member is being called for it."""
    turn: Signal = field(default_factory=Signal)
    """Fired when a member may be free for it."""


@dataclass(eq=False)
class Queue:
    """A queue with its members and callers."""

    name: str
    strategy: str = "ringall"
    timeout: float = 15.0
    members: dict[str, Member] = field(default_factory=dict)
    callers: list[Caller] = field(default_factory=list)
    completed: int = 0
    abandoned: int = 0
    hold_time: int = 0
    talk_time: int = 0

    def wake(self) -> None:
        """Let the first caller for whom no member is being called look for a free member."""
        for caller in self.callers:
            if not caller.calling:
                caller.turn.fire()
                return


@dataclass(eq=False)
class Conference:
    """A conference of ConfBridge."""

    name: str
    bridge: Bridge
    channels: dict[Channel, float] = field(default_factory=dict)
    """Its channels, with the time at which each entered."""


@dataclass(eq=False)
class Parked:
    """A parked call."""

    channel: Channel
    space: int
    since: float
    parker: str


@dataclass(eq=False)
class Lot:
    """A parking lot."""

    name: str
    first: int
    last: int
    timeout: int = 3600
    bridge: Bridge | None = None
    """The bridge of its calls; created for the first of them."""
    calls: dict[int, Parked] = field(default_factory=dict)


Dialplan = dict[str, dict[str, list[tuple[str, str]]]]
"""Applications and their data by context and extension."""


def default_dialplan() -> Dialplan:
    """Return the dialplan of a new simulator."""
    default: dict[str, Any] = {
        "100": [("Answer", ""), ("Wait", "3600")],
        "101": [("Answer", ""), ("Echo", "")],
        "102": [("UserEvent", "Foo,Key1: Value1,Key2: välue ü"), ("Hangup", "")],
        "103": [("Busy", "1")],
        "104": [("NoOp", ""), ("Hangup", "17")],
        "105": [("Congestion", "1")],
        "106": [("Answer", ""), ("Wait", "0.05"), ("Hangup", "")],
        "107": [("Dial", "Local/106@default,10")],
        "108": [("Answer", ""), ("MusicOnHold", "default,3600")],
        "109": [("Ringing", ""), ("Wait", "3600")],
        "110": [("Dial", "Local/100@default/n,30")],
        "111": [("Dial", "Local/109@default/n,1"), ("Hangup", "")],
        "200": [("Dial", "PJSIP/alice,30")],
        "201": [("Dial", "PJSIP/bob,30")],
        "500": [("Answer", ""), ("Queue", "support")],
        "501": [("Answer", ""), ("Queue", "empty")],
        "600": [("Answer", ""), ("ConfBridge", "room1")],
        "700": [("Answer", ""), ("Park", "")],
    }
    members = {"801": [("Answer", ""), ("Wait", "0.2"), ("Hangup", "")], "802": [("Busy", "1")]}
    return {"default": default, "members": members}
