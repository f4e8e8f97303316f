"""Brokers and servers that tests of the bridge share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pyami_sync.bridge import Transport, open_transport
from pyami_sync.bridge.memory import MemoryTransport
from pyami_sync.testing import Simulator

from .brokers import RabbitServer, RedisServer, require


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that the tests share, each with nodes of its own."""
    require("redis-server", "PYAMI_REQUIRE_REDIS")
    pytest.importorskip("redis")
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A server that the tests share, each with nodes of its own."""
    require("rabbitmq-server", "PYAMI_REQUIRE_RABBITMQ")
    pytest.importorskip("pika")
    server = started(lambda: RabbitServer(tmp_path_factory.mktemp("rabbit")))
    yield server
    server.stop()


def started(make: Callable[[], RabbitServer]) -> RabbitServer:
    """Start a server; with other ports if one of its own was taken between the choice and the start."""
    for _ in range(2):
        server = make()
        try:
            return server.start()
        except AssertionError as exc:
            server.stop()
            if "could not bind" not in str(exc) and "eaddrinuse" not in str(exc):
                raise
    return make().start()


@pytest.fixture(params=["memory", "redis", "rabbitmq"])
def transports(request: pytest.FixtureRequest) -> Iterator[Callable[[], Transport]]:
    """Makes transports to one and the same broker; they are closed at the end."""
    made: list[Transport] = []
    if request.param == "memory":
        memory = MemoryTransport()
        yield lambda: memory
        return
    server = request.getfixturevalue("redis_server" if request.param == "redis" else "rabbit_server")

    def make() -> Transport:
        made.append(open_transport(server.url))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator
