"""The thread of a simulator: sockets, timers and calls from other threads, all run one after the other.

Everything a simulator does happens on one thread, so that nothing in it needs a lock. Timers keep their own
time: a timer set by a timer counts from the moment when that one was *due*, not from when it ran. So the order
of events is the same in each run, however busy the machine is.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

__all__ = ["Loop", "Timer"]

P = ParamSpec("P")
T = TypeVar("T")

ROUND = 500  # timers that run before the sockets are polled again

log = logging.getLogger("pyami_sync.testing")


class Timer:
    """A function that is called once, later; see :meth:`Loop.call_later`."""

    __slots__ = ("action", "due", "order")

    def __init__(self, due: float, order: int, action: Callable[[], object]) -> None:
        self.due = due
        self.order = order
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        """Cancel it; does nothing if it has run. On the loop's thread only."""
        self.action = None

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.order) < (other.due, other.order)


class Loop:
    """One daemon thread named ``pyami-…``; several simulators may share it.

    :meth:`call` and :meth:`run` may be used from any thread; all other methods only on the loop's thread.
    """

    def __init__(self, name: str = "pyami-simulator") -> None:
        self.now = time.monotonic()
        """The moment for which the running callback was scheduled, in seconds on :func:`time.monotonic`'s clock."""
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._order = itertools.count()
        self._calls: deque[Callable[[], object]] = deque()
        self._awake = False
        self._closed = False
        self._wakeup, self._waker = socket.socketpair()
        self._wakeup.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._drain)
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """True on this loop's thread."""
        return threading.current_thread() is self._thread

    # From any thread

    def call(self, function: Callable[[], object]) -> None:
        """Run a function on the loop's thread soon; calls of one thread keep their order."""
        self._calls.append(function)
        if not self._awake:
            # Racing callers may both write: one byte too many does no harm, one too few would.
            self._awake = True
            try:
                self._waker.send(b"\0")
            except OSError:  # full (it wakes up anyway) or closed
                pass

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on the loop's thread; block until it has returned, and return its result or raise its
        exception.

        Raises:
            RuntimeError: the loop is closed.

        """
        if self.is_current:
            return function(*args, **kwargs)
        if self._closed:
            raise RuntimeError("the simulator is closed")
        future: Future[T] = Future()

        def task() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as exc:
                future.set_exception(exc)

        self.call(task)
        while True:
            try:
                return future.result(timeout=1.0)
            except TimeoutError:
                if future.done():
                    raise
                if not self._thread.is_alive():
                    raise RuntimeError("the simulator is closed") from None

    def close(self, timeout: float = 5.0) -> None:
        """End the thread and wait for it, at most ``timeout`` seconds; idempotent."""
        self._closed = True
        self.call(lambda: None)
        if not self.is_current:
            self._thread.join(timeout)
            if self._thread.is_alive():
                log.warning("%s is still running after %.1f s: a reply callable blocks it", self._thread.name, timeout)

    # From the loop's thread

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Run a function some seconds after the moment for which the running callback was scheduled."""
        timer = Timer(self.now + seconds, next(self._order), function)
        heapq.heappush(self._timers, timer)
        return timer

    def watch(self, sock: socket.socket, events: int, callback: Callable[[int], object]) -> None:
        """Call back whenever a socket is ready; ``events`` are those of :mod:`selectors`, 0 for none."""
        known = sock in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(sock)
        elif known:
            self._selector.modify(sock, events, callback)
        else:
            self._selector.register(sock, events, callback)

    def _serve(self) -> None:
        try:
            while not self._closed or self._calls:
                self._once()
        finally:
            self._selector.close()
            self._wakeup.close()
            self._waker.close()

    def _once(self) -> None:
        timers = self._timers
        while timers and timers[0].action is None:
            heapq.heappop(timers)
        wait = max(0.0, timers[0].due - time.monotonic()) if timers else None
        ready = self._selector.select(0.0 if self._calls else wait)
        self.now = time.monotonic()
        # Calls first: what a thread asked for before it sent something comes before the answer to that. Those that
        # come while they run wait for the next round, so that sockets get their turn.
        for _ in range(len(self._calls)):
            self._guarded(self._calls.popleft())
        for key, events in ready:
            self._guarded(lambda key=key, events=events: key.data(events))  # type: ignore[misc]
        until = time.monotonic()
        for _ in range(ROUND):
            if not timers or timers[0].due > until:
                break
            timer = heapq.heappop(timers)
            if timer.action is not None:
                self.now = timer.due
                self._guarded(timer.action)
        self.now = time.monotonic()

    def _guarded(self, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception:
            log.exception("a callback of %s failed", self._thread.name)

    def _drain(self, events: Any) -> None:
        try:
            while len(self._wakeup.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass
        self._awake = False
