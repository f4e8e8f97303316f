"""Transports read and write the bytes of a connection: plain sockets, and sockets or streams that the user supplies.

A transport closes the socket's descriptor (:meth:`Transport.abandon`); ``connection/base.py`` decides when. TLS that
the library sets up itself is in ``connection/tls.py``.
"""

from __future__ import annotations

import socket
import ssl
from threading import local
from typing import Any, Protocol

from ..exceptions import ConnectError
from ..wire.protocol import tls_records

__all__ = [
    "SSLSocketTransport",
    "SocketLike",
    "StreamTransport",
    "Transport",
    "connect_error",
    "make_transport",
    "set_options",
]

READ_SIZE = 256 * 1024
KERNEL_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 120_000}
"""Options of a TCP socket, in seconds, seconds, probes and milliseconds."""
WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _ReadBuffer(local):
    """The buffer into which sockets are read: one for each reading thread, however many connections it serves.

    ``recv()`` would allocate 256 KB for each read, and a buffer for each connection would take 256 MB for a thousand
    connections. The bytes are copied out before the next read, so sharing is safe.
    """

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_SIZE))


_read_buffer = _ReadBuffer()


class SocketLike(Protocol):
    """The least interface of a user's transport; with ``fileno`` it needs no threads of its own."""

    def recv(self, size: int, /) -> bytes:
        """Wait for bytes and return them; empty at the end of the stream."""
        ...

    def sendall(self, data: bytes, /) -> Any:
        """Send all bytes."""
        ...

    def close(self) -> Any:
        """Close; a blocked :meth:`recv` returns or raises."""
        ...


class Transport:
    """A non-blocking byte stream over a socket.

    :meth:`receive` is called on the thread that reads, :meth:`encode` and :meth:`send` on the thread that the outbox
    lets write. For TLS both are always the engine thread; a blocking transport has two threads of its own.
    """

    blocking = False
    """True if :meth:`receive` and :meth:`send` block, so that each needs its own thread."""
    direct = True
    """True if the socket carries the unencrypted bytes of the protocol, so that any thread may read and write it."""
    owes = False
    """True if TLS itself has bytes to send, which :meth:`encode` returns."""
    holds_more = False
    """True if :meth:`receive` would return more bytes, though the socket is not readable."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        sock.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor."""
        return int(self.sock.fileno())

    def receive(self) -> bytes | None:
        """Return received bytes without blocking; :data:`None` if there are none, empty at the end of the stream."""
        view = _read_buffer.view
        try:
            size = self.sock.recv_into(view)
        except (BlockingIOError, InterruptedError):
            return None
        return bytes(view[:size])

    def encode(self, data: bytes) -> bytes:
        """Return the bytes to write to the socket for ``data``; called once for each piece, in order."""
        return data

    def send(self, data: bytes) -> int:
        """Write as much as the socket accepts now; return the number of bytes."""
        try:
            return int(self.sock.send(data))
        except (BlockingIOError, InterruptedError):
            return 0

    def shutdown(self) -> None:
        """Shut the connection down, which wakes all threads that wait for the socket; the descriptor stays open."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            pass

    def close(self) -> None:
        """Shut the connection down and close the descriptor."""
        self.shutdown()
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptor without a shutdown, since another process may use the connection."""
        self.sock.close()


class SSLSocketTransport(Transport):
    """An :class:`ssl.SSLSocket` of the user."""

    direct = False

    @property
    def holds_more(self) -> bool:  # type: ignore[override]
        return int(self.sock.pending()) > 0

    def receive(self) -> bytes | None:
        plain: list[bytes] = []
        size = 0
        # Bounded, like a read of a plain socket, in case that a peer sends without end.
        while size < READ_SIZE:
            try:
                piece = self.sock.recv(READ_SIZE)
            except WANTS:
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
        except WANTS:
            pass
        return sent


class StreamTransport(Transport):
    """A blocking object, such as a channel of an SSH library; it gets two threads of its own."""

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
        except Exception as exc:  # libraries have their own exceptions for a lost connection
            raise OSError(f"{type(exc).__name__}: {exc}") from exc
        return len(data)


def make_transport(transport: Any) -> Transport:
    """Return a transport for a connected socket-like object, which the library owns from then on."""
    if isinstance(transport, ssl.SSLSocket):
        return SSLSocketTransport(transport)
    if isinstance(transport, socket.socket):
        return Transport(transport)
    for method in ("recv", "sendall", "close"):
        if not callable(getattr(transport, method, None)):
            raise TypeError(f"a transport needs recv, sendall and close; {type(transport).__name__} has no {method}")
    return StreamTransport(transport)


def set_options(sock: socket.socket) -> None:
    """Set the options of a TCP socket: no delay, and the kernel's keepalive."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # The kernel's own detection of a dead peer, where the platform has it. It is slower than the session's keepalive,
    # and needed while an action with a long timeout delays the latter's decision.
    for name, value in KERNEL_KEEPALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def connect_error(exc: OSError, host: str, port: int, seconds: float | None) -> ConnectError:
    """Return an exception that explains why there is no TCP connection."""
    if isinstance(exc, socket.gaierror):
        reason = f"the name does not resolve ({exc.strerror}): check the host"
    elif isinstance(exc, ConnectionRefusedError):
        reason = "refused: nothing listens there; check the port, and enabled=yes and bindaddr in manager.conf"
    elif isinstance(exc, (TimeoutError, BlockingIOError)):  # the latter if no time was left
        within = "in time" if seconds is None else f"within {seconds:g} s"
        reason = f"no answer {within}: check host, route and firewall"
    else:
        reason = exc.strerror or str(exc)
    return ConnectError(reason, host=host, port=port)
