"""Interrupts a call on the main thread at a random moment, as Ctrl-C, SIGALRM or a soft time limit does.

The handler of a real timer signal runs wherever the interpreter happens to be: in the library's Python code,
or in a system call or lock that it waits in. It can raise, run a function, or both::

    injector = Injector(seed=1)
    for _ in range(injections(2000)):
        outcome = injector.strike(lambda: ami.ping(timeout=5))
        assert outcome.interrupted or outcome.value < 5
    assert ami.ping() < 5                # and everything still works

``PYAMI_INJECTIONS`` in the environment replaces the number of injections, for long runs, and ``PYAMI_SEED`` chooses other
moments.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__ = ["Hang", "Injected", "Injector", "Outcome", "injections"]


def injections(usual: int) -> int:
    """Return how many injections a test makes: ``usual``, or what ``PYAMI_INJECTIONS`` says."""
    return int(os.environ.get("PYAMI_INJECTIONS", usual))


class Injected(Exception):
    """Raised by the signal handler in the midst of the call."""


class Hang(BaseException):
    """The call did not end long after the injection; the text holds the stacks of all threads."""


@dataclass
class Outcome:
    """What became of one call."""

    value: Any = None
    """What it returned."""
    error: BaseException | None = None
    """What it raised, the injected exception included."""
    struck: bool = False
    """Whether the handler ran before the call had ended."""

    @property
    def interrupted(self) -> bool:
        """Whether the injected exception ended it, directly or as the cause or context of another one."""
        exc, seen = self.error, set()
        while exc is not None and id(exc) not in seen:
            if isinstance(exc, Injected):
                return True
            seen.add(id(exc))
            exc = exc.__cause__ or exc.__context__
        return False


class Injector:
    """Makes calls on the main thread and interrupts each of them once.

    Args:
        seed: of the random moments.
        soonest: seconds after the call began, at least.
        latest: seconds, at most; the moments are spread evenly over the orders of magnitude between.
        limit: seconds after the injection by which the call must have ended, or :exc:`Hang` is raised in it.

    """

    def __init__(self, *, seed: int = 0, soonest: float = 2e-6, latest: float = 5e-3, limit: float = 30.0) -> None:
        assert threading.current_thread() is threading.main_thread(), "signals are handled on the main thread"
        self.random = random.Random(seed + 1000 * int(os.environ.get("PYAMI_SEED", "0")))
        self.soonest = soonest
        self.latest = latest
        self.limit = limit
        self.strikes = 0
        """Injections that met a call before it had ended."""
        self._act: Callable[[], object] | None = None
        self._raises = True
        self._armed = False
        self._struck = False

    def moment(self) -> float:
        """Return a random delay in seconds."""
        return float(self.soonest * (self.latest / self.soonest) ** self.random.random())

    def strike(
        self,
        call: Callable[[], Any],
        act: Callable[[], object] | None = None,
        *,
        raises: bool | None = None,
        delay: float | None = None,
    ) -> Outcome:
        """Run a call and interrupt it once.

        Args:
            call: the call.
            act: run by the handler, such as ``ami.close``.
            raises: whether the handler raises :exc:`Injected`; by default if there is no ``act``.
            delay: seconds until the handler runs; random unless given.

        """
        self._act = act
        self._raises = act is None if raises is None else raises
        self._struck, self._armed = False, True
        outcome = Outcome()
        with self._handled():
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, self.moment() if delay is None else delay)
                    outcome.value = call()
                finally:
                    struck = self._struck
                    self._armed = False
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Exception as exc:
                outcome.error = exc
                struck = self._struck
        outcome.struck = struck
        self.strikes += struck
        return outcome

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._armed:
            return
        if self._struck:
            raise Hang(f"no end {self.limit:g} s after the injection\n{stacks()}")
        self._struck = True
        signal.setitimer(signal.ITIMER_REAL, self.limit)  # the watch over what comes now
        if self._act is not None:
            self._act()
        if self._raises:
            raise Injected

    @contextmanager
    def _handled(self) -> Iterator[None]:
        before = signal.signal(signal.SIGALRM, self._handle)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def stacks() -> str:
    """Return the stacks of all threads as text."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = []
    for ident, frame in sys._current_frames().items():
        found.append(f"--- {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}")
    return "\n".join(found)
