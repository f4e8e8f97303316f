"""A Flask extension (extra ``flask``).

::

    from flask import Flask, request

    from pyami_sync import ActionError
    from pyami_sync.integrations.flask import AMI

    ami = AMI()

    def create_app():
        app = Flask(__name__)
        app.config["AMI_URL"] = "ami://admin:secret@pbx"
        ami.init_app(app)
        app.register_blueprint(ami.health_blueprint(), url_prefix="/health")

        @app.post("/queues/<queue>/members")
        def join(queue):
            ami.client.send("QueueAdd", Queue=queue, Interface=request.json["interface"])
            return {"joined": queue}

        @app.post("/calls/<agent>/<customer>")
        def connect(agent, customer):  # check both: they become part of a device and of the dialplan
            call = ami.client.call(f"PJSIP/{agent}", to=f"{customer}@internal", ring=20, hangup_on_exit=False)
            return {"outcome": call.wait_answered(), "cause": call.cause_text}

        @app.errorhandler(ActionError)
        def refused(error):
            return {"error": str(error)}, 409

        return app

Each application has one client per process, which is created and opened by the first request that uses it; forked
workers open their own. Configuration:

``AMI_URL``
    ``ami://user:secret@host:5038``; by default the environment variable ``AMI_URL``.
``AMI_OPTIONS``
    a dict of further options of :class:`~pyami_sync.AMIClient`.
``AMI_NODES``
    the nodes of ``ami.pool``: a dict from a node's id to its URL or to ``{"url": …, "tags": […]}``, or the path of a
    TOML file; see :class:`~pyami_sync.ClusterPool`.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..client import AMIClient
from ..engine.deadline import Deadline
from ..exceptions import AMIError, WaitTimeout
from ..subscriptions.subscribers import EventStream
from ..wire.action import Action
from . import missing
from .process import LazyClient, LazyPool

try:
    import click
    from flask import Blueprint, Flask, Response, current_app, g, has_app_context, has_request_context, jsonify, request
    from flask.cli import AppGroup
    from flask.typing import ResponseReturnValue
except ModuleNotFoundError:
    raise missing("Flask", "flask") from None

if TYPE_CHECKING:
    from ..cluster.pool import ClusterPool

__all__ = ["AMI"]

KEY = "pyami_sync"
STREAMS = "pyami_sync.streams"


class AMI:
    """The extension; one instance can be bound to any number of applications with :meth:`init_app`."""

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Bind it to an application: configuration, ``flask ami …`` commands, teardown.

        It opens no connection; the configuration is read when it is first needed.
        """
        app.config.setdefault("AMI_URL", None)
        app.config.setdefault("AMI_OPTIONS", {})
        app.config.setdefault("AMI_NODES", {})
        app.extensions[KEY] = (
            LazyClient(lambda: AMIClient.from_url(app.config["AMI_URL"], **app.config["AMI_OPTIONS"])),
            LazyPool(lambda: _make_pool(app.config["AMI_NODES"], app.config["AMI_OPTIONS"])),
        )
        app.after_request(_hand_over_streams)
        app.teardown_request(_close_streams_of_request)
        app.teardown_appcontext(_close_streams)
        app.cli.add_command(commands)

    def _bound(self, app: Flask | None) -> tuple[LazyClient, LazyPool]:
        if app is None and not has_app_context():
            raise RuntimeError("which application? Use it in a request or `with app.app_context():`, or give app=…")
        chosen: Flask = app or current_app
        if KEY not in chosen.extensions:
            raise RuntimeError(f"application {chosen.name!r} has no AMI: call ami.init_app(app) first")
        bound: tuple[LazyClient, LazyPool] = chosen.extensions[KEY]
        return bound

    @property
    def client(self) -> AMIClient:
        """The current application's client; the first access opens it and blocks.

        Raises:
            ConnectError: the server can't be reached, or refused the login.
            RuntimeError: there is no current application, or it is not bound.

        """
        return self._bound(None)[0].get()

    @property
    def pool(self) -> ClusterPool:
        """The current application's :class:`~pyami_sync.ClusterPool` of ``AMI_NODES``."""
        return self._bound(None)[1].get()

    def get_client(self, app: Flask | None = None, *, opened: bool = True) -> AMIClient:
        """Return an application's client; ``opened=False`` to register callbacks before it connects."""
        holder = self._bound(app)[0]
        return holder.get() if opened else holder.peek()

    def events(self, *selectors: Any, **options: Any) -> EventStream:
        """Open an event stream that is closed at the end of the request, or of its streamed response.

        Arguments are those of :meth:`AMIClient.events`.
        """
        stream = self.client.events(*selectors, **options)
        (request.environ if has_request_context() else g).setdefault(STREAMS, []).append(stream)
        return stream

    def health(self, app: Flask | None = None, *, timeout: float = 2.0) -> dict[str, Any]:
        """Send a Ping and return ``{"ok": …, "state": …}`` and ``round_trip`` in seconds, or ``error``.

        Blocks for ``timeout`` seconds at most, and for ``connect_timeout`` if there is no session yet.
        """
        holder = self._bound(app)[0]
        try:
            trip = holder.get().ping(timeout=timeout)
        except (AMIError, ValueError) as exc:
            made = holder.made
            return {"ok": False, "state": made.state.value if made else "closed", "error": str(exc)}
        return {"ok": True, "state": holder.peek().state.value, "round_trip": round(trip, 6)}

    def health_blueprint(self, name: str = "ami_health", *, timeout: float = 2.0) -> Blueprint:
        """Return a blueprint whose root responds with :meth:`health` as JSON, and 200 if the server answers,
        otherwise 503.
        """
        blueprint = Blueprint(name, __name__)

        def health() -> ResponseReturnValue:
            found = self.health(timeout=timeout)
            answer = jsonify(found)
            answer.headers["Cache-Control"] = "no-store"
            return answer, 200 if found["ok"] else 503

        blueprint.add_url_rule("/", "health", health, methods=["GET"], strict_slashes=False)
        return blueprint

    def close(self, app: Flask | None = None) -> None:
        """Close an application's client and pool; the next use opens new ones. Idempotent."""
        for each in self._bound(app):
            each.close()


def _make_pool(nodes: Any, options: Mapping[str, Any]) -> ClusterPool:
    from ..cluster.pool import ClusterPool  # large, so imported only when needed

    if not nodes:
        raise ValueError("AMI_NODES is empty: set it to {node_id: 'ami://user:secret@host', …}")
    return ClusterPool(nodes, **options)


def _hand_over_streams(response: Response) -> Response:
    # The context of a request ends before its streamed response is sent; the response is closed when it has been sent
    # or its reader has gone.
    streams = request.environ.pop(STREAMS, ())
    for stream in streams:
        if response.is_streamed:
            response.call_on_close(stream.close)
        else:
            stream.close()
    return response


def _close_streams_of_request(exc: BaseException | None) -> None:
    for stream in request.environ.pop(STREAMS, ()):
        stream.close()


def _close_streams(exc: BaseException | None) -> None:
    for stream in g.pop(STREAMS, ()):
        stream.close()


# flask ami …

commands = AppGroup("ami", help="Talk to the Asterisk server of this application.")


@contextmanager
def _session() -> Iterator[AMIClient]:
    """Open a session for one command; errors are printed as one line."""
    holder: LazyClient = current_app.extensions[KEY][0]
    try:
        yield holder.get()
    except (AMIError, ValueError) as exc:
        raise click.ClickException(str(exc)) from None
    finally:
        holder.close()


@commands.command("ping")
def ping() -> None:
    """Measure the round trip."""
    with _session() as client:
        click.echo(f"{client.options.address} answers in {client.ping() * 1000:.1f} ms")


@commands.command("send")
@click.argument("action")
@click.argument("headers", nargs=-1, metavar="[HEADER=VALUE]...")
def send(action: str, headers: tuple[str, ...]) -> None:
    """Send ACTION and show its whole answer as JSON."""
    pairs: dict[str, list[str]] = {}
    for each in headers:
        name, separator, value = each.partition("=")
        if not separator:
            raise click.BadParameter(f"{each!r} is not HEADER=VALUE")
        pairs.setdefault(name, []).append(value)
    with _session() as client:
        response = client.send(Action(action, pairs), check=False)
    for message in (response, *response.events):
        click.echo(json.dumps(message.to_dict(), ensure_ascii=False))
    if not response.ok:
        sys.exit(1)


@commands.command("command")
@click.argument("text", nargs=-1, required=True)
def command(text: tuple[str, ...]) -> None:
    """Run a console command and show its output."""
    with _session() as client:
        for line in client.command(" ".join(text)):
            click.echo(line)


@commands.command("listen")
@click.argument("selectors", nargs=-1, metavar="[EVENT]...")
@click.option("--count", type=int, help="End after so many events.")
@click.option("--seconds", type=float, help="End after so much time.")
def listen(selectors: tuple[str, ...], count: int | None, seconds: float | None) -> None:
    """Show events as JSON, one a line, until interrupted (or ended with SIGTERM)."""
    until = Deadline(seconds)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with _session() as client, client.events(*selectors) as stream:
        while count is None or stream.delivered < count:
            try:
                event = stream.get(until.remaining())
            except WaitTimeout:
                break
            click.echo(json.dumps(event.to_dict(), ensure_ascii=False))
