"""The session's state machine: opening, loss of the link, reconnecting, closing; and calls placed while the link is
down.

A session is a state machine that only the engine thread advances::

    CLOSED ──open()──▶ CONNECTING ──logged in──▶ CONNECTED ──link lost──▶ RECONNECTING ──logged in──▶ CONNECTED
       ▲                    │ failed                │ close(), Logoff          │ close(), given up
       └────────────────────┴───────────────────────┴──────────────────────────┘

:meth:`Session.open` and :meth:`Session.close` post what they want to the engine thread and wait, with a bound, for it
to happen. No lock is held meanwhile, so neither an exception raised by a signal handler in a waiting thread nor a
long-running handler can block the engine. If the engine thread does not run, or is the calling thread, the caller
closes the session itself at once.

The threads:

* *engine thread*: everything that changes the state; attempts to connect, reconnecting, the keepalive; the publisher.
* *threads of users*: :meth:`~Session.open`, :meth:`~Session.close`, :meth:`~Session.connection`,
  :meth:`~Session.wait_closed`. They read :attr:`~Session.current` and :attr:`~Session.state`, each written in one step.
* *callback threads*: ``on_state`` hands over to them.

A reconnect stays on the engine thread from the loss to the login, apart from resolving a name and TLS.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from ..connection.connection import Connection
from ..connection.request import FutureRequest
from ..engine import forks
from ..engine.deadline import Deadline
from ..engine.engine import Engine
from ..engine.waiting import Waiters
from ..exceptions import ActionTimeout, AMIError, ConnectionClosed, ConnectionLost, LoginRejected
from ..vocabulary import markers
from ..wire.action import Action
from ..wire.message import Event
from ..wire.origin import Origin
from ..wire.protocol import Greeting
from ..wire.response import Response
from .attempt import ConnectAttempt
from .connector import Connector
from .filters import EventFilter
from .gate import EventGate, Publisher
from .keepalive import Keepalive
from .login import LoginPlan
from .metrics import Metrics
from .opening import Openings
from .options import Options
from .reconnect import Reconnect
from .state import State
from .watchdog import Watchdog

__all__ = ["Session", "State"]

logger = logging.getLogger("pyami_sync")

CLOSE_WAIT = 5.0  # seconds that close() waits for the engine thread
EXITING = "the interpreter is shutting down"


class Session:
    """Keeps one login to one server until it is closed.

    Args:
        options: of the session.
        engine: polls its connections.
        publisher: receives its events; on the engine thread.
        connector: starts the attempts to connect; of the same engine.
        transport: a connected socket-like object to use, once, instead of a TCP connection.
        on_state: called with each new state, on the engine thread; must not block.
        tap: receives messages, on the thread that reads or writes them.
        observe: called when the state has changed or an attempt to connect has failed; must not block.

    """

    def __init__(
        self,
        options: Options,
        engine: Engine,
        publisher: Publisher,
        connector: Connector,
        *,
        transport: Any = None,
        on_state: Callable[[State], None],
        tap: Callable[[str, list[bytes]], None],
        observe: Callable[[], None] | None = None,
    ) -> None:
        self.options = options
        self.address = options.address
        """Of the server, for messages."""
        self.engine = engine
        self.publisher = publisher
        self.connector = connector
        self.plan = LoginPlan(options, EventFilter(publisher.everybody) if options.event_filter is not None else None)
        self.metrics = Metrics()
        self.tap = tap
        self.last_error: AMIError | None = None
        self.since = time.time()
        """When the present state began, in seconds since the epoch."""
        self.connected_at = 0.0
        """Moment of the latest login on :func:`time.monotonic`'s clock; 0 before the first."""
        self.current: Connection | None = None
        """The present connection, or :data:`None`; only the engine thread sets it."""
        self._transport = transport
        self._observe = observe
        self._on_state = on_state
        self._state = State.CLOSED
        self._used = False  # it has been opened at least once
        self.starting = False
        """True if :meth:`start` was called and the engine thread has not processed that yet."""
        self.reopens = False  # a forked child opens a session of its own on first use
        self._closed_by = ConnectionClosed("the session is not open: call open(), or use `with`")
        self._make_volatile()

    def _make_volatile(self) -> None:
        """Set the attributes that are reset in a forked child."""
        self.changed = Waiters()  # notified after each change of the state or the connection
        self.openings = Openings(self)
        self._attempt: ConnectAttempt | None = None
        self._reconnect: Reconnect | None = None
        self._keepalive: Keepalive | None = None
        self.watchdog: Watchdog | None = None

    # State

    @property
    def state(self) -> State:
        """The present state."""
        return self._state

    @property
    def over(self) -> bool:
        """True if it was open and is closed; False in a forked child, where it opens on first use."""
        return self._state is State.CLOSED and self._used and not self.reopens

    @property
    def greeting(self) -> Greeting | None:
        """The server's greeting on the latest connection."""
        return self.plan.greeting

    def _enter(self, state: State) -> None:
        self._state = state
        self.since = time.time()
        self._on_state(state)
        self.tell()

    def tell(self) -> None:
        """Notify those who wait for a change, or observe the session."""
        self.changed.notify_all()
        if self._observe is not None:
            self._observe()

    # Opening: on the calling thread

    def open(self, deadline: Deadline) -> None:
        """Connect and log in, or wait for the attempt or reconnect that is under way; blocks until the deadline.

        Raises:
            ConnectError: connecting failed; :exc:`LoginRejected` if the server refused the login.
            ConnectionClosed: it was closed meanwhile.
            ConcurrencyError: the calling thread is the engine thread.

        """
        self.openings.open(deadline, reopens=False)

    def prepare_to_listen(self) -> None:
        """Make sure that events can arrive; in a forked child this opens the session and blocks as :meth:`open` does.

        Raises:
            ConnectionClosed: it has not been opened yet.
            ConnectError: it could not be opened.

        """
        forks.check()
        if not (self.starting or self._used):
            raise self._closed()
        while self.reopens:
            self.openings.on_first_use(Deadline(None))

    # Opening: on the engine thread

    def begin_opening(self, deadline: Deadline, *, reopens: bool) -> None:
        """Start an attempt on behalf of a caller of :meth:`open`."""
        self._used = True
        self.reopens = reopens  # stays true until it is open: if opening fails, the next use tries again
        self._enter(State.CONNECTING)
        self._attempt = self.connect(self._opened, deadline)

    def connect(
        self, done: Callable[[ConnectAttempt | Exception], None], deadline: Deadline | None = None
    ) -> ConnectAttempt:
        """Start an attempt to connect; see :class:`ConnectAttempt`."""
        transport, self._transport = self._transport, None
        return self.connector.attempt(
            self.plan, EventGate(self), done, again=bool(self.connected_at), deadline=deadline, transport=transport
        )

    def _opened(self, outcome: ConnectAttempt | Exception) -> None:
        self._attempt = None
        if isinstance(outcome, Exception):
            if isinstance(outcome, AMIError):
                self.last_error = outcome
            again = self.reopens and not isinstance(outcome, LoginRejected)
            self.end(ConnectionClosed(f"the session is closed: {outcome}"), reopens=again, error=outcome)
            return
        self.reopens = False
        self.adopt(outcome)

    def start(self) -> None:
        """Begin to connect in the background and return; attempts are repeated until the server is reached."""
        self.engine.start()
        self.starting = True
        self.engine.on_thread(self._start)

    def _start(self) -> None:
        if self._state is State.CLOSED:
            self._used, self.reopens = True, False
            self._reconnect = Reconnect(self)
            self._enter(State.RECONNECTING)
            self._reconnect.begin()
        self.starting = False  # last: other threads must not take it for a session that nobody has opened

    def adopt(self, attempt: ConnectAttempt, marker: Event | None = None) -> None:
        """Make the connection of a successful attempt the current one.

        Args:
            attempt: the attempt.
            marker: the marker that ends the gap before it; :data:`None` for none.

        """
        connection, gate = attempt.connection, attempt.gate
        assert connection is not None
        self._attempt = self._reconnect = None
        self.current = connection
        self.connected_at = time.monotonic()
        self.metrics.connects += 1
        self.last_error = None
        connection.tapping = self.plan.tapping
        options = self.options
        if options.stall_after is not None:
            self.watchdog = Watchdog(connection, options.stall_after, self.metrics, self.publisher, self.address)
            self.watchdog.start()
        if options.keepalive is not None:
            self._keepalive = Keepalive(connection, options.keepalive, options.keepalive_timeout, self.watchdog)
            self._keepalive.start()
        self._enter(State.CONNECTED)
        if marker is not None:
            self.publisher.publish_marker(marker)
        gate.release()
        if self.openings.waiting:
            self.openings.settle_all(None)
        # It may have ended before it was adopted, when its end was not yet reported to the session.
        if connection.close_exc is not None and self.current is connection:
            lost = connection.lost(sent=True)
            self.engine.call_soon(lambda: self.link_ended(connection, lost, gate))

    def _stop_watching(self) -> None:
        if self._keepalive is not None:
            self._keepalive.stop()
        if self.watchdog is not None:
            self.watchdog.stop()
        self._keepalive = self.watchdog = None

    # Closing

    def close(self, reason: ConnectionClosed | None = None, *, wait: float = CLOSE_WAIT) -> None:
        """Close the session; pending calls fail. Idempotent; may be called on any thread, in signal handlers and
        finalizers.

        Blocks until the engine thread has closed it, at most ``wait`` seconds.
        """
        engine = self.engine
        done: list[bool] = []
        why = reason or ConnectionClosed("the session was closed")

        def end() -> None:
            if not done:
                done.append(True)
                self.end(why)
                self.changed.notify_all()

        if engine.on_own_thread or not engine.running:
            end()
            return
        engine.call_soon(end)
        self.changed.wait(lambda: done or not engine.running, wait)
        if not engine.running:
            end()

    def end(self, reason: ConnectionClosed, *, reopens: bool = False, error: Exception | None = None) -> None:
        """Close on the engine thread, or on the caller's if that does not run; may be repeated."""
        connection, self.current = self.current, None
        attempt, self._attempt = self._attempt, None
        reconnect, self._reconnect = self._reconnect, None
        self.reopens = reopens
        if self._state is not State.CLOSED:
            self._closed_by = reason
            self._enter(State.CLOSED)
        self._stop_watching()
        if reconnect is not None:
            reconnect.cancel()
        if attempt is not None:
            attempt.cancel()
        if connection is not None:
            self._count_traffic(connection)
            connection.close()
        self.openings.settle_all(error or ConnectionClosed("the session was closed while it was opened"))

    def wait_closed(self, timeout: float | None) -> bool:
        """Wait until the session is closed; return False if the time is up before."""
        return self.changed.wait(lambda: self._state is State.CLOSED, Deadline(timeout).remaining())

    # Losing the link and reconnecting: on the engine thread

    def link_ended(self, connection: Connection, exc: ConnectionLost, gate: EventGate) -> None:
        """Handle the end of a connection, after its last event."""
        if connection is not self.current:
            return  # closed by the user, or never adopted
        self.plan.boot_seen = self.plan.boot_seen or gate.booted
        self.current = None
        self._count_traffic(connection)
        self._stop_watching()
        # If a link ends right after its login, the gate may still hold events, which must precede its end.
        gate.release()
        if connection.pending.logged_off:
            self._closed_by = ConnectionClosed("the session was logged off")
            self._enter(State.CLOSED)
            self.publisher.finish(None)
            return
        policy = self.options.reconnect
        self.metrics.losses += 1
        self.last_error = exc
        logger.warning("%s: %s", self.address, exc)
        if policy is None:
            self._closed_by = exc
            self._enter(State.CLOSED)
        else:
            self._reconnect = Reconnect(self)
            self._enter(State.RECONNECTING)
        self.publisher.publish_marker(markers.ConnectionLost.make(exc.reason, origin=self.origin()))
        self.publisher.finish(connection.lost(sent=True), only_loss_sensitive=policy is not None)
        if self._reconnect is not None:
            self._reconnect.begin()

    def origin(self) -> Origin:
        """Return the origin of a marker that is made at this moment."""
        return Origin(self.options.encoding, time.time(), self.options.node)

    # Using

    def connection(self, deadline: Deadline) -> Connection:
        """Return the connection to send on; while the link is down, wait for one if ``when_down`` is ``"wait"``.

        Raises:
            ConnectionClosed: the session is closed.
            ConnectionLost: the link is down and ``when_down`` is ``"fail"``; nothing was sent.
            ActionTimeout: the link was not restored in time; nothing was sent. (The caller adds the action's name.)

        """
        forks.check()
        while True:
            connection = self.current
            if connection is not None and connection.close_exc is None:
                return connection
            if self.reopens:
                self.openings.on_first_use(deadline)
                continue
            if exiting or self._state is State.CLOSED or self.engine.closed:
                raise self._closed()
            if self.options.when_down == "fail":
                raise ConnectionLost("the link is down", sent=False)
            self.engine.check_thread("waiting for the link")
            if not self.changed.wait(self._decided, deadline.remaining()):
                raise ActionTimeout("", deadline.timeout, sent=False)

    def _decided(self) -> bool:
        """Return True if a caller that waits for the link must check again."""
        connection = self.current
        return (
            (connection is not None and connection.close_exc is None)
            or self._state is State.CLOSED
            or self.engine.closed
        )

    def down(self) -> ConnectionClosed:
        """Return the exception for a caller that does not wait for the link; nothing was sent."""
        if self._state is State.CLOSED:
            return self._closed()
        exc = ConnectionLost(f"the link is down ({self.last_error or 'not connected yet'})", sent=False)
        exc.__cause__ = self.last_error
        return exc

    def check_exiting(self) -> None:
        """Raise :exc:`ConnectionClosed` when the interpreter is shutting down."""
        if exiting:
            raise ConnectionClosed(EXITING)

    def _closed(self) -> ConnectionClosed:
        """Return a new exception for one caller."""
        if exiting:
            return ConnectionClosed(EXITING)
        why = self._closed_by
        if isinstance(why, ConnectionLost):
            exc: ConnectionClosed = ConnectionLost(why.reason, sent=False)
            exc.__cause__ = why.__cause__
            return exc
        return ConnectionClosed(why.reason)

    def learn(self, action: Action[Any], response: Response) -> None:
        """Note the event mask or filter that an action has set, so that the next login can restore it."""
        self.plan.learn(action, response)

    def set_tapping(self, on: bool) -> None:
        """Start or stop passing messages to taps."""
        self.plan.tapping = on
        attempt = self._attempt
        for each in (self.current, attempt.connection if attempt is not None else None):
            if each is not None:
                each.tapping = on

    def _count_traffic(self, connection: Connection) -> None:
        self.metrics.events_before += connection.events_received
        self.metrics.bytes_before += connection.bytes_received

    def engine_ended(self) -> None:
        """Release the callers that wait for an engine that has ended."""
        self.changed.notify_all()

    def after_fork(self) -> None:
        """Reset the session in a forked child: it has no connection, and opens on first use."""
        was_open = self._state is not State.CLOSED or self.reopens or self.starting
        self._used, self.starting = self._used or was_open, False
        connection, self.current = self.current, None
        self._make_volatile()
        self.metrics = Metrics()
        self._state = State.CLOSED
        self.reopens = was_open
        if connection is not None:
            connection.abandon()
            _fail_futures(connection)


def _fail_futures(connection: Connection) -> None:
    """Fail the futures that were pending at the fork, since their answers go to the parent."""
    for call in connection.pending.requests():
        if isinstance(call, FutureRequest) and connection.pending.remove(call):
            call.timer = None  # it belongs to the parent's engine
            call.future.after_fork()
            call.resolve(ConnectionLost("this process is a fork; its parent gets the answer", sent=call.sent))


exiting = False
"""True if the interpreter is shutting down: nothing is sent any more, since no thread would read the answer."""
