"""What the fault tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.asterisk.plugin import AsteriskFactory
from tests.asterisk.server import AsteriskServer


@pytest.fixture
def killable(asterisk_factory: AsteriskFactory) -> Iterator[AsteriskFactory]:
    """Make servers of the test's own that end by SIGKILL: in good order each would take a second."""
    made: list[AsteriskServer] = []

    def factory(version: int, name: str | None = None, *, start: bool = True) -> AsteriskServer:
        made.append(asterisk_factory(version, name, start=start))
        return made[-1]

    yield factory
    for server in made:
        server.kill()
