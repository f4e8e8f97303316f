"""Servers for the program to talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyami_sync.testing import Simulator
from tests.asterisk.server import AsteriskServer
from tests.cli.running import Server

SECRET = "Xk7-planted-secret"
"""Must never be seen in any output."""


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A simulator whose user has a secret that is easily found where it must not be."""
    with Simulator(secret=SECRET) as simulator:
        yield simulator


@pytest.fixture
def simulated(sim: Simulator) -> Server:
    """The simulator as the program is told of it."""
    return Server(f"ami://admin@127.0.0.1:{sim.port}", SECRET)


@pytest.fixture
def real(asterisk: AsteriskServer) -> Server:
    """Each real server by turns."""
    return Server(f"ami://admin@127.0.0.1:{asterisk.port}", asterisk.users["admin"].secret)


@pytest.fixture(
    params=[
        "simulated",
        pytest.param("asterisk16", marks=pytest.mark.asterisk),
        pytest.param("asterisk22", marks=pytest.mark.asterisk),
    ]
)
def server(request: pytest.FixtureRequest) -> Server:
    """The simulator and both real servers."""
    found = request.getfixturevalue(request.param)
    if isinstance(found, AsteriskServer):
        found.start()
        return Server(f"ami://admin@127.0.0.1:{found.port}", found.users["admin"].secret)
    assert isinstance(found, Server)
    return found
