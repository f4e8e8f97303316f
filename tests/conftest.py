"""What every test shares: real servers on demand, and nothing left behind."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.asterisk.plugin"]

# What a shell starts in the background ignores Ctrl-C, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever asks for a real server, so that it runs where there is one."""
    for item in items:
        asked = getattr(item, "fixturenames", ())
        if item.path.parent.name == "asterisk" or any(name.startswith("asterisk") for name in asked):
            item.add_marker(pytest.mark.asterisk)


def _own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("pyami")]


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail a test that leaves a thread of the library running."""
    before = set(_own_threads())
    yield
    deadline = time.monotonic() + 5
    while left := [thread for thread in _own_threads() if thread not in before]:
        if time.monotonic() > deadline:
            pytest.fail(f"threads left behind: {[thread.name for thread in left]}")
        left[0].join(0.1)
