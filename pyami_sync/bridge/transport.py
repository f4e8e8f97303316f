"""The interface of brokers, which Redis, RabbitMQ and the broker in memory implement.

All methods block the calling thread, at most for their timeout, and raise :exc:`~pyami_sync.bridge.BrokerUnavailable`
if the broker fails. One thread at a time may use an object, except for a :class:`Transport`, which any thread may
use.
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
"""Where a reader begins: after a position, with events from now on, or with the oldest event in the broker."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to publish the events of a node."""

    node: str
    owner: str
    epoch: int
    previous: Position | None = None
    """The last position in the broker when the lease was acquired."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record given to one member of a group, until it is acknowledged."""

    record: Record
    tag: object
    tries: int


class Reader(Protocol):
    """Returns all records of some nodes, in the order of each node; some may be repeated."""

    def read(self, limit: int, timeout: float) -> list[Record]:
        """Return at most ``limit`` records; an empty list if none came within ``timeout`` seconds."""
        ...

    def close(self) -> None:
        """Release the connection; may be called from any thread."""
        ...


class GroupReader(Protocol):
    """Gives each record to one member of a group."""

    def read(self, limit: int, timeout: float) -> list[Delivery]:
        """Return at most ``limit`` deliveries; an empty list if none came within ``timeout`` seconds."""
        ...

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Acknowledge deliveries, so that no member gets them again."""
        ...

    def retry(self, delivery: Delivery) -> None:
        """Have a delivery delivered to a member again."""
        ...

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Move a delivery to the dead letters of the group."""
        ...

    def close(self) -> None:
        """Release the connection; deliveries without acknowledgement go to another member."""
        ...


class Transport(Protocol):
    """A connection with a broker, or several; any thread may use it."""

    def publish(self, lease: Lease, records: Sequence[Record], timeout: float) -> None:
        """Store records of one node, in order; returns once the broker has confirmed them all.

        A batch whose outcome is not known may be published again: records are not stored twice, or have the same id.

        Raises:
            Fenced: the lease has ended; nothing was stored.
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
        """Return the latest Snapshot marker of a node in the broker."""
        ...

    def acquire(self, nodes: Sequence[str], owner: str, ttl: float, most: int) -> list[Lease]:
        """Acquire at most ``most`` leases of those of these nodes that have no leader; return them."""
        ...

    def vacancy(self, nodes: Sequence[str]) -> float:
        """Return in how many seconds the first of these leases runs out unless it is renewed.

        Zero if nobody holds one of them, infinity if the broker does not say when they run out.
        """
        ...

    def renew(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Extend leases to ``ttl`` seconds from now; return those that are still held."""
        ...

    def release(self, lease: Lease) -> None:
        """Release a lease; does nothing if it is not held any more."""
        ...

    def leaders(self, nodes: Sequence[str]) -> dict[str, Lease]:
        """Return the present leases of these nodes, by node."""
        ...

    def announce(self, owner: str, ttl: float) -> int:
        """Register a bridge as active for ``ttl`` seconds; return the number of active bridges."""
        ...

    def ask(self, request: Request, timeout: float) -> Answer | None:
        """Send a request to the node's leader, at most once; return an answer only if it is refused at once."""
        ...

    def withdraw(self, request: Request) -> bool:
        """Withdraw a request; return True if no leader has taken it or will take it."""
        ...

    def requests(self, leases: Sequence[Lease], timeout: float) -> list[Request]:
        """Remove requests for the leased nodes from the broker, before they are run, and return them."""
        ...

    def reply(self, request: Request, answer: Answer) -> None:
        """Send an answer to the requester."""
        ...

    def answers(self, requester: str, timeout: float) -> list[Answer]:
        """Remove the answers to a requester from the broker and return them."""
        ...

    def close(self) -> None:
        """Release all connections."""
        ...


SCHEMES = ("amqp", "amqps", "memory", "redis", "rediss")


def open_transport(url: str) -> Transport:
    """Return the transport of a URL; it connects when it is first used.

    Further schemes are provided by packages with an entry point ``pyami_sync.bridge``.

    Raises:
        ValueError: there is no transport for the scheme.

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
