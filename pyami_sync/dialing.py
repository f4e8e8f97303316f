"""Reaching many servers at once, with no thread waiting for any of them.

A try to reach a server is a row of steps: its name, TCP, TLS, the greeting, the login. Between two of them it
is an entry in the engine's poller and a timer. So a thousand servers that never answer cost a thousand
sockets, and delay nobody.

What has to compute or to wait for something that can't be selected (a name server) runs on two small pools of
threads; everything else, every change of a :class:`Dial`'s state included, on the engine's thread alone.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any

from .request import Call
from .connection import Connection, no_greeting
from .deadline import Deadline
from .engine import Engine, Timer
from .exceptions import AMIError, ConnectError
from .opening import Ask, Steps, within
from .options import Options
from .polling import READ, WRITE
from .response import Response
from .transport import (
    TLS,
    Channel,
    TLSHandshake,
    connect_error,
    make_channel,
    make_context,
    set_options,
)
from .workers import Workers

__all__ = ["Dial", "Dialer"]

MOST_AT_ONCE = 64
SLOW = 0.5  # seconds after which a try counts no longer among those at once
SPREAD = 0.001  # seconds, for each try that waits, over which they are spread
CONTEXT_LIFE = 60.0  # seconds until a changed certificate file is noticed
THREADS = 4

Outcome = Connection | Exception


class Dialer:
    """Bounds and spreads the tries to reach servers, and lends them its threads.

    A try that does not get on counts for half a second only: it costs no more than a socket, and the others
    must not wait for it. So at most 128 tries begin in each second even if no server answers.

    Args:
        engine: serves the sockets.

    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew in a forked child; the sockets of the parent's tries are closed here."""
        for dial in getattr(self, "_dials", ()):
            dial.abandon()
        # Apart from each other, so that a name server which does not answer delays no handshake.
        self.workers = Workers(f"{self.engine.name}-connect", THREADS)
        self.resolvers = Workers(f"{self.engine.name}-resolve", THREADS)
        self._lock = Lock()
        self._waiting: deque[Dial] = deque()
        self._dials: set[Dial] = set()
        self._at_once = 0
        self._closed = False
        self._contexts: dict[TLS, tuple[float, Any]] = {}

    def dial(
        self,
        options: Options,
        *,
        make: Callable[[Channel], Connection],
        steps: Callable[[Connection], Steps],
        done: Callable[[Outcome], None],
    ) -> Dial:
        """Begin a try; it takes at most ``connect_timeout`` seconds once it is its turn.

        Args:
            options: where to.
            make: makes the connection when there is a channel.
            steps: what is said on it once the server has greeted.
            done: gets the connection or what went wrong, on the engine's thread; not after a :meth:`Dial.cancel`.

        """
        dial = Dial(self, options, make, steps, done)
        with self._lock:
            if self._closed:
                dial.finished = True
                return dial
            self._dials.add(dial)
            # Many who come at the same moment, as after a failure of the network, are spread at random.
            delay = random.random() * SPREAD * (len(self._dials) - 1)
        self.engine.start()
        self.engine.call_at(time.monotonic() + delay, lambda: self._enter(dial))
        return dial

    def _enter(self, dial: Dial) -> None:
        with self._lock:
            self._waiting.append(dial)
        self._admit()

    def _admit(self) -> None:
        while True:
            with self._lock:
                if self._closed or not self._waiting or self._at_once >= MOST_AT_ONCE:
                    return
                dial = self._waiting.popleft()
                if dial.finished:
                    continue
                self._at_once += 1
                dial.counted = True
            self.engine.call_at(time.monotonic() + SLOW, lambda dial=dial: self._release(dial))  # type: ignore[misc]
            self.engine.on_thread(dial.begin)

    def _release(self, dial: Dial) -> None:
        with self._lock:
            if not dial.counted:
                return
            dial.counted = False
            self._at_once -= 1
        self._admit()

    def ended(self, dial: Dial) -> None:
        """A try is over."""
        with self._lock:
            self._dials.discard(dial)
        self._release(dial)

    def context(self, tls: Any) -> Any:
        """The TLS context of a node: made once for all that want the same, since that reads files.

        Raises:
            ConnectError: a file can't be read or is no certificate.

        """
        if not isinstance(tls, TLS):
            return tls
        made, context = self._contexts.get(tls, (0.0, None))
        now = time.monotonic()
        if context is None or now - made > CONTEXT_LIFE:
            context = make_context(tls)
            self._contexts[tls] = (now, context)
        return context

    def close(self, deadline: Deadline) -> None:
        """End all tries and the threads."""
        with self._lock:
            self._closed = True
            dials = list(self._dials)
        for dial in dials:
            dial.cancel()
        for workers in (self.workers, self.resolvers):
            workers.close(deadline)


class Dial:
    """One try to reach one server. Its state belongs to the engine's thread."""

    def __init__(
        self,
        dialer: Dialer,
        options: Options,
        make: Callable[[Channel], Connection],
        steps: Callable[[Connection], Steps],
        done: Callable[[Outcome], None],
    ) -> None:
        self.counted = False  # among those at once; under the dialer's lock
        self.finished = False
        self._dialer = dialer
        self._engine = dialer.engine
        self._options = options
        self._make = make
        self._make_steps = steps
        self._done = done
        self._deadline = Deadline(options.connect_timeout)
        self._timer: Timer | None = None
        self._addresses: deque[tuple[Any, ...]] = deque()
        self.interest = WRITE
        self._sock: socket.socket | None = None
        self._handshake: TLSHandshake | None = None
        self._busy = False  # a step of TLS runs on another thread, which owns the socket meanwhile
        self._connection: Connection | None = None
        self._steps: Steps | None = None

    # From any thread

    def cancel(self) -> None:
        """Give up; ``done`` is not called any more. Too late is no error."""
        self._engine.on_thread(self._cancel)

    def abandon(self) -> None:
        """Close the socket in a forked child and leave the server in peace."""
        self.finished = True
        if self._sock is not None:
            self._sock.close()
        if self._connection is not None:
            self._connection.abandon()

    # The name

    def begin(self) -> None:
        """It is its turn."""
        if self.finished:
            return
        self._deadline = Deadline(self._options.connect_timeout)
        self._arm(self._deadline.at, lambda: self._fail(TimeoutError()))
        host, port = self._options.host, self._options.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            self._dialer.resolvers.submit(self._resolve)
        else:
            self._resolved(found)

    def _resolve(self) -> None:
        found: Any
        try:
            found = socket.getaddrinfo(self._options.host, self._options.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            found = exc
        self._engine.on_thread(lambda: self._resolved(found))

    def _resolved(self, found: Any) -> None:
        if self.finished:
            return
        if isinstance(found, OSError):
            self._fail(found)
        elif isinstance(found, Exception):
            self._fail(OSError(f"{self._options.host!r} is no name of a host"))
        else:
            self._addresses.extend(found)
            self._next_address(OSError("the name has no address"))

    # TCP

    def _next_address(self, exc: OSError) -> None:
        self._drop_socket()
        while self._addresses:
            left = len(self._addresses)
            family, kind, protocol, _, address = self._addresses.popleft()
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                exc = error
                continue
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
                self._sock = sock
                # Each address gets its share of the time, so that one that never answers leaves some.
                share = (self._deadline.remaining() or 0.0) / left
                self._arm(time.monotonic() + share, lambda: self._next_address(TimeoutError()))
                self.interest = WRITE
                self._engine.watch(self)
                return
            sock.close()
            exc = OSError(code, os.strerror(code))
        self._fail(exc)

    def fileno(self) -> int:
        """What the engine waits for."""
        return -1 if self._sock is None else self._sock.fileno()

    def writable(self) -> None:
        """The socket is connected, or is not going to be; or TLS can go on sending."""
        self._on_socket()

    def readable(self) -> None:
        """The server has gone on with TLS."""
        self._on_socket()

    def broken(self, exc: BaseException) -> None:
        """Serving it raised: a bug."""
        self._fail(exc if isinstance(exc, Exception) else OSError(str(exc)))

    def _on_socket(self) -> None:
        sock = self._sock
        if self.finished or sock is None:
            return
        self._engine.unregister(self, _nothing)
        if self._handshake is not None:
            self._go_on_with_tls(self._handshake)
            return
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._next_address(OSError(code, os.strerror(code)))
            return
        set_options(sock)
        self._arm(self._deadline.at, self._too_slow)
        if self._options.tls is None:
            self._connected(make_channel(sock))
        else:
            self._busy = True
            self._dialer.workers.submit(lambda: self._begin_tls(sock))

    # TLS

    def _begin_tls(self, sock: socket.socket) -> None:
        tls = self._options.tls
        name = (tls.server_name if isinstance(tls, TLS) else None) or self._options.host
        try:
            context = self._dialer.context(tls)
            handshake = TLSHandshake(sock, context, name, host=self._options.host, port=self._options.port)
        except Exception as exc:
            self._tls_went_on(exc)
            return
        self._handshake = handshake
        self._step_tls(handshake)

    def _go_on_with_tls(self, handshake: TLSHandshake) -> None:
        self._busy = True
        self._dialer.workers.submit(lambda: self._step_tls(handshake))

    def _step_tls(self, handshake: TLSHandshake) -> None:
        try:
            self._tls_went_on(handshake.step())
        except Exception as exc:
            self._tls_went_on(exc)

    def _tls_went_on(self, outcome: Channel | Exception | None) -> None:
        def take() -> None:
            self._busy = False
            if self.finished:
                self._drop_socket()
            elif isinstance(outcome, Exception):
                self._fail(outcome)
            elif outcome is not None:
                self._connected(outcome)
            else:
                writes = self._handshake is not None and self._handshake.wants_write
                self.interest = WRITE if writes else READ
                self._engine.watch(self)

        self._engine.on_thread(take)

    # The greeting and the login

    def _connected(self, channel: Channel) -> None:
        self._sock = None  # the channel's from now on
        self._connection = connection = self._make(channel)
        connection.on_greeted = lambda: self._engine.on_thread(self._greeted)
        connection.start()

    def _greeted(self) -> None:
        if self.finished or self._connection is None:
            return
        self._steps = self._make_steps(self._connection)
        self._go_on(lambda steps: next(steps))

    def _settled(self, answer: Response | BaseException) -> None:
        if self.finished:
            return
        if isinstance(answer, Response):
            self._go_on(lambda steps: steps.send(answer))
        else:
            self._go_on(lambda steps: steps.throw(answer))

    def _go_on(self, go: Callable[[Steps], Ask]) -> None:
        connection, steps = self._connection, self._steps
        assert connection is not None
        assert steps is not None
        try:
            while True:
                ask = go(steps)
                call = _Asked(ask, connection, self._deadline, self._answered)
                self._arm(call.deadline, lambda call=call: connection.pending.expire(call))  # type: ignore[misc]
                try:
                    connection.request(call)
                except AMIError as exc:
                    go = lambda steps, exc=exc: steps.throw(exc)  # type: ignore[misc]  # noqa: E731
                else:
                    return
        except StopIteration:
            self._succeed(connection)
        except Exception as exc:
            self._fail(exc)

    def _answered(self, answer: Response | BaseException) -> None:
        self._engine.on_thread(lambda: self._settled(answer))

    # The end

    def _arm(self, when: float | None, then: Callable[[], None]) -> None:
        """Do something on the engine's thread at a moment, unless it gets on before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when is None:
            return

        def due() -> None:
            if self._timer is timer and not self.finished:
                then()

        timer = self._engine.call_at(when, due)
        self._timer = timer

    def _too_slow(self) -> None:
        if self._connection is not None:
            self._fail(no_greeting(self._deadline.timeout))
        elif self._handshake is not None:
            self._fail(self._handshake.timed_out(self._deadline.timeout))
        else:
            self._fail(TimeoutError())

    def _succeed(self, connection: Connection) -> None:
        self._end()
        self._done(connection)

    def _fail(self, exc: Exception) -> None:
        if self.finished:
            return
        options = self._options
        if isinstance(exc, OSError) and not isinstance(exc, AMIError):
            error = connect_error(exc, options.host, options.port, self._deadline.timeout)
            error.__cause__ = exc
            exc = error
        elif isinstance(exc, ConnectError) and not exc.host:
            exc.host, exc.port = options.host, options.port
        self._end()
        if self._connection is not None:
            self._connection.close()
        self._done(exc)

    def _cancel(self) -> None:
        if not self.finished:
            self._end()
            if self._connection is not None:
                self._connection.close()

    def _end(self) -> None:
        self.finished = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._busy:
            self._drop_socket()
        self._dialer.ended(self)

    def _drop_socket(self) -> None:
        sock = self._sock
        if sock is not None:
            self._engine.unregister(self, _nothing)  # at once: this is its thread
            self._sock = None
            sock.close()


class _Asked(Call):
    """An action of an opening; its answer goes to the dial."""

    __slots__ = ("_then",)

    def __init__(
        self, ask: Ask, connection: Connection, deadline: Deadline, then: Callable[[Response | BaseException], None]
    ) -> None:
        action = ask.action
        super().__init__(action, connection.make_key(action), connection.rule(action), within(ask, deadline))
        self._then = then

    def settle(self, result: Response | BaseException) -> None:
        self._then(result)


def _nothing() -> None:
    """Nothing more to do."""
