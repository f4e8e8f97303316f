"""Real servers for the tests of the live model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.asterisk.plugin import require_asterisk

from .server import StormServer


@pytest.fixture(scope="module", params=[16, 22], ids=lambda version: f"asterisk{version}")
def asterisk_storm(request: pytest.FixtureRequest) -> Iterator[StormServer]:
    """A running server with a dialplan that has something of everything."""
    require_asterisk(request.param)
    with StormServer(request.param) as server:
        yield server
