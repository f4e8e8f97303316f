"""What the wallboard shows: channels and queues of a server, as the library's live model has them.

One thread per process draws. Pages are given the latest picture, never a backlog: a slow reader skips pictures and
holds up nobody.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time

from pyami_sync import AMIError, LoginRejected, WaitTimeout

logger = logging.getLogger("wallboard")

PAUSE = 2.0  # seconds between tries to get a first session
QUIET = 0.05  # seconds that a picture waits for the rest of a burst of events
MEMBER_STATES = (
    *("unknown", "free", "in use", "busy", "invalid", "unavailable", "ringing", "ringing, in use", "on hold"),
)


class Board:
    """The picture, and the thread that keeps it.

    Args:
        get_client: returns this process's open client, or raises AMIError.

    """

    def __init__(self, get_client):
        self._get_client = get_client
        self._changed = threading.Condition()
        self._closed = False
        self._version = 0
        self._shown = {"channels": [], "queues": []}
        self._picture = ""
        self._started_in = None
        self._show("connecting", "")

    # For requests, on any thread

    def start(self):
        """Begin to listen, once in each process: a server's workers are forks of what has loaded the application."""
        with self._changed:
            if self._started_in == os.getpid():
                return
            self._started_in = os.getpid()
            self._thread = threading.Thread(target=self._run, name="wallboard", daemon=True)
            self._thread.start()

    def stop(self):
        """End all streams, and the thread as soon as its client is closed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, timeout=10.0):
        """Wait for the thread."""
        if self._started_in == os.getpid():
            self._thread.join(timeout)

    def picture(self):
        """The picture of now, as JSON, and its version."""
        with self._changed:
            return self._version, self._picture

    def wait(self, version, timeout):
        """Wait for a newer picture than that version.

        Returns:
            Version and JSON; the same version when nothing has changed for ``timeout`` seconds; None at the end.

        """
        with self._changed:
            self._changed.wait_for(lambda: self._version != version or self._closed, timeout)
            return None if self._closed else (self._version, self._picture)

    def channel_name(self, uniqueid):
        """The name of a channel that is shown, or None."""
        shown = json.loads(self.picture()[1])["channels"]
        return next((channel["name"] for channel in shown if channel["id"] == uniqueid), None)

    # The thread

    def _run(self):
        while not self._closed:
            try:
                self._listen(self._get_client())
            except LoginRejected as exc:
                self._show("refused", str(exc))
            except AMIError as exc:
                self._show("down", str(exc))
            except Exception:
                logger.exception("the wallboard stumbled")
                self._show("down", "an error of the wallboard itself; see its log")
            with self._changed:
                self._changed.wait_for(lambda: self._closed, PAUSE)

    def _listen(self, client):
        with client.live("calls", "queues") as live:
            seen = None
            while not self._closed:
                try:
                    live.wait(lambda view: self._closed or seen != (view.version, view.health), timeout=PAUSE)  # noqa: B023
                except WaitTimeout:
                    continue
                time.sleep(QUIET)
                view = live.view()
                seen = (view.version, view.health)
                self._shown = {
                    "channels": sorted(map(channel, view.channels.values()), key=lambda shown: shown["since"]),
                    "queues": [queue(each) for each in view.queues.values()],
                }
                if view.health == "consistent":
                    self._show("connected", client.options.address)
                else:
                    self._show("reconnecting", f"this is what was {view.age:.0f} s ago")

    def _show(self, state, detail):
        link = {"state": state, "detail": detail}
        picture = json.dumps({"link": link, **self._shown, "at": round(time.time(), 1)})
        with self._changed:
            self._picture = picture
            self._version += 1
            self._changed.notify_all()


def channel(each):
    """Return what is shown of a channel."""
    return {
        "id": each.uniqueid,
        "name": each.channel,
        "state": each.channel_state_desc,
        "caller": each.caller_id_num or "",
        "caller_name": each.caller_id_name or "",
        "connected": each.connected_line_num or "",
        "exten": each.exten,
        "since": round(each.since.timestamp(), 1) if each.since else 0.0,
    }


def queue(each):
    """Return what is shown of a queue."""
    members = [
        {
            "interface": member.interface,
            "name": member.name,
            "state": MEMBER_STATES[member.status] if member.status < len(MEMBER_STATES) else "unknown",
            "paused": member.paused,
            "calls": member.calls_taken,
        }
        for member in sorted(each.members, key=lambda member: member.name)
    ]
    callers = [
        {"caller": caller.caller_id_num or "", "since": round(caller.since.timestamp(), 1) if caller.since else 0.0}
        for caller in each.waiting
    ]
    figures = {"completed": each.completed, "abandoned": each.abandoned}
    return {"name": each.name, **figures, "members": members, "callers": callers}
