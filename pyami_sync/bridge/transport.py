"""What the bridge needs of a broker; Redis, RabbitMQ and the broker in memory are three of it.

Everything here blocks the calling thread, at most for the time that it is given, and raises
:exc:`~pyami_sync.bridge.BrokerUnavailable` when the broker does not do its part. Every object may be used by one thread
at a time, unless it says otherwise; a :class:`Transport` makes as many as are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Literal, Protocol
from urllib.parse import urlsplit

from .envelope import Position, Record
from .requests import Answer, Request

__all__ = ["SCHEMES", "Delivery", "GroupReader", "Lease", "Reader", "Start", "Transport", "open_transport"]

Start = Position | Literal["now", "first"]
"""Where a reader begins: behind a place, with what comes from now on, or with the oldest that the broker has."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write the events of a node."""

    node: str
    owner: str
    epoch: int
    previous: Position | None = None
    """The last place that the broker held when the lease was taken."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record given to one member of a group, until it is acknowledged."""

    record: Record
    tag: object
    tries: int


class Reader(Protocol):
    """Gives every record of some nodes, in the order of each node; may give some again."""

    def read(self, limit: int, timeout: float) -> list[Record]:
        """Return at most ``limit`` records; an empty list if none came within ``timeout`` seconds."""
        ...

    def close(self) -> None:
        """Release the connection; safe from any thread."""
        ...


class GroupReader(Protocol):
    """Gives each record to one member of a group."""

    def read(self, limit: int, timeout: float) -> list[Delivery]:
        """Return at most ``limit`` deliveries; an empty list if none came within ``timeout`` seconds."""
        ...

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Say that these were handled: no member gets them again."""
        ...

    def retry(self, delivery: Delivery) -> None:
        """Have a delivery given to a member again."""
        ...

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Move a delivery to the dead letters of the group."""
        ...

    def close(self) -> None:
        """Release the connection; what was not acknowledged goes to another member."""
        ...


class Transport(Protocol):
    """A connection with a broker, or several; any thread may use it."""

    def publish(self, lease: Lease, records: Sequence[Record], timeout: float) -> None:
        """Store records of one node, in order, and return when the broker has confirmed them all.

        A batch whose outcome is not known may be published again: what had been stored is not stored twice, or carries
        the same id.

        Raises:
            Fenced: the lease is over; nothing was stored.
            BrokerUnavailable: not confirmed in time.

        """
        ...

    def reader(self, nodes: Sequence[str], start: Mapping[str, Start]) -> Reader:
        """Return a reader of these nodes; a node without a start begins now."""
        ...

    def group(self, name: str, nodes: Sequence[str]) -> GroupReader:
        """Join a group that shares the events of these nodes."""
        ...

    def snapshot(self, node: str) -> Record | None:
        """Return the latest Snapshot marker of a node that the broker has."""
        ...

    def acquire(self, nodes: Sequence[str], owner: str, ttl: float, most: int) -> list[Lease]:
        """Take the leases of at most ``most`` of these nodes that nobody holds."""
        ...

    def vacancy(self, nodes: Sequence[str]) -> float:
        """Return in how many seconds the first of these leases runs out unless it is renewed.

        Zero if nobody holds one of them, infinity if the broker does not say when they run out.
        """
        ...

    def renew(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Hold leases for ``ttl`` seconds from now; return those that are still held."""
        ...

    def release(self, lease: Lease) -> None:
        """Give a lease up; does nothing if it is not held any more."""
        ...

    def leaders(self, nodes: Sequence[str]) -> dict[str, Lease]:
        """Return who leads which of these nodes."""
        ...

    def announce(self, owner: str, ttl: float) -> int:
        """Say that a bridge is there for ``ttl`` seconds; return how many there are."""
        ...

    def ask(self, request: Request, timeout: float) -> Answer | None:
        """Hand a request over; an answer only if it is refused at once. Never hands it over twice."""
        ...

    def withdraw(self, request: Request) -> bool:
        """Take a request back; return True if it has not been taken by a leader and never will be."""
        ...

    def requests(self, leases: Sequence[Lease], timeout: float) -> list[Request]:
        """Take requests for nodes that are led, off the broker, before they are run."""
        ...

    def reply(self, request: Request, answer: Answer) -> None:
        """Send an answer to whoever asked."""
        ...

    def answers(self, requester: str, timeout: float) -> list[Answer]:
        """Take the answers to a requester."""
        ...

    def close(self) -> None:
        """Release all connections."""
        ...


SCHEMES = ("amqp", "amqps", "memory", "redis", "rediss")


def open_transport(url: str) -> Transport:
    """Return the transport of a URL; it connects when it is first used.

    Other schemes than ``SCHEMES`` come from packages with an entry point ``pyami_sync.bridge``.

    Raises:
        ValueError: no transport is known for the scheme.

    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        from .memory import open_memory

        return open_memory(url)
    if scheme in ("redis", "rediss"):
        from .redis_streams import RedisTransport

        return RedisTransport(url)
    if scheme in ("amqp", "amqps"):
        from .rabbitmq import RabbitTransport

        return RabbitTransport(url)
    for point in entry_points(group="pyami_sync.bridge", name=scheme):
        made: Transport = point.load()(url)
        return made
    raise ValueError(f"no broker transport for {scheme}://…; there are {', '.join(SCHEMES)}")
