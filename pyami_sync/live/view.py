"""View: an immutable snapshot of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .calls import Call
from .draft import Tables
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
from .table import Table

__all__ = ["Channels", "Queues", "View"]


class Channels(Mapping[str, Channel]):
    """Channels by unique id; ``channels[name]`` and :meth:`get` also take the name of a channel."""

    __slots__ = ("_names", "_table")

    def __init__(self, table: Table[Channel], names: Table[str]) -> None:
        self._table = table
        self._names = names

    def __getitem__(self, key: str) -> Channel:
        found = self._table.get(key)
        if found is None:
            found = self._table.get(self._names[key])
        if found is None:
            raise KeyError(key)
        return found  # type: ignore[no-any-return]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the channel of that unique id or name, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (key in self._table or key in self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


class Queues(Mapping[str, Queue]):
    """Queues by name; each is given the time of the view, for :attr:`Queue.longest_wait`."""

    __slots__ = ("_at", "_table")

    def __init__(self, table: Table[Queue], at: datetime | None) -> None:
        self._table = table
        self._at = at

    def __getitem__(self, key: str) -> Queue:
        return evolve(self._table[key], {"at": self._at})

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._table))

    def __len__(self) -> int:
        return len(self._table)


@dataclass(frozen=True)
class View:
    """An immutable, consistent snapshot of the whole model.

    Making one takes microseconds, whatever its size. It may be kept, compared and passed to other threads.
    """

    tables: Tables = field(default_factory=Tables, repr=False)
    version: int = 0
    """Incremented with every change."""
    at: datetime | None = None
    """The server's time when it was made."""
    health: str = "replay"
    """``consistent``, ``loading``, ``gap`` or ``closed``; ``replay`` for a model that has no server."""
    age: float = 0.0
    """Seconds since the model was last known to be consistent; 0.0 while it is."""
    node: str | None = None

    @property
    def moment(self) -> datetime | None:
        """The server's time: :attr:`at`, or that of the last event."""
        return self.at or self.tables.when

    @property
    def channels(self) -> Channels:
        """Channels by unique id or name."""
        return Channels(self.tables.channels, self.tables.names)

    @property
    def bridges(self) -> Mapping[str, Bridge]:
        """Bridges by unique id."""
        return self.tables.bridges

    @property
    def calls(self) -> Mapping[str, Call]:
        """Calls by Linkedid."""
        return self.tables.calls

    @property
    def queues(self) -> Queues:
        """Queues by name."""
        return Queues(self.tables.queues, self.moment)

    @property
    def conferences(self) -> Mapping[str, Conference]:
        """Conferences by name."""
        return self.tables.conferences

    @property
    def parking_lots(self) -> Mapping[str, ParkingLot]:
        """Parking lots by name."""
        return self.tables.parking_lots

    @property
    def parked(self) -> Mapping[str, ParkedCall]:
        """Parked calls by the unique id of the parked channel."""
        return self.tables.parked

    @property
    def devices(self) -> Mapping[str, Device]:
        """States of devices by the device's name, such as ``PJSIP/1101``."""
        return self.tables.devices

    @property
    def extensions(self) -> Mapping[str, Extension]:
        """States of extensions with a hint, by ``exten@context``."""
        return self.tables.extensions

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """PJSIP endpoints by name."""
        return self.tables.endpoints

    @property
    def registrations(self) -> Mapping[str, Registration]:
        """Registrations of this server with others, by user and server."""
        return self.tables.registrations

    @property
    def mailboxes(self) -> Mapping[str, Mailbox]:
        """Mailboxes by ``number@context``."""
        return self.tables.mailboxes

    def call_of(self, channel: str) -> Call | None:
        """Return the call of a channel, given by name or unique id."""
        uniqueid = self.tables.names.get(channel, channel)
        linkedid = self.tables.call_of.get(uniqueid)
        return self.tables.calls.get(linkedid) if linkedid is not None else None
