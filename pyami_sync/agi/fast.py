"""FastAGI: a server that Asterisk connects to, once for each call."""

from __future__ import annotations

import logging
import selectors
import socket
import struct
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
TOLERANCE = 0.01  # seconds that the kernel's time limit may differ from what is left, for not setting it each time
REFUSAL = 2.0  # seconds that refusing a call may take
MOST_REFUSALS = 50  # calls that may be refused at a time; those beyond are disconnected


def set_read_timeout(sock: socket.socket, seconds: float | None) -> None:
    """Have the kernel end each wait of a blocking socket's ``recv()`` after so long, with :exc:`BlockingIOError`."""
    form = "=qq" if len(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)) == 16 else "=ll"  # a timeval's
    micros = 0 if seconds is None else max(1, round(seconds * 1e6))  # zero is no limit
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack(form, *divmod(micros, 1_000_000)))


class FastTransport:
    """Commands and answers over the connection of one call; belongs to the thread of its script.

    The server answers commands one by one and in order, and takes a command that comes while another is running
    as a wish to interrupt that one. So nothing is sent before the last answer has come; after a command without an
    answer in time, the next one first finds out what is still to come.

    A command takes two system calls, one to send and one to read, besides one that looks for a hang-up when the script
    has done something else since the last answer. (At each system call the thread gives up the interpreter, which
    with twenty scripts costs more than the call.) The kernel keeps the time limit; a signal that is handled on the
    thread of a script begins it anew.
    """

    kind = "fast"
    limit = FAST_LINE

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self._sock = sock
        self._peer = peer
        sock.settimeout(None)
        self._kernel_limit: float | None = None
        self._read_at = 0.0
        self._answers = Answers()
        self._end: AMIError | None = None
        self._behind = False  # an answer is still to come for which nobody waits any more
        self._busy = threading.Lock()
        self._marks = count(1)
        self._mark = f"pyami-{token_hex(8)}"

    @property
    def hung_up(self) -> bool:
        """True if the call is over, or the connection is."""
        return self._answers.hung_up or self._end is not None

    def read_environment(self, timeout: float) -> Environment:
        """Wait for the environment, the first thing that the server sends.

        Raises:
            CommandTimeout: it did not come in time.
            ConnectionLost: the peer went away first.
            RemoteProtocolError: the peer is no Asterisk.

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
            # The text may hold line ends, and lines that look like answers: the answer to a second command, with
            # something in it that nobody can know, shows where it ends. It is sent when the first has been
            # answered, not before: a command that comes too early interrupts the one that is running.
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
            self._answers.hung_up = True  # the server says so too, a moment later
        return reply

    def _check(self) -> None:
        if self._end is not None:
            raise self._end
        if self._answers.hung_up:
            raise HungUp

    def _look(self) -> None:
        """Read what has come already: a HANGUP line, or the end of the connection."""
        with suppress(BlockingIOError):
            self._take(socket.MSG_DONTWAIT)
        # Nothing is expected at this moment but HANGUP and empty lines; an answer belongs to no command.
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
        if deadline.expired:
            raise CommandTimeout(command, deadline.timeout)
        data = line + b"\n"
        try:
            sent = self._sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            self._look()  # what came before the end may be a hang-up
            self._lost(exc)
        if sent < len(data):
            self._send_rest(data[sent:], deadline)

    def _send_rest(self, data: bytes, deadline: Deadline) -> None:
        """Send what did not fit into the socket's buffer: the peer has not read for a while."""
        try:
            self._sock.settimeout(deadline.remaining())
            self._sock.sendall(data)
            self._sock.settimeout(None)
        except (TimeoutError, BlockingIOError):
            # A part of the line may be out: whatever is sent after it would be read as its rest.
            self._broken(ConnectionLost(f"the AGI peer {self._peer} does not read"))
        except OSError as exc:
            self._lost(exc)

    def _receive(self, deadline: Deadline, command: str) -> None:
        """Wait until something comes, and read it."""
        while True:
            left = deadline.remaining()
            if left == 0:
                raise CommandTimeout(command, deadline.timeout)
            self._limit_wait(left)
            try:
                self._take()
            except BlockingIOError:
                continue  # the kernel's limit may end before the command's
            return

    def _limit_wait(self, left: float | None) -> None:
        """Have the kernel end the next wait; no system call if its limit is near enough."""
        limit = self._kernel_limit
        if limit == left or (limit is not None and left is not None and abs(limit - left) < TOLERANCE):
            return
        try:
            set_read_timeout(self._sock, left)
        except OSError as exc:  # closed meanwhile, by stop()
            self._lost(exc)
        self._kernel_limit = left

    def _take(self, flags: int = 0) -> None:
        """Read once; raise :exc:`BlockingIOError` when nothing has come within the kernel's limit."""
        try:
            data = self._sock.recv(CHUNK, flags)
        except BlockingIOError:
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
            pass  # a HANGUP line may be the last thing that came
        end: AMIError = HungUp() if self._answers.hung_up else ConnectionLost(f"the AGI peer {self._peer} went away")
        end.__cause__ = exc
        self._broken(end)

    def _broken(self, end: AMIError) -> None:
        if self._end is None:
            self._end = end
        self._sock.close()
        raise self._end

    def leave(self, timeout: float = 0.0) -> None:
        """Close the connection: the channel goes on in the dialplan. Idempotent."""
        if self._end is None:
            self._end = CallLeft("the call was given back to the dialplan")
        self._sock.close()

    def stop(self) -> None:
        """End the script from another thread: its commands, the one under way too, raise ConnectionClosed."""
        if self._end is None:
            self._end = ConnectionClosed("the FastAGI server was stopped")
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


class FastAGIServer:
    """Serves scripts to Asterisk: ``AGI(agi://host:4573/ivr/en,argument,…)`` in the dialplan.

    ::

        FastAGIServer(scripts).serve_forever()

    Each script runs on a thread of its own. When all are busy, and for a path that no route has, the call goes on in
    the dialplan at once, with the variable ``AGISCRIPT`` set to ``REFUSED`` or ``NOTFOUND``; it is ``DONE`` or
    ``ERROR`` after a script. FastAGI has no authentication: keep the port to the hosts of your servers.

    Args:
        scripts: the :class:`Router`; may be replaced while it serves, which counts for new calls.
        host: address to listen on.
        port: TCP port; 0 takes a free one, see :attr:`port`.
        threads: most scripts at a time.
        timeout: seconds that a command may take unless its call says otherwise; :data:`None` for no limit.
        media_timeout: seconds for one that plays, listens or records, besides the time that it was told to listen.
        environment_timeout: seconds that a peer may take to say which call it is about.

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
        self._lock = threading.RLock()  # guards the next one; reentrant for a signal handler that stops, too
        self._transports: set[FastTransport] = set()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._stopping = False
        self._stopped = Waiters()
        self.served = 0
        """Calls that got a script so far."""
        self.refused = 0
        """Calls that were refused so far because all threads were busy."""

    @property
    def port(self) -> int:
        """The port that it listens on."""
        listener = self._listener
        return self._asked_port if listener is None else int(listener.getsockname()[1])

    @property
    def busy(self) -> int:
        """Scripts under way."""
        return len(self._running)

    def start(self) -> Self:
        """Listen, and serve on threads of its own; does not block.

        Raises:
            OSError: the port can't be had.
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
        # No lock: stop() may run in a signal handler on this thread. It joins only a thread that has been started;
        # one that came before this line is made good here.
        self._acceptor = acceptor
        if self._stopping:
            self.stop()
        logger.info("FastAGI server listens on %s:%d", self.host, self._asked_port)
        return self

    def serve_forever(self) -> None:
        """Serve until :meth:`stop`, from a signal handler, a script or another thread; blocks.

        An exception of a signal handler, such as Ctrl-C, stops it in good order and comes out. Raises
        :exc:`OSError` when the port can't be had.
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
        """Take no more calls, and wait for the scripts under way; idempotent.

        A script that is not through after ``grace`` seconds gets :exc:`~pyami_sync.ConnectionClosed` from its
        command; its call goes on in the dialplan.
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
                    # Out of files, most likely: scripts that end make room. Only stop() wakes this up earlier.
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

    # On the threads of scripts

    def _serve(self, sock: socket.socket, peer: str) -> None:
        transport = FastTransport(sock, peer)
        with self._lock:
            self._transports.add(transport)
        try:
            call = self._begin(transport, peer, self._environment_timeout)
            if call is not None:
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
