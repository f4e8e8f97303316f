"""How bytes get in and out: plain sockets, TLS, and anything that behaves like a connected socket.

OpenSSL objects are not safe for a read and a write at the same time from two threads. So TLS here runs over
memory buffers: each step of the TLS machine is made under its lock, and the socket itself carries nothing but
ciphertext that two threads may read and write freely. It is also much faster than an ``SSLSocket`` for AMI,
whose server writes a record for every header: one read of the socket takes hundreds of records.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

from .deadline import Deadline
from .exceptions import ConnectError
from .protocol import tls_records

__all__ = ["TLS", "Channel", "SocketLike", "connect_socket", "make_channel", "make_context", "start_tls"]

READ_SIZE = 256 * 1024
_want = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True, slots=True)
class TLS:
    """How to check the server, and how to show who we are.

    Without anything given the server's certificate must be signed by an authority that this machine trusts,
    for the name that is connected to. Servers' certificates are often self-made: give ``ca_file`` then (the
    certificate itself will do) rather than switch verification off.
    """

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


class Channel:
    """A non-blocking byte stream over a socket.

    :meth:`receive` belongs to the engine, :meth:`encode` and :meth:`send` to whoever holds the connection's
    write lock.
    """

    blocking = False
    """Whether :meth:`receive` waits, so that the channel needs a thread of its own."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        # One buffer for all reads: asking recv() for 256 KB makes it allocate as much each time.
        self._view = memoryview(bytearray(READ_SIZE))
        sock.setblocking(False)

    def fileno(self) -> int:
        """For the selector."""
        return int(self.sock.fileno())

    def receive(self) -> bytes | None:
        """Bytes that are there; :data:`None` when there are none now, empty at the end of the stream."""
        try:
            size = self.sock.recv_into(self._view)
        except (BlockingIOError, InterruptedError):
            return None
        return bytes(self._view[:size])

    def encode(self, data: bytes) -> bytes:
        """What to put on the socket for these bytes; called once for each, in order."""
        return data

    def send(self, data: bytes) -> int:
        """Send as much as the socket takes now; tell how much."""
        try:
            return int(self.sock.send(data))
        except (BlockingIOError, InterruptedError):
            return 0

    @property
    def owes(self) -> bool:
        """Whether :meth:`encode` has something to send of its own."""
        return False

    def close(self) -> None:
        """Close the socket, which also wakes whoever waits for it."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            pass
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file descriptor and leave the connection as it is, for another process may use it."""
        self.sock.close()


class TLSChannel(Channel):
    """TLS over a socket, after the handshake."""

    def __init__(self, sock: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO):
        super().__init__(sock)
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._lock = Lock()
        self._first = True

    def receive(self) -> bytes | None:
        cipher = super().receive()
        if cipher is None and not self._first:
            return None
        self._first = False  # what came along with the handshake lies in the buffer already
        with self._lock:
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
        with self._lock:
            for record in tls_records(data):
                self._tls.write(record)
            return self._outgoing.read()

    @property
    def owes(self) -> bool:
        return self._outgoing.pending > 0

    @property
    def cipher(self) -> tuple[str, str, int] | None:
        """Name, protocol and bits of the cipher in use."""
        return self._tls.cipher()


class SSLSocketChannel(Channel):
    """An :class:`ssl.SSLSocket` that the user brought: every operation under one lock."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        self._lock = Lock()

    def receive(self) -> bytes | None:
        plain = []
        with self._lock:
            try:
                while piece := self.sock.recv(READ_SIZE):
                    plain.append(piece)
            except _want:
                return b"".join(plain) if plain else None
        return b"".join(plain)

    def send(self, data: bytes) -> int:
        sent = 0
        with self._lock:
            try:
                for record in tls_records(data):
                    sent += self.sock.send(record)
            except _want:
                pass
        return sent


class StreamChannel(Channel):
    """An object that only blocks, such as a channel of an SSH library: it gets a reading thread of its own."""

    blocking = True

    def __init__(self, stream: SocketLike) -> None:
        self.sock = stream

    def fileno(self) -> int:
        return -1

    def receive(self) -> bytes | None:
        return bytes(self.sock.recv(65536))

    def send(self, data: bytes) -> int:
        self.sock.sendall(data)
        return len(data)


def make_channel(transport: Any) -> Channel:
    """Make a channel of a connected socket-like object, which the library owns from then on."""
    if isinstance(transport, ssl.SSLSocket):
        return SSLSocketChannel(transport)
    if isinstance(transport, socket.socket):
        return Channel(transport)
    for method in ("recv", "sendall", "close"):
        if not callable(getattr(transport, method, None)):
            raise TypeError(f"a transport needs recv, sendall and close; {type(transport).__name__} has no {method}")
    return StreamChannel(transport)


def connect_socket(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Open a TCP connection, trying each address of the host.

    Raises:
        ConnectError: with what to check.

    """
    try:
        sock = socket.create_connection((host, port), deadline.remaining())
    except socket.gaierror as exc:
        raise ConnectError(f"the name does not resolve ({exc.strerror}): check the host", host=host, port=port) from exc
    except ConnectionRefusedError as exc:
        raise ConnectError(
            "refused: nothing listens there; check the port, and enabled=yes and bindaddr in manager.conf",
            host=host,
            port=port,
        ) from exc
    except TimeoutError as exc:
        raise ConnectError(
            f"no answer within {deadline.timeout:g} s: check host, route and firewall", host=host, port=port
        ) from exc
    except OSError as exc:
        raise ConnectError(exc.strerror or str(exc), host=host, port=port) from exc
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


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


def start_tls(
    sock: socket.socket, context: ssl.SSLContext, server_name: str, deadline: Deadline, *, host: str, port: int
) -> TLSChannel:
    """Shake hands; blocks until the deadline.

    Raises:
        ConnectError: the certificate is not trusted, or the other side does not speak TLS.

    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    check_name = server_name if (context.check_hostname or server_name) else None
    tls = context.wrap_bio(incoming, outgoing, server_hostname=check_name)
    try:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                break
            finally:
                if outgoing.pending:
                    sock.settimeout(deadline.remaining() or 0.001)
                    sock.sendall(outgoing.read())
            sock.settimeout(deadline.remaining() or 0.001)
            chunk = sock.recv(65536)
            if not chunk:
                raise ConnectError(
                    "the server closed during the TLS handshake: is it a TLS port?", host=host, port=port
                )
            incoming.write(chunk)
    except ssl.SSLCertVerificationError as exc:
        raise ConnectError(
            f"the server's certificate is not trusted: {exc.verify_message}"
            " (give the authority, or the certificate itself, as TLS(ca_file=…))",
            host=host,
            port=port,
        ) from exc
    except ssl.SSLError as exc:
        plain = "WRONG_VERSION" in (exc.reason or "") or "UNKNOWN_PROTOCOL" in (exc.reason or "")
        advice = "the server does not speak TLS on this port: use ami:// or the TLS port, usually 5039"
        raise ConnectError(advice if plain else f"TLS failed: {exc.reason or exc}", host=host, port=port) from exc
    except TimeoutError as exc:
        raise ConnectError(
            f"no TLS handshake within {deadline.timeout:g} s: is it a TLS port (usually 5039)?", host=host, port=port
        ) from exc
    except OSError as exc:
        raise ConnectError(f"the TLS handshake broke off: {exc.strerror or exc}", host=host, port=port) from exc
    return TLSChannel(sock, tls, incoming, outgoing)
