"""The wallboard's web application.

Whoever may use it can place and end calls. With WALLBOARD_PASSWORD in the environment it asks for that password (any
user name); without it, only this machine is served. Its Host header has to be one of WALLBOARD_HOSTS. It places calls
to numbers of one context and to devices alone, never to an application of the dialplan. Put TLS in front of it.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from board import Board
from flask import Flask, Response, jsonify, render_template, request
from prometheus_client import CollectorRegistry, generate_latest

from pyami_sync import ActionError, ActionTimeout, AMIError, InvalidAction
from pyami_sync.integrations.flask import AMI
from pyami_sync.integrations.prometheus import AMICollector

logger = logging.getLogger("wallboard")
ami = AMI()
LOOPBACK = ("127.0.0.1", "::1", "localhost")
HERE = Path(__file__).parent
KEEP_ALIVE = 10.0  # seconds without news after which a stream says that it is still there
DEVICE = re.compile(r"(PJSIP|SIP|IAX2|DAHDI|Local)/[A-Za-z0-9_.@+-]{1,60}(/n)?")
NUMBER = re.compile(r"[0-9*#+]{1,40}")


def create_app(**config):
    """Make the application; configuration by arguments, else from the environment."""
    app = Flask(__name__, root_path=str(HERE))
    app.json.sort_keys = False
    app.config.update(
        AMI_URL=os.environ.get("AMI_URL"),
        AMI_OPTIONS={"name": "pyami-wallboard", "when_down": "fail", "timeout": 5.0},
        PASSWORD=os.environ.get("WALLBOARD_PASSWORD"),
        HOSTS=os.environ.get("WALLBOARD_HOSTS", ",".join(LOOPBACK)).split(","),
        DIAL_CONTEXT=os.environ.get("WALLBOARD_CONTEXT", "default"),
        **config,
    )
    ami.init_app(app)
    board = app.extensions["wallboard"] = Board(lambda: ami.get_client(app))
    app.register_blueprint(ami.health_blueprint(), url_prefix="/health")
    registry = CollectorRegistry()
    registry.register(Metrics(app))
    api = json.loads((HERE / "openapi.json").read_text("utf-8"))
    if not app.config["PASSWORD"]:
        logger.warning("WARNING: WALLBOARD_PASSWORD is not set: every user of this machine can place and end calls")

    @app.before_request
    def admit():
        # A page of the web can reach a local service by a name of its own; it can't choose the Host header.
        if urlsplit(f"//{request.host}").hostname not in app.config["HOSTS"]:
            return problem(421, "the wallboard is not known by that name; see WALLBOARD_HOSTS")
        if request.path.startswith("/health"):
            return None
        password = app.config["PASSWORD"]
        if not password:
            return None if request.remote_addr in LOOPBACK else problem(403, "set WALLBOARD_PASSWORD to serve others")
        given = request.authorization.password if request.authorization else None
        if given is None or not hmac.compare_digest(given.encode(), password.encode()):
            return *problem(401, "the password is missing or wrong"), {"WWW-Authenticate": 'Basic realm="wallboard"'}
        return None

    @app.get("/")
    def page():
        board.start()
        return render_template("page.html")

    @app.get("/api/state")
    def state():
        board.start()
        return Response(board.picture()[1], mimetype="application/json", headers={"Cache-Control": "no-store"})

    @app.get("/api/stream")
    def stream():
        board.start()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Response(pictures(board), mimetype="text/event-stream", headers=headers)

    @app.post("/api/calls")
    def dial():
        wanted = body()
        device, number = str(wanted.get("from", "")), str(wanted.get("to", ""))
        if not DEVICE.fullmatch(device):
            return problem(400, "“from” is a device, such as PJSIP/alice")
        if not NUMBER.fullmatch(number):
            return problem(400, "“to” is a number")
        to = f"{number}@{app.config['DIAL_CONTEXT']}"
        call = ami.client.call(device, to=to, ring=30, caller_id=f"Wallboard <{number}>")
        outcome = call.wait_answered()
        if outcome == "answered":
            return jsonify(message=f"{device}: answered")
        call.wait_ended()  # with the cause
        return jsonify(message=f"{device}: {outcome}" + (f" ({call.cause_text})" if call.cause else ""))

    @app.delete("/api/channels/<uniqueid>")
    def hang_up(uniqueid):
        name = board.channel_name(uniqueid)
        if name is None:
            return problem(404, "there is no such channel (any more)")
        response = ami.client.send("Hangup", Channel=name, Cause=16)
        return jsonify(message=response.message)

    @app.post("/api/queues/<queue>/members")
    def join(queue):
        interface = str(body().get("interface", ""))
        if not DEVICE.fullmatch(interface):
            return problem(400, "“interface” is a device, such as PJSIP/alice")
        response = ami.client.send("QueueAdd", Queue=queue, Interface=interface)
        return jsonify(message=response.message), 201

    @app.delete("/api/queues/<queue>/members/<path:interface>")
    def leave(queue, interface):
        response = ami.client.send("QueueRemove", Queue=queue, Interface=interface)
        return jsonify(message=response.message)

    @app.get("/openapi.json")
    def document():
        return jsonify(api)

    @app.get("/api/docs")
    def documentation():
        return render_template("docs.html", api=api, resolve=lambda schema: resolve(api, schema))

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
        return response

    return app


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
    """The board as server-sent events."""
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
    """The JSON object of a request. A page of another site can't send one without being asked for permission."""
    found = request.get_json()
    return found if isinstance(found, dict) else {}


def problem(status, text):
    """Say what is wrong."""
    return jsonify(error=text), status


def resolve(api, schema):
    """Follow a reference within the document."""
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
