"""A TCP proxy on 127.0.0.1 that breaks what goes through it: the network between a client and its server.

It keeps what it passed on to the client, so that a test can tell what had arrived. One thread serves all.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with an RST
MOST_HELD = 1 << 20


class Side:
    """One of the two sockets of a pair, and what waits to be sent on it."""

    def __init__(self, sock: socket.socket, pair: Pair) -> None:
        self.sock = sock
        self.pair = pair
        self.waiting = bytearray()
        self.mask = 0  # what the selector watches it for
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Pair:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket, cut_after: int | None) -> None:
        self.client = Side(client, self)
        self.server = Side(server, self)
        self.passed = bytearray()
        """What was put on the client's socket."""
        self.cut_after = cut_after
        self.held = False
        self.stalled = False
        self.ended = False


class Proxy:
    """Listens on :attr:`port` and connects each client to `target`."""

    def __init__(self, target: int) -> None:
        """Start at once; `target` is a port of 127.0.0.1."""
        self.target = target
        self.pairs: list[Pair] = []
        """Every connection so far, ended ones included."""
        self.cut_after: int | None = None
        """Bytes to the client after which a new connection ends."""
        self.hold_after: int | None = None
        """Bytes to the client after which nothing more is read from the server, until :meth:`release`."""
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._wake_in, self._wake_out = socket.socketpair()
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)
        self._commands: deque[Callable[[], None]] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection and the thread."""
        self.drop()
        self._closed = True
        self._wake_out.send(b"\0")
        self._thread.join(10)
        for each in (self._listener, self._wake_in, self._wake_out, self._selector):
            each.close()

    # Faults: done when the method returns

    def drop(self) -> None:
        """End every connection in good order (EOF)."""
        self._command(lambda: self._for_each(lambda pair: self._end(pair, reset=False)))

    def reset(self) -> None:
        """End every connection with an RST to the client: it loses what it has not read yet."""
        self._command(lambda: self._for_each(lambda pair: self._end(pair, reset=True)))

    def cut(self, more: int) -> None:
        """End every connection (EOF) when so many more bytes went to the client, in mid-message most often."""

        def set_cut(pair: Pair) -> None:
            pair.cut_after = len(pair.passed) + more

        self._command(lambda: self._for_each(set_cut))

    def stall(self) -> None:
        """Pass nothing on any more, neither way, on the connections that there are; they stay open."""

        def set_stalled(pair: Pair) -> None:
            pair.stalled = True
            for side in (pair.client, pair.server):
                self._watch(side, 0)

        self._command(lambda: self._for_each(set_stalled))

    def release(self) -> None:
        """Go on reading where :attr:`hold_after` has stopped it."""

        def set_free(pair: Pair) -> None:
            pair.held = False
            self._watch_both(pair)

        self.hold_after = None
        self._command(lambda: self._for_each(set_free))

    @property
    def open_pairs(self) -> int:
        """Connections that have not ended."""
        return sum(not pair.ended for pair in self.pairs)

    # On its thread

    def _command(self, command: Callable[[], None]) -> None:
        done = threading.Event()
        self._commands.append(lambda: (command(), done.set()))  # type: ignore[func-returns-value]
        self._wake_out.send(b"\0")
        assert done.wait(10), "the proxy's thread is stuck or dead"

    def _for_each(self, function: Callable[[Pair], None]) -> None:
        for pair in self.pairs:
            if not pair.ended:
                function(pair)

    def _run(self) -> None:
        while not self._closed:
            for key, mask in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wake_in:
                    self._wake_in.recv(64)
                elif key.data is not None and not key.data.pair.ended and not key.data.pair.stalled:
                    self._serve(key.data, mask)
            while self._commands:
                self._commands.popleft()()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.socket()
            # Small, so that a server has to wait soon when nothing is read.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            server.settimeout(5)
            server.connect(("127.0.0.1", self.target))
        except OSError:
            client.close()
            server.close()
            return
        pair = Pair(client, server, self.cut_after)
        self.pairs.append(pair)
        self._watch_both(pair)

    def _serve(self, side: Side, mask: int) -> None:
        pair = side.pair
        other = pair.server if side is pair.client else pair.client
        if mask & selectors.EVENT_WRITE:
            self._send(side)
        if pair.ended or not mask & selectors.EVENT_READ:
            return
        try:
            piece = side.sock.recv(16384)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._send(other)
            if not pair.ended:
                self._end(pair, reset=False)
            return
        other.waiting += piece
        self._send(other)

    def _send(self, side: Side) -> None:
        pair = side.pair
        data = bytes(side.waiting)
        if side is pair.client and pair.cut_after is not None:
            data = data[: max(0, pair.cut_after - len(pair.passed))]
        try:
            sent = side.sock.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(pair, reset=False)
            return
        del side.waiting[:sent]
        if side is pair.client:
            pair.passed += data[:sent]
            if pair.cut_after is not None and len(pair.passed) >= pair.cut_after:
                self._end(pair, reset=False)
                return
            pair.held = pair.held or (self.hold_after is not None and len(pair.passed) >= self.hold_after)
        self._watch_both(pair)

    def _watch_both(self, pair: Pair) -> None:
        """Read and write where there is something to; who sends more than the other side takes has to wait."""
        for side, other in ((pair.client, pair.server), (pair.server, pair.client)):
            reads = len(other.waiting) < MOST_HELD and not (pair.held and side is pair.server)
            self._watch(side, (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if side.waiting else 0))

    def _watch(self, side: Side, mask: int) -> None:
        if side.mask == mask:
            return
        if not mask:
            self._selector.unregister(side.sock)
        elif side.mask:
            self._selector.modify(side.sock, mask, side)
        else:
            self._selector.register(side.sock, mask, side)
        side.mask = mask

    def _end(self, pair: Pair, *, reset: bool) -> None:
        pair.ended = True
        for side in (pair.client, pair.server):
            self._watch(side, 0)
            with contextlib.suppress(OSError):
                if reset:
                    side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                else:
                    # What the client has sent and nobody read would turn the end into an RST.
                    side.sock.shutdown(socket.SHUT_WR)
                    while side.sock.recv(65536):
                        pass
            side.sock.close()
