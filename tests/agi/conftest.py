"""A script to call, over both transports of a simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pyami_sync import AMIClient, connect
from pyami_sync.agi import FastAGIServer, Router
from pyami_sync.testing import AGITestCall, Simulator

Place = Callable[..., AGITestCall]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator
        assert simulator.errors == []


@pytest.fixture
def ami(simulator: Simulator) -> Iterator[AMIClient]:
    with connect(simulator.url) as client:
        yield client


@pytest.fixture
def scripts() -> Router:
    """The scripts that are served; a test adds its own."""
    return Router()


@pytest.fixture(params=["async", "fast"])
def place(request: pytest.FixtureRequest, simulator: Simulator, ami: AMIClient, scripts: Router) -> Iterator[Place]:
    """Place a call into a script of `scripts`, over each transport by turns."""
    if request.param == "async":
        with ami.agi(scripts):
            yield simulator.agi_call
        return
    with FastAGIServer(scripts, port=0) as server:
        yield lambda path, *more, **options: simulator.agi_call(
            f"agi://127.0.0.1:{server.port}/{path}", *more, **options
        )
