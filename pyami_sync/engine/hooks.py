"""Hooks: lists of callbacks for things other than events, such as states, errors, actions and bytes on the wire."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["ActionHook", "Hook"]

logger = logging.getLogger("pyami_sync")

MOST_WAITING = 50_000


class Hook:
    """A list of callbacks that are called one at a time, in order, on a callback thread.

    Args:
        name: for messages.
        submit: runs a job on a callback thread.

    """

    def __init__(self, name: str, submit: Callable[[Callable[[], None]], None]) -> None:
        self._name = name
        self._submit = submit
        self.lost = 0
        """Number of calls that were dropped because too many waited for a slow callback."""
        # A dict keeps the order, and its insertions and removals are atomic, so no lock is needed that a signal
        # handler or a finalizer on the same thread could find locked.
        self._callbacks: dict[object, Callable[..., object]] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """Drop the calls that wait, in a forked child or for a new session."""
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._idle: deque[None] = deque((None,))  # holds one entry unless the callbacks are being called
        self._losing = False

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def add(self, callback: Callable[..., object]) -> Callable[[], None]:
        """Add a callback; return a function that removes it."""
        key = object()
        self._callbacks[key] = callback

        def remove() -> None:
            self._callbacks.pop(key, None)

        return remove

    def __call__(self, *args: Any) -> None:
        """Have all callbacks called with these arguments on a callback thread; never blocks."""
        if not self._callbacks:
            return
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            news, self._losing = not self._losing, True
            if news:
                logger.warning(
                    "a callback for %s does not keep up: calls are dropped (%d so far)", self._name, self.lost
                )
            return
        self._losing = False
        self._waiting.append(args)
        self._wake()

    def _wake(self) -> None:
        if not self._waiting:
            return
        try:
            self._idle.pop()
        except IndexError:  # the thread that has the entry checks again after it puts it back
            return
        try:
            self._submit(self._run)
        except BaseException:
            self._idle.append(None)
            raise

    def _run(self) -> None:
        try:
            while self._waiting:
                args = self._waiting.popleft()
                for callback in list(self._callbacks.values()):
                    try:
                        callback(*args)
                    except BaseException:  # sys.exit() too: it must not keep the others from being called
                        logger.exception("a callback for %s raised", self._name)
        finally:
            self._idle.append(None)
            self._wake()


class ActionHook:
    """Observers of actions: each is called when an action begins; the function that it returns is called when it ends.

    Observers run on the sending thread, before any byte of the action is sent, so a tracer finds the caller's
    context. Their exceptions are logged and do not affect the caller.
    """

    def __init__(self) -> None:
        self._observers: dict[object, Callable[[Any], Callable[[Any, Any], object] | None]] = {}
        self.observers: tuple[Callable[[Any], Callable[[Any, Any], object] | None], ...] = ()
        """The present observers."""

    def add(self, observer: Callable[[Any], Callable[[Any, Any], object] | None]) -> Callable[[], None]:
        """Add an observer; return a function that removes it."""
        key = object()
        self._observers[key] = observer
        self._refresh()

        def remove() -> None:
            self._observers.pop(key, None)
            self._refresh()

        return remove

    def _refresh(self) -> None:
        # Repeat until it equals what the dict holds, which another thread may change meanwhile.
        while (now := tuple(self._observers.values())) != self.observers:
            self.observers = now

    def begin(self, action: Any) -> Callable[[Any, BaseException | None], None]:
        """Report that an action begins; return a function to call with its response or exception when it ends."""
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
        """Do nothing: there is no lock and no queue."""
