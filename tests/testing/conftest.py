"""Raw sessions on simulators: no code of the client is between the test and the bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from pyami_sync.testing import Simulator
from tests.asterisk.raw import RawSession

Dial = Callable[..., RawSession]


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A simulator with default options."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Opens raw sessions, logged in unless told otherwise, and closes them after the test."""
    with ExitStack() as stack:

        def open_session(
            simulator: Simulator,
            *,
            events: str | None = "off",
            login: bool = True,
            user: str = "admin",
            **options: object,
        ) -> RawSession:
            raw = stack.enter_context(RawSession(simulator.port, **options))  # type: ignore[arg-type]
            if login:
                secret = simulator.users[user].secret
                assert raw.login(user, secret, events=events).startswith(b"Response: Success\r\n")
            return raw

        yield open_session
