"""Futures that run no user code on the thread that resolves them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from threading import Condition, current_thread, main_thread
from typing import Any, TypeVar

from ..exceptions import WaitTimeout
from .deadline import Deadline
from .waiting import Waiters

__all__ = ["DetachedFuture", "ExpectedEvent"]

logger = logging.getLogger("pyami_sync")
T = TypeVar("T")
SETTLE_WAIT = 1.0  # seconds
PATIENCE = 0.2  # seconds that the main thread waits for a callback thread before it runs a predicate itself
Submit = Callable[[Callable[[], None]], None]


class DetachedFuture(Future[T]):
    """A :class:`concurrent.futures.Future` whose done-callbacks run on a callback thread.

    The standard class runs them on the thread that sets the result. Here this is the thread that reads the socket, so
    a callback that blocks, or calls the client, would prevent the answers that it waits for.

    The standard class also has a condition, which a thread interrupted by a signal can leave locked. The outcome is
    therefore stored separately: :meth:`result`, :meth:`exception`, :meth:`done` and :meth:`cancel` use no lock. The
    condition serves :func:`concurrent.futures.wait` and :func:`~concurrent.futures.as_completed` only, and the engine
    thread takes it only when it is free; otherwise a callback thread does.

    Args:
        submit: runs a job on a callback thread.
        on_cancel: runs when the future is cancelled, on the cancelling thread.

    """

    def __init__(self, submit: Submit, on_cancel: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._submit = submit
        self._on_cancel = on_cancel
        self._unclaimed: deque[None] = deque((None,))  # the thread that pops the entry (atomically) sets the outcome
        self.outcome: tuple[Any, BaseException | None] | None = None
        """The result and the exception, once it is done; set once, by the thread that popped the entry above."""
        self._done = Waiters()
        self._observers: deque[Callable[[], object]] = deque()

    def done(self) -> bool:
        """Return True if it has a result or an exception, or was cancelled."""
        return self.outcome is not None

    def cancelled(self) -> bool:
        """Return True if it was cancelled."""
        outcome = self.outcome
        return outcome is not None and isinstance(outcome[1], CancelledError)

    def running(self) -> bool:
        """Return False always: a request can be cancelled until it is done."""
        return False

    def result(self, timeout: float | None = None) -> T:
        """Wait at most ``timeout`` seconds and return the result, or raise the exception.

        Raises:
            TimeoutError: it is not done in time.
            CancelledError: it was cancelled.

        """
        result, exc = self._wait(timeout)
        if exc is not None:
            try:
                raise exc
            finally:
                del self, exc  # a traceback that refers to itself would keep all of it alive
        return result  # type: ignore[no-any-return]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait at most ``timeout`` seconds and return the exception; :data:`None` if there is a result instead.

        Raises:
            TimeoutError: it is not done in time.
            CancelledError: it was cancelled.

        """
        exc = self._wait(timeout)[1]
        if isinstance(exc, CancelledError):
            raise exc
        return exc

    def settled(self, deadline: Deadline) -> tuple[Any, BaseException | None] | None:
        """Wait for the outcome; return :data:`None` if there is none at the deadline."""
        if self.outcome is None:
            self._wait_until(self.done, deadline)
        return self.outcome

    def _wait(self, timeout: float | None) -> tuple[Any, BaseException | None]:
        if self.outcome is None:
            if timeout is None:
                self._done.wait(self.done)
            else:
                self._wait_until(self.done, Deadline(timeout))
        if self.outcome is None:
            raise TimeoutError
        return self.outcome

    def _wait_until(self, ready: Callable[[], object], deadline: Deadline) -> bool:
        while not (met := self._done.wait(ready, deadline.remaining())) and not deadline.expired:
            pass  # locks refuse to wait for longer than some weeks at a time
        return met

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Run ``fn(future)`` on a callback thread when the future is done; if it is done already, at once on this
        thread.
        """
        if self.done():
            self._call(fn)
        else:
            self.observe(lambda: self._submit(lambda: self._call(fn)))

    def observe(self, fn: Callable[[], object]) -> None:
        """Run ``fn()`` on the thread that resolves the future; it must not block."""
        self._observers.append(fn)
        if self.outcome is not None:  # it may have been resolved before the line above
            self._notify()

    def _notify(self) -> None:
        while True:
            try:
                observer = self._observers.popleft()  # atomic: each runs once
            except IndexError:
                return
            try:
                observer()
            except Exception:
                logger.exception("an observer of a future raised")

    def _call(self, fn: Callable[[Future[T]], object]) -> None:
        try:
            fn(self)
        except Exception:
            logger.exception("a done-callback raised")

    def cancel(self) -> bool:
        """Cancel the future unless it is done; the action may still run, and its answer is dropped."""
        if not self._end(None, CancelledError()):
            return self.cancelled()
        if self._on_cancel is not None:
            self._on_cancel()
        return True

    def resolve(self, result: T) -> bool:
        """Set the result; return False if the future was done already."""
        return self._end(result, None)

    def fail(self, exc: BaseException) -> bool:
        """Set the exception; return False if the future was done already."""
        return self._end(None, exc)

    def after_fork(self) -> None:
        """Replace the standard class's condition in a forked child, since a thread of the parent may have held it."""
        self._condition = Condition()
        self._done = Waiters()

    def _end(self, result: Any, exc: BaseException | None) -> bool:
        try:
            self._unclaimed.pop()
        except IndexError:
            return False
        self.outcome = (result, exc)
        self._done.notify_all()
        if self._condition.acquire(blocking=False):
            try:
                waiting = self._set_state(result, exc)
            finally:
                self._condition.release()
            if waiting:
                self._pass_on(waiting)
        else:
            self._submit(partial(self._settle_standard, result, exc))
        self._notify()
        return True

    def _settle_standard(self, result: Any, exc: BaseException | None) -> None:
        # It stays locked only if an interrupted wait() has left it locked: then no other thread can be in it.
        held = self._condition.acquire(timeout=SETTLE_WAIT)
        try:
            waiting = self._set_state(result, exc)
        finally:
            if held:
                self._condition.release()
        for each in waiting:
            self._tell(each)

    def _set_state(self, result: Any, exc: BaseException | None) -> list[Any]:
        """Set the standard class's state, with its condition held; return the waiters of
        :func:`concurrent.futures.wait`.
        """
        standard: Any = self
        standard._result, standard._exception = result, exc
        standard._state = "CANCELLED_AND_NOTIFIED" if isinstance(exc, CancelledError) else "FINISHED"
        return list(standard._waiters)

    def _pass_on(self, waiting: list[Any]) -> None:
        for each in waiting:
            # A thread interrupted in wait() can leave these taken, so the engine thread does not wait for them.
            locks = (getattr(each, "lock", None), each.event._cond._lock)
            if any(lock is not None and lock.locked() for lock in locks):
                self._submit(partial(self._tell, each))
            else:
                self._tell(each)

    def _tell(self, waiting: Any) -> None:
        if self.cancelled():
            waiting.add_cancelled(self)
        elif self.outcome is not None and self.outcome[1] is not None:
            waiting.add_exception(self)
        else:
            waiting.add_result(self)


class ExpectedEvent(DetachedFuture[T]):
    """The future of an event; its :meth:`result` raises :exc:`~pyami_sync.WaitTimeout` if no event comes in time."""

    __module__ = "pyami_sync"  # its public path

    def __init__(self, submit: Submit, selectors: str, on_cancel: Callable[[], None] | None = None) -> None:
        super().__init__(submit, on_cancel)
        self._selectors = selectors
        self._can_help: Callable[[], bool] | None = None
        self._help: Callable[[], None] = lambda: None
        self.reported = False
        """True if :meth:`result` has raised, so that the caller knows that the event did not come."""

    def help_with(self, can_help: Callable[[], bool], help_now: Callable[[], None]) -> None:
        """Let a thread that waits in :meth:`result` call ``help_now()``, which may resolve the future, while
        ``can_help()`` is true.

        If all callback threads wait here, none is left to do it.
        """
        self._can_help, self._help = can_help, help_now

    def look_again(self) -> None:
        """Have the waiting threads call ``can_help()`` again."""
        self._done.notify_all()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the event, at most ``timeout`` seconds.

        Raises:
            WaitTimeout: none came in time.
            ConnectionClosed: the session ended first.

        """
        try:
            return super().result(timeout)
        except TimeoutError as exc:
            self.reported = True
            if self.done() and not isinstance(exc, WaitTimeout):
                raise
            raise WaitTimeout(self._selectors, timeout) from None
        except Exception:
            self.reported = True
            raise

    def _wait(self, timeout: float | None) -> tuple[Any, BaseException | None]:
        can_help = self._can_help
        if can_help is None:
            return super()._wait(timeout)
        deadline = Deadline(timeout)
        while self._wait_until(lambda: self.done() or can_help(), deadline):
            # If a signal handler raises while the main thread runs a predicate, that looks like an exception of the
            # predicate. So the main thread leaves predicates to callback threads while one is free.
            if current_thread() is main_thread():
                left = deadline.remaining()
                self._done.wait(self.done, PATIENCE if left is None else min(left, PATIENCE))
            if self.outcome is not None:
                return self.outcome
            self._help()  # does nothing if another thread runs the predicate
        raise TimeoutError
