"""The pytest plugin: fixtures for a simulator, a client of it, and a check for leaked threads and sockets.

Options of the simulator are given with a marker::

    @pytest.mark.ami_simulator(asterisk="16", users={"guest": User("x", read="call", write="")})
    def test_something(ami_simulator, ami_client):
        ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..client import AMIClient
    from .simulator import Simulator

__all__ = ["ami_client", "ami_no_leaks", "ami_simulator"]


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "ami_simulator(**options): options of the Simulator that the fixture ami_simulator makes"
    )


@pytest.fixture
def ami_simulator(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """An AMI server on a free port of this machine; see :class:`pyami_sync.testing.Simulator`."""
    from .simulator import Simulator

    marker = request.node.get_closest_marker("ami_simulator")
    with Simulator(**(marker.kwargs if marker else {})) as simulator:
        yield simulator
    if simulator.errors:
        raise AssertionError(f"{len(simulator.errors)} scripted replies failed") from simulator.errors[0]


@pytest.fixture
def ami_client(ami_simulator: Simulator) -> Iterator[AMIClient]:
    """A client that is connected to ``ami_simulator``, logged in, and closed after the test."""
    from pyami_sync import connect

    with connect(ami_simulator.url) as client:
        yield client


@pytest.fixture
def ami_no_leaks() -> Iterator[None]:
    """Fail the test if it leaves a thread named ``pyami-…`` or a socket; list it before other fixtures."""
    from .leaks import assert_no_leaks

    with assert_no_leaks():
        yield
