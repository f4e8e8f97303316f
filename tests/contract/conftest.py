"""What the contract is tested against: the simulator and real servers, all through one face."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from pyami_sync import TLS, AMIClient
from pyami_sync.testing import Simulator, User
from pyami_sync.testing.certificate import CERTIFICATE
from tests.asterisk import scenario
from tests.asterisk.raw import RawSession
from tests.asterisk.server import AsteriskServer

USERS = {
    "limited": User("limited-secret", read="call", write="call"),
    "noevents": User("noevents-secret", read=""),
    "patient": User("patient-secret"),
}
REAL = ("asterisk16", "asterisk22")


@dataclasses.dataclass(frozen=True)
class Target:
    """A server that keeps, or has to keep, the contract."""

    name: str
    port: int
    tls_port: int
    ca_file: pathlib.Path
    server: AsteriskServer | None
    """The real one behind it; None for the simulator."""
    sim: Simulator | None = None

    @property
    def major(self) -> int:
        """Return the major version of Asterisk that it is or behaves like."""
        return 16 if self.name.endswith("16") else 22

    def client(self, user: str = "admin", *, tls: bool | TLS = False, **options: Any) -> AMIClient:
        """Make a client that is not opened yet."""
        options.setdefault("timeout", 30.0)
        options.setdefault("connect_timeout", 30.0)
        options.setdefault("secret", f"{user}-secret")
        if isinstance(tls, TLS):
            options["tls"] = tls
        elif tls:
            options["tls"] = TLS(ca_file=str(self.ca_file))
        return AMIClient("127.0.0.1", self.tls_port if tls else self.port, username=user, **options)

    def witness(self, user: str = "patient", events: str = "off") -> RawSession:
        """Open a session that shares no code with the library."""
        raw = RawSession(self.port, timeout=30.0)
        assert raw.login(user, events=events).startswith(b"Response: Success\r\n")
        return raw


@pytest.fixture(scope="session", autouse=True)
def simulator_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The simulator, on a plain and on a TLS port; always there, so that no test seems to leave its thread."""
    ca_file = tmp_path_factory.mktemp("tls") / "ca.pem"
    ca_file.write_text(CERTIFICATE, "ascii")
    with (
        Simulator(secret="admin-secret", users=USERS, timestamps=True, system_name="sim") as plain,
        Simulator(secret="admin-secret", users=USERS, tls=True, loop=plain.loop) as over_tls,
    ):
        yield Target("simulator", plain.port, over_tls.port, ca_file, None, plain)


def _target(name: str, request: pytest.FixtureRequest) -> Target:
    if name == "simulator":
        made: Target = request.getfixturevalue("simulator_target")
        return made
    server: AsteriskServer = request.getfixturevalue(name)
    server.start()
    return Target(name, server.port, server.tls_port, server.ca_file, server)


@pytest.fixture(params=["simulator", *(pytest.param(each, marks=pytest.mark.asterisk) for each in REAL)])
def target(request: pytest.FixtureRequest) -> Target:
    """Every server by turns."""
    return _target(request.param, request)


@pytest.fixture(params=[pytest.param(each, marks=pytest.mark.asterisk) for each in REAL])
def real(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Every real server by turns, without a channel."""
    made = _target(request.param, request)
    assert made.server is not None
    scenario.clear(made.server)
    yield made
    scenario.clear(made.server)


@pytest.fixture
def client(target: Target) -> Iterator[AMIClient]:
    """A session with full rights and no events."""
    with target.client(event_mask="off") as ami:
        yield ami
