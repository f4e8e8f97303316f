"""The two kinds of server that the examples are run on, with the same names: simulated and real."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from pyami_sync.testing import Simulator
from tests.asterisk.plugin import AsteriskFactory
from tests.asterisk.server import AsteriskServer

__all__ = ["Server", "server"]


class Server(Protocol):
    """A server that can be killed and come back."""

    url: str

    def kill(self) -> None: ...
    def restart(self) -> None: ...


class Simulated:
    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.url = simulator.url

    def kill(self) -> None:
        self.simulator.stop_listening()
        self.simulator.drop()
        for channel in list(self.simulator.pbx.channels.values()):
            self.simulator.loop.run(self.simulator.pbx.hangup, channel)

    def restart(self) -> None:
        self.simulator.listen_again()


class Real:
    def __init__(self, asterisk: AsteriskServer) -> None:
        self.asterisk = asterisk
        admin = asterisk.users["admin"]
        self.url = f"ami://{admin.name}:{admin.secret}@127.0.0.1:{asterisk.port}"

    def kill(self) -> None:
        self.asterisk.kill()

    def restart(self) -> None:
        self.asterisk.start()


@pytest.fixture(params=["simulator", pytest.param("asterisk", marks=pytest.mark.asterisk)])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Both kinds of server, one after the other, each of its own."""
    if request.param == "asterisk":
        factory: AsteriskFactory = request.getfixturevalue("asterisk_factory")
        yield Real(factory(22))
        return
    with Simulator() as simulator:
        yield Simulated(simulator)
