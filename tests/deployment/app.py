"""A WSGI application whose client is connected when the module is imported, before the server forks its workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from pyami_sync import connect

ami = connect(keepalive=None, timeout=8.0)
ami.ping()


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the process id and what the server said."""
    echo = ami.send("UserEvent", UserEvent="Request", Path=environ["PATH_INFO"])
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {ami.send('Ping')['Ping']} {echo.ok}".encode()]
