"""What tests of the bridge share."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from pyami_sync import Event
from pyami_sync.bridge import Bridge, Position, Record, Rule, Transport, make_record
from pyami_sync.bridge.markers import leader_changed
from pyami_sync.bridge.transport import Lease

ALL = {"*": Rule(commands=("*",))}


def new_node() -> str:
    """Return a node that no other test uses: brokers are shared."""
    return f"n{uuid.uuid4().hex[:8]}"


def until(condition: Callable[[], Any], timeout: float = 20.0) -> Any:
    """Wait for what other threads or processes do."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)
    return found


def leading(bridge: Bridge, node: str) -> bool:
    health = bridge.health()
    return any(each.node == node and each.connected for each in health.leaders)


def take_lease(transport: Transport, node: str, owner: str = "test", ttl: float = 30.0) -> Lease:
    """Take the lease of a node; a broker may offer it a moment later."""
    return until(lambda: acquired(transport, node, owner, ttl))


def acquired(transport: Transport, node: str, owner: str = "test", ttl: float = 30.0) -> Lease | None:
    from pyami_sync.bridge import BrokerUnavailable

    try:
        found = transport.acquire([node], owner, ttl, 1)
    except BrokerUnavailable:
        return None
    return found[0] if found else None


def record(lease: Lease, seq: int, name: str = "Foo", **headers: str) -> Record:
    event = Event([("Event", name), ("N", str(seq)), *headers.items()])
    return make_record(lease.node, Position(lease.epoch, seq), event)


def first(lease: Lease) -> Record:
    marker = leader_changed(lease.node, lease.epoch, lease.owner, lease.previous)
    return make_record(lease.node, Position(lease.epoch, 1), marker)


def read_all(reader: Any, count: int, timeout: float = 10.0) -> list[Record]:
    """Return the next ``count`` records."""
    found: list[Record] = []
    deadline = time.monotonic() + timeout
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} records came"
        found += reader.read(count - len(found), 0.2)
    return found
