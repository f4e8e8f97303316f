"""A simulator and a client for the tests of integrations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyami_sync import AMIClient
from pyami_sync.testing import Simulator


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def client(sim: Simulator) -> Iterator[AMIClient]:
    with AMIClient.from_url(sim.url) as ami:
        yield ami
