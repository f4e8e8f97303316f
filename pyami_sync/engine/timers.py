"""What the engine thread does at a moment: a heap that any thread adds to and one thread runs."""

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
    """Something to do at a moment, on the engine thread; it must not block."""

    __slots__ = ("_timers", "callback")

    def __init__(self, timers: Timers, callback: Callable[[], None]) -> None:
        self._timers = timers
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Don't do it. Safe from any thread; too late is no error."""
        if self.callback is not None:
            self.callback = None
            self._timers.cancelled += 1  # a lost count only puts off the next clearing out


class Timers:
    """The timers of one engine thread.

    Args:
        wake: takes a step, by going through an iterable, and ends the engine thread's sleep, with no signal handler in
            between; called on the thread that asked for something sooner.

    """

    def __init__(self, wake: Callable[[Iterable[object]], None]) -> None:
        self.cancelled = 0
        self._wake = wake
        self._heap: list[TimerEntry] = []  # the engine thread's own
        self._new: deque[TimerEntry] = deque()  # on their way to it, from any thread
        self._order = count()
        self._wakes_at = float("inf")  # until when the engine thread sleeps if nothing comes

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Run something on the engine thread at a moment of :func:`time.monotonic`; it must not block."""
        timer = Timer(self, callback)
        entry = (when, next(self._order), timer)
        if when < self._wakes_at:
            self._wake(map(self._new.append, (entry,)))
        else:
            self._new.append(entry)
            # Again: before it sleeps, the engine thread says until when and then looks for new timers once more.
            if when < self._wakes_at:
                self._wake((None,))
        return timer

    def run(self) -> float:
        """Run what is due, on the engine thread; return the seconds until the next, infinity if there is none."""
        heap, new = self._heap, self._new
        while True:
            while new:
                heapq.heappush(heap, new.popleft())
            if self.cancelled > MANY and self.cancelled * 2 > len(heap):
                # Those of answered calls would otherwise stay until their time: many a second, for seconds.
                heap[:] = [entry for entry in heap if entry[2].callback is not None]
                heapq.heapify(heap)
                self.cancelled = 0
            # A cancelled timer stays until it would be due: to wake up once for nothing costs less than to be woken for
            # each later timer, which those of actions are, and cancelled before long.
            self._wakes_at = heap[0][0] if heap else float("inf")
            left = self._wakes_at - monotonic()
            if left > 0:
                if new:  # from a thread that may have read an earlier moment, and so wakes nobody
                    continue
                return left
            callback = heapq.heappop(heap)[2].callback
            while heap and heap[0][2].callback is None:
                heapq.heappop(heap)
            if callback is not None:
                try:
                    callback()
                except Exception:
                    logger.exception("a timer raised")
