"""Finds threads and sockets that a test has not closed."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["assert_no_leaks", "open_sockets", "pyami_threads"]


def pyami_threads() -> set[threading.Thread]:
    """Return the running threads of this package."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("pyami-")}


def open_sockets() -> set[str]:
    """Return the open sockets of this process, as described by the system."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:  # no such thing on this system: those that Python knows of
        found = [each for each in gc.get_objects() if isinstance(each, socket.socket)]
        return {f"fd {each.fileno()}" for each in found if each.fileno() >= 0}
    sockets = set()
    for name in names:
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            sockets.add(target)
    return sockets


@contextmanager
def assert_no_leaks(timeout: float = 2.0) -> Iterator[None]:
    """Check that after a block no new thread named ``pyami-…`` and no new socket is left.

    Args:
        timeout: seconds to wait for threads and sockets that are ending.

    Raises:
        AssertionError: a thread or socket is left; the message names it.

    """
    threads, sockets = pyami_threads(), open_sockets()
    yield
    until = time.monotonic() + timeout
    while True:
        left_threads = pyami_threads() - threads
        left_sockets = open_sockets() - sockets
        if not left_threads and not left_sockets:
            return
        if time.monotonic() >= until:
            break
        for thread in left_threads:
            thread.join(0.05)
        if left_sockets and not left_threads:
            gc.collect()
            time.sleep(0.01)
    names = ", ".join(sorted(thread.name for thread in left_threads))
    raise AssertionError(f"left behind: threads [{names}], {len(left_sockets)} socket(s) {sorted(left_sockets)}")
