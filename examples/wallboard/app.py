"""The wallboard's web application: a wall that only shows, and an operator's page that acts.

The wall shows callers' numbers: keep it on a network of your own. The operator's page needs a password
(``WALLBOARD_PASSWORD``; without one it is switched off), and each request that acts needs the token of its page. The
Host header must be one of ``WALLBOARD_HOSTS``. Calls are placed to numbers of one context and to devices alone, never
to an application of the dialplan. Put TLS in front of it.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import threading
from functools import wraps
from pathlib import Path
from urllib.parse import urlsplit

from board import Board
from flask import Flask, Response, jsonify, redirect, render_template, request, session, url_for
from prometheus_client import CollectorRegistry, generate_latest

from pyami_sync import ActionError, ActionTimeout, AMIError, InvalidAction
from pyami_sync.integrations.flask import AMI
from pyami_sync.integrations.prometheus import AMICollector

ami = AMI()
HERE = Path(__file__).parent
KEEP_ALIVE = 10.0  # seconds without news after which a stream says that it is still there
RING = 30.0  # seconds that a telephone rings before a call of an operator counts as not answered
DEVICE = re.compile(r"(PJSIP|SIP|IAX2|DAHDI|Local)/[A-Za-z0-9_.@+-]{1,60}(/n)?")
NUMBER = re.compile(r"[0-9*#+]{1,40}")
THRESHOLDS = {
    "waiting": [3, 6],
    "longest": [60, 180],
    "level": [80, 60],
    "abandoned": [5, 10],
}
"""From where on a figure turns amber and red: callers, seconds, percent within the service level, percent lost."""


def create_app(**config):
    """Make the application; configuration by arguments, else from the environment."""
    app = Flask(__name__, root_path=str(HERE))
    app.json.sort_keys = False
    app.config.update(
        AMI_URL=os.environ.get("AMI_URL"),
        AMI_NODES=os.environ.get("AMI_NODES", ""),
        AMI_OPTIONS={"name": "pyami-wallboard", "when_down": "fail", "timeout": 5.0},
        DIAL_CONTEXT=os.environ.get("WALLBOARD_CONTEXT", "default"),
        PASSWORD=os.environ.get("WALLBOARD_PASSWORD", ""),
        HOSTS=os.environ.get("WALLBOARD_HOSTS", "127.0.0.1,::1,localhost").split(","),
        THRESHOLDS={**THRESHOLDS, **json.loads(os.environ.get("WALLBOARD_THRESHOLDS", "{}"))},
        # Workers must agree on it: give one, or a login holds in one worker only.
        SECRET_KEY=os.environ.get("WALLBOARD_KEY") or secrets.token_hex(32),
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        **config,
    )
    ami.init_app(app)
    several = bool(app.config["AMI_NODES"])

    def source():
        with app.app_context():
            return ami.pool if several else ami.client

    board = app.extensions["wallboard"] = Board(source)
    app.register_blueprint(ami.health_blueprint(), url_prefix="/health")
    registry = CollectorRegistry()
    registry.register(Metrics(app))
    add_pages(app, board)
    add_actions(app)

    @app.before_request
    def admit():
        # A page of the web can reach a local service by a name of its own; it can't choose the Host header.
        if urlsplit(f"//{request.host}").hostname not in app.config["HOSTS"]:
            return problem(421, "the wallboard is not known by that name; see WALLBOARD_HOSTS")
        return None

    @app.get("/metrics")
    def metrics():
        return Response(generate_latest(registry), mimetype="text/plain; version=0.0.4")

    @app.errorhandler(AMIError)
    def failed(exc):
        if isinstance(exc, InvalidAction):
            return problem(400, str(exc))
        if isinstance(exc, ActionError):
            return problem(422, exc.response.message or "the server refused")
        if isinstance(exc, ActionTimeout):
            return problem(504, str(exc))
        answer, status = problem(503, str(exc))
        answer.headers["Retry-After"] = "5"
        return answer, status

    @app.after_request
    def secure(response):
        response.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    return app


def add_pages(app, board):
    """Add what shows: the wall, its pictures, the operator's page and the login, and the API's own documentation."""
    api = json.loads((HERE / "openapi.json").read_text("utf-8"))

    @app.get("/openapi.json")
    def document():
        return jsonify(api)

    @app.get("/api/docs")
    def documentation():
        return render_template("docs.html", api=api, resolve=lambda schema: resolve(api, schema))

    @app.get("/")
    def wall():
        board.start()
        return render_template("wall.html", thresholds=app.config["THRESHOLDS"])

    @app.get("/operator")
    def operator():
        if not app.config["PASSWORD"]:
            return render_template("login.html", off=True), 403
        if not session.get("operator"):
            return redirect(url_for("login"))
        board.start()
        return render_template("operator.html", thresholds=app.config["THRESHOLDS"], token=session["token"])

    @app.route("/login", methods=["GET", "POST"])
    def login():
        if not app.config["PASSWORD"]:
            return render_template("login.html", off=True), 403
        if request.method == "GET":
            return render_template("login.html", off=False)
        given = request.form.get("password", "")
        if not hmac.compare_digest(given.encode(), app.config["PASSWORD"].encode()):
            return render_template("login.html", off=False, wrong=True), 401
        session.clear()
        session.update(operator=True, token=secrets.token_urlsafe(24))
        return redirect(url_for("operator"))

    @app.post("/logout")
    @acting
    def logout():
        session.clear()
        return jsonify(message="logged out")

    @app.get("/api/state")
    def state():
        board.start()
        return Response(board.picture()[1], mimetype="application/json", headers={"Cache-Control": "no-store"})

    @app.get("/api/stream")
    def stream():
        board.start()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Response(pictures(board), mimetype="text/event-stream", headers=headers)


def acting(view):
    """Let only a logged-in operator's own page do something.

    The token is in the page, which other sites can't read, and in a header, which they can't set.
    """

    @wraps(view)
    def checked(*args, **kwargs):
        if not session.get("operator"):
            return problem(401, "log in first")
        token = request.headers.get("X-CSRF-Token", "")
        if not hmac.compare_digest(token.encode(), session["token"].encode()):
            return problem(403, "the page is too old: load it again")
        return view(*args, **kwargs)

    return checked


def client_of(server):
    """Return the client of a server by its id, the only one for an empty id."""
    return ami.pool[server] if server else ami.client


def add_actions(app):
    """Add what acts, for operators."""
    placed = Placed()

    @app.post("/api/calls")
    @acting
    def dial():
        wanted = body()
        device, number = str(wanted.get("from", "")), str(wanted.get("to", ""))
        if not DEVICE.fullmatch(device):
            return problem(400, "“from” is a device, such as PJSIP/alice")
        if not NUMBER.fullmatch(number):
            return problem(400, "“to” is a number")
        client = client_of(str(wanted.get("server", "")))
        to = f"{number}@{app.config['DIAL_CONTEXT']}"
        call = client.call(device, to=to, ring=RING, caller_id=f"Wallboard <{number}>")
        return jsonify(id=placed.add(call), state="ringing"), 202

    @app.get("/api/calls/<id>")
    def progress(id):
        if not session.get("operator"):
            return problem(401, "log in first")
        found = placed.progress(id)
        return problem(404, "there is no such call") if found is None else jsonify(found)

    @app.delete("/api/channels/<path:channel>")
    @acting
    def hang_up(channel):
        response = client_of(request.args.get("server", "")).send("Hangup", Channel=channel, Cause=16)
        return jsonify(message=response.message)

    @app.post("/api/transfers")
    @acting
    def transfer():
        wanted = body()
        number = str(wanted.get("to", ""))
        if not NUMBER.fullmatch(number):
            return problem(400, "“to” is a number")
        client = client_of(str(wanted.get("server", "")))
        where = {"Context": app.config["DIAL_CONTEXT"], "Exten": number, "Priority": 1}
        response = client.send("Redirect", Channel=str(wanted.get("channel", "")), **where)
        return jsonify(message=response.message)

    @app.post("/api/spies")
    @acting
    def spy():
        wanted = body()
        device, channel = str(wanted.get("from", "")), str(wanted.get("channel", ""))
        if not DEVICE.fullmatch(device) or not channel:
            return problem(400, "“from” is a device, such as PJSIP/alice, and “channel” the one to listen to")
        response = client_of(str(wanted.get("server", ""))).originate(
            device, Application="ChanSpy", Data=f"{channel},qE", CallerID="Wallboard <spy>"
        )
        return jsonify(message=response.message), 202

    @app.post("/api/agents/pause")
    @acting
    def pause():
        wanted = body()
        response = client_of(str(wanted.get("server", ""))).send(
            "QueuePause",
            Queue=wanted.get("queue") or None,
            Interface=str(wanted.get("interface", "")),
            Paused=bool(wanted.get("paused")),
            Reason=str(wanted.get("reason", "")) or None,
        )
        return jsonify(message=response.message)

    @app.post("/api/queues/<queue>/members")
    @acting
    def join(queue):
        wanted = body()
        interface = str(wanted.get("interface", ""))
        if not DEVICE.fullmatch(interface):
            return problem(400, "“interface” is a device, such as PJSIP/alice")
        response = client_of(str(wanted.get("server", ""))).send("QueueAdd", Queue=queue, Interface=interface)
        return jsonify(message=response.message), 201

    @app.delete("/api/queues/<queue>/members/<path:interface>")
    @acting
    def leave(queue, interface):
        response = client_of(request.args.get("server", "")).send("QueueRemove", Queue=queue, Interface=interface)
        return jsonify(message=response.message)


class Placed:
    """Calls that operators of this worker have placed, for as long as their pages may ask about them."""

    MOST = 500

    def __init__(self):
        self._calls = {}
        self._lock = threading.Lock()

    def add(self, call):
        """Keep a call; return the id that a page asks with."""
        id = secrets.token_urlsafe(12)
        with self._lock:
            self._calls[id] = call
            while len(self._calls) > self.MOST:
                self._calls.pop(next(iter(self._calls)))
        return id

    def progress(self, id):
        """Return how a call stands, in words."""
        with self._lock:
            call = self._calls.get(id)
        if call is None:
            return None
        outcome = call.outcome
        return {
            "state": "ringing"
            if outcome is None
            else "ended"
            if call.ended
            else outcome.name.lower().replace("_", " "),
            "outcome": None if outcome is None else outcome.name,
            "cause": call.cause,
            "talk_time": call.talk_time,
        }


class Metrics:
    """Metrics of the worker that answers; its number tells them apart."""

    def __init__(self, app):
        self._app = app

    def collect(self):
        source = lambda: ami.get_client(self._app, opened=False)  # noqa: E731
        return AMICollector(source, labels={"process": str(os.getpid())}).collect()

    def describe(self):
        return []  # known when asked


def pictures(board):
    """Yield the board as server-sent events."""
    version, picture = board.picture()
    yield "retry: 2000\n\n"
    while True:
        yield f"id: {version}\ndata: {picture}\n\n"
        seen = version
        while version == seen:
            found = board.wait(seen, KEEP_ALIVE)
            if found is None:
                return
            version, picture = found
            if version == seen:
                yield ": still here\n\n"


def body():
    """Return the JSON object of a request."""
    found = request.get_json()
    return found if isinstance(found, dict) else {}


def problem(status, text):
    """Say what is wrong."""
    return jsonify(error=text), status


def resolve(api, schema):
    """Follow a reference within the API's document."""
    while "$ref" in schema:
        found = api
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        schema = found
    return schema


def close(app):
    """End the application's session and thread, as a test or a server does at its end."""
    app.extensions["wallboard"].stop()
    ami.close(app)
    app.extensions["wallboard"].join()
