"""Futures that run no user code on the thread that resolves them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Lock
from typing import TypeVar

from .exceptions import WaitTimeout

__all__ = ["DetachedFuture", "ExpectedEvent"]

logger = logging.getLogger("pyami_sync")
T = TypeVar("T")
Submit = Callable[[Callable[[], None]], None]


class DetachedFuture(Future[T]):
    """A :class:`concurrent.futures.Future` whose done-callbacks run on a callback thread.

    The standard class runs them on the thread that sets the result; here that thread reads the socket for
    everybody, so that a callback which blocks, or calls the client, would stop the answers it waits for.

    Args:
        submit: hands a job to the callback threads.
        on_cancel: runs when the future is cancelled, on the cancelling thread.

    """

    def __init__(self, submit: Submit, on_cancel: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._submit = submit
        self._on_cancel = on_cancel
        self._ending = Lock()
        self._ended = False  # its one outcome is chosen

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Run ``fn(future)`` on a callback thread when it is done, at once in this thread if it is already."""
        if self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(lambda future: self._submit(lambda: self._call(fn)))

    def observe(self, fn: Callable[[], object]) -> None:
        """Run ``fn()`` when it is done, on the thread that resolves it: only for what never blocks."""
        super().add_done_callback(lambda future: fn())

    def _call(self, fn: Callable[[Future[T]], object]) -> None:
        try:
            fn(self)
        except Exception:
            logger.exception("a done-callback raised")

    def cancel(self) -> bool:
        """Give up waiting; the action may still run. A late answer is dropped."""
        with self._ending:
            if self._ended or not super().cancel():
                return self.cancelled()
            self._ended = True
            # An executor tells those in wait() and as_completed() when it comes to the job; here nobody will.
            self.set_running_or_notify_cancel()
        if self._on_cancel is not None:
            self._on_cancel()
        return True

    def resolve(self, result: T) -> bool:
        """Set the result; tell whether anybody still wanted it."""
        if not self._end():
            return False
        self.set_result(result)
        return True

    def fail(self, exc: BaseException) -> bool:
        """Set the exception; tell whether anybody still wanted it."""
        if not self._end():
            return False
        self.set_exception(exc)
        return True

    def after_fork(self) -> None:
        """Replace the locks in a forked child: a thread of the parent may have held them."""
        self._ending = Lock()
        self._condition = Condition()  # the standard class's own

    def _end(self) -> bool:
        with self._ending:
            if self._ended:
                return False
            self._ended = True
            return self.set_running_or_notify_cancel()


class ExpectedEvent(DetachedFuture[T]):
    """The future of an event; waiting too long for it raises :exc:`~pyami_sync.WaitTimeout`."""

    def __init__(self, submit: Submit, selectors: str, on_cancel: Callable[[], None] | None = None) -> None:
        super().__init__(submit, on_cancel)
        self._selectors = selectors

    def result(self, timeout: float | None = None) -> T:
        """Wait for the event, at most ``timeout`` seconds.

        Raises:
            WaitTimeout: none came in time.
            ConnectionClosed: the session ended first.

        """
        try:
            return super().result(timeout)
        except TimeoutError as exc:
            if self.done() and not isinstance(exc, WaitTimeout):
                raise
            raise WaitTimeout(self._selectors, timeout) from None
