"""Callbacks for what is no event: states, errors, bytes on the wire."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any

__all__ = ["ActionHook", "Hook"]

logger = logging.getLogger("pyami_sync")

MOST_WAITING = 50_000


class Hook:
    """A list of callbacks that are called one at a time, in order, on a callback thread.

    Args:
        name: for messages.
        submit: hands a job to the callback threads.

    """

    def __init__(self, name: str, submit: Callable[[Callable[[], None]], None]) -> None:
        self._name = name
        self._submit = submit
        self.lost = 0
        """Calls that were dropped because thousands waited for a callback that does not keep up."""
        self._callbacks: tuple[Callable[..., object], ...] = ()
        self.after_fork()

    def after_fork(self) -> None:
        """Forget what waits, and a lock that another thread may have held."""
        self._lock = Lock()
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._running = False
        self._losing = False

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def add(self, callback: Callable[..., object]) -> Callable[[], None]:
        """Add a callback; call what is returned to take it away."""
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

        def remove() -> None:
            with self._lock:
                self._callbacks = tuple(each for each in self._callbacks if each is not callback)

        return remove

    def __call__(self, *args: Any) -> None:
        """Have all callbacks called with these arguments; never blocks, runs none of them here."""
        if not self._callbacks:
            return
        with self._lock:
            full = len(self._waiting) >= MOST_WAITING
            if full:
                self.lost += 1
                news, self._losing = not self._losing, True
            else:
                self._losing = False
                self._waiting.append(args)
                news, self._running = not self._running, True
        if full and news:
            logger.warning("a callback for %s does not keep up: calls are dropped (%d so far)", self._name, self.lost)
        elif news:
            self._submit(self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running = False
                    return
                args = self._waiting.popleft()
            for callback in self._callbacks:
                try:
                    callback(*args)
                except BaseException:  # sys.exit() too: it must not keep the others from being called
                    logger.exception("a callback for %s raised", self._name)


class ActionHook:
    """Observers of actions: each is called as an action begins, and what it returned as the action ends.

    Begins run on the thread that sends, before a byte of the action has left; so that a tracer finds the
    caller's context. What one raises is logged and changes nothing for the caller.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self.observers: tuple[Callable[[Any], Callable[[Any, Any], object] | None], ...] = ()
        """Those there are now; :meth:`add` replaces them as a whole."""

    def add(self, observer: Callable[[Any], Callable[[Any, Any], object] | None]) -> Callable[[], None]:
        """Add an observer; call what is returned to take it away."""
        with self._lock:
            self.observers = (*self.observers, observer)

        def remove() -> None:
            with self._lock:
                self.observers = tuple(each for each in self.observers if each is not observer)

        return remove

    def begin(self, action: Any) -> Callable[[Any, BaseException | None], None]:
        """Tell that an action begins; call what is returned with its response or exception when it ends."""
        ends = []
        for observer in self.observers:
            try:
                ends.append(observer(action))
            except Exception:
                logger.exception("an observer of actions raised")

        def end(response: Any, exc: BaseException | None) -> None:
            for each in reversed(ends):
                if each is not None:
                    try:
                        each(response, exc)
                    except Exception:
                        logger.exception("an observer of actions raised")

        return end

    def after_fork(self) -> None:
        """Forget a lock that another thread may have held."""
        self._lock = Lock()
