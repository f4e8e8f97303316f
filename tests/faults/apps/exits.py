"""Ends in the way that it is told to, with a session and a busy callback."""

from __future__ import annotations

import sys
import threading
import time

from pyami_sync import connect

way = sys.argv[1]


def end(event: object) -> None:
    """Be the callback of the way."""
    if way == "callback-exits":
        sys.exit(7)
    if way.startswith("callback-blocks"):
        print("ready", flush=True)
        threading.Event().wait()


ami = connect(event_mask="user", keepalive=0.5)
ami.on("UserEvent", end)
if way != "callback-exits":
    ami.send("UserEvent", UserEvent="Go")
if way.startswith("callback-blocks"):
    time.sleep(0.2)
else:
    print("ready", flush=True)

if way in ("wait", "callback-blocks-wait"):
    ami.wait_closed()
elif way == "wait-closing":
    with ami:
        ami.wait_closed()
elif way == "wait-on-events":
    for _ in ami.events():
        pass
elif way == "waits-for-an-answer":
    ami.send("WaitEvent", Timeout=100, timeout=100)
elif way == "callback-exits":
    with ami:  # what turns the callback's exit into the program's, so it must not come before
        ami.send("UserEvent", UserEvent="Go")
        ami.wait_closed(60)
elif way == "closes" or way == "callback-blocks-closes":
    ami.close(0.2)
elif way == "sys-exit":
    sys.exit(0)
elif way == "raises":
    raise LookupError("on purpose")
