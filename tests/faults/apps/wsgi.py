"""A WSGI application that asks Asterisk: one session opened at import, used by whichever process serves.

With a preloading server the import happens in the master, whose forked workers get the module as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from pyami_sync import connect

ami = connect(event_mask="off", keepalive=0.2, keepalive_timeout=5.0, timeout=20.0)  # AMI_URL


def application(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with the process id and what the server says about the path."""
    asked = str(environ["PATH_INFO"]).strip("/")
    ami.send("DBPut", Family="web", Key=asked, Val=asked)
    (item,) = ami.send("DBGet", Family="web", Key=asked).events
    (line,) = ami.command(f"nonesuch {asked}")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {item['Val']} {line.split(chr(39))[1]}".encode()]
