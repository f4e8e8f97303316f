"""Telephones and clients of real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyami_sync import AMIClient
from tests.asterisk import scenario
from tests.asterisk.server import AsteriskServer

from .phones import Phones


@pytest.fixture
def phones() -> Iterator[Phones]:
    """SIP telephones."""
    with Phones() as made:
        yield made


@pytest.fixture(params=["asterisk16", "asterisk22"])
def asterisk(request: pytest.FixtureRequest) -> Iterator[AsteriskServer]:
    """Every real server by turns, without a channel."""
    server: AsteriskServer = request.getfixturevalue(request.param)
    server.start()
    scenario.clear(server)
    yield server
    scenario.clear(server)


@pytest.fixture
def ami(asterisk: AsteriskServer) -> Iterator[AMIClient]:
    """A client with all rights."""
    with client(asterisk) as made:
        yield made


def client(server: AsteriskServer) -> AMIClient:
    """Return a client that is not open yet."""
    return AMIClient("127.0.0.1", server.port, username="patient", secret="patient-secret")
