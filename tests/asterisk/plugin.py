"""Fixtures that give a test a real server; load them with ``pytest_plugins = ["tests.asterisk.plugin"]``.

Where the trees are not installed the tests are skipped, and say how to install them; with
``PYAMI_REQUIRE_ASTERISK=1`` in the environment they fail instead.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Protocol

import pytest

from . import install
from .server import AsteriskServer


class AsteriskFactory(Protocol):
    """Makes servers that belong to one test, which may kill, restart and reconfigure them."""

    def __call__(self, version: int, name: str | None = None, *, start: bool = True) -> AsteriskServer:
        """Return a server, started unless told otherwise; it is removed after the test."""


def require_asterisk(version: int) -> None:
    """Skip the test, or fail it when the environment demands so, where `version` cannot be run."""
    reason = install.why_missing(version)
    if reason is None:
        return
    if os.environ.get("PYAMI_REQUIRE_ASTERISK") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def asterisk16() -> Iterator[AsteriskServer]:
    """A running Asterisk 16, shared by the whole test run."""
    yield from _shared(16)


@pytest.fixture(scope="session")
def asterisk22() -> Iterator[AsteriskServer]:
    """A running Asterisk 22, shared by the whole test run."""
    yield from _shared(22)


@pytest.fixture(params=sorted(install.RECIPES), ids=lambda version: f"asterisk{version}")
def asterisk_version(request: pytest.FixtureRequest) -> int:
    """Run the test once for each version."""
    version: int = request.param
    return version


@pytest.fixture
def asterisk(asterisk_version: int, request: pytest.FixtureRequest) -> AsteriskServer:
    """The shared server of each version by turns; started again when a test before left it dead."""
    server: AsteriskServer = request.getfixturevalue(f"asterisk{asterisk_version}")
    server.start()
    return server


@pytest.fixture
def asterisk_factory() -> Iterator[AsteriskFactory]:
    """Private servers, for tests that kill, restart or reconfigure them."""
    with contextlib.ExitStack() as made:

        def factory(version: int, name: str | None = None, *, start: bool = True) -> AsteriskServer:
            require_asterisk(version)
            server = AsteriskServer(version, name)
            made.callback(server.remove)
            if start:
                server.start()
            return server

        yield factory


def _shared(version: int) -> Iterator[AsteriskServer]:
    require_asterisk(version)
    with AsteriskServer(version) as server:
        yield server
