"""Node: one server of a cluster, with its client and its health checks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from ..client import AMIClient
from ..connection.connection import Connection
from ..connection.request import PING, BlockingRequest, FutureRequest, Request, TimedRequest
from ..engine.engine import Engine
from ..engine.futures import DetachedFuture
from ..exceptions import ActionTimeout, AMIError, ConnectionClosed, ConnectionLost
from ..session.connector import Connector
from ..session.session import Session
from ..session.state import State
from ..subscriptions.dispatch import Subscriptions
from ..subscriptions.subscribers import Subscriber
from ..vocabulary.markers import ConnectionLost as LostMarker
from ..wire.action import Action
from ..wire.message import Event
from ..wire.origin import Origin
from ..wire.response import Response
from .config import NodeConfig
from .health import NodeHealth

__all__ = ["Node", "NodeClient"]

SILENT = 2.0  # seconds that an action may wait while nothing arrives before its node counts as silent
SETTINGS: Action[Response] = Action("CoreSettings")


class FanOut:
    """Passes a node's events to its own subscribers and to those of the cluster; runs on the engine thread.

    All nodes of a cluster share one engine thread, so the cluster's subscribers get each node's events in order,
    without a lock.
    """

    def __init__(self, own: Subscriptions, merged: Subscriptions) -> None:
        self.last_event: float | None = None
        self._own = own
        self._merged = merged
        self._ended = False

    def publish(self, frames: list[bytes], origin: Origin) -> None:
        """Publish events that have arrived."""
        if not self._ended:
            self.last_event = origin.received
            self._own.publish(frames, origin)
            self._merged.publish(frames, origin)

    def publish_marker(self, event: Event) -> None:
        """Publish a marker at this place in the order."""
        if not self._ended:
            self._own.publish_marker(event)
            self._merged.publish_marker(event)

    def finish(self, exc: ConnectionClosed | None, *, only_loss_sensitive: bool = False) -> None:
        """End the node's own subscriptions; those of the cluster continue with the other nodes."""
        self._own.finish(exc, only_loss_sensitive=only_loss_sensitive)

    def everybody(self) -> list[Subscriber]:
        """Return who gets events, and who is about to."""
        return [*self._own.everybody(), *self._merged.everybody()]

    def end(self, event: Event) -> None:
        """Publish a marker as the last event."""
        self.publish_marker(event)
        self._ended = True
        self._own.finish(None)


class NodeClient(AMIClient):
    """The client of one node; its session runs on the cluster's threads."""

    def __init__(
        self,
        config: NodeConfig,
        engine: Engine,
        connector: Connector,
        merged: Subscriptions,
        observe: Callable[[], None],
    ) -> None:
        made: list[FanOut] = []
        self._node_id = config.id

        def route(own: Subscriptions) -> FanOut:
            made.append(FanOut(own, merged))
            return made[0]

        self._setup(config.options, None, 0, engine=engine, publisher=route, connector=connector, observe=observe)
        self.fan_out = made[0]

    @property
    def session(self) -> Session:
        """The node's session."""
        return self._session

    def send_now(self, action: Action[Any], limit: float | None, check: bool) -> Response:
        """Send as :meth:`send` does, but do not wait for a link that is down.

        Raises:
            ConnectionClosed: the link is down; nothing was sent.
            ActionTimeout: with ``sent`` false, if the write queue is full because the peer reads too slowly.

        """
        return self._send_on(self._live, action, limit, check)

    def submit_now(self, action: Action[Any], limit: float | None, check: bool) -> DetachedFuture[Any]:
        """Submit as :meth:`submit` does, but never block; raises as :meth:`send_now` does."""
        return self._submit_on(self._live, action, limit, check)

    def _live(self, action: Action[Any], limit: float | None) -> Connection:
        connection = self._session.current
        if connection is None or connection.close_exc is not None:
            raise self._session.down()
        if connection.outbox.crowded:
            raise ActionTimeout(action.name, limit, sent=False)
        return connection


class Inquiry(TimedRequest):
    """A request of the cluster itself; its answer is handled on the thread that reads it."""

    __slots__ = ("_then",)

    def __init__(
        self, action: Action[Any], connection: Connection, timeout: float, then: Callable[[Inquiry, Any], None]
    ) -> None:
        super().__init__(action, connection.make_key(action), connection.find_rule(action.name), timeout)
        self._then = then

    def resolve(self, result: Response | BaseException) -> None:
        self.cancel_timer()
        self._then(self, result)


class Node:
    """A node of a cluster, as strategies and predicates see it.

    Args:
        config: its id, address and options.
        client: its client.
        interval: seconds between two health checks; :data:`None` for one check at each login.
        changed: called when it stops answering or answers again.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(
        self, config: NodeConfig, client: NodeClient, interval: float | None, changed: Callable[[Node], None]
    ) -> None:
        self.config = config
        self.id = config.id
        self.tags = config.tags
        self.client = client
        """The client of this node."""
        self.round_trip: float | None = None
        """Round trip of its latest Ping in seconds."""
        self.clock_offset: float | None = None
        self.server_version: str | None = None
        self.system_name = config.system_name
        self._interval = interval
        self._changed = changed
        self._unanswered: float | None = None  # when the health check's Ping was sent, if its answer is overdue

    def __repr__(self) -> str:
        return f"<Node {self.id} {self.config.options.address} {self.state.value}>"

    @property
    def state(self) -> State:
        """The state of its session."""
        return self.client.session.state

    @property
    def connected(self) -> bool:
        """True if actions can be sent to it at present."""
        connection = self.client.session.current
        return connection is not None and connection.close_exc is None

    @property
    def responsive(self) -> bool:
        """True if it is connected, and no action has waited for 2 seconds in which nothing arrived."""
        connection = self.client.session.current
        if connection is None or connection.close_exc is not None:
            return False
        last = connection.last_received
        if self._unanswered is not None and last < self._unanswered:
            return False
        calls = connection.pending.requests()
        return not calls or time.monotonic() - max(calls[0].begun, last) < SILENT

    @property
    def pending(self) -> int:
        """Number of actions that wait for their answer."""
        connection = self.client.session.current
        return 0 if connection is None else len(connection.pending)

    @property
    def calls(self) -> list[Request]:
        """Return the pending requests for which a caller waits."""
        connection = self.client.session.current
        if connection is None:
            return []
        return [call for call in connection.pending.requests() if isinstance(call, BlockingRequest | FutureRequest)]

    @property
    def settled(self) -> bool:
        """True if its first attempt to connect has succeeded or failed."""
        session = self.client.session
        if session.starting:
            return False
        return session.state in (State.CONNECTED, State.CLOSED) or session.last_error is not None

    def health(self) -> NodeHealth:
        """Return a snapshot of its health."""
        session = self.client.session
        return NodeHealth(
            node=self.id,
            state=session.state,
            since=session.since,
            responsive=self.responsive,
            address=self.config.options.address,
            tags=self.tags,
            round_trip=self.round_trip,
            pending=self.pending,
            last_event=self.client.fan_out.last_event,
            reconnects=max(0, session.metrics.connects - 1),
            clock_offset=self.clock_offset,
            server_version=self.server_version,
            system_name=self.system_name,
            last_error=session.last_error,
        )

    # Start and end

    def start(self) -> None:
        """Begin to connect; from then on lost links are reconnected."""
        if self.config.member is not None:
            self.config.member.start(self.config.options)
        self.client.session.start()

    def end(self, reason: str, ended: Callable[[], None]) -> None:
        """Close its session; a marker is published after its last event, and then ``ended`` is called."""
        engine = self.client.engine
        self.client.session.close(ConnectionClosed(reason))
        origin = Origin(self.config.options.encoding, time.time(), self.id)
        marker = LostMarker.make(reason, origin=origin)

        def end() -> None:
            self.client.fan_out.end(marker)
            ended()

        engine.call_soon(end)  # after the events of this node that are being read at this moment

    # Health checks: on the engine thread, and on the thread that reads an answer; they do not block

    def begin_to_look(self) -> None:
        """Start the health checks of a new connection; on the engine thread."""
        connection = self.client.session.current
        if connection is not None:
            self._unanswered = None
            self._inquire(connection, SETTINGS, self._learn_settings)
            self._look(connection)

    def _look(self, connection: Connection) -> None:
        if self.client.session.current is not connection or connection.close_exc is not None:
            return
        self._inquire(connection, PING, self._learn_ping)
        if self._interval is not None:
            # At random, so that the nodes are not all checked at the same moment.
            due = time.monotonic() + self._interval * (0.75 + random.random() / 2)
            connection.engine.call_at(due, lambda: self._look(connection))

    def _inquire(self, connection: Connection, action: Action[Any], then: Callable[[Inquiry, Any], None]) -> None:
        if connection.crowded:
            return
        call = Inquiry(action, connection, max(SILENT, self._interval or 0.0), then)
        call.timer = connection.engine.call_at(call.begun + SILENT, lambda: self._overdue(call))
        try:
            connection.send(call)
        except AMIError:
            call.cancel_timer()  # the request has ended, and that has been reported

    def _overdue(self, call: Inquiry) -> None:
        """Handle that an answer is overdue; the request still waits for it until its time is up."""
        connection = self.client.session.current
        if connection is None or call not in connection.pending.requests():
            return
        if call.deadline is not None:
            call.timer = connection.engine.call_at(call.deadline, lambda: connection.pending.expire(call))
        if self._unanswered is None and connection.last_received < call.begun:
            self._unanswered = call.begun
            self._changed(self)

    def _learn_ping(self, call: Inquiry, result: Response | BaseException) -> None:
        if not isinstance(result, Response):
            return
        trip = time.monotonic() - call.begun
        self.round_trip = trip
        try:
            told = float(result.get("Timestamp", ""))
        except ValueError:
            pass  # the answer to Ping contains no time before 1.6.1
        else:
            # The server reads its clock during the round trip; the middle is the best estimate.
            self.clock_offset = told - (time.time() - trip / 2)
        if self._unanswered is not None:
            self._unanswered = None
            self._changed(self)

    def _learn_settings(self, call: Inquiry, result: Response | BaseException) -> None:
        if isinstance(result, Response) and result.ok:
            self.server_version = result.get("AsteriskVersion") or self.server_version
            self.system_name = self.config.system_name or result.get("SystemName") or None


def certainly_not_run(exc: AMIError) -> bool:
    """Return True if an action that failed with ``exc`` has certainly not run, so that another node may be tried."""
    if isinstance(exc, ActionTimeout | ConnectionLost):
        return not exc.sent
    return isinstance(exc, ConnectionClosed)
