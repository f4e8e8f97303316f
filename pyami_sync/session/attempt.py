"""One attempt to connect to one server and log in, without blocking.

An attempt is a sequence of steps: resolving the name, TCP, TLS, the greeting, the login. Between two steps it is an
entry in the engine's poller and a timer, so a thousand servers that never answer cost a thousand sockets and cause no
delay for others. The addresses of a name are tried in parallel, a new one every quarter of a second (RFC 8305, "Happy
Eyeballs").
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from ..connection.connection import Connection, no_greeting
from ..connection.request import Request
from ..connection.tls import TLS, TLSHandshake
from ..connection.transport import Transport, connect_error, make_transport, set_options
from ..engine.deadline import Deadline
from ..engine.engine import Timer
from ..engine.poller import READ, WRITE
from ..exceptions import AMIError, ConnectError
from ..wire.response import Response
from .login import Ask, AwaitBoot, Steps, within
from .options import Options

if TYPE_CHECKING:
    from .connector import Connector

__all__ = ["ConnectAttempt", "Outcome"]

STAGGER = 0.25  # seconds after which the next address of a name is tried too

Outcome = Connection | Exception


class Racer:
    """A TCP connection that is being established to one of the addresses. Used on the engine thread only."""

    interest = WRITE

    def __init__(self, attempt: ConnectAttempt, sock: socket.socket) -> None:
        self.sock = sock
        self._attempt = attempt

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.sock.fileno()

    def writable(self) -> None:
        """Handle that the connection is established, or has failed."""
        if self.sock.fileno() < 0:  # another one was established first, in the same round of the engine
            return
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._attempt.raced(self, OSError(code, os.strerror(code)) if code else None)

    readable = writable

    def broken(self, exc: BaseException) -> None:
        """Handle that serving it raised, which is a bug."""
        self._attempt.raced(self, exc if isinstance(exc, OSError) else OSError(str(exc)))


class ConnectAttempt:
    """One attempt to connect to one server and log in. Used on the engine thread only."""

    def __init__(
        self,
        connector: Connector,
        options: Options,
        make: Callable[[Transport], Connection],
        steps: Callable[[Connection], Steps],
        done: Callable[[Outcome], None],
        deadline: Deadline | None,
        transport: Any,
    ) -> None:
        self.counted = False  # True while it counts towards the connector's limit of concurrent attempts
        self.finished = False
        self.interest = WRITE
        self.connection: Connection | None = None
        """The connection, from the greeting on."""
        self._connector = connector
        self._engine = connector.engine
        self._options = options
        self._make = make
        self._make_steps = steps
        self._done = done
        self._fixed_deadline = deadline
        self._transport = transport
        self._deadline = deadline or Deadline(options.connect_timeout)
        self._timer: Timer | None = None
        self._addresses: deque[tuple[Any, ...]] = deque()
        self._racers: list[Racer] = []
        self._next: Timer | None = None  # starts the next racer
        self._sock: socket.socket | None = None  # connected, while TLS is negotiated
        self._handshake: TLSHandshake | None = None
        self._busy = False  # a step of TLS runs on another thread, which owns the socket meanwhile
        self._steps: Steps | None = None
        self._awaits_boot = False

    def abandon(self) -> None:
        """Close the sockets in a forked child without sending anything to the server."""
        self.finished = True
        for sock in [*(racer.sock for racer in self._racers), self._sock]:
            if sock is not None:
                sock.close()
        if self.connection is not None:
            self.connection.abandon()

    # Name resolution

    def begin(self) -> None:
        """Start; the connector calls this when the attempt's turn has come."""
        if self.finished:
            return
        self._deadline = self._fixed_deadline or Deadline(self._options.connect_timeout)
        self._arm(self._deadline.at, self._too_slow)
        try:
            if self._transport is not None:
                self._connected(make_transport(self._transport))
            else:
                self._find_addresses()
        except Exception as exc:
            self._fail(exc)

    def _find_addresses(self) -> None:
        host, port = self._options.host, self._options.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            self._connector.resolvers.submit(self._resolve)
        else:
            self._resolved(found)

    def _resolve(self) -> None:
        found: Any
        try:
            found = socket.getaddrinfo(self._options.host, self._options.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            found = exc
        self._engine.call_soon(lambda: self._resolved(found))

    def _resolved(self, found: Any) -> None:
        if self.finished:
            return
        if isinstance(found, OSError):
            self._fail(found)
        elif isinstance(found, Exception):
            self._fail(OSError(f"{self._options.host!r} is not a valid host name"))
        else:
            self._addresses.extend(interleave(found))
            self._race(OSError("the name has no address"))

    # TCP

    def _race(self, exc: OSError) -> None:
        """Start connecting to the next address; give up with ``exc`` if none is left and none is under way."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        while self._addresses:
            family, kind, protocol, _, address = self._addresses.popleft()
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                exc = error
                continue
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
                racer = Racer(self, sock)
                self._racers.append(racer)
                self._engine.watch(racer)
                if self._addresses:
                    self._next = self._engine.call_at(time.monotonic() + STAGGER, self._hurry)
                return
            sock.close()
            exc = OSError(code, os.strerror(code))
        if not self._racers:
            self._fail(exc)

    def _hurry(self) -> None:
        if not self.finished and self._racers:
            self._race(TimeoutError())

    def raced(self, racer: Racer, exc: OSError | None) -> None:
        """Handle that one of the connections is established, or has failed."""
        if racer not in self._racers:
            return
        self._racers.remove(racer)
        self._engine.unregister(racer, _nothing)  # takes effect at once on this thread
        if exc is not None:
            racer.sock.close()
            self._race(exc)
            return
        self._drop_racers()
        sock = self._sock = racer.sock
        try:
            set_options(sock)
            if self._options.tls is None:
                transport = make_transport(sock)
                self._sock = None  # the transport's from now on
                self._connected(transport)
            else:
                self._busy = True
                self._connector.workers.submit(lambda: self._begin_tls(sock))
        except Exception as error:
            self._fail(error)

    def _drop_racers(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        racers, self._racers = self._racers, []
        for each in racers:
            self._engine.unregister(each, _nothing)
            each.sock.close()

    # TLS: the attempt itself is registered with the poller

    def fileno(self) -> int:
        """Return the descriptor."""
        return -1 if self._sock is None else self._sock.fileno()

    def writable(self) -> None:
        """Go on with the handshake."""
        if not self.finished and self._handshake is not None:
            self._engine.unregister(self, _nothing)
            self._go_on_with_tls(self._handshake)

    readable = writable

    def broken(self, exc: BaseException) -> None:
        """Handle that serving it raised, which is a bug."""
        self._fail(exc if isinstance(exc, Exception) else OSError(str(exc)))

    def _begin_tls(self, sock: socket.socket) -> None:
        tls = self._options.tls
        name = (tls.server_name if isinstance(tls, TLS) else None) or self._options.host
        try:
            context = self._connector.context(tls)
            handshake = TLSHandshake(sock, context, name, host=self._options.host, port=self._options.port)
        except Exception as exc:
            self._tls_went_on(exc)
            return
        self._handshake = handshake
        self._step_tls(handshake)

    def _go_on_with_tls(self, handshake: TLSHandshake) -> None:
        self._busy = True
        self._connector.workers.submit(lambda: self._step_tls(handshake))

    def _step_tls(self, handshake: TLSHandshake) -> None:
        try:
            self._tls_went_on(handshake.step())
        except Exception as exc:
            self._tls_went_on(exc)

    def _tls_went_on(self, outcome: Transport | Exception | None) -> None:
        def take() -> None:
            self._busy = False
            if self.finished:
                self._drop_socket()
            elif isinstance(outcome, Exception):
                self._fail(outcome)
            elif outcome is not None:
                self._sock = None  # the transport's from now on
                self._connected(outcome)
            else:
                writes = self._handshake is not None and self._handshake.wants_write
                self.interest = WRITE if writes else READ
                self._engine.watch(self)

        self._engine.call_soon(take)

    # The greeting and the login

    def _connected(self, transport: Transport) -> None:
        try:
            self.connection = connection = self._make(transport)
            connection.on_greeted = lambda: self._engine.call_soon(self._greeted)
            connection.start()
        except Exception as exc:
            if self.connection is None:
                transport.close()
            self._fail(exc)

    def _greeted(self) -> None:
        if self.finished or self.connection is None:
            return
        self._steps = self._make_steps(self.connection)
        self._go_on(lambda steps: next(steps))

    def _answered(self, answer: Response | BaseException | None) -> None:
        if self.finished:
            return
        if isinstance(answer, BaseException):
            self._go_on(lambda steps: steps.throw(answer))
        else:
            self._go_on(lambda steps: steps.send(answer))

    def _go_on(self, go: Callable[[Steps], Ask | AwaitBoot]) -> None:
        connection, steps = self.connection, self._steps
        assert connection is not None
        assert steps is not None
        try:
            while True:
                step = go(steps)
                if isinstance(step, AwaitBoot):
                    self._await_boot(step.within)
                    return
                call = _Asked(step, connection, self._deadline, self._later)
                self._arm(call.deadline, lambda call=call: connection.pending.expire(call))  # type: ignore[misc]
                try:
                    connection.send(call)
                except AMIError as exc:
                    go = lambda steps, exc=exc: steps.throw(exc)  # type: ignore[misc]  # noqa: E731
                else:
                    return
        except StopIteration:
            self._succeed(connection)
        except Exception as exc:
            self._fail(exc)

    def _later(self, answer: Response | BaseException | None) -> None:
        # After the batch that contains the answer, so that the gate holds the events after it before the next step.
        self._engine.call_soon(lambda: self._answered(answer))

    def _await_boot(self, seconds: float) -> None:
        """Go on when :meth:`booted` is called, the connection ends, or the time is up."""
        self._deadline = Deadline(seconds + self._options.connect_timeout)
        self._awaits_boot = True
        self._arm(time.monotonic() + seconds, self.booted)

    def booted(self) -> None:
        """Handle that FullyBooted has come; on the engine thread."""
        if self._awaits_boot:
            self._awaits_boot = False
            self._arm(self._deadline.at, self._too_slow)
            self._later(None)

    def connection_ended(self) -> None:
        """Handle that the connection ended while no answer is waited for."""
        connection = self.connection
        if not self.finished and self._awaits_boot and connection is not None:
            self._awaits_boot = False
            self._later(connection.lost(sent=True))

    # The end

    def _arm(self, when: float | None, then: Callable[[], None]) -> None:
        """Have ``then`` called at a moment, unless the attempt has advanced before."""
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
        if self.connection is not None:
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
        self._end()
        if self.connection is not None:
            self.connection.close()
        self._done(self._explained(exc))

    def _explained(self, exc: Exception) -> Exception:
        """Return an exception that names the server and says what to check."""
        options = self._options
        if isinstance(exc, ConnectError):
            if not exc.host:
                exc.host, exc.port = options.host, options.port
            return exc
        if isinstance(exc, OSError) and not isinstance(exc, AMIError):
            error = connect_error(exc, options.host, options.port, self._deadline.timeout)
        elif isinstance(exc, RuntimeError | AMIError | MemoryError):  # no thread can be started
            error = ConnectError(str(exc), host=options.host, port=options.port)
        else:
            return exc  # a bug, or an exception of the user's transport
        error.__cause__ = exc
        return error

    def cancel(self) -> None:
        """Cancel the attempt: ``done`` will not be called. Does nothing if it is over. On the engine thread."""
        if not self.finished:
            self._end()
            if self.connection is not None:
                self.connection.close()

    def _end(self) -> None:
        self.finished = True
        if self._timer is not None:
            self._timer.cancel()
        self._drop_racers()
        if not self._busy:
            self._drop_socket()
        self._connector.ended(self)

    def _drop_socket(self) -> None:
        sock = self._sock
        if sock is not None:
            self._engine.unregister(self, _nothing)  # takes effect at once on this thread
            self._sock = None
            sock.close()


class _Asked(Request):
    """A request of the login; it passes its answer to the attempt."""

    __slots__ = ("_then",)

    def __init__(
        self, ask: Ask, connection: Connection, deadline: Deadline, then: Callable[[Response | BaseException], None]
    ) -> None:
        action = ask.action
        super().__init__(action, connection.make_key(action), connection.rule(action), within(ask, deadline))
        self._then = then

    def resolve(self, result: Response | BaseException) -> None:
        self._then(result)


def interleave(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the addresses with their families alternating, beginning with the first one's (RFC 8305, section 4)."""
    first = [each for each in found if each[0] == found[0][0]]
    others = [each for each in found if each[0] != found[0][0]]
    return [each for each in chain.from_iterable(zip_longest(first, others)) if each is not None]


def _nothing() -> None:
    """Do nothing."""
