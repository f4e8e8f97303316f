"""How bytes get in and out: plain sockets, TLS and its contexts, and anything that behaves like a connected socket.

OpenSSL objects are not safe for a read and a write at the same time from two threads (cpython #151508). So the engine
thread alone reads and writes a connection that uses TLS, and no lock is needed. TLS runs over memory buffers, which is
much faster than an ``SSLSocket`` for AMI, whose server writes a record for every header: one read of the socket takes
hundreds of records.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from dataclasses import dataclass
from threading import local
from typing import Any, Protocol

from ..engine.deadline import Deadline
from ..exceptions import ConnectError
from ..wire.protocol import tls_records

__all__ = [
    "TLS",
    "SocketLike",
    "TLSHandshake",
    "Transport",
    "connect_socket",
    "make_context",
    "make_transport",
    "start_tls",
]

READ_SIZE = 256 * 1024
KERNEL_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 120_000}
"""Options of a TCP socket: seconds, seconds, a number, milliseconds."""
_want = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _ReadBuffer(local):
    """What sockets are read into: one for each reading thread, however many connections it serves.

    Asking ``recv()`` for 256 KB would make it allocate as much each time, and a buffer for each connection
    would be 256 MB for a thousand. What is read is copied out before the next read, so sharing is safe.
    """

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_SIZE))


_read_buffer = _ReadBuffer()


@dataclass(frozen=True, slots=True)
class TLS:
    """How to check the server, and how to show who we are.

    Without anything given the server's certificate must be signed by an authority that this machine trusts,
    for the name that is connected to. Servers' certificates are often self-made: give ``ca_file`` then (the
    certificate itself will do) rather than switch verification off.
    """

    __module__ = "pyami_sync"  # its public path

    ca_file: str | None = None
    """PEM file of the authorities to trust instead of the machine's."""
    cert_file: str | None = None
    """PEM file with the client's certificate (and its key, unless ``key_file`` is given)."""
    key_file: str | None = None
    """PEM file with the client's key."""
    server_name: str | None = None
    """The name in the server's certificate and for SNI, if it isn't the host that is connected to."""
    verify: bool = True
    """False takes any certificate: whoever sits in between can then read the login."""


class SocketLike(Protocol):
    """What a transport needs at least; ``fileno`` lets it be served without a thread of its own."""

    def recv(self, size: int, /) -> bytes:
        """Wait for bytes; empty at the end."""
        ...

    def sendall(self, data: bytes, /) -> Any:
        """Send all of it."""
        ...

    def close(self) -> Any:
        """Close; a :meth:`recv` under way ends."""
        ...


class Transport:
    """A non-blocking byte stream over a socket.

    :meth:`receive` belongs to the engine thread. :meth:`encode` and :meth:`send` belong to whichever thread the outbox
    lets write: the engine thread alone, unless :attr:`direct` is true.
    """

    blocking = False
    """True if :meth:`receive` and :meth:`send` block, so that each needs a thread of its own."""
    direct = True
    """True if the socket carries the very bytes of the protocol, so that any thread may read and write it."""
    owes = False
    """True if :meth:`encode` has something to send of its own."""
    holds_more = False
    """True if :meth:`receive` would return more at once, though the socket is not readable."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        sock.setblocking(False)

    def fileno(self) -> int:
        """For the selector."""
        return int(self.sock.fileno())

    def receive(self) -> bytes | None:
        """Bytes that are there; :data:`None` when there are none now, empty at the end of the stream."""
        view = _read_buffer.view
        try:
            size = self.sock.recv_into(view)
        except (BlockingIOError, InterruptedError):
            return None
        return bytes(view[:size])

    def encode(self, data: bytes) -> bytes:
        """What to put on the socket for these bytes; called once for each, in order."""
        return data

    def send(self, data: bytes) -> int:
        """Send as much as the socket takes now; tell how much."""
        try:
            return int(self.sock.send(data))
        except (BlockingIOError, InterruptedError):
            return 0

    def shutdown(self) -> None:
        """End the connection, which wakes every thread that waits for it, and keep the descriptor."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            pass

    def close(self) -> None:
        """End the connection and close the descriptor."""
        self.shutdown()
        self.abandon()

    def abandon(self) -> None:
        """Close the file descriptor and leave the connection as it is, for another process may use it."""
        self.sock.close()


class TLSTransport(Transport):
    """TLS over a socket, after the handshake."""

    direct = False

    def __init__(self, sock: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO):
        super().__init__(sock)
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._first = True

    def receive(self) -> bytes | None:
        cipher = super().receive()
        if cipher is None and not self._first:
            return None
        self._first = False  # what came along with the handshake lies in the buffer already
        if cipher:
            self._incoming.write(cipher)
        elif cipher is not None:
            self._incoming.write_eof()
        plain = []
        try:
            while piece := self._tls.read(READ_SIZE):
                plain.append(piece)
        except _want:
            if cipher is None or cipher:
                return b"".join(plain) if plain else None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        # The end of the stream, tidy or not; what came before it is told first.
        return b"".join(plain)

    def encode(self, data: bytes) -> bytes:
        for record in tls_records(data):
            self._tls.write(record)
        return self._outgoing.read()

    @property
    def owes(self) -> bool:  # type: ignore[override]
        return self._outgoing.pending > 0

    @property
    def cipher(self) -> tuple[str, str, int] | None:
        """Name, protocol and bits of the cipher in use."""
        return self._tls.cipher()


class SSLSocketTransport(Transport):
    """An :class:`ssl.SSLSocket` that the user brought."""

    direct = False

    @property
    def holds_more(self) -> bool:  # type: ignore[override]
        return int(self.sock.pending()) > 0

    def receive(self) -> bytes | None:
        plain: list[bytes] = []
        size = 0
        # Bounded, as a read of a plain socket is: a peer that sends without end must not be collected in memory.
        while size < READ_SIZE:
            try:
                piece = self.sock.recv(READ_SIZE)
            except _want:
                return b"".join(plain) if plain else None
            if not piece:
                break
            plain.append(piece)
            size += len(piece)
        return b"".join(plain)

    def send(self, data: bytes) -> int:
        sent = 0
        try:
            for record in tls_records(data):
                sent += self.sock.send(record)
        except _want:
            pass
        return sent


class StreamTransport(Transport):
    """An object that only blocks, such as a channel of an SSH library: it gets two threads of its own."""

    blocking = True
    direct = False

    def __init__(self, stream: SocketLike) -> None:
        self.sock = stream

    def fileno(self) -> int:
        return -1

    def receive(self) -> bytes | None:
        return bytes(self.sock.recv(65536))

    def send(self, data: bytes) -> int:
        try:
            self.sock.sendall(data)
        except OSError:
            raise
        except Exception as exc:  # libraries have exceptions of their own for a link that is gone
            raise OSError(f"{type(exc).__name__}: {exc}") from exc
        return len(data)


def make_transport(transport: Any) -> Transport:
    """Make a transport of a connected socket-like object, which the library owns from then on."""
    if isinstance(transport, ssl.SSLSocket):
        return SSLSocketTransport(transport)
    if isinstance(transport, socket.socket):
        return Transport(transport)
    for method in ("recv", "sendall", "close"):
        if not callable(getattr(transport, method, None)):
            raise TypeError(f"a transport needs recv, sendall and close; {type(transport).__name__} has no {method}")
    return StreamTransport(transport)


def connect_socket(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Open a TCP connection, trying each address of the host.

    Raises:
        ConnectError: with what to check.

    """
    try:
        sock = socket.create_connection((host, port), deadline.remaining())
    except OSError as exc:
        raise connect_error(exc, host, port, deadline.timeout) from exc
    set_options(sock)
    return sock


def set_options(sock: socket.socket) -> None:
    """Set what every connection to a server has."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # The kernel's own watch over a peer that is gone, where the platform has it: behind the session's keepalive,
    # for times in which an action with a long timeout of its own holds that one's verdict back.
    for name, value in KERNEL_KEEPALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def connect_error(exc: OSError, host: str, port: int, seconds: float | None) -> ConnectError:
    """Say what it means that no TCP connection came about."""
    if isinstance(exc, socket.gaierror):
        reason = f"the name does not resolve ({exc.strerror}): check the host"
    elif isinstance(exc, ConnectionRefusedError):
        reason = "refused: nothing listens there; check the port, and enabled=yes and bindaddr in manager.conf"
    elif isinstance(exc, (TimeoutError, BlockingIOError)):  # the latter where no time was left to begin with
        within = "in time" if seconds is None else f"within {seconds:g} s"
        reason = f"no answer {within}: check host, route and firewall"
    else:
        reason = exc.strerror or str(exc)
    return ConnectError(reason, host=host, port=port)


def make_context(tls: TLS) -> ssl.SSLContext:
    """Make the context that a :class:`TLS` asks for.

    Raises:
        ConnectError: a file can't be read or is no certificate.

    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as exc:
        raise ConnectError(f"a TLS file can't be used: {exc} (ca_file, cert_file, key_file)") from exc
    return context


class TLSHandshake:
    """The opening of TLS over a non-blocking socket, step by step, so that nobody need wait for it.

    Args:
        sock: connected; stays the caller's until the handshake is done.
        context: how to check the server.
        server_name: for SNI and the check of the certificate.
        host, port: for messages.

    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_name: str, *, host: str, port: int) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._host = host
        self._port = port
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._unsent = b""
        check_name = server_name if (context.check_hostname or server_name) else None
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=check_name)

    @property
    def wants_write(self) -> bool:
        """True if the next step has to wait until the socket takes bytes, not until some arrive."""
        return bool(self._unsent)

    def step(self) -> TLSTransport | None:
        """Go on as far as possible without waiting; return the transport when it is done.

        Raises:
            ConnectError: the certificate is not trusted, or the other side does not speak TLS.

        """
        try:
            return self._step()
        except ssl.SSLCertVerificationError as exc:
            raise self._error(
                f"the server's certificate is not trusted: {exc.verify_message}"
                " (give the authority, or the certificate itself, as TLS(ca_file=…))"
            ) from exc
        except ssl.SSLError as exc:
            plain = "WRONG_VERSION" in (exc.reason or "") or "UNKNOWN_PROTOCOL" in (exc.reason or "")
            advice = "the server does not speak TLS on this port: use ami:// or the TLS port, usually 5039"
            raise self._error(advice if plain else f"TLS failed: {exc.reason or exc}") from exc
        except OSError as exc:
            raise self._error(f"the TLS handshake broke off: {exc.strerror or exc}") from exc

    def _step(self) -> TLSTransport | None:
        while True:
            done = True
            try:
                self._tls.do_handshake()  # once done, doing it again is nothing
            except ssl.SSLWantReadError:
                done = False
            finally:
                # Also when it raises: an alert tells the server why.
                self._unsent += self._outgoing.read()
                if self._unsent:
                    self._unsent = self._unsent[self._send() :]
            if self._unsent:
                return None
            if done:
                return TLSTransport(self._sock, self._tls, self._incoming, self._outgoing)
            try:
                chunk = self._sock.recv(65536)
            except (BlockingIOError, InterruptedError):
                return None
            if not chunk:
                raise self._error("the server closed during the TLS handshake: is it a TLS port?")
            self._incoming.write(chunk)

    def _send(self) -> int:
        try:
            return self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return 0

    def timed_out(self, seconds: float | None) -> ConnectError:
        """What to say when it takes too long."""
        within = "in time" if seconds is None else f"within {seconds:g} s"
        return self._error(f"no TLS handshake {within}: is it a TLS port (usually 5039)?")

    def _error(self, reason: str) -> ConnectError:
        return ConnectError(reason, host=self._host, port=self._port)


def start_tls(
    sock: socket.socket, context: ssl.SSLContext, server_name: str, deadline: Deadline, *, host: str, port: int
) -> TLSTransport:
    """Shake hands; blocks until the deadline.

    Raises:
        ConnectError: the certificate is not trusted, or the other side does not speak TLS.

    """
    handshake = TLSHandshake(sock, context, server_name, host=host, port=port)
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        while True:
            transport = handshake.step()
            if transport is not None:
                return transport
            selector.modify(sock, selectors.EVENT_WRITE if handshake.wants_write else selectors.EVENT_READ)
            if not selector.select(deadline.remaining()) and deadline.expired:
                raise handshake.timed_out(deadline.timeout)
