"""The socket pair with which any thread ends the engine's wait."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterable

from .poller import READ

__all__ = ["Wakeup"]


class Wakeup:
    """Ends the engine's wait from any thread."""

    interest = READ

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)

    def fileno(self) -> int:
        return self._in.fileno()

    def wake(self, first: Iterable[object] = (None,)) -> None:
        """Go through an iterable of one entry and end the wait, in one call of C code: an exception of a signal handler
        must not leave the engine asleep with something to do."""
        try:
            deque(zip(first, map(self._out.send, (b"\0",)), strict=False), 0)
        except OSError:
            pass  # full: it wakes anyway; closed: it is gone

    def readable(self) -> None:
        try:
            while len(self._in.recv(4096)) == 4096:
                pass
        except OSError:
            pass

    def writable(self) -> None:
        """Never asked for."""

    def broken(self, exc: BaseException) -> None:
        """Nothing can be."""

    def close(self) -> None:
        self._in.close()
        self._out.close()
