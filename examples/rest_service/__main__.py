"""A small web service that outlives its telephone system: ``python examples/rest_service [PORT]``.

GET /events   the latest events; ``?since=N`` those behind number N, ``&wait=S`` waits S seconds for one
GET /calls    the channels there are
POST /action  one action: ``{"action": "QueueAdd", "headers": {"Queue": "support", "Interface": "PJSIP/1101"}}``

Whoever may send actions can place calls on the telephone system's account, so every request needs the token of
REST_TOKEN (``Authorization: Bearer TOKEN``; one is made and shown when there is none), its Host header has to be one of
REST_HOSTS (against pages of the web that reach a local service by a name of theirs), and only the actions of ALLOWED
pass, with the headers that stand there.

While the link is down, events go on being answered from memory, and the others say 503 and when to try again.
"""

import hmac
import os
import secrets
import sys
import threading
from collections import deque
from contextlib import ExitStack
from urllib.parse import urlsplit

from flask import Flask, jsonify, request

from pyami_sync import Action, ActionError, ActionTimeout, AMIClient, AMIError, InvalidAction
from pyami_sync.testing import Simulator

KEPT = 1000
ALLOWED = {
    "ping": set(),
    "coreshowchannels": set(),
    "queuestatus": {"queue", "member"},
    "queueadd": {"queue", "interface", "membername", "penalty", "paused"},
    "queueremove": {"queue", "interface"},
    "queuepause": {"queue", "interface", "paused", "reason"},
    "hangup": {"channel", "cause"},
}
"""Actions and their headers, in lower case. Originate, Command, Setvar and the like can run programs on the server:
add a route of your own for a call, which chooses the context itself, as the wallboard does."""


class Memory:
    """The latest events, numbered."""

    def __init__(self):
        self._events = deque(maxlen=KEPT)
        self._last = 0
        self._more = threading.Condition()

    def add(self, event):
        """Keep an event; called on a callback thread, one event at a time."""
        with self._more:
            self._last += 1
            self._events.append((self._last, event.to_dict()))
            self._more.notify_all()

    def since(self, number, timeout):
        """Events behind that number, and the number of the last; waits so long for one."""
        with self._more:
            self._more.wait_for(lambda: self._last > number, timeout)
            return [event for at, event in self._events if at > number], self._last


def create_app(ami, memory, token, hosts=("127.0.0.1", "localhost")):
    """Make the service on an open client, for who has the token and calls it by one of these names."""
    if not token:
        raise ValueError("a service that acts needs a token")
    app = Flask(__name__)

    @app.before_request
    def admit():
        if urlsplit(f"//{request.host}").hostname not in hosts:
            return jsonify(error="this service is not known by that name; see REST_HOSTS"), 421
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            return jsonify(error="the token is missing or wrong"), 401, {"WWW-Authenticate": "Bearer"}
        return None

    @app.get("/events")
    def events():
        since = request.args.get("since", 0, int)
        found, last = memory.since(since, min(request.args.get("wait", 0.0, float), 25.0))
        return jsonify(events=found, last=last, missed=max(0, last - since - len(found)), state=ami.state.value)

    @app.get("/calls")
    def calls():
        channels = ami.send("CoreShowChannels").events
        return jsonify(calls=[channel.to_dict() for channel in channels])

    @app.post("/action")
    def action():
        wanted = request.get_json()
        if not isinstance(wanted, dict) or not isinstance(wanted.get("headers", {}), dict):
            return jsonify(error='the body is {"action": "Ping", "headers": {}}'), 400
        headers = ALLOWED.get(str(wanted.get("action", "")).lower())
        if headers is None:
            return jsonify(error=f"only these actions are allowed: {', '.join(ALLOWED)}"), 403
        refused = [name for name in wanted.get("headers", {}) if name.lower() not in headers]
        if refused:
            return jsonify(error=f"these headers are not allowed: {', '.join(refused)}"), 403
        try:
            made = Action(str(wanted.get("action", "")), wanted.get("headers", {}))
        except TypeError as exc:
            return jsonify(error=str(exc)), 400
        response = ami.send(made)
        return jsonify(response=response.to_dict(), events=[event.to_dict() for event in response.events])

    @app.errorhandler(AMIError)
    def failed(exc):
        if isinstance(exc, InvalidAction):
            return jsonify(error=str(exc)), 400
        if isinstance(exc, ActionError):
            return jsonify(error=str(exc), response=exc.response.to_dict()), 422
        if isinstance(exc, ActionTimeout):
            return jsonify(error=str(exc)), 504
        return jsonify(error=str(exc)), 503, {"Retry-After": "5"}

    return app


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    memory = Memory()
    with ExitStack() as stack:
        url = os.environ.get("AMI_URL") or stack.enter_context(Simulator()).url
        client = AMIClient.from_url(url, when_down="fail", timeout=5.0)
        client.on("*", memory.add)
        stack.enter_context(client)
        token = os.environ.get("REST_TOKEN") or secrets.token_urlsafe()
        if not os.environ.get("REST_TOKEN"):
            print(f"REST_TOKEN is not set; the token of this run: {token}", file=sys.stderr)
        print("WARNING: who has the token acts on the telephone system; put TLS in front of it.", file=sys.stderr)
        hosts = os.environ.get("REST_HOSTS", "127.0.0.1,localhost").split(",")
        create_app(client, memory, token, hosts).run("127.0.0.1", port, threaded=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass  # Ctrl-C, before it served
