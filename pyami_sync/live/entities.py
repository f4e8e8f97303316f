"""The entities of the live model: immutable dataclasses for channels, bridges, queues, conferences and so on.

The names of fields are AMI's, in snake case. Times are the server's, in UTC; None means that the time is not known,
because it was before the model was started or in a gap. Calls and their legs are in :mod:`.calls`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple, TypeVar

__all__ = [
    "Bridge",
    "Channel",
    "Conference",
    "ConferenceMember",
    "Contact",
    "Device",
    "Endpoint",
    "Extension",
    "Mailbox",
    "ParkedCall",
    "ParkingLot",
    "Party",
    "Queue",
    "QueueCaller",
    "QueueMember",
    "Registration",
    "evolve",
]

T = TypeVar("T")


def evolve(entity: T, changes: dict[str, Any]) -> T:
    """Return a copy of a frozen entity with some fields changed; several times faster than dataclasses.replace()."""
    made = object.__new__(type(entity))
    values = made.__dict__
    values.update(entity.__dict__)
    values.update(changes)
    return made


class Party(NamedTuple):
    """Number and name of a party of a call; None if the server does not know them."""

    num: str | None
    name: str | None


@dataclass(frozen=True)
class Channel:
    """One leg of a call on the server: a device's, or half of a Local channel."""

    uniqueid: str
    channel: str
    """Its name, such as ``PJSIP/1101-00000001``."""
    linkedid: str = ""
    channel_state_desc: str = ""
    """``Down``, ``Ring``, ``Ringing``, ``Up``, ``Busy`` and so on."""
    caller_id_num: str | None = None
    caller_id_name: str | None = None
    connected_line_num: str | None = None
    connected_line_name: str | None = None
    language: str = ""
    account_code: str = ""
    context: str = ""
    exten: str = ""
    priority: str = ""
    application: str = ""
    application_data: str = ""
    """Priority, application and its data are those of the last event or list; not all changes are reported."""
    bridge: str | None = None
    """Unique id of the bridge it is in."""
    hold: bool = False
    """True while its device has put the other side on hold."""
    since: datetime | None = None
    """When it was created."""
    answered_at: datetime | None = None
    other_half: str | None = None
    """Unique id of the other half of a Local channel."""
    wire: ClassVar[tuple[str, ...]] = ()
    # The headers that it was made from, so that events without news are recognised quickly. Set on instances by
    # evolve(); not a dataclass field, so that it is neither compared nor converted to JSON.

    @property
    def name(self) -> str:
        """Its name, as in :attr:`channel`."""
        return self.channel

    @property
    def state(self) -> str:
        """Its state, as in :attr:`channel_state_desc`."""
        return self.channel_state_desc

    @property
    def caller(self) -> Party:
        """The party at this channel's end."""
        return Party(self.caller_id_num, self.caller_id_name)

    @property
    def connected(self) -> Party:
        """The party at the other end."""
        return Party(self.connected_line_num, self.connected_line_name)

    @property
    def local(self) -> bool:
        """True for half of a Local channel, which is not a device."""
        return self.channel.startswith("Local/")


@dataclass(frozen=True)
class Bridge:
    """Channels whose media are joined, except in a bridge of type *holding* (parking, waiting)."""

    uniqueid: str
    bridge_type: str = ""
    bridge_technology: str = ""
    """As in the last event or list; a change between two mixing technologies is not reported."""
    bridge_creator: str | None = None
    bridge_name: str | None = None
    channels: tuple[str, ...] = ()
    """Unique ids of its channels, in the order in which they entered."""
    since: datetime | None = None

    @property
    def holding(self) -> bool:
        """True if its channels do not hear each other."""
        return self.bridge_technology == "holding_bridge"


@dataclass(frozen=True)
class QueueCaller:
    """A caller who waits in a queue."""

    uniqueid: str
    channel: str
    position: int
    since: datetime | None = None
    """When the caller joined."""
    caller_id_num: str | None = None
    caller_id_name: str | None = None
    connected_line_num: str | None = None
    connected_line_name: str | None = None
    priority: int | None = None
    """Known from lists only; events do not contain it."""

    @property
    def caller(self) -> Party:
        """The caller's number and name."""
        return Party(self.caller_id_num, self.caller_id_name)


@dataclass(frozen=True)
class QueueMember:
    """A member of a queue (an agent), who answers its calls."""

    interface: str
    name: str
    state_interface: str = ""
    membership: str = ""
    """``static``, ``dynamic`` or ``realtime``."""
    penalty: int = 0
    calls_taken: int = 0
    last_call: datetime | None = None
    """When the member's last call ended."""
    last_pause: datetime | None = None
    login_time: datetime | None = None
    in_call: bool = False
    """True while the member talks to a caller of this queue."""
    in_call_since: datetime | None = None
    status: int = 0
    """State of the member's device, as a number of Asterisk's: 1 not in use, 2 in use, 3 busy, 4 invalid,
    5 unavailable, 6 ringing, 7 ringing while in use, 8 on hold, 0 unknown."""
    paused: bool = False
    paused_reason: str = ""
    ring_in_use: bool | None = None
    """Known from events only; lists do not contain it."""
    wrapup_time: int = 0
    """Seconds after a call in which the member gets no other call; 0 for the queue's own setting."""
    ringing_since: datetime | None = None
    """When a call of this queue began to ring at the member."""

    def wrapping_up(self, at: datetime, wrapup_time: int = 0) -> bool:
        """Return True if the member is within the wrap-up time after a call at the time ``at``.

        Args:
            at: the server's time, as in :attr:`View.at`.
            wrapup_time: the queue's own setting in seconds, for members who have none; lists do not contain it.

        """
        wrapup = self.wrapup_time or wrapup_time
        return self.last_call is not None and at < self.last_call + timedelta(seconds=wrapup)


@dataclass(frozen=True)
class Queue:
    """A queue: its callers, its members, and the server's figures."""

    name: str
    max: int = 0
    strategy: str = ""
    waiting: tuple[QueueCaller, ...] = ()
    """Callers by position."""
    members: tuple[QueueMember, ...] = ()
    hold_time: int = 0
    """Running average of the seconds that answered callers had waited, as the server computes it."""
    talk_time: int = 0
    """Running average of the length of its calls in seconds."""
    completed: int = 0
    abandoned: int = 0
    service_level: int = 0
    """Seconds within which a call should be answered."""
    servicelevel_perf: float = 0.0
    """Percentage of completed calls that were answered within the service level."""
    servicelevel_perf2: float = 0.0
    """The same with abandoned calls counted as well."""
    weight: int = 0
    answered_in_time: int | None = None
    """Calls answered within the service level, and completed."""
    abandoned_in_time: int | None = None
    at: datetime | None = field(default=None, compare=False, repr=False)
    """The time of the view, or of the change, that it was read from."""

    @property
    def calls(self) -> int:
        """Number of waiting callers."""
        return len(self.waiting)

    @property
    def longest_wait(self) -> float:
        """Seconds that the longest-waiting caller has waited, at the time of the view or change; 0.0 without callers.

        It grows without any event: to show it, take a new view, such as ``live.queues[name]``, every second.
        """
        began = [caller.since for caller in self.waiting if caller.since is not None]
        if self.at is None or not began:
            return 0.0
        return max(0.0, (self.at - min(began)).total_seconds())

    @property
    def logged_in(self) -> int:
        """Number of members whose device is reachable, paused or not."""
        return sum(member.status not in (4, 5) for member in self.members)

    @property
    def available(self) -> int:
        """Number of members who are neither paused nor in use, as QueueSummary counts them."""
        return sum(member.status in (0, 1) and not member.paused for member in self.members)

    def member(self, interface: str) -> QueueMember | None:
        """Return the member with that interface, or None."""
        return next((each for each in self.members if each.interface == interface), None)


@dataclass(frozen=True)
class ConferenceMember:
    """A member of a conference (ConfBridge)."""

    uniqueid: str
    channel: str
    admin: bool = False
    muted: bool = False
    talking: bool = False
    """Reported only for users whose profile has talk detection."""
    marked_user: bool | None = None
    wait_marked: bool | None = None
    end_marked: bool | None = None
    waiting: bool | None = None
    """These four are known from lists only."""
    caller_id_num: str | None = None
    caller_id_name: str | None = None
    since: datetime | None = None

    @property
    def caller(self) -> Party:
        """The member's number and name."""
        return Party(self.caller_id_num, self.caller_id_name)


@dataclass(frozen=True)
class Conference:
    """A conference room (ConfBridge) that is in use."""

    name: str
    bridge: str | None = None
    """Unique id of its bridge; None until an event names it."""
    members: tuple[ConferenceMember, ...] = ()
    recording: bool | None = None
    """None if the conference began before the model was started, since lists do not contain it."""
    locked: bool | None = None
    """As in the last list; changes are not reported by events."""
    muted: bool | None = None
    """As in the last list."""
    since: datetime | None = None

    @property
    def parties(self) -> int:
        """Number of members."""
        return len(self.members)


@dataclass(frozen=True)
class ParkingLot:
    """A parking lot."""

    name: str
    start_space: int = 0
    stop_space: int = 0
    timeout: int = 0
    """Seconds after which a parked call returns."""


@dataclass(frozen=True)
class ParkedCall:
    """A parked call."""

    uniqueid: str
    channel: str
    parkinglot: str
    parking_space: int
    parker_dial_string: str = ""
    since: datetime | None = None
    timeout_at: datetime | None = None
    caller_id_num: str | None = None
    caller_id_name: str | None = None

    @property
    def caller(self) -> Party:
        """The parked party's number and name."""
        return Party(self.caller_id_num, self.caller_id_name)


@dataclass(frozen=True)
class Device:
    """State of a device, as hints and queues use it."""

    device: str
    state: str = ""
    """``NOT_INUSE``, ``INUSE``, ``BUSY``, ``INVALID``, ``UNAVAILABLE``, ``RINGING``, ``RINGINUSE``, ``ONHOLD``,
    ``UNKNOWN``."""
    since: datetime | None = None


@dataclass(frozen=True)
class Extension:
    """State of an extension that has a hint."""

    exten: str
    context: str
    hint: str = ""
    status: int = 0
    status_text: str = ""


@dataclass(frozen=True)
class Contact:
    """An address at which an endpoint can be reached."""

    uri: str
    aor: str = ""
    status: str = ""
    """``Reachable``, ``Unreachable``, ``NonQualified``, ``Unknown`` …"""
    roundtrip_usec: int | None = None


@dataclass(frozen=True)
class Endpoint:
    """A PJSIP endpoint."""

    name: str
    device_state: str = ""
    aors: tuple[str, ...] = ()
    contacts: tuple[Contact, ...] = ()
    peer_status: str | None = None
    """Status in the last PeerStatus event, such as ``Reachable``."""


@dataclass(frozen=True)
class Registration:
    """A registration of this server at another server."""

    name: str
    """Server and user, as events name it."""
    status: str = ""
    username: str = ""
    domain: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Mailbox:
    """Messages in a mailbox."""

    mailbox: str
    waiting: bool = False
    new: int | None = None
    old: int | None = None


def without(items: Iterable[T], drop: T | None) -> tuple[T, ...]:
    """Return a tuple of the items without ``drop`` (compared by identity)."""
    return tuple(item for item in items if item is not drop)
