"""Wakeup: a socket pair with which any thread wakes the engine thread."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterable

from .poller import READ

__all__ = ["Wakeup"]


class Wakeup:
    """Wakes the engine thread from any thread."""

    interest = READ

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)

    def fileno(self) -> int:
        return self._in.fileno()

    def wake(self, first: Iterable[object] = (None,)) -> None:
        """Iterate over an iterable of one entry and wake the engine thread, in one call of C code, so that an
        exception of a signal handler can't leave the engine asleep with a job to do.
        """
        try:
            deque(zip(first, map(self._out.send, (b"\0",)), strict=False), 0)
        except OSError:
            pass  # full: the thread wakes anyway; closed: the thread has ended

    def readable(self) -> None:
        try:
            while len(self._in.recv(4096)) == 4096:
                pass
        except OSError:
            pass

    def writable(self) -> None:
        """Do nothing; never polled for."""

    def broken(self, exc: BaseException) -> None:
        """Do nothing; :meth:`readable` does not raise."""

    def close(self) -> None:
        self._in.close()
        self._out.close()
