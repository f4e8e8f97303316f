"""Start a task for every call that ends: one process with one session, not one in each worker.

It runs until SIGTERM or Ctrl-C, and comes back by itself when the link is lost.
"""

import os
import signal
import sys

from tasks import on_hangup

from pyami_sync import connect, events


def listen(url=None):
    """Hand each hangup over to the workers."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with connect(url, event_mask="call", name="pyami-listener") as ami, ami.events(events.Hangup) as stream:
        print("listening", flush=True)
        for event in stream:
            on_hangup.delay(event.to_dict())


if __name__ == "__main__":
    try:
        listen(os.environ.get("AMI_URL"))
    except KeyboardInterrupt:
        pass
