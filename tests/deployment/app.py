"""A WSGI application whose client is connected when the module is imported, before the server forks its workers."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pyami_sync import ConnectionLost, connect


def until_asleep(name: str) -> None:
    """Wait until a thread sleeps in the kernel.

    A fork by uWSGI in which another thread holds the interpreter's lock makes a worker that waits for it for ever. Here
    nothing wakes the thread before the forks: no event, no keepalive.
    """
    (thread,) = (each for each in threading.enumerate() if each.name == name)
    status = Path(f"/proc/self/task/{thread.native_id}/status")
    before = ""
    while "State:\tS" not in before or before != status.read_text("ascii"):  # it counts the thread's switches, too
        before = status.read_text("ascii")
        time.sleep(0.05)


ami = connect(keepalive=None, timeout=8.0, event_mask="off")
ami.ping()
if "uwsgi" in sys.modules:
    until_asleep("pyami-engine")


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the process id and what the server said."""
    try:
        echo = ami.send("UserEvent", UserEvent="Request", Path=environ["PATH_INFO"])
        said = f"{ami.send('Ping')['Ping']} {echo.ok}"
    except ConnectionLost:
        said = "lost"
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {said}".encode()]
