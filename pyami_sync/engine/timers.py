"""Timers of the engine thread: any thread may add one, and the engine thread runs them."""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from time import monotonic

__all__ = ["Timer", "Timers"]

logger = logging.getLogger("pyami_sync")
MANY = 64  # cancelled timers that may stay in the heap, however short it is

TimerEntry = tuple[float, int, "Timer"]


class Timer:
    """A function that the engine thread calls at some moment; it must not block."""

    __slots__ = ("_timers", "callback")

    def __init__(self, timers: Timers, callback: Callable[[], None]) -> None:
        self._timers = timers
        self.callback: Callable[[], None] | None = callback
        """What it calls; :data:`None` from the moment when it runs or is cancelled."""

    def cancel(self) -> None:
        """Cancel the timer. Any thread may call this; it does nothing if the timer has run."""
        if self.callback is not None:
            self.callback = None
            self._timers.cancelled += 1  # a lost count only delays the next removal of cancelled timers


class Timers:
    """The timers of one engine thread.

    Args:
        wake: performs a step, by iterating over its argument, and wakes the engine thread, with no signal handler in
            between; called on the thread that adds a timer earlier than all others.

    """

    def __init__(self, wake: Callable[[Iterable[object]], None]) -> None:
        self.cancelled = 0
        self._wake = wake
        self._heap: list[TimerEntry] = []  # used by the engine thread only
        self._new: deque[TimerEntry] = deque()  # added by any thread, not in the heap yet
        self._order = count()
        self._wakes_at = float("inf")  # when the engine thread wakes if nothing happens before

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call a function on the engine thread at a moment of :func:`time.monotonic`; it must not block."""
        timer = Timer(self, callback)
        entry = (when, next(self._order), timer)
        if when < self._wakes_at:
            self._wake(map(self._new.append, (entry,)))
        else:
            self._new.append(entry)
            # Check again: before it sleeps, the engine thread sets _wakes_at and then looks for new timers once more.
            if when < self._wakes_at:
                self._wake((None,))
        return timer

    def run(self) -> float:
        """Run the timers that are due, on the engine thread; return the seconds until the next, infinity if there is
        none.
        """
        heap, new = self._heap, self._new
        while True:
            while new:
                heapq.heappush(heap, new.popleft())
            if self.cancelled > MANY and self.cancelled * 2 > len(heap):
                # The cancelled timers of answered requests would otherwise stay in the heap for seconds.
                heap[:] = [entry for entry in heap if entry[2].callback is not None]
                heapq.heapify(heap)
                self.cancelled = 0
            # A cancelled timer stays until it would be due: to wake up once for nothing costs less than to be woken for
            # each later timer, which those of actions are, and cancelled before long.
            self._wakes_at = heap[0][0] if heap else float("inf")
            left = self._wakes_at - monotonic()
            if left > 0:
                if new:  # added by a thread that may have read an earlier _wakes_at and so did not wake this thread
                    continue
                return left
            timer = heapq.heappop(heap)[2]
            callback, timer.callback = timer.callback, None
            while heap and heap[0][2].callback is None:
                heapq.heappop(heap)
            if callback is not None:
                try:
                    callback()
                except Exception:
                    logger.exception("a timer raised")
