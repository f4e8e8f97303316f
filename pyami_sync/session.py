"""What survives connections: opening, logging in, noticing a loss, coming back.

The state of a session changes on the engine (a link ended) or on the thread that opens or closes; both
happen under one lock that is never held over anything that waits.
"""

from __future__ import annotations

import enum
import logging
import secrets
import time
from collections.abc import Callable
from threading import Condition, Lock
from typing import Any

from .action import Action
from .catalogue.answers import ANSWERS
from .catalogue.rules import AnswerRule
from .connection import Connection
from .deadline import Deadline
from .engine import Engine
from .exceptions import ActionTimeout, AMIError, ConnectError, ConnectionClosed, ConnectionLost, LoginRejected
from .keepalive import Keepalive
from .message import Event, Origin, Response
from .metrics import Metrics
from .model import event_class
from .opening import log_in, open_channel, restore_filters, wait_fully_booted
from .options import Options
from .pending import PendingCalls
from .protocol import Greeting
from .subscriptions import Subscriptions
from .transport import make_channel

__all__ = ["Session", "State"]

logger = logging.getLogger("pyami_sync")

HELD_BYTES = 64 << 20  # events of a new link that may wait for their place behind the marker
UPTIME_WAIT = 0.5


class State(enum.Enum):
    """Where a session stands.

    ``CONNECTING`` leads to ``CONNECTED`` or ``CLOSED``, ``CONNECTED`` to ``RECONNECTING`` or ``CLOSED``,
    ``RECONNECTING`` to ``CONNECTED`` or ``CLOSED``.
    """

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


def find_rule(name: str) -> AnswerRule | None:
    """How an action answers, by its name."""
    return ANSWERS.get(name.lower())


class Link:
    """One connection with what it needs to know of its session.

    Events that come before a new link has its place in the order (behind the marker that tells of the gap)
    are held back. Everything but :meth:`tapped` runs on the engine.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.released = False
        self.uptime: float | None = None
        self._held: list[tuple[list[bytes], bool, Origin]] = []
        self._held_bytes = 0

    def publish(self, frames: list[bytes], plain: bool, origin: Origin) -> None:
        if self.released:
            self.session.subscriptions.publish(frames, plain, origin)
            return
        for frame in frames[:4]:
            if frame.startswith(b"Event: FullyBooted"):
                self._fully_booted(Event._wire(frame))
        self._held.append((frames, plain, origin))
        self._held_bytes += sum(map(len, frames))
        if self._held_bytes > HELD_BYTES:
            self.release()

    def _fully_booted(self, event: Event) -> None:
        uptime = event.get("Uptime", "")
        self.uptime = float(uptime) if uptime.isdecimal() else None

    def release(self) -> None:
        """Let the events go that were held back, and all further ones."""
        if not self.released:
            self.released = True
            for batch in self._held:
                self.session.subscriptions.publish(*batch)
            self._held.clear()

    def ended(self, connection: Connection, exc: ConnectionLost) -> None:
        self.session.link_ended(connection, exc)

    def tapped(self, direction: str, frames: list[bytes]) -> None:
        self.session.tap(direction, frames)


class Session:
    """Keeps one login to one server for as long as it is wanted.

    Args:
        options: how it is to be.
        engine: serves its connections.
        subscriptions: get its events.
        run: runs what has to wait, such as connecting again, on a thread of its own choice.
        transport: a connected socket-like object to use in place of a TCP connection, once.
        on_state: called with each new state, on a callback thread, in order.
        tap: gets what goes by on the wire, on the thread that reads or writes.

    """

    def __init__(
        self,
        options: Options,
        engine: Engine,
        subscriptions: Subscriptions,
        *,
        run: Callable[[Callable[[], None]], None],
        transport: Any = None,
        on_state: Callable[[State], None],
        tap: Callable[[str, list[bytes]], None],
    ) -> None:
        self.options = options
        self.engine = engine
        self.subscriptions = subscriptions
        self.metrics = Metrics()
        self.tap = tap
        self.greeting: Greeting | None = None
        self.filters: list[Action[Any]] = []
        """Server-side filters that were added, in order: a new login has none of them."""
        self.event_mask = options.event_mask
        self.tapping = False
        self.last_error: AMIError | None = None
        self.since = time.time()
        """When the present state began, in seconds since the epoch."""
        self._run = run
        self._on_state = on_state
        self._transport = transport
        self._state = State.CLOSED
        self._changed = Condition(Lock())
        self._connection: Connection | None = None
        self._opening: Connection | None = None  # not logged in yet; close() must end it too
        self._generation = 0  # grows with each open() and close(): what an older one began is void
        self._closed_by: ConnectionClosed = ConnectionClosed("the session is not open: call open(), or use `with`")
        self._lost_at = 0.0
        self._connected_at = 0.0
        self._keepalive: Keepalive | None = None
        self._wakes_by_itself = False  # a forked child opens a session of its own on first use

    # State

    @property
    def state(self) -> State:
        return self._state

    def _enter(self, state: State) -> None:
        """Change state. Hold the lock when calling this."""
        self._state = state
        self.since = time.time()
        self._changed.notify_all()
        # Handed over under the lock, so that states are told in the order in which they were entered.
        self._on_state(state)

    @property
    def dormant(self) -> bool:
        """Whether it is closed only because this process is a fork, and opens on first use."""
        return self._wakes_by_itself

    # Opening and closing

    def open(self, deadline: Deadline) -> None:
        """Connect and log in; blocks until the deadline.

        Raises:
            ConnectError: there is no session now; :exc:`LoginRejected` if the server refused the login.

        """
        self.engine.check_thread("connecting")
        with self._changed:
            if self._state is not State.CLOSED:
                return
            self._generation += 1
            generation = self._generation
            self._wakes_by_itself = False
            self._enter(State.CONNECTING)
        try:
            connection, link = self._connect(deadline)
        except BaseException as exc:
            self._fail(generation, exc)
            raise
        if not self._adopt(generation, connection):
            raise ConnectionClosed("the session was closed while it was opened")
        self.engine.call_soon(link.release)
        if self.options.wait_fully_booted:
            try:
                wait_fully_booted(connection, deadline, lambda: link.uptime is not None)
            except BaseException as exc:
                self._fail(generation, exc)
                connection.close()
                raise

    def start(self) -> None:
        """Begin to connect and return; a server that is not there is tried again and again."""
        with self._changed:
            if self._state is not State.CLOSED:
                return
            self._generation += 1
            self._lost_at = time.monotonic()
            self._enter(State.RECONNECTING)
            generation = self._generation
        self._attempt_later(generation, 0)

    def _fail(self, generation: int, exc: BaseException) -> None:
        with self._changed:
            if self._generation == generation and self._state is not State.CLOSED:
                self.last_error = exc if isinstance(exc, AMIError) else self.last_error
                self._closed_by = ConnectionClosed(f"the session is closed: {exc}")
                self._connection = None
                self._enter(State.CLOSED)

    def _adopt(self, generation: int, connection: Connection) -> bool:
        """Make a logged-in connection the session's, unless the session was closed in the meantime."""
        with self._changed:
            current = self._generation == generation
            if current:
                self._connection = connection
                self._connected_at = time.monotonic()
                self.metrics.connects += 1
                self.last_error = None
                self._enter(State.CONNECTED)
        if not current:
            connection.close()
            return False
        connection.tapping = self.tapping
        if self.options.keepalive is not None:
            self._keepalive = Keepalive(connection, self.options.keepalive, self.options.keepalive_timeout)
            self._keepalive.start()
        if connection.end is not None:  # it ended before it was ours: nobody else will tell
            lost = connection.lost(sent=True)
            self.engine.call_soon(lambda: self.link_ended(connection, lost))
        return True

    def close(self, reason: ConnectionClosed | None = None) -> None:
        """End the session; pending calls fail at once. Idempotent, from any thread."""
        with self._changed:
            self._generation += 1
            connection, opening = self._connection, self._opening
            self._connection = self._opening = None
            self._wakes_by_itself = False
            if self._state is not State.CLOSED:
                self._closed_by = reason or ConnectionClosed("the session was closed")
                self._enter(State.CLOSED)
        if self._keepalive is not None:
            self._keepalive.stop()
        for each in (connection, opening):
            if each is not None:
                self._count_traffic(each)
                each.close()

    def _connect(self, deadline: Deadline) -> tuple[Connection, Link]:
        """Open a connection and log in.

        Raises:
            ConnectError: with what to check.

        """
        transport, self._transport = self._transport, None
        channel = make_channel(transport) if transport is not None else open_channel(self.options, deadline)
        link = Link(self)
        connection = Connection(
            self.engine,
            channel,
            PendingCalls(f"{secrets.token_hex(5)}-", self.options.limits, event_class),
            link,
            limits=self.options.limits,
            encoding=self.options.encoding,
            node=self.options.node,
            find_rule=find_rule,
        )
        connection.tapping = self.tapping
        self._opening = connection
        try:
            connection.start()
            self.greeting = connection.wait_greeting(deadline)
            # Filters must be there before events flow, or what they keep out slips in at each new login.
            log_in(connection, self.options, deadline, event_mask="off" if self.filters else self.event_mask)
            if self.filters:
                restore_filters(connection, self.filters, self.event_mask, deadline)
        except BaseException as exc:
            connection.close()
            if isinstance(exc, ConnectError) and not exc.host:
                exc.host, exc.port = self.options.host, self.options.port
            raise
        finally:
            self._opening = None
        return connection, link

    # Coming back

    def link_ended(self, connection: Connection, exc: ConnectionLost) -> None:
        """A connection is over; runs on the engine, behind the last of its events."""
        from . import markers

        policy = self.options.reconnect
        with self._changed:
            if connection is not self._connection:
                return  # closed on purpose, or never adopted
            self._connection = None
            self._lost_at = time.monotonic()
            self.metrics.losses += 1
            self.last_error = exc
            self._count_traffic(connection)
            generation = self._generation
            if policy is None:
                self._closed_by = exc
                self._enter(State.CLOSED)
            else:
                self._enter(State.RECONNECTING)
        if self._keepalive is not None:
            self._keepalive.stop()
        logger.warning("%s: %s", self.options.address, exc)
        origin = Origin(self.options.encoding, time.time(), self.options.node)
        self.subscriptions.publish_marker(markers.ConnectionLost.make(exc.reason, origin=origin))
        self.subscriptions.finish(connection.lost(sent=True), only_loss_sensitive=policy is not None)
        if policy is not None:
            self._attempt_later(generation, 0)

    def _attempt_later(self, generation: int, attempt: int) -> None:
        policy = self.options.reconnect
        assert policy is not None
        delay = policy.delay(attempt)
        if delay:
            job = lambda: self._run(lambda: self._attempt(generation, attempt))  # noqa: E731
            self.engine.call_at(time.monotonic() + delay, job)
        else:
            self._run(lambda: self._attempt(generation, attempt))

    def _attempt(self, generation: int, attempt: int) -> None:
        """Try once to come back; runs where it may wait."""
        policy = self.options.reconnect
        if self._generation != generation or policy is None:
            return
        self.metrics.attempts += 1
        try:
            connection, link = self._connect(Deadline(self.options.connect_timeout))
        except (AMIError, ValueError, OSError) as exc:
            self._attempt_failed(generation, attempt, exc)
            return
        except Exception as exc:
            logger.exception("coming back raised")
            self._attempt_failed(generation, attempt, exc)
            return
        restarted = self._restarted(connection, link)
        if self._generation != generation:
            connection.close()
            return
        outage = time.monotonic() - self._lost_at
        self.metrics.outage(outage)
        # The marker goes to the engine before the state is told, and the events held back go behind it.
        self.engine.call_soon(lambda: self._mark_return(link, outage, restarted, attempt + 1))
        if self._adopt(generation, connection):
            logger.info("%s: connected again after %.2f s", self.options.address, outage)

    def _attempt_failed(self, generation: int, attempt: int, exc: Exception) -> None:
        policy = self.options.reconnect
        assert policy is not None
        outage = time.monotonic() - self._lost_at
        final = policy.gives_up(outage) or (isinstance(exc, LoginRejected) and not policy.retry_login)
        with self._changed:
            if self._generation != generation:
                return
            if isinstance(exc, AMIError):
                self.last_error = exc
            if final:
                lost = ConnectionLost(f"given up after {outage:.1f} s and {attempt + 1} tries: {exc}")
                lost.__cause__ = exc
                self._closed_by = lost
                self._enter(State.CLOSED)
        logger.warning("%s: try %d failed: %s", self.options.address, attempt + 1, exc)
        if final:
            self.subscriptions.finish(lost)
        else:
            self._attempt_later(generation, attempt + 1)

    def _restarted(self, connection: Connection, link: Link) -> bool | None:
        """Whether the server has been started again since the last login; :data:`None` if it does not say."""
        uptime = link.uptime
        if uptime is None:
            try:
                said = connection.call(Action("Command", Command="core show uptime seconds"), UPTIME_WAIT).output
                uptime = float(next(line.rpartition(":")[2] for line in said if "System uptime" in line))
            except (AMIError, StopIteration, ValueError):
                return None
        if not self._connected_at:
            return None
        # Uptimes are whole seconds, so the second in which both fall is no proof of a restart.
        return uptime + 1 < time.monotonic() - self._connected_at

    def _mark_return(self, link: Link, outage: float, restarted: bool | None, attempts: int) -> None:
        from . import markers

        origin = Origin(self.options.encoding, time.time(), self.options.node)
        self.subscriptions.publish_marker(
            markers.Reconnected.make(outage, server_restarted=restarted, attempts=attempts, origin=origin)
        )
        link.release()

    # Using

    def connection(self, deadline: Deadline) -> Connection:
        """The connection to send on; waits for one while the link is down, if the session is so configured.

        Raises:
            ConnectionClosed: the session is closed.
            ConnectionLost: the link is down and calls are to fail then; nothing was sent.
            ActionTimeout: it did not come back in time; nothing was sent. (The caller names the action.)

        """
        connection = self._connection
        if connection is not None and connection.end is None:
            return connection
        if self._wakes_by_itself:
            self.engine.check_thread("connecting")
            self.open(Deadline(self.options.connect_timeout))
        with self._changed:
            while True:
                connection = self._connection
                if connection is not None and connection.end is None:
                    return connection
                if self._state is State.CLOSED:
                    raise self._closed()
                if self.options.when_down == "fail":
                    raise ConnectionLost("the link is down", sent=False)
                self.engine.check_thread("waiting for the link")
                if not self._changed.wait(deadline.remaining()) and deadline.expired:
                    raise ActionTimeout("", deadline.timeout, sent=False)

    def _closed(self) -> ConnectionClosed:
        """A fresh exception for one more caller."""
        why = self._closed_by
        if isinstance(why, ConnectionLost):
            exc: ConnectionClosed = ConnectionLost(why.reason, sent=False)
            exc.__cause__ = why.__cause__
            return exc
        return ConnectionClosed(why.reason)

    def wait_closed(self, timeout: float | None) -> bool:
        """Wait until the session is closed for good; tell whether it is."""
        deadline = Deadline(timeout)
        with self._changed:
            while self._state is not State.CLOSED:
                if not self._changed.wait(deadline.remaining()) and deadline.expired:
                    return False
        return True

    def learn(self, action: Action[Any], response: Response) -> None:
        """Note what an action has changed about the session, so that a new login can restore it."""
        name = action.name.lower()
        if name == "filter":
            self.filters.append(action)
        elif name == "events":
            self.event_mask = action.get("EventMask", "") or self.event_mask

    @property
    def current(self) -> Connection | None:
        """The connection, if there is one now."""
        return self._connection

    def set_tapping(self, on: bool) -> None:
        """Show or hide what goes by on the wire."""
        self.tapping = on
        for each in (self._connection, self._opening):
            if each is not None:
                each.tapping = on

    def _count_traffic(self, connection: Connection) -> None:
        self.metrics.events_before += connection.events_received
        self.metrics.bytes_before += connection.bytes_received

    def after_fork(self) -> None:
        """Become the session of a forked child: without connection, to be opened on first use."""
        was_open = self._state is not State.CLOSED or self._wakes_by_itself
        held = [each for each in (self._connection, self._opening) if each is not None]
        self._changed = Condition(Lock())
        self.metrics = Metrics()
        self._connection = self._opening = None
        self._keepalive = None
        self._generation += 1
        self._state = State.CLOSED
        self._wakes_by_itself = was_open
        for each in held:
            each.abandon()
