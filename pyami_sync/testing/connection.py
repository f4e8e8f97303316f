"""One accepted socket: buffers, TLS, and the faults that a wire can have."""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable

from .loop import Loop, Timer

__all__ = ["Connection"]

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
SLICE = 1 << 18
RECEIVE = 1 << 16

log = logging.getLogger("pyami_sync.testing")


class Connection:
    """One client's socket, not blocking, served by a loop; all methods belong to the loop's thread.

    Args:
        loop: the thread that serves it.
        sock: the accepted socket.
        tls: makes it speak TLS as the server.
        on_data: called with the bytes that came.
        on_close: called once when it is over.

    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        on_data: Callable[[bytes], object],
        on_close: Callable[[], object],
    ) -> None:
        self.fragment: int | None = None
        """Most bytes in one write; :data:`None` for as many as the socket takes."""
        self.cut_after: int | None = None
        """How many more bytes may leave before the connection ends; :data:`None` for no end."""
        self.read_size: Callable[[], int] | None = None
        """Most bytes in one read; a real server reads 1024, which over TLS leaves longer records half-read."""
        self.write_timeout: float | None = None
        """Seconds without progress after which a client that does not read is dropped; a real server has 0.1."""
        self.on_drained: Callable[[], object] | None = None
        """Called when everything that was to be sent has left."""
        self.closed = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = loop
        self._on_data = on_data
        self._on_close = on_close
        self._out: deque[memoryview] = deque()
        self._stalled = False
        self._ending = False
        self._wants_write = False  # TLS needs to write before it can read
        self._handshake = tls is not None
        self._watched = 0
        self._slow: Timer | None = None
        self._sock = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) if tls else sock
        self._watch()

    @property
    def pending(self) -> int:
        """Bytes that wait to be sent."""
        return sum(map(len, self._out))

    # What the session does

    def send(self, data: bytes) -> None:
        """Send bytes, now or when the socket takes them."""
        if self.closed or self._ending or not data:
            return
        if self.cut_after is not None:
            data = data[: self.cut_after]
            self.cut_after -= len(data)
        self._out.append(memoryview(data))
        if self.cut_after == 0:
            self._ending = True
        # What is queued already keeps its place; the loop sends it.
        if len(self._out) == 1 or self._ending:
            self._flush()

    def end(self) -> None:
        """Close (EOF) when everything is sent."""
        self._ending = True
        self._flush()

    def close(self) -> None:
        """Close (EOF) now; what was not sent is lost."""
        if self.closed:
            return
        self.closed = True
        if self._slow is not None:
            self._slow.cancel()
        self._loop.watch(self._sock, 0, self._ready)
        try:
            # Without reading to the end the kernel would answer what lies unread with a reset.
            if not isinstance(self._sock, ssl.SSLSocket):
                self._sock.shutdown(socket.SHUT_WR)
                while self._sock.recv(RECEIVE):
                    pass
        except OSError:
            pass
        self._sock.close()
        self._out.clear()
        self._on_close()

    def reset(self) -> None:
        """Close with a reset (RST)."""
        if self.closed:
            return
        self.closed = True
        if self._slow is not None:
            self._slow.cancel()
        self._loop.watch(self._sock, 0, self._ready)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        self._sock.close()
        self._out.clear()
        self._on_close()

    def stall(self, stalled: bool) -> None:
        """Neither read nor write, or go on."""
        self._stalled = stalled
        if not stalled and not self._handshake:
            self._flush()
        self._watch()

    # What the loop does

    def _watch(self) -> None:
        if self.closed:
            return
        writes = self._wants_write or (self._out and not self._handshake)
        events = 0 if self._stalled else READ | (WRITE if writes else 0)
        if events != self._watched:
            self._watched = events
            self._loop.watch(self._sock, events, self._ready)

    def _ready(self, events: int) -> None:
        if self._handshake:
            self._shake()
            return
        if events & READ or self._wants_write:
            self._wants_write = False
            self._read()
        if not self.closed and self._out:
            self._flush()

    def _shake(self) -> None:
        assert isinstance(self._sock, ssl.SSLSocket)
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self._wants_write = True
            self._watch()
            return
        except OSError as exc:
            log.debug("TLS handshake failed: %s", exc)
            self.close()
            return
        self._handshake = self._wants_write = False
        self._flush()
        self._watch()

    def _read(self) -> None:
        try:
            data = self._sock.recv(self.read_size() if self.read_size else RECEIVE)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except ssl.SSLWantWriteError:
            self._wants_write = True
            self._watch()
            return
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self.close()

    def _flush(self) -> None:
        if self.closed or self._stalled or self._handshake:
            return
        try:
            while self._out:
                if not self.fragment and len(self._out) > 1 and len(self._out[0]) < SLICE:
                    self._join()
                piece = self._out[0]
                sent = self._sock.send(piece[: self.fragment] if self.fragment else piece[:SLICE])
                self._progress()
                if sent < len(piece):
                    self._out[0] = piece[sent:]
                else:
                    self._out.popleft()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if self.write_timeout is not None and self._slow is None:
                self._slow = self._loop.call_later(self.write_timeout, self.reset)
        except OSError:
            self.close()
            return
        if self._ending and not self._out:
            self.close()
            return
        self._watch()
        if not self._out and self.on_drained is not None:
            # In a round of its own, so that others get their turn however fast the client reads.
            on_drained, self.on_drained = self.on_drained, None
            self._loop.call_later(0.0, on_drained)

    def _progress(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _join(self) -> None:
        """Join many small pieces."""
        pieces = []
        size = 0
        while self._out and size < SLICE:
            pieces.append(self._out.popleft())
            size += len(pieces[-1])
        self._out.appendleft(memoryview(b"".join(pieces)))
