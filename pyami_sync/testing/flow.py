"""Tasks of the simulator's loop: generators that yield what they wait for."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from .loop import Loop, Timer

__all__ = ["Signal", "Steps", "Task"]

R = TypeVar("R")

Steps = Generator["float | Signal | tuple[Signal, float | None]", bool, R]
"""The generator of a task: it yields seconds to wait, a signal, or a signal and the most seconds to wait for it.

It is sent whether the signal came. When its task is stopped it ends at the ``yield``, through its ``finally``.
"""


class Signal:
    """A signal for which tasks can wait, any number of times."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    def fire(self) -> None:
        """Resume all waiting tasks, after the one that is running."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.resume(True, 0.0)

    def add(self, task: Task) -> None:
        """Add a waiting task."""
        self._tasks.append(task)

    def discard(self, task: Task) -> None:
        """Remove a waiting task."""
        if task in self._tasks:
            self._tasks.remove(task)


class Task:
    """Runs a generator on the loop's thread; its first step runs at once.

    Args:
        loop: the loop.
        steps: the generator.
        pace: factor for all waits.

    """

    __slots__ = ("_loop", "_pace", "_running", "_signal", "_steps", "_timer", "stopped")

    def __init__(self, loop: Loop, steps: Steps[Any], pace: float = 1.0) -> None:
        self.stopped = False
        """True if it has ended or is about to end."""
        self._loop = loop
        self._steps = steps
        self._pace = pace
        self._running = False
        self._timer: Timer | None = None
        self._signal: Signal | None = None

    def start(self) -> Task:
        """Run the first step."""
        self._step(None)
        return self

    def stop(self) -> None:
        """End it where it waits; when it stops itself, where it waits next."""
        if self.stopped:
            return
        self.stopped = True
        if not self._running:
            self._unwait()
            self._steps.close()

    def resume(self, came: bool, delay: float) -> None:
        """Resume after a delay in seconds, and send the task True if its signal was fired."""
        self._unwait()
        self._timer = self._loop.call_later(delay, lambda: self._step(came))

    def _unwait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._signal is not None:
            self._signal.discard(self)
            self._signal = None

    def _step(self, came: bool | None) -> None:
        if self.stopped:
            return
        self._unwait()
        self._running = True
        try:
            wish = next(self._steps) if came is None else self._steps.send(came)
        except StopIteration:
            self.stopped = True
            return
        except BaseException:
            self.stopped = True
            raise
        finally:
            self._running = False
        if self.stopped:
            self._steps.close()
            return
        signal, seconds = wish if isinstance(wish, tuple) else (None, wish)
        if isinstance(seconds, Signal):
            signal, seconds = seconds, None
        if seconds is not None:
            self.resume(False, seconds * self._pace)
        if signal is not None:
            self._signal = signal
            signal.add(self)
