"""What the wallboard shows: one JSON picture, drawn from the live model whenever something has changed.

One thread per process draws. Pages are given the latest picture, never a backlog: a slow reader skips pictures and
holds up nobody.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque

from pyami_sync import AMIError, ConnectionClosed, EventsLost, LoginRejected, WaitTimeout

logger = logging.getLogger("wallboard")

PAUSE = 2.0  # seconds between attempts to get a first session
QUIET = 0.1  # seconds that a picture waits for the rest of a burst of changes
LOOK = 1.0  # seconds after which health is looked at again though nothing has changed
SAMPLE = 300.0  # seconds between two points of the charts
POINTS = 24 * 12  # a day of them
MOST_CALLS = 200
STATES = {
    0: "unknown",
    1: "free",
    2: "in use",
    3: "busy",
    4: "invalid",
    5: "unavailable",
    6: "ringing",
    7: "ringing",
    8: "on hold",
}


class Board:
    """The picture, and the thread that draws it.

    Args:
        get_source: returns this process's open client or pool, or raises AMIError.

    """

    def __init__(self, get_source):
        self._get_source = get_source
        self._changed = threading.Condition()
        self._closed = False
        self._version = 0
        self._started_in = None
        self._trends = {}  # (server, queue): points; the thread's own
        self._picture = ""
        self._content = None
        self._publish({"servers": [{"id": "", "state": "connecting", "detail": ""}], "queues": [], "calls": []})

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
        """Return the version of the latest picture, and the picture as JSON."""
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

    # The thread

    def _run(self):
        while not self._closed:
            try:
                self._follow(self._get_source())
            except LoginRejected as exc:
                self._trouble("refused", str(exc))
            except AMIError as exc:
                self._trouble("down", str(exc))
            except Exception:
                logger.exception("drawing the wallboard raised")
                self._trouble("down", "an error of the wallboard itself; see its log")
            with self._changed:
                self._changed.wait_for(lambda: self._closed, PAUSE)

    def _follow(self, source):
        with source.live("calls", "queues") as live, live.changes() as changes:
            while not self._closed:
                self._publish(draw(live, self._trends))
                if getattr(source, "state", None) == "closed":
                    raise ConnectionClosed("the session is closed")
                try:
                    changes.get(LOOK)
                    until = time.monotonic() + QUIET
                    while (left := until - time.monotonic()) > 0:
                        changes.get(left)
                except (WaitTimeout, EventsLost):
                    pass  # whatever was missed: the next picture is drawn from the model as it is

    def _trouble(self, state, detail):
        content = dict(self._content)
        content["servers"] = [{**each, "state": state, "detail": detail} for each in content["servers"]]
        self._publish(content)

    def _publish(self, content):
        if content == self._content:
            return
        self._content = content
        picture = json.dumps({**content, "at": round(time.time(), 1)})
        with self._changed:
            self._picture = picture
            self._version += 1
            self._changed.notify_all()


# Drawing


def draw(live, trends):
    """Draw the picture of all servers."""
    views = live.views() if hasattr(live, "views") else {"": live.view()}
    queues, calls = [], []
    for server, view in sorted(views.items()):
        for name, queue in view.queues.items():
            found = draw_queue(server, name, queue)
            found["trend"] = follow_trend(trends, server, found)
            queues.append(found)
        calls += [draw_call(server, call, view) for call in view.calls.values() if call.state != "ended"]
    calls.sort(key=lambda call: (call["since"] or 0, call["id"]))
    servers = [
        {
            "id": server,
            "state": {"consistent": "connected", "gap": "reconnecting"}.get(view.health, view.health),
            "detail": "",
            "stale_since": None if view.health == "consistent" else round(time.time() - view.age),
        }
        for server, view in sorted(views.items())
    ]
    return {"servers": servers, "queues": queues, "calls": calls[:MOST_CALLS], "calls_total": len(calls)}


def moment(when):
    """A moment as seconds since 1970, as JSON and browsers have it."""
    return None if when is None else round(when.timestamp(), 1)


def draw_queue(server, name, queue):
    """Draw a queue with its callers and agents."""
    return {
        "server": server,
        "name": name,
        "answered": queue.completed,
        "abandoned": queue.abandoned,
        "level": round(queue.servicelevel_perf, 1) if queue.completed + queue.abandoned else None,
        "within": queue.service_level,
        "talk": queue.talk_time,
        "hold": queue.hold_time,
        "callers": [
            {"id": each.uniqueid, "num": each.caller_id_num, "name": each.caller_id_name, "since": moment(each.since)}
            for each in queue.waiting
        ],
        "agents": [
            draw_agent(each)
            for each in sorted(queue.members, key=lambda member: (member.name.lower(), member.interface))
        ],
    }


def draw_agent(member):
    """Draw an agent: the one state that matters, and since when."""
    if member.status in (4, 5):
        state, since = "unavailable", None
    elif member.in_call:
        state, since = "talking", member.in_call_since
    elif member.status in (6, 7):
        state, since = "ringing", member.ringing_since
    elif member.paused:
        state, since = "paused", member.last_pause
    else:
        state, since = STATES.get(member.status, "unknown"), member.last_call
    return {
        "interface": member.interface,
        "name": member.name or member.interface,
        "state": state,
        "since": moment(since),
        "paused": member.paused,
        "reason": member.paused_reason if member.paused else "",
        "taken": member.calls_taken,
    }


def draw_call(server, call, view):
    """Draw a call: who talks to whom, not the halves that the server joins them with."""
    legs = [leg for leg in call.parties if not leg.ended] or list(call.parties)
    groups = call.talking
    if groups:
        legs = list(groups[0])
    first = legs[0]
    other = {"num": None, "name": None, "channel": None}
    if len(legs) > 1:
        other = party(legs[1])
    elif first.connected_line_num:
        other = {"num": first.connected_line_num, "name": first.connected_line_name, "channel": None}
    elif first.uniqueid in view.channels:
        other["num"] = view.channels[first.uniqueid].exten or None
    if (other["num"], other["name"]) == (first.caller_id_num, first.caller_id_name):
        # The leg of an agent behind a Local channel, and that of whoever waits, carry the caller's number.
        channel = other["channel"] if groups else None
        other = {"num": None, "name": agent_name(call, view, channel), "channel": channel}
    talk_since = max((leg.talk_since for leg in legs if leg.talk_since is not None), default=None)
    return {
        "server": server,
        "id": call.linkedid,
        "state": call.state,
        "from": party(first),
        "to": other,
        "more": max(0, len(legs) - 2),
        "queue": call.queues[-1] if call.queues else None,
        "since": moment(talk_since or call.started),
    }


def agent_name(call, view, channel):
    """Return the name of the agent whose channel it is, if one is."""
    device = (channel or "").rpartition("-")[0]
    for queue in (view.queues[name] for name in call.queues if name in view.queues):
        for member in queue.members:
            if device and member.interface.removesuffix("/n") == device:
                return member.name or None
    return None


def party(leg):
    """Draw somebody on the telephone."""
    return {"num": leg.caller_id_num, "name": leg.caller_id_name, "channel": leg.channel}


def follow_trend(trends, server, queue):
    """Take a sample of a queue now and then; return today's samples for its charts."""
    points = trends.setdefault((server, queue["name"]), deque(maxlen=POINTS))
    now = time.time()
    waiting = len(queue["callers"])
    if not points or now - points[-1][0] >= SAMPLE:
        points.append([round(now), waiting, queue["answered"], queue["abandoned"]])
    elif waiting > points[-1][1]:
        points[-1][1] = waiting  # the worst of each interval
    return list(points)
