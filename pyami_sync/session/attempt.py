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
from functools import partial
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from ..connection.connection import Connection, no_greeting
from ..connection.request import Request
from ..connection.tls import TLS, TLSHandshake
from ..connection.transport import Transport, connect_error, make_transport, set_options
from ..engine.deadline import Deadline
from ..engine.engine import Timer
from ..engine.poller import READ, WRITE
from ..exceptions import AMIError, ConnectError, ConnectionLost
from ..wire.action import Action
from ..wire.response import Response
from .gate import EventGate
from .login import LoginPlan
from .steps import AwaitBoot, Steps

if TYPE_CHECKING:
    from .connector import Connector

__all__ = ["ConnectAttempt"]

STAGGER = 0.25  # seconds after which the next address of a name is tried too


class Racer:
    """A TCP connection that is being established to one of the addresses. Used on the engine thread only."""

    interest = WRITE

    def __init__(self, attempt: ConnectAttempt, sock: socket.socket) -> None:
        self.sock = sock
        self.fileno = sock.fileno
        self._attempt = attempt

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
    """One attempt to connect to one server and log in. Used on the engine thread only.

    The methods are in the order in which they run.

    Args:
        connector: starts the attempt, when not too many are under way.
        plan: the session's options, and the steps of the login.
        gate: the owner of that connection.
        done: called with the attempt itself if it has succeeded, or with an exception; never before :meth:`begin`
            returns.
        again: whether the session has been logged in before.
        deadline: of the attempt; by default ``connect_timeout`` after :meth:`begin`.
        transport: a connected socket-like object to use instead of a TCP connection.

    """

    def __init__(
        self,
        connector: Connector,
        plan: LoginPlan,
        gate: EventGate,
        done: Callable[[ConnectAttempt | Exception], None],
        *,
        again: bool,
        deadline: Deadline | None,
        transport: Any,
    ) -> None:
        self.gate = gate
        self.connection: Connection | None = None
        """The connection, once there is a transport."""
        self.finished = False
        self.interest = WRITE
        self._connector = connector
        self._engine = connector.engine
        self._options = plan.options
        self._plan = plan
        self._done = done
        self._cancelled = False
        self._again = again
        self._transport = transport
        self._limit = plan.options.connect_timeout if deadline is None else deadline.timeout  # for messages
        self._ends_at = None if deadline is None else deadline.at
        self._timer: Timer | None = None
        self._due: float | None = None  # when the timer is due
        self._request: Request | None = None  # the request that waits for its answer
        self._addresses: deque[tuple[Any, ...]] = deque()
        self._racers: list[Racer] = []
        self._next: Timer | None = None  # starts the next racer
        self._sock: socket.socket | None = None  # connected, while TLS is negotiated
        self._handshake: TLSHandshake | None = None
        self._busy = False  # a step of TLS runs on another thread, which owns the socket meanwhile
        self._steps: Steps  # from the connection on

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
        if self._ends_at is None and self._limit is not None:
            self._ends_at = time.monotonic() + self._limit
        self._arm(self._ends_at)
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
        self._engine.call_soon(partial(self._resolved, found))

    def _resolved(self, found: Any) -> None:
        if self.finished:
            return
        if isinstance(found, OSError):
            self._fail(found)
        elif isinstance(found, Exception):
            self._fail(OSError(f"{self._options.host!r} is not a valid host name"))
        else:
            self._addresses.extend(interleave(found) if len(found) > 1 else found)
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
        self._engine.unwatch(racer)
        if exc is not None:
            racer.sock.close()
            self._race(exc)
            return
        if self._racers or self._next is not None:
            self._drop_racers()
        sock = self._sock = racer.sock
        try:
            set_options(sock)
            if self._options.tls is None:
                transport = Transport(sock)
                self._sock = None  # the transport's from now on
                self._connected(transport)
            else:
                self._busy = True
                self._connector.workers.submit(partial(self._begin_tls, sock))
        except Exception as error:
            self._fail(error)

    def _drop_racers(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        racers, self._racers = self._racers, []
        for each in racers:
            self._engine.unwatch(each)
            each.sock.close()

    # TLS: the attempt itself is registered with the poller

    def fileno(self) -> int:
        """Return the descriptor."""
        return -1 if self._sock is None else self._sock.fileno()

    def writable(self) -> None:
        """Go on with the handshake."""
        if not self.finished and self._handshake is not None:
            self._engine.unwatch(self)
            self._busy = True
            self._connector.workers.submit(partial(self._step_tls, self._handshake))

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
            self._engine.call_soon(partial(self._tls_went_on, exc))
            return
        self._handshake = handshake
        self._step_tls(handshake)

    def _step_tls(self, handshake: TLSHandshake) -> None:
        outcome: Transport | Exception | None
        try:
            outcome = handshake.step()
        except Exception as exc:
            outcome = exc
        self._engine.call_soon(partial(self._tls_went_on, outcome))

    def _tls_went_on(self, outcome: Transport | Exception | None) -> None:
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

    # The greeting and the login

    def _connected(self, transport: Transport) -> None:
        try:
            self.connection = connection = self._plan.make(self._engine, transport, self.gate)
            self._steps = self._plan.steps(connection, self.gate, self._limit, again=self._again)
            connection.on_greeted = partial(self._go_on, None)
            connection.start()
        except Exception as exc:
            if self.connection is None:
                transport.close()
            self._fail(exc)

    def _go_on(self, answer: Response | BaseException | None) -> None:
        """Send the result of the last step into the generator, and send the action that it yields next."""
        if self.finished:
            return
        self._request = None
        try:
            steps = self._steps
            step = steps.throw(answer) if isinstance(answer, BaseException) else steps.send(answer)
            if isinstance(step, AwaitBoot):
                self._await_boot(step.within)
            else:
                self._ask(step.action, step.within)
        except StopIteration:
            self._succeed()
        except Exception as exc:
            self._fail(exc)

    def _ask(self, action: Action[Any], within: float | None) -> None:
        connection, now, due = self.connection, time.monotonic(), self._ends_at
        assert connection is not None
        if within is not None:
            due = now + within if due is None else min(now + within, due)
        timeout = None if due is None else max(0.0, due - now)
        rule = connection.find_rule(action.name)
        self._request = request = _Step(action, connection.make_key(action), rule, timeout, now)
        request.attempt = self
        if due != self._due:
            self._arm(due)
        try:
            connection.send(request)
        except AMIError as exc:
            self.answered(exc)

    def answered(self, answer: Response | BaseException | None) -> None:
        """Continue with an answer after the batch that contains it, so that the gate has the later events by then."""
        self._engine.call_soon(partial(self._go_on, answer))

    def _await_boot(self, seconds: float) -> None:
        """Continue when FullyBooted has arrived, the connection has ended, or the time is up."""
        if self._ends_at is not None:  # the time that the server takes to boot does not count
            self._ends_at = time.monotonic() + seconds + self._options.connect_timeout
        self.gate.on_booted = partial(self._booted, None)
        self.gate.on_ended = self._booted
        self._arm(time.monotonic() + seconds)

    def _booted(self, end: ConnectionLost | None) -> None:
        self.gate.on_booted = self.gate.on_ended = None
        if not self.finished:
            self._arm(self._ends_at)
            self.answered(end)

    # The end

    def _arm(self, due: float | None) -> None:
        """Set the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = None if due is None else self._engine.call_at(due, self._out_of_time)

    def _out_of_time(self) -> None:
        self._due = None
        connection = self.connection
        if connection is not None and self._request is not None:
            connection.pending.expire(self._request)
        elif self.gate.on_booted is not None:
            self._booted(None)
        elif connection is not None:
            self._fail(no_greeting(self._limit))
        elif self._handshake is not None:
            self._fail(self._handshake.timed_out(self._limit))
        else:
            self._fail(TimeoutError())

    def _succeed(self) -> None:
        self._end()
        self._done(self)

    def _fail(self, exc: Exception) -> None:
        if self.finished:
            return
        self._end()
        if self.connection is not None:
            self.connection.close()
        # Not at once: the caller of begin() must have stored the attempt before ``done`` is called.
        self._engine.call_soon(partial(self._report, self._explained(exc)))

    def _report(self, exc: Exception) -> None:
        if not self._cancelled:
            self._done(exc)

    def _explained(self, exc: Exception) -> Exception:
        """Return an exception that names the server and says what to check."""
        options = self._options
        if isinstance(exc, ConnectError):
            if not exc.host:
                exc.host, exc.port = options.host, options.port
            return exc
        if isinstance(exc, OSError) and not isinstance(exc, AMIError):
            error = connect_error(exc, options.host, options.port, self._limit)
        elif isinstance(exc, RuntimeError | AMIError | MemoryError):  # no thread can be started
            error = ConnectError(str(exc), host=options.host, port=options.port)
        else:
            return exc  # a bug, or an exception of the user's transport
        error.__cause__ = exc
        return error

    def cancel(self) -> None:
        """Cancel the attempt: ``done`` will not be called. Does nothing if it is over. On the engine thread."""
        self._cancelled = True
        if not self.finished:
            self._end()
            if self.connection is not None:
                self.connection.close()

    def _end(self) -> None:
        self.finished = True
        if self._timer is not None:
            self._timer.cancel()
        if self._racers or self._next is not None:
            self._drop_racers()
        if self._sock is not None and not self._busy:
            self._drop_socket()
        self._connector.ended(self)

    def _drop_socket(self) -> None:
        assert self._sock is not None
        self._engine.unwatch(self)
        self._sock.close()
        self._sock = None


class _Step(Request):
    """A request of the login; it passes its answer to the attempt."""

    __slots__ = ("attempt",)

    attempt: ConnectAttempt

    def resolve(self, result: Response | BaseException) -> None:
        self.attempt.answered(result)


def interleave(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the addresses with their families alternating, beginning with the first one's (RFC 8305, section 4)."""
    first = [each for each in found if each[0] == found[0][0]]
    others = [each for each in found if each[0] != found[0][0]]
    return [each for each in chain.from_iterable(zip_longest(first, others)) if each is not None]
