"""What the wallboard shows: channels and queues of a server, kept current by its events.

One thread per process listens. Pages are given the latest picture, never a backlog: a slow reader skips pictures and
holds up nobody.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time

from pyami_sync import AMIError, ConnectionClosed, EventsLost, LoginRejected, WaitTimeout

logger = logging.getLogger("wallboard")

EVENTS = (
    "Newchannel",
    "Newstate",
    "NewCallerid",
    "NewConnectedLine",
    "Newexten",
    "Hangup",
    "QueueCaller*",
    "QueueMember*",
    "AgentComplete",
    "ConnectionLost",
    "Reconnected",
)
PAUSE = 2.0  # seconds between tries to get a first session
QUIET = 0.05  # seconds that a picture waits for the rest of a burst of events
MEMBER_STATES = {
    "0": "unknown",
    "1": "free",
    "2": "in use",
    "3": "busy",
    "4": "invalid",
    "5": "unavailable",
    "6": "ringing",
    "7": "ringing, in use",
    "8": "on hold",
}


class Board:
    """The picture, and the thread that keeps it.

    Args:
        get_client: gives this process's open client, or raises AMIError.

    """

    def __init__(self, get_client):
        self._get_client = get_client
        self._channels = {}  # by unique id; the thread's own
        self._queues = {}  # by name; the thread's own
        self._changed = threading.Condition()
        self._closed = False
        self._version = 0
        self._link = {"state": "connecting", "detail": ""}
        self._picture = ""
        self._started_in = None
        self._draw()

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
        # Open before the state is read: what happens meanwhile comes again, and changes nothing twice.
        with client.events(*EVENTS) as stream:
            self._read_state(client)
            while not self._closed:
                try:
                    event = stream.get()
                except EventsLost:
                    self._read_state(client)
                    continue
                dirty = self._apply(event, client)
                until = time.monotonic() + QUIET
                while (left := until - time.monotonic()) > 0:
                    try:
                        dirty = self._apply(stream.get(left), client) or dirty
                    except WaitTimeout:
                        break
                    except EventsLost:  # told once: only a fresh look knows what the lost ones said
                        self._read_state(client)
                if dirty:
                    self._draw()
        raise ConnectionClosed

    def _read_state(self, client):
        """Ask for everything there is: at the start, and after a gap."""
        channels = client.send("CoreShowChannels").events
        queues = client.send("QueueStatus", check=False).events
        self._channels = {channel.uniqueid: self._channel(channel) for channel in channels}
        self._queues = {}
        for item in queues:
            self._apply_queue(item)
        self._show("connected", client.options.address)

    def _apply(self, event, client):
        """Take an event in; tell whether the picture has changed."""
        name = event.name
        if name == "ConnectionLost":
            self._show("reconnecting", event.reason or "")
        elif name == "Reconnected":
            self._read_state(client)
        elif name == "Hangup":
            return self._channels.pop(event.uniqueid, None) is not None
        elif name.startswith(("Queue", "AgentComplete")):
            self._apply_queue(event)
        else:
            known = self._channels.get(event.uniqueid)
            if known is None and name != "Newchannel":
                return False  # gone already: some events come behind its Hangup
            self._channels[event.uniqueid] = self._channel(event, known)
        return True

    @staticmethod
    def _channel(event, known=None):
        since = known["since"] if known else time.time() - seconds(event.get("Duration", "0"))
        return {
            "id": event.uniqueid,
            "name": event.channel,
            "state": event.channel_state_desc or "",
            "caller": event.caller_id_num or "",
            "caller_name": event.caller_id_name or "",
            "connected": event.connected_line_num or "",
            "exten": event.get("Exten", ""),
            "since": round(since, 1),
        }

    def _apply_queue(self, event):
        queue = self._queues.setdefault(
            event["Queue"], {"name": event["Queue"], "completed": 0, "abandoned": 0, "members": {}, "callers": {}}
        )
        name = event.name
        if name == "QueueParams":
            queue["completed"] = int(event.get("Completed", "0"))
            queue["abandoned"] = int(event.get("Abandoned", "0"))
        elif name in ("QueueCallerJoin", "QueueEntry"):
            queue["callers"][event["Uniqueid"]] = {
                "caller": event.get("CallerIDNum", ""),
                "since": round(time.time() - int(event.get("Wait", "0")), 1),
            }
        elif name == "AgentComplete":
            queue["completed"] += 1
        elif name == "QueueCallerAbandon":
            queue["abandoned"] += 1
        elif name == "QueueCallerLeave":
            queue["callers"].pop(event["Uniqueid"], None)
        elif name == "QueueMemberRemoved":
            queue["members"].pop(event["Interface"], None)
        elif name.startswith("QueueMember"):
            interface = event.get("Interface") or event.get("Location")
            member = queue["members"].setdefault(interface, {"interface": interface, "state": "unknown", "calls": 0})
            member["name"] = event.get("MemberName") or event.get("Name") or interface
            if "Status" in event:
                member["state"] = MEMBER_STATES.get(event["Status"], "unknown")
            member["paused"] = event.get("Paused", "0") == "1"
            member["calls"] = int(event.get("CallsTaken", member["calls"]))

    def _show(self, state, detail):
        self._link = {"state": state, "detail": detail}
        self._draw()

    def _draw(self):
        queues = [
            {
                **queue,
                "members": sorted(queue["members"].values(), key=lambda member: member["name"]),
                "callers": list(queue["callers"].values()),
            }
            for queue in sorted(self._queues.values(), key=lambda queue: queue["name"])
        ]
        channels = sorted(self._channels.values(), key=lambda channel: (channel["since"], channel["id"]))
        picture = json.dumps({"link": self._link, "channels": channels, "queues": queues, "at": round(time.time(), 1)})
        with self._changed:
            self._picture = picture
            self._version += 1
            self._changed.notify_all()


def seconds(text):
    """Read a duration as CoreShowChannels spells it."""
    total = 0
    for part in text.split(":"):
        total = total * 60 + (int(part) if part.isdecimal() else 0)
    return total
