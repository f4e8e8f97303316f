"""The subscription and the thread that follow calls."""

from __future__ import annotations

from collections import deque
from threading import Thread, current_thread
from typing import TYPE_CHECKING

from ..engine.waiting import Waiters
from .state import EVENTS, VARIABLES

if TYPE_CHECKING:
    from .hub import Calls

__all__ = ["Follower"]

MARKERS = ("ConnectionLost", "Reconnected")
START_WAIT = 10.0  # seconds
DECISION = 1.0  # seconds
LAST_STEPS = 0.1  # seconds that the thread may take to be gone when it has done its work


class Follower:
    """The subscription and the thread that follow the calls of a client or a cluster.

    Args:
        calls: what it works for.

    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._engine = calls.listener.engine
        self.stream = calls.listener.events(*EVENTS, *MARKERS)
        try:
            where = {"Variable": VARIABLES}
            self.variables = calls.listener.events("VarSet", where=where, overflow="drop_oldest")
        except BaseException:
            self.stream.close()
            raise
        self.thread = Thread(target=self._run, name="pyami-calls", daemon=True)
        self.ending = False
        """True while its thread decides whether it is needed, and from then on if it is not."""
        self.ended = False
        # The thread that takes the entry, which is atomic, starts the thread.
        self._unstarted: deque[None] = deque((None,))
        self._started = False
        self._error: RuntimeError | MemoryError | None = None
        self._waiters = Waiters()

    def start(self) -> None:
        """Have the thread run, unless it does; raises what says that there is no thread to be had."""
        if not self._started and self._error is None:
            # Thread.start() does not survive what a signal handler raises; those do not run on the engine thread.
            if self._engine.running:
                self._engine.call_soon(self._start)
            else:
                self._start()
            if not self._waiters.wait(lambda: self._started or self._error is not None, START_WAIT):
                raise RuntimeError(f"the thread that follows calls did not start within {START_WAIT:g} s")
        if self._error is not None:
            raise self._error

    def _start(self) -> None:
        try:
            self._unstarted.pop()
        except IndexError:
            return
        try:
            self.thread.start()
            self._started = True
        except (RuntimeError, MemoryError) as exc:
            self._error = exc
            self.close()
            self._calls._drop(self)
        self._waiters.notify_all()

    def _run(self) -> None:
        try:
            self._calls._run(self)
        finally:
            self.ended = True
            self._waiters.notify_all()

    def stay(self) -> None:
        """Go on, because a call has been added."""
        self.ending = False
        self._waiters.notify_all()

    def wait_decided(self) -> None:
        """Wait until the thread that was about to end goes on or has ended; that takes it an instant."""
        self._waiters.wait(lambda: not self.ending or self.ended, DECISION)

    def finish(self) -> None:
        """Have the thread end after the events that are there."""
        for stream in (self.stream, self.variables):
            stream.finish(None)

    def close(self) -> None:
        """Take no more events."""
        for stream in (self.stream, self.variables):
            stream.close()

    def join(self, timeout: float | None) -> None:
        """Wait for the end of the thread, which :meth:`finish` has brought about; never from the thread itself."""
        if self.thread is current_thread() or not self._started:
            return
        # Not join() alone: a signal handler that interrupts it and closes, too, would wait for its own thread.
        if self._waiters.wait(lambda: self.ended, timeout):
            self.thread.join(LAST_STEPS)
