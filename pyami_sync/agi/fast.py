"""FastAGI: a server to which Asterisk connects for each call, and the transport of such a call."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from contextlib import suppress
from itertools import count
from secrets import token_hex
from time import monotonic
from typing import Self

from ..engine.deadline import Deadline
from ..engine.waiting import Waiters
from ..exceptions import AMIError, ConcurrencyError, ConnectionClosed, ConnectionLost, RemoteProtocolError
from .call import STATUS_VARIABLE, AGICall
from .errors import CallLeft, CommandTimeout, HungUp, ScriptNotFound
from .router import Router, split_path
from .scripts import REFUSED, ScriptThreads, run_script
from .wire import FAST_LINE, Answers, Environment, Reply, render

__all__ = ["DEFAULT_PORT", "FastAGIServer", "FastTransport"]

logger = logging.getLogger("pyami_sync.agi")

DEFAULT_PORT = 4573
CHUNK = 65_536
FRESH = 0.001  # seconds after a read in which no hang-up is looked for: it would cross with the command anyway
TOLERANCE = 0.01  # seconds that the socket's time limit may differ from what is left, for not setting it each time
REFUSAL = 2.0  # seconds that refusing a call may take
MOST_REFUSALS = 50  # calls that may be refused at a time; further ones are disconnected


class FastTransport:
    """Sends commands and reads answers on the connection of one call; used on the thread of its script.

    The server answers commands one by one and in order, and a command that arrives while another is running
    interrupts that one. So nothing is sent before the last answer has arrived; after a command without an answer in
    time, the next one waits for that answer first.

    The socket's own time limit, which gevent and eventlet keep too, is set only when the next command has another one,
    because setting it costs a system call. A hang-up is looked for before a command only when the script has done
    something else since the last answer.
    """

    kind = "fast"
    limit = FAST_LINE

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self._sock = sock
        self._peer = peer
        sock.settimeout(None)
        self._limit: float | None = None  # the socket's; 0.0 after a look
        self._read_at = 0.0
        self._answers = Answers()
        self._end: AMIError | None = None
        self._behind = False  # True if the answer of a timed-out command has not arrived yet
        self._busy = threading.Lock()
        self._marks = count(1)
        self._mark = f"pyami-{token_hex(8)}"

    @property
    def hung_up(self) -> bool:
        """True if the call or the connection is over."""
        return self._answers.hung_up or self._end is not None

    def read_environment(self, timeout: float) -> Environment:
        """Wait for the environment, which the server sends first, and return it.

        Raises:
            CommandTimeout: it did not arrive in time.
            ConnectionLost: the peer closed the connection first.
            RemoteProtocolError: the peer is not Asterisk.

        """
        deadline = Deadline(timeout)
        while (found := self._answers.environment()) is None:
            self._receive(deadline, "the environment")
        return found

    def execute(self, line: bytes, command: str, timeout: float | None, *, free_text: bool = False) -> Reply:
        """Send a command and wait for its answer; see :class:`AGITransport`."""
        if not self._busy.acquire(blocking=False):
            raise ConcurrencyError("another thread uses this call: a call belongs to the thread of its script")
        try:
            return self._execute(line, command, Deadline(timeout), free_text)
        finally:
            self._busy.release()

    def _execute(self, line: bytes, command: str, deadline: Deadline, free_text: bool) -> Reply:
        self._check()
        if self._behind:
            self._catch_up(deadline, command)
        if self._answers.buffered or monotonic() - self._read_at >= FRESH:
            self._look()
        self._behind = True  # until the answer is complete
        self._send(line, deadline, command)
        reply = None
        if free_text:
            # The text may contain line ends, and lines that look like answers. A second command with a random text
            # shows where the answer ends. It is sent after the first line of the answer, because a command that
            # arrives too early interrupts the running one.
            while not self._answers.answered():
                self._receive(deadline, command)
            mark = self._send_mark(deadline, command)
            while reply is None:
                self._receive(deadline, command)
                reply = self._answers.marked_reply(mark)
        else:
            while reply is None:
                self._receive(deadline, command)
                reply = self._answers.reply()
        self._behind = False
        if line == b"HANGUP" and reply.code == 200:
            self._answers.hung_up = True  # the server reports it, too, a moment later
        return reply

    def _check(self) -> None:
        if self._end is not None:
            raise self._end
        if self._answers.hung_up:
            raise HungUp

    def _look(self) -> None:
        """Read what has arrived already: a HANGUP line, or the end of the connection."""
        self._set_limit(0.0)
        with suppress(BlockingIOError):
            self._take()
        # Only HANGUP and empty lines are valid at this moment; an answer would belong to no command.
        if not self._answers.hung_up and self._answers.reply() is not None:
            self._broken(RemoteProtocolError("the AGI peer sent an answer to no command"))
        self._check()

    def _send_mark(self, deadline: Deadline, command: str) -> bytes:
        mark = f"{self._mark}-{next(self._marks)}"
        self._send(render("GET FULL VARIABLE", [mark], self.limit), deadline, command)
        return mark.encode("ascii")

    def _catch_up(self, deadline: Deadline, command: str) -> None:
        mark = self._send_mark(deadline, command)
        while not self._answers.skip_past(mark):
            self._receive(deadline, command)
        self._behind = False

    def _send(self, line: bytes, deadline: Deadline, command: str) -> None:
        left = deadline.remaining()
        if left == 0:
            raise CommandTimeout(command, deadline.timeout)
        self._set_limit(left)
        try:
            self._sock.sendall(line + b"\n")
        except TimeoutError:
            # A part of the line may have been sent: the server would take anything sent now for its rest.
            self._broken(ConnectionLost(f"the AGI peer {self._peer} does not read"))
        except OSError as exc:
            self._look()  # what came before the end may be a hang-up
            self._lost(exc)

    def _receive(self, deadline: Deadline, command: str) -> None:
        """Wait until something comes, and read it."""
        while True:
            left = deadline.remaining()
            if left == 0:
                raise CommandTimeout(command, deadline.timeout)
            self._set_limit(left)
            try:
                self._take()
            except TimeoutError:
                continue  # the socket's limit may end before the command's
            return

    def _set_limit(self, left: float | None) -> None:
        """Set the time limit of the socket's calls, unless it is near enough."""
        limit = self._limit
        if limit == left or (limit and left and abs(limit - left) < TOLERANCE):
            return
        try:
            self._sock.settimeout(left)
        except OSError as exc:  # closed meanwhile, by stop()
            self._lost(exc)
        self._limit = left

    def _take(self) -> None:
        """Read once; raise :exc:`TimeoutError` or :exc:`BlockingIOError` when nothing has come within the limit."""
        try:
            data = self._sock.recv(CHUNK)
        except (TimeoutError, BlockingIOError):
            raise
        except OSError as exc:
            self._lost(exc)
        if not data:
            self._lost(None)
        self._read_at = monotonic()
        try:
            self._answers.feed(data)
        except RemoteProtocolError as exc:
            self._broken(exc)

    def _lost(self, exc: OSError | None) -> None:
        while not self._answers.hung_up and self._answers.reply() is not None:
            pass  # a HANGUP line may have arrived last
        end: AMIError = HungUp() if self._answers.hung_up else ConnectionLost(f"the AGI peer {self._peer} went away")
        end.__cause__ = exc
        self._broken(end)

    def _broken(self, end: AMIError) -> None:
        if self._end is None:
            self._end = end
        self._sock.close()
        raise self._end

    def leave(self, timeout: float = 0.0) -> None:
        """Close the connection, so that the channel continues in the dialplan. Idempotent."""
        if self._end is None:
            self._end = CallLeft("the call was given back to the dialplan")
        self._sock.close()

    def stop(self) -> None:
        """End the script from another thread: its commands, also a running one, raise ConnectionClosed."""
        if self._end is None:
            self._end = ConnectionClosed("the FastAGI server was stopped")
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


class FastAGIServer:
    """Serves scripts to Asterisk: ``AGI(agi://host:4573/ivr/en,argument,…)`` in the dialplan.

    ::

        FastAGIServer(scripts).serve_forever()

    Each script runs on a thread of its own. When all are busy, or no route has the path, the call continues in the
    dialplan at once, with the variable ``AGISCRIPT`` set to ``REFUSED`` or ``NOTFOUND``; after a script it is
    ``DONE`` or ``ERROR``. FastAGI has no authentication: restrict access to the port to your servers.

    Args:
        scripts: the :class:`Router`; may be replaced, which affects new calls.
        host: address to listen on.
        port: TCP port; 0 for any free port, see :attr:`port`.
        threads: most scripts at a time.
        timeout: default time limit of a command in seconds; :data:`None` for no limit.
        media_timeout: seconds for one that plays, listens or records, in addition to the time that it is to listen.
        environment_timeout: seconds within which a peer must send the environment of its call.

    """

    def __init__(
        self,
        scripts: Router,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        threads: int = 100,
        timeout: float | None = 10.0,
        media_timeout: float | None = 300.0,
        environment_timeout: float = 5.0,
    ) -> None:
        self.scripts = scripts
        self.host = host
        self._asked_port = port
        self._timeout = timeout
        self._media_timeout = media_timeout
        self._environment_timeout = environment_timeout
        self.threads = threads
        self._running = ScriptThreads(threads)
        self._refusals = ScriptThreads(MOST_REFUSALS)
        # Guards _transports and served; reentrant, for a signal handler that calls stop().
        self._lock = threading.RLock()
        self._transports: set[FastTransport] = set()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._stopping = False
        self._stopped = Waiters()
        self.served = 0
        """Number of calls for which a script was started."""
        self.refused = 0
        """Number of calls that were refused because all threads were busy."""

    @property
    def port(self) -> int:
        """The port that it listens on."""
        listener = self._listener
        return self._asked_port if listener is None else int(listener.getsockname()[1])

    @property
    def busy(self) -> int:
        """Number of running scripts."""
        return len(self._running)

    def start(self) -> Self:
        """Listen, and serve on its own threads; does not block.

        Raises:
            OSError: the port is not available.
            RuntimeError: it was started before.

        """
        if self._acceptor is not None:
            raise RuntimeError("this FastAGI server was started before; make another one")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, self._asked_port), family=family, backlog=socket.SOMAXCONN)
        self._listener.setblocking(False)
        self._asked_port = self.port
        self._wakeup, self._waker = socket.socketpair()
        acceptor = threading.Thread(target=self._accept_all, name="pyami-agi-accept", daemon=True)
        acceptor.start()
        # No lock, because stop() may run in a signal handler on this thread. It joins only a thread that has been
        # started; if it ran before this line, the following lines complete it.
        self._acceptor = acceptor
        if self._stopping:
            self.stop()
        logger.info("FastAGI server listens on %s:%d", self.host, self._asked_port)
        return self

    def serve_forever(self) -> None:
        """Serve until :meth:`stop` is called in a signal handler, by a script or on another thread; blocks.

        An exception of a signal handler, such as Ctrl-C, stops the server and is raised. Raises :exc:`OSError` if the
        port is not available.
        """
        if self._acceptor is None:
            self.start()
        try:
            self.wait_stopped()
        finally:
            self.stop()

    def wait_stopped(self, timeout: float | None = None) -> bool:
        """Block until :meth:`stop` is called, at most ``timeout`` seconds; return True if it was."""
        return self._stopped.wait(lambda: self._stopping, timeout)

    def stop(self, grace: float = 10.0) -> None:
        """Accept no more calls, and wait for the running scripts. Idempotent.

        After ``grace`` seconds, the commands of scripts that still run raise :exc:`~pyami_sync.ConnectionClosed`;
        their calls continue in the dialplan.
        """
        self._stopping = True
        self._stopped.notify_all()
        acceptor = self._acceptor
        if acceptor is None:
            return
        with suppress(OSError):
            self._waker.send(b"\0")
        acceptor.join()
        self._running.close()
        self._refusals.close()
        if self._running.join(Deadline(grace)):
            with self._lock:
                transports = list(self._transports)
            for transport in transports:
                transport.stop()
        for left in self._running.join(Deadline(REFUSAL + 3.0)) + self._refusals.join(Deadline(2 * REFUSAL)):
            logger.warning("%s is still running: its script does not return", left.name)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<FastAGIServer {self.host}:{self._asked_port}, {self.busy} of {self.threads} threads busy>"

    # On the accepting thread

    def _accept_all(self) -> None:
        listener = self._listener
        assert listener is not None
        with selectors.DefaultSelector() as selector, listener, self._wakeup, self._waker:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while not self._stopping:
                selector.select()
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    continue
                except OSError as exc:
                    logger.warning("a call could not be accepted: %s", exc)
                    # Probably out of file descriptors, which scripts release when they end. Only stop() ends this
                    # wait earlier.
                    selector.unregister(listener)
                    selector.select(0.2)
                    selector.register(listener, selectors.EVENT_READ)
                    continue
                self._accepted(sock, f"{address[0]}:{address[1]}")

    def _accepted(self, sock: socket.socket, peer: str) -> None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._running.start(f"pyami-agi-{peer}", lambda: self._serve(sock, peer)):
            return
        self.refused += 1
        if not self._refusals.start(f"pyami-agi-refuse-{peer}", lambda: self._refuse(sock, peer)):
            logger.warning("a call from %s was disconnected: %d scripts are under way", peer, self.busy)
            sock.close()

    # On the scripts' threads

    def _serve(self, sock: socket.socket, peer: str) -> None:
        transport = FastTransport(sock, peer)
        with self._lock:
            self._transports.add(transport)
        try:
            call = self._begin(transport, peer, self._environment_timeout)
            if call is not None:
                with self._lock:
                    self.served += 1
                threading.current_thread().name = f"pyami-agi-{call.uniqueid}"
                run_script(self.scripts, call)
        finally:
            with self._lock:
                self._transports.discard(transport)
            transport.leave()

    def _begin(self, transport: FastTransport, peer: str, timeout: float) -> AGICall | None:
        try:
            environment = transport.read_environment(timeout)
        except AMIError as exc:
            logger.warning("no call came from %s: %s", peer, exc)
            return None
        raw = environment.values.get("network_script", "")
        try:
            path, params = split_path(raw)
        except ScriptNotFound:
            path, params = raw, {}
        call = AGICall(
            transport,
            environment,
            path,
            environment.arguments,
            timeout=self._timeout,
            media_timeout=self._media_timeout,
        )
        call.params.update(params)
        return call

    def _refuse(self, sock: socket.socket, peer: str) -> None:
        transport = FastTransport(sock, peer)
        try:
            call = self._begin(transport, peer, REFUSAL)
            if call is not None:
                call.log.warning("script %r was refused: %d scripts are under way", call.path, self.threads)
                call.set_variable(STATUS_VARIABLE, REFUSED, timeout=REFUSAL)
        except AMIError as exc:
            logger.debug("a call from %s that was refused: %s", peer, exc)
        finally:
            transport.leave()
