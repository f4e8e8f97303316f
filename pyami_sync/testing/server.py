"""Server: the network side of the simulator: its port, its clients, and simulated faults of the network."""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from .certificate import server_context
from .loop import Loop
from .rights import User
from .session import Session

__all__ = ["TLS", "Server"]

TLS = ssl.SSLContext | tuple[str, str] | bool | None
"""A server's context, the files of a certificate and its key, true for the certificate made for tests."""

log = logging.getLogger("pyami_sync.testing")


class Server:
    """Base class of :class:`~pyami_sync.testing.Simulator` with its sockets and clients."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        users: dict[str, User],
        tls: TLS,
        auth_timeout: float | None,
        auth_limit: int | None,
        write_timeout: float | None,
        fragment: int | None,
        loop: Loop | None,
    ) -> None:
        self.host = host
        self.users = users
        """The users, by name."""
        self.auth_timeout = auth_timeout
        self.auth_limit = auth_limit
        self.errors: list[BaseException] = []
        """Exceptions of scripted replies; the pytest fixtures fail a test if there are any."""
        self.tls = tls_context(tls)
        self._write_timeout = write_timeout
        self._fragment = fragment
        self._port = port
        self._own_loop = loop is None
        self._loop = loop
        self._listener: socket.socket | None = None
        self._sessions: list[Session] = []
        self._accepted = 0
        self._stalled = False
        self._change = threading.Condition()

    # Start and end

    def start(self) -> Self:
        """Start listening; called by ``with``.

        Raises:
            OSError: the port is not available.

        """
        if self._listener is None:
            if self._loop is None:
                self._loop = Loop()
            try:
                self._loop.run(self._listen)
            except BaseException:
                self.close()
                raise
        return self

    def close(self) -> None:
        """Close every socket and end the thread; idempotent."""
        loop = self._loop
        if loop is None:
            return
        try:
            loop.run(self._shut)
        except RuntimeError:  # the loop that it shared is closed already
            pass
        if self._own_loop:
            loop.close()
            self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def loop(self) -> Loop:
        """The thread that serves it.

        Raises:
            RuntimeError: it is not started.

        """
        if self._loop is None:
            raise RuntimeError("the simulator is not running: use it in a with statement, or call start()")
        return self._loop

    @property
    def port(self) -> int:
        """Its TCP port."""
        if not self._port:
            raise RuntimeError("the simulator has no port yet: use it in a with statement, or call start()")
        return self._port

    @property
    def url(self) -> str:
        """The URL for a client, with the first user's name and secret."""
        name, user = next(iter(self.users.items()))
        return f"{'amis' if self.tls else 'ami'}://{name}:{user.secret}@{self.host}:{self.port}"

    # Clients

    @property
    def sessions(self) -> list[Session]:
        """The clients that are logged in, in the order in which they connected."""
        return [session for session in list(self._sessions) if session.logged_in]

    @property
    def connections(self) -> int:
        """Number of clients that are connected, logged in or not."""
        return len(self._sessions)

    @property
    def accepted(self) -> int:
        """Number of clients that have ever connected."""
        return self._accepted

    def wait_for_sessions(self, count: int = 1, timeout: float = 5.0) -> list[Session]:
        """Wait until exactly ``count`` clients are logged in; return them.

        Raises:
            AssertionError: that did not happen within ``timeout`` seconds.

        """
        self.wait_until(lambda: len(self.sessions) == count, timeout, f"{count} sessions")
        return self.sessions

    def wait_until(self, condition: Callable[[], bool], timeout: float = 5.0, what: str = "the condition") -> None:
        """Wait until a condition is true; it is checked whenever the simulator has received or done something.

        Raises:
            AssertionError: it did not become true within ``timeout`` seconds.

        """
        with self._change:
            if not self._change.wait_for(condition, timeout):
                raise AssertionError(f"{what} did not come about within {timeout:g} s; sessions: {self.sessions}")

    def notify(self) -> None:
        """Have :meth:`wait_until` check its condition again."""
        with self._change:
            self._change.notify_all()

    # Faults

    def drop(self, session: Session | None = None) -> None:
        """Reset connections (RST): of one session, or of all clients."""
        self.loop.run(self._for_each, session, Session.reset)

    def close_sessions(self, session: Session | None = None) -> None:
        """Close connections (EOF): of one session, or of all clients."""
        self.loop.run(self._for_each, session, Session.close)

    def stall(self) -> None:
        """Stop reading and writing on all connections, also on new ones, as a hung server does."""
        self.loop.run(self._set_stalled, True)

    def resume(self) -> None:
        """End a :meth:`stall`."""
        self.loop.run(self._set_stalled, False)

    def cut_after(self, count: int, session: Session | None = None) -> None:
        """Close each open connection once ``count`` more bytes have been sent on it."""

        def cut(each: Session) -> None:
            each.connection.cut_after = count

        self.loop.run(self._for_each, session, cut)

    def send_bytes(self, raw: bytes, session: Session | None = None) -> None:
        """Send bytes as they are, valid or not: to one session, or to all clients."""
        self.loop.call(lambda: self._for_each(session, lambda each: each.send(raw)))

    def stop_listening(self) -> None:
        """Refuse new connections; open ones stay. The port is kept for :meth:`listen_again`."""
        self.loop.run(self._stop_listening)

    def listen_again(self) -> None:
        """Accept new connections again, on the same port."""
        self.loop.run(self._listen)

    @property
    def fragment(self) -> int | None:
        """Most bytes that one write sends, for all connections; :data:`None` for no such limit."""
        return self._fragment

    @fragment.setter
    def fragment(self, size: int | None) -> None:
        self._fragment = size

        def set_size(session: Session) -> None:
            session.connection.fragment = size

        if self._loop is not None:
            self._loop.run(self._for_each, None, set_size)

    # On the loop's thread

    def _for_each(self, session: Session | None, function: Callable[[Session], object]) -> None:
        """Call a function with one session, or with every client."""
        for each in list(self._sessions) if session is None else [session]:
            function(each)

    def _set_stalled(self, stalled: bool) -> None:
        self._stalled = stalled
        self._for_each(None, lambda session: session.connection.stall(stalled))

    def _listen(self) -> None:
        if self._listener is not None:
            return
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind((self.host, self._port))
            listener.listen(256)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._port = listener.getsockname()[1]
        self.loop.watch(listener, selectors.EVENT_READ, self._accept)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self.loop.watch(self._listener, 0, self._accept)
            self._listener.close()
            self._listener = None

    def _accept(self, events: int) -> None:
        while self._listener is not None:
            try:
                sock = self._listener.accept()[0]
            except OSError:
                return
            waiting = sum(1 for session in self._sessions if session.user is None)
            if self.auth_limit is not None and waiting >= self.auth_limit:
                sock.close()
                continue
            self._accepted += 1
            try:
                session = self.make_session(sock)
            except OSError as exc:  # gone already
                log.debug("a client left before it was served: %s", exc)
                sock.close()
                continue
            session.connection.fragment = self._fragment
            session.connection.write_timeout = self._write_timeout
            self._sessions.append(session)
            if self._stalled:
                session.connection.stall(True)
            self.greet(session)
            self.notify()

    def make_session(self, sock: socket.socket) -> Session:
        """Return the session of an accepted socket."""
        raise NotImplementedError

    def greet(self, session: Session) -> None:
        """Send the greeting to a new client."""
        raise NotImplementedError

    def left(self, session: Session) -> None:
        """Handle that a client has disconnected."""
        if session in self._sessions:
            self._sessions.remove(session)
        self.notify()

    def _shut(self) -> None:
        self._stop_listening()
        self._for_each(None, Session.close)


def tls_context(tls: TLS) -> ssl.SSLContext | None:
    """Return a server's TLS context for the argument ``tls`` of :class:`Simulator`."""
    if tls is None or isinstance(tls, ssl.SSLContext):
        return tls
    if isinstance(tls, bool):
        return server_context() if tls else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    return context
