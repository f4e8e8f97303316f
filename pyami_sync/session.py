"""What survives connections: opening, logging in, noticing a loss, coming back.

The state of a session changes on the engine (a link ended) or on the thread that opens or closes; both
happen under one lock that is never held over anything that waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Condition, Lock
from typing import Any

from . import markers
from .action import Action
from .connecting import Connector
from .connection import Connection
from .deadline import Deadline
from .dialing import Dialer
from .engine import Engine
from .exceptions import ActionTimeout, AMIError, ConnectError, ConnectionClosed, ConnectionLost, LoginRejected
from .keepalive import Keepalive
from .link import Link, Publisher
from .message import Origin
from .metrics import Metrics
from .opening import boot_steps, perform
from .options import Options
from .protocol import Greeting
from .response import Response
from .returning import Return
from .state import State

__all__ = ["Session", "State"]

logger = logging.getLogger("pyami_sync")


class Session:
    """Keeps one login to one server for as long as it is wanted.

    Args:
        options: how it is to be.
        engine: serves its connections.
        publisher: gets its events.
        run: runs what has to wait, such as connecting again, on a thread of its own choice.
        transport: a connected socket-like object to use in place of a TCP connection, once.
        on_state: called with each new state, on a callback thread, in order.
        tap: gets what goes by on the wire, on the thread that reads or writes.
        dialer: connects in the background without a thread that waits, for one session of many.
        observe: called when its state has changed or a try to connect has failed, under the lock; must not
            wait.

    """

    def __init__(
        self,
        options: Options,
        engine: Engine,
        publisher: Publisher,
        *,
        run: Callable[[Callable[[], None]], None],
        transport: Any = None,
        on_state: Callable[[State], None],
        tap: Callable[[str, list[bytes]], None],
        dialer: Dialer | None = None,
        observe: Callable[[], None] | None = None,
    ) -> None:
        self.options = options
        self.engine = engine
        self.publisher = publisher
        self.connector = Connector(options, transport)
        self.metrics = Metrics()
        self.tap = tap
        self.last_error: AMIError | None = None
        self.since = time.time()
        """When the present state began, in seconds since the epoch."""
        self.connected_at = 0.0
        """When the latest login was, on :func:`time.monotonic`'s clock; 0 before the first."""
        # With a dialer a try does not wait, and must not wait for callbacks that keep all their threads busy.
        self._run = run if dialer is None else lambda job: job()
        self._dialer = dialer
        self._return: Return | None = None  # the latest way back
        self._observe = observe
        self._on_state = on_state
        self._state = State.CLOSED
        self._changed = Condition(Lock())
        self.current: Connection | None = None
        """The connection, if there is one now; only the session sets it."""
        self._opening: Connection | None = None  # not logged in yet; close() must end it too
        self._generation = 0  # grows with each open() and close(): what an older one began is void
        self._closed_by: ConnectionClosed = ConnectionClosed("the session is not open: call open(), or use `with`")
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
        if self._observe is not None:
            self._observe()

    def prepare_to_listen(self) -> None:
        """See to it that events can come; a fork's copy opens itself here, and blocks as :meth:`open` does.

        Raises:
            ConnectionClosed: nobody has opened it yet.
            ConnectError: it could not be opened.

        """
        if self._generation == 0:
            raise self._closed()
        if self._wakes_by_itself:
            self._wake(Deadline(None))

    def _wake(self, deadline: Deadline) -> None:
        """Open the copy that a forked child has, on its first use; if it fails, the next use tries again.

        Returns at once when another thread is at it.

        Args:
            deadline: the caller's; opening takes no longer than that, and than ``connect_timeout``.

        Raises:
            ConnectError: it could not be opened.
            ActionTimeout: the caller's time is up. (The caller names the action.)

        """
        self.engine.check_thread("connecting")
        left = deadline.remaining()
        shorter = left is not None and left < self.options.connect_timeout
        try:
            self._open(deadline if shorter else Deadline(self.options.connect_timeout), by_itself=True)
        except (ConnectError, ActionTimeout) as exc:
            if isinstance(exc, LoginRejected) or not deadline.expired:
                raise
            raise ActionTimeout("", deadline.timeout, sent=False) from exc

    @property
    def over(self) -> bool:
        """Whether it has been open and is closed now, and will not open by itself as a fork's copy does."""
        return self._state is State.CLOSED and self._generation > 0 and not self._wakes_by_itself

    # Opening and closing

    def open(self, deadline: Deadline) -> None:
        """Connect and log in; blocks until the deadline.

        Raises:
            ConnectError: there is no session now; :exc:`LoginRejected` if the server refused the login.

        """
        self._open(deadline, by_itself=False)

    def _open(self, deadline: Deadline, *, by_itself: bool) -> None:
        self.engine.check_thread("connecting")
        with self._changed:
            if self._state is not State.CLOSED:
                return
            self._generation += 1
            generation = self._generation
            self._wakes_by_itself = by_itself  # until it is open: if that fails, the next use tries again
            self._enter(State.CONNECTING)
        try:
            connection, link = self.connect(generation, deadline)
        except BaseException as exc:
            self._fail(generation, exc)
            raise
        if not self.adopt(generation, connection, link):
            raise ConnectionClosed("the session was closed while it was opened")
        self.engine.call_soon(link.release)
        if self.options.wait_fully_booted:
            try:
                perform(connection, boot_steps(lambda: link.uptime is not None), deadline)
            except BaseException as exc:
                self._fail(generation, exc)
                connection.close()
                raise
        with self._changed:
            if self._generation == generation:
                self._wakes_by_itself = False

    def start(self) -> None:
        """Begin to connect and return; a server that is not there is tried again and again."""
        with self._changed:
            if self._state is not State.CLOSED:
                return
            self._generation += 1
            self._wakes_by_itself = False
            back = self._return = self._way_back()
            self._enter(State.RECONNECTING)
        back.begin()

    def _fail(self, generation: int, exc: BaseException) -> None:
        """End the session whose opening failed, even if its link was lost and is coming back by now."""
        with self._changed:
            if self._generation != generation:
                return
            self.last_error = exc if isinstance(exc, AMIError) else self.last_error
            again = self._wakes_by_itself and not isinstance(exc, LoginRejected)
        self.close(ConnectionClosed(f"the session is closed: {exc}"), again=again)

    def adopt(self, generation: int, connection: Connection, link: Link) -> bool:
        """Make a logged-in connection the session's, unless the session was closed in the meantime."""
        with self._changed:
            current = self._generation == generation
            if current:
                self.current = connection
                self.connected_at = time.monotonic()
                self.metrics.connects += 1
                self.last_error = None
                self._enter(State.CONNECTED)
        if not current:
            connection.close()
            return False
        connection.tapping = self.connector.tapping
        if self.options.keepalive is not None:
            self._keepalive = Keepalive(connection, self.options.keepalive, self.options.keepalive_timeout)
            self._keepalive.start()
        if connection.end is not None:  # it ended before it was ours: nobody else will tell
            lost = connection.lost(sent=True)
            self.engine.call_soon(lambda: self.link_ended(connection, lost, link))
        return True

    def close(self, reason: ConnectionClosed | None = None, *, again: bool = False) -> None:
        """End the session; pending calls fail at once. Idempotent, from any thread.

        Args:
            reason: what later calls are told.
            again: whether its next use opens it by itself.

        """
        with self._changed:
            self._generation += 1
            connection, opening = self.current, self._opening
            back, self._return = self._return, None
            self.current = self._opening = None
            self._wakes_by_itself = again
            if self._state is not State.CLOSED:
                self._closed_by = reason or ConnectionClosed("the session was closed")
                self._enter(State.CLOSED)
        if self._keepalive is not None:
            self._keepalive.stop()
        if back is not None:
            back.cancel()
        for each in (connection, opening):
            if each is not None:
                self._count_traffic(each)
                each.close()

    def connect(self, generation: int, deadline: Deadline) -> tuple[Connection, Link]:
        """Open a connection and log in.

        Raises:
            ConnectError: with what to check.
            ConnectionClosed: the session was closed in the meantime.

        """
        link = Link(self)
        connection = self.connector.reach(self.engine, link, deadline)
        with self._changed:
            current = self._generation == generation
            if current:
                self._opening = connection
                returning = self._state is State.RECONNECTING
        if not current:  # nobody would end it, and the place may be a later try's
            connection.close()
            raise ConnectionClosed("the session was closed while it was opened")
        try:
            compare = bool(self.connected_at)
            self.connector.log_in(connection, link, deadline, returning=returning, compare=compare)
        finally:
            with self._changed:
                if self._opening is connection:
                    self._opening = None
        return connection, link

    # Coming back

    def link_ended(self, connection: Connection, exc: ConnectionLost, link: Link) -> None:
        """A connection is over; runs on the engine, behind the last of its events."""
        policy = self.options.reconnect
        with self._changed:
            if connection is not self.current:
                return  # closed on purpose, or never adopted
            self.current = None
            self._count_traffic(connection)
            logged_off = connection.pending.logged_off
            if not logged_off:
                self.metrics.losses += 1
                self.last_error = exc
            if logged_off:
                self._closed_by = ConnectionClosed("the session was logged off")
                self._enter(State.CLOSED)
            elif policy is None:
                self._closed_by = exc
                self._enter(State.CLOSED)
            else:
                back = self._return = self._way_back()
                self._enter(State.RECONNECTING)
        if self._keepalive is not None:
            self._keepalive.stop()
        # A link that ends right behind its login may hold events back still; their place is before its end.
        link.release()
        if logged_off:
            self.publisher.finish(None)
            return
        logger.warning("%s: %s", self.options.address, exc)
        origin = Origin(self.options.encoding, time.time(), self.options.node)
        self.publisher.publish_marker(markers.ConnectionLost.make(exc.reason, origin=origin))
        self.publisher.finish(connection.lost(sent=True), only_loss_sensitive=policy is not None)
        if policy is not None:
            back.begin()

    def _way_back(self) -> Return:
        return Return(self, self._generation, self._run, self._dialer)

    def try_failed(self, generation: int, exc: Exception, end: ConnectionLost | None) -> bool:
        """Note that a try to come back has failed; tell whether anybody still wanted it.

        Args:
            generation: of the session when it was begun.
            exc: what went wrong.
            end: what the session ends with if that was the last try.

        """
        with self._changed:
            if self._generation != generation:
                return False
            if isinstance(exc, AMIError):
                self.last_error = exc
            if end is not None:
                self._closed_by = end
                self._enter(State.CLOSED)
            elif self._observe is not None:
                self._observe()
        return True

    # Using

    def connection(self, deadline: Deadline) -> Connection:
        """The connection to send on; waits for one while the link is down, if the session is so configured.

        Raises:
            ConnectionClosed: the session is closed.
            ConnectionLost: the link is down and calls are to fail then; nothing was sent.
            ActionTimeout: it did not come back in time; nothing was sent. (The caller names the action.)

        """
        connection = self.current
        while connection is None or connection.end is not None:
            if self._wakes_by_itself:
                self._wake(deadline)
            connection = self._await_connection(deadline)
        return connection

    def _await_connection(self, deadline: Deadline) -> Connection | None:
        """Wait for a connection; :data:`None` if another thread has failed to open a fork's copy in its time."""
        with self._changed:
            while True:
                connection = self.current
                if connection is not None and connection.end is None:
                    return connection
                if self._state is State.CLOSED:
                    if self._wakes_by_itself:
                        return None
                    raise self._closed()
                if self.options.when_down == "fail":
                    raise ConnectionLost("the link is down", sent=False)
                self.engine.check_thread("waiting for the link")
                if not self._changed.wait(deadline.pause()) and deadline.expired:
                    raise ActionTimeout("", deadline.timeout, sent=False)

    def down(self) -> ConnectionClosed:
        """What to tell a caller who does not wait for the link: nothing was sent."""
        if self._state is State.CLOSED:
            return self._closed()
        exc = ConnectionLost(f"the link is down ({self.last_error or 'not connected yet'})", sent=False)
        exc.__cause__ = self.last_error
        return exc

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
                if not self._changed.wait(deadline.pause()) and deadline.expired:
                    return False
        return True

    def learn(self, action: Action[Any], response: Response) -> None:
        """Note what an action has changed about the session, so that a new login can restore it."""
        self.connector.learn(action, response)

    @property
    def greeting(self) -> Greeting | None:
        """What the server said first on the latest connection."""
        return self.connector.greeting

    def set_tapping(self, on: bool) -> None:
        """Show or hide what goes by on the wire."""
        self.connector.tapping = on
        for each in (self.current, self._opening):
            if each is not None:
                each.tapping = on

    def _count_traffic(self, connection: Connection) -> None:
        self.metrics.events_before += connection.events_received
        self.metrics.bytes_before += connection.bytes_received

    def after_fork(self) -> None:
        """Become the session of a forked child: without connection, to be opened on first use."""
        was_open = self._state is not State.CLOSED or self._wakes_by_itself
        held = [each for each in (self.current, self._opening) if each is not None]
        self._changed = Condition(Lock())
        self.metrics = Metrics()
        self.current = self._opening = None
        self._return = None
        self._keepalive = None
        self._generation += 1
        self._state = State.CLOSED
        self._wakes_by_itself = was_open
        for each in held:
            each.abandon()
