"""Callers woken one after the other, when many wait on one connection.

When a read brings answers for many threads, waking all of them at once makes each wake up, find the
interpreter's lock taken and go to sleep again; and then each sends its next action by itself. In a relay
the engine wakes only the first, and each one that wakes up first of all wakes the next: while that one gets
up, on another processor, the first goes on to its next action, and when it waits again the other is just there.
What they have to say they leave in the queue, and the last one woken sends what is there, in one go. That
saves a third of the processor time of sixteen busy callers.

A thread that was woken may not run at once: it has a signal's handler to run first, or others keep the
interpreter busy. So that nobody waits for such a one, the engine looks after a millisecond, wakes the others and
sends, and for the next batches wakes everybody at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

from .request import BlockingCall
from .engine import Engine

__all__ = ["Relay"]

PATIENCE = 0.001  # seconds without a caller who wakes up
PACE = 5  # callers who wake up in that time; fewer get there better side by side
REST = 100  # batches in which all are woken at once, after one that stood still


class Relay:
    """The order in which the callers of one connection are woken.

    Args:
        engine: looks after those who wait for their turn.
        flush: sends what the callers have queued; :data:`None` where that may block, which the engine must
            not: all are woken at once then.

    """

    def __init__(self, engine: Engine, flush: Callable[[], None] | None) -> None:
        self._engine = engine
        self._flush = flush
        self._over = flush is None
        self.waiting: deque[BlockingCall] = deque()
        """Callers that have their answer and are not woken yet: an action may wait for theirs."""
        self._passed = 0  # grows with whatever goes on here; only compared
        self._began = (0.0, 0)  # when the relay under way did, and what had passed before
        self._watched = False
        self._rest = 0

    def start(self, calls: list[BlockingCall]) -> None:
        """Wake the callers of a batch; runs on the engine's thread."""
        if self._over or self._rest or (len(calls) == 1 and not self.waiting):
            self._rest = max(0, self._rest - 1)
            for call in calls:
                call.wake()
            return
        under_way = bool(self.waiting)
        if not under_way:
            self._began = (monotonic(), self._passed)
        self.waiting.extend(calls)
        self._passed += 1
        if self._over:  # stopped between the look and here
            self.stop()
        elif not under_way:
            self._wake_next()
        if not self._watched:
            self._watched = True
            self._look_later()

    def pass_on(self, call: BlockingCall) -> None:
        """Wake the next caller, or send what all have left if there is none; for the caller of this call, who is up."""
        waiting = self.waiting
        if waiting:
            try:
                if waiting[0] is call:  # quicker than who woke it
                    waiting.remove(call)
            except (IndexError, ValueError):
                pass
        if waiting:
            self._passed += 1
            try:  # as _wake_next() does; every step here keeps somebody waiting
                call = waiting[0]
                call.wake()
                waiting.remove(call)
            except (IndexError, ValueError):
                pass
        elif self._flush is not None:
            self._flush()

    def stop(self) -> None:
        """Wake all, now and from now on; from any thread."""
        self._over = True
        while self.waiting:
            self._wake_next()

    def _wake_next(self) -> None:
        try:
            call = self.waiting[0]
            call.wake()
            # Only now, so that a Ctrl-C in between loses nobody.
            self.waiting.remove(call)
        except (IndexError, ValueError):  # another thread was quicker
            return

    def _look_later(self) -> None:
        passed = self._passed
        self._engine.call_at(monotonic() + PATIENCE, lambda: self._look(passed))

    def _look(self, passed: int) -> None:
        if self._passed != passed and not (self.waiting and self._crawls()):
            self._look_later()
            return
        self._watched = False
        if self.waiting:
            self._rest = REST
            while self.waiting:
                self._wake_next()
        if self._flush is not None:
            self._flush()

    def _crawls(self) -> bool:
        """Whether the callers wake up so slowly that they keep each other waiting."""
        when, passed = self._began
        took = monotonic() - when
        return took >= PATIENCE and (self._passed - passed) * PATIENCE < took * PACE
