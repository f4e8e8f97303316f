"""Draft: the mutable state of the model, which the reducers change; Change; and tombstones.

A tombstone is the unique id of a channel or bridge that has ended, so that no list or late event adds it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from ..wire.message import Event
from .calls import Call
from .entities import (
    Bridge,
    Channel,
    Conference,
    Device,
    Endpoint,
    Extension,
    Mailbox,
    ParkedCall,
    ParkingLot,
    Queue,
    Registration,
    evolve,
)
from .table import Editor, Table

__all__ = ["Change", "Draft", "Headers", "Tables"]

T = TypeVar("T")
Headers = dict[str, str]
MOST_GONE = 5_000  # tombstones in a generation; there are two
MOST_MOVED = 1_000
LIST_DELAY = 0.5  # seconds
END_DELAY = 5.0  # seconds within which the end of an empty bridge is reported
NOTHING = frozenset({"", "<unknown>", "<none>", "(null)"})


class Change(Generic[T]):
    """One entity that has changed.

    Attributes:
        before: the entity before; None if it is new.
        after: the entity now; None if it has ended.
        event: the event that reported the change; None if it was found in a list.
        inferred: True if no event reported the change: it was found by comparison with lists, after a gap.
        at: when it happened, by the server's clock; if inferred, when it was found.
        node: the node's id, in a cluster.

    """

    __slots__ = ("after", "at", "before", "event", "inferred", "node")

    def __init__(
        self,
        before: T | None,
        after: T | None,
        event: Event | None = None,
        inferred: bool = False,
        at: datetime | None = None,
        node: str | None = None,
    ) -> None:
        self.before = before
        self.after = after
        self.event = event
        self.inferred = inferred
        self.at = at
        self.node = node

    @property
    def kind(self) -> type:
        """The class of the entity."""
        return type(self.before if self.after is None else self.after)

    def __repr__(self) -> str:
        mark = " inferred" if self.inferred else ""
        return f"<Change{mark} {self.before!r} -> {self.after!r}>"


@dataclass(frozen=True)
class Tables:
    """The whole immutable state of one server's model."""

    channels: Table[Channel] = field(default_factory=Table)
    names: Table[str] = field(default_factory=Table)
    """Unique ids by the names of channels."""
    bridges: Table[Bridge] = field(default_factory=Table)
    calls: Table[Call] = field(default_factory=Table)
    call_of: Table[str] = field(default_factory=Table)
    """The Linkedid of the call that contains a leg, by the leg's unique id."""
    queues: Table[Queue] = field(default_factory=Table)
    queue_of: Table[str] = field(default_factory=Table)
    """The queue that a channel waits in, by unique id."""
    conferences: Table[Conference] = field(default_factory=Table)
    parking_lots: Table[ParkingLot] = field(default_factory=Table)
    parked: Table[ParkedCall] = field(default_factory=Table)
    devices: Table[Device] = field(default_factory=Table)
    extensions: Table[Extension] = field(default_factory=Table)
    endpoints: Table[Endpoint] = field(default_factory=Table)
    registrations: Table[Registration] = field(default_factory=Table)
    mailboxes: Table[Mailbox] = field(default_factory=Table)
    gone: Table[bool] = field(default_factory=Table)
    """Tombstones: unique ids of channels and bridges that have ended recently."""
    gone_before: Table[bool] = field(default_factory=Table)
    when: datetime | None = None
    """The server's time of the last event or list."""


NAMES = tuple(name for name in Tables.__dataclass_fields__ if name != "when")


class Draft:
    """The mutable state that the reducers change; :meth:`freeze` returns an immutable snapshot.

    One thread at a time may use it.
    """

    channels: Editor[Channel]
    names: Editor[str]
    bridges: Editor[Bridge]
    calls: Editor[Call]
    call_of: Editor[str]
    queues: Editor[Queue]
    queue_of: Editor[str]
    conferences: Editor[Conference]
    parking_lots: Editor[ParkingLot]
    parked: Editor[ParkedCall]
    devices: Editor[Device]
    extensions: Editor[Extension]
    endpoints: Editor[Endpoint]
    registrations: Editor[Registration]
    mailboxes: Editor[Mailbox]
    gone: Editor[bool]
    gone_before: Editor[bool]

    def __init__(self, tables: Tables | None = None, node: str | None = None) -> None:
        tables = tables or Tables()
        for name in NAMES:
            setattr(self, name, Editor(getattr(tables, name)))
        self._when = tables.when
        self.node = node
        self.event: Event | None = None
        self.inferred = False
        self.changes: list[Change[Any]] = []
        self.unknown: set[str] = set()
        """Unique ids in events whose beginning was not seen; the tracker requests fresh lists for them."""
        self.stale: set[str] = set()
        """Areas that an event reported as changed, without details."""
        self.rechecks = 0
        """Number of further requests for the list of queues, whose counts were behind the events."""
        self.served: dict[str, bool] = {}
        """Unique ids and Linkedids of calls that queue members have answered recently."""
        self.moved: dict[str, datetime | None] = {}
        """When channels entered or left a bridge recently; lists reflect these events with a delay."""
        self.doubtful: set[str] = set()
        """Unique ids of channels that were missing in the last list."""
        self.ended: list[str] = []
        """Linkedids of calls that may have ended with the event."""

    # The present event

    def begin(self, event: Event | None, headers: Headers | None, when: datetime | None = None) -> None:
        """Begin to apply an event; None for a list."""
        self.event = event
        self._headers = headers
        if when is not None:
            self._when = when

    @property
    def when(self) -> datetime | None:
        """The server's time of the present event or list, or of the last one that had a time."""
        headers = self._headers
        if headers is not None:
            self._headers = None  # read once
            stamp = headers.get("Timestamp")
            if stamp is not None:
                try:
                    self._when = datetime.fromtimestamp(float(stamp), UTC)
                except (ValueError, OverflowError, OSError):
                    pass
            elif self.event is not None and self.event.received_at is not None:
                self._when = self.event.received_at
        return self._when

    _headers: Headers | None = None

    # Writing

    def put(self, table: Editor[T], key: str, before: T | None, after: T) -> None:
        """Set an entity and note the change."""
        table.put(key, after)
        self.changes.append(self.change(before, after))

    def change(self, before: Any, after: Any) -> Change[Any]:
        """Return a change at the present moment."""
        if isinstance(before, Queue):
            before = evolve(before, {"at": self.when})
        if isinstance(after, Queue):
            after = evolve(after, {"at": self.when})
        return Change(before, after, self.event, self.inferred, self.when, self.node)

    def drop(self, table: Editor[T], key: str) -> T | None:
        """Remove an entity and note the change."""
        before = table.pop(key)
        if before is not None:
            self.changes.append(self.change(before, None))
        return before

    def bury(self, uniqueid: str) -> None:
        """Add a tombstone for a channel or bridge that has ended."""
        if len(self.gone) >= MOST_GONE:
            self.gone_before, self.gone = self.gone, Editor(Table())
        self.gone.put(uniqueid, True)

    def is_gone(self, uniqueid: str) -> bool:
        """Return True if a channel or bridge has a tombstone."""
        return uniqueid in self.gone or uniqueid in self.gone_before

    def note_move(self, uniqueid: str) -> None:
        """Note that a channel has just entered or left a bridge."""
        if len(self.moved) > MOST_MOVED:
            self.moved.clear()
        self.moved[uniqueid] = self.when

    def note_served(self, *ids: str | None) -> None:
        """Note the channels and calls that a queue member has answered."""
        if len(self.served) > MOST_MOVED:
            self.served.clear()
        self.served.update((each, True) for each in ids if each)

    def just_moved(self, uniqueid: str, within: float = LIST_DELAY) -> bool:
        """Return True if a list may not reflect yet which bridge a channel is in, or that a bridge has ended."""
        moved = self.moved.get(uniqueid)
        return moved is not None and abs(seconds_since(moved, self.when)) < within

    def take_changes(self) -> list[Change[Any]]:
        """Return the changes since the last call, and forget them."""
        changes, self.changes = self.changes, []
        return changes

    def freeze(self) -> Tables:
        """Return an immutable snapshot, in constant time."""
        tables: list[Any] = [getattr(self, name).freeze() for name in NAMES]
        tables.append(self._when)
        return Tables(*tables)


def seconds_since(begin: datetime, end: datetime | None) -> float:
    """Return the seconds from `begin` to `end`, negative if `end` is earlier; 0.0 if one is not known."""
    return 0.0 if end is None else (end - begin).total_seconds()


def text_or_none(text: str | None) -> str | None:
    """Return the text, or None if it stands for no value."""
    return None if text is None or text in NOTHING else text


def number(text: str | None, default: int = 0) -> int:
    """Return a text as int, or `default` if it is not a number."""
    try:
        return int(text or default)
    except ValueError:
        return default


def decimal(text: str | None) -> float:
    """Return a text as float, or 0.0 if it is not a number."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def truth(text: str | None) -> bool:
    """Return True for the spellings of yes."""
    return text is not None and text.lower() in ("1", "yes", "true", "on")


def moment(text: str | None) -> datetime | None:
    """Return a time sent as seconds since 1970; None for 0."""
    seconds = decimal(text)
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None


def ago(when: datetime | None, seconds: float) -> datetime | None:
    """Return the time so many seconds before another one."""
    return None if when is None else when - timedelta(seconds=seconds)


def seconds_between(begin: datetime | None, end: datetime | None) -> float:
    """Return the seconds between two times; 0.0 when one of them is not known."""
    return 0.0 if begin is None or end is None else max(0.0, (end - begin).total_seconds())
