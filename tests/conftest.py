"""What every test shares: real servers on demand, and nothing left behind."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import hypothesis
import pytest

import pyami_sync.wire.lookup  # noqa: F401  # loads it

pytest_plugins = ["tests.asterisk.plugin"]

# How long an example takes says something about the machine, not about the code.
hypothesis.settings.register_profile("pyami_sync", deadline=None)
hypothesis.settings.load_profile("pyami_sync")

# What a shell starts in the background ignores Ctrl-C, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


REAL = ("asterisk", "broker", "browser", "deployment")
"""Markers of tests that need more than this process: real servers, brokers and browsers, and real deployments."""


def pytest_report_header() -> str:
    """Tell which code is tested."""
    return f"pyami_sync: headers are found in {'C' if 'pyami_sync.wire._speedups' in sys.modules else 'Python'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever needs more than this process, and let only that be run again where PYAMI_RERUNS says how often.

    A race in a unit test must be seen the first time.
    """
    reruns = int(os.environ.get("PYAMI_RERUNS") or 0)
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        params = getattr(getattr(item, "callspec", None), "params", {})
        if item.path.parent.name == "asterisk" or any(name.startswith("asterisk") for name in asked):
            item.add_marker(pytest.mark.asterisk)
        if asked & {"redis_server", "rabbit_server"} or params.get("transports", "memory") != "memory":
            item.add_marker(pytest.mark.broker)
        if "far" in asked:  # a network namespace
            item.add_marker(pytest.mark.deployment)
        if "browser" in asked:
            item.add_marker(pytest.mark.browser)
        if item.path.parent.name == "deployment":
            item.add_marker(pytest.mark.deployment)
        if reruns and any(item.get_closest_marker(name) for name in REAL):
            item.add_marker(pytest.mark.flaky(reruns=reruns))


def _own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("pyami")]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what a test, such as an example of the documentation, sets up: at DEBUG the library takes other paths."""
    root, logger = logging.getLogger(), logging.getLogger("pyami_sync")
    before = root.level, logger.level, root.handlers[:]
    yield
    root.level, logger.level, root.handlers[:] = before
    root.setLevel(before[0])  # forgets what loggers remember of the levels


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
