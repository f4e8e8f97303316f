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
"""Options of a TCP socket: seconds, seconds, a number, milliseconds."""
WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _ReadBuffer(local):
    """What sockets are read into: one for each reading thread, however many connections it serves.

    Asking ``recv()`` for 256 KB would make it allocate as much each time, and a buffer for each connection
    would be 256 MB for a thousand. What is read is copied out before the next read, so sharing is safe.
    """

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_SIZE))


_read_buffer = _ReadBuffer()


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
