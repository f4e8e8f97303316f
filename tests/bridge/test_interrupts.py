"""Signal handlers that run at each point of what the main thread does with a bridge."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from pyami_sync import AMIError
from pyami_sync.bridge import Bridge, BridgeClient
from pyami_sync.bridge.memory import MemoryTransport
from pyami_sync.testing import Simulator

from ..support.injection import Injected, Stepper
from .support import ALL, leading, new_node, until

pytestmark = [
    pytest.mark.promise(9),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SOON = 5.0  # seconds in which everything that goes on at all has gone on


@pytest.fixture
def node(sim: Simulator) -> Iterator[tuple[str, MemoryTransport]]:
    name, transport = new_node(), MemoryTransport()
    with Bridge({name: sim.url}, transport, ttl=30.0, allowed=ALL) as bridge:
        until(lambda: leading(bridge, name))
        yield name, transport


def make_client(node: tuple[str, MemoryTransport]) -> BridgeClient:
    return BridgeClient(f"memory://unused?node={node[0]}", transport=node[1], timeout=SOON)


@pytest.mark.parametrize("act", ["close", "raise"])
def test_a_client(node: tuple[str, MemoryTransport], act: str) -> None:
    """It is closed, or goes on, and the next one works."""
    client = make_client(node)
    client.close()

    def use() -> None:
        client.open()
        assert client.send("Ping", timeout=SOON).ok
        client.close()

    def fresh() -> None:
        nonlocal client
        client = make_client(node)

    for place, outcome in Stepper(use, None if act == "raise" else lambda: client.close(), longest=25, before=fresh):
        assert outcome.error is None or isinstance(outcome.error, AMIError | Injected), (place, repr(outcome.error))
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < SOON, place
    with make_client(node) as client:
        assert client.send("Ping").ok


def test_a_bridge_that_is_closed(sim: Simulator) -> None:
    made: list[Bridge] = []

    def use() -> None:
        made[-1].start()
        made[-1].close()

    def fresh() -> None:
        made[:] = [Bridge({new_node(): sim.url}, MemoryTransport(), ttl=30.0)]

    fresh()
    for place, outcome in Stepper(use, lambda: made[-1].close(), longest=25, before=fresh):
        assert outcome.error is None or isinstance(outcome.error, AMIError), (place, repr(outcome.error))
        made[-1].close()


def test_the_use_of_the_broker_in_memory(node: tuple[str, MemoryTransport]) -> None:
    name, transport = node
    readers: list[Any] = []

    def use() -> None:
        readers.append(transport.group("g", [name]))
        readers[-1].read(1, 0.0)

    for place, outcome in Stepper(use, lambda: [each.close() for each in readers], longest=100):
        assert outcome.error is None, (place, repr(outcome.error))
        readers.pop().close()
