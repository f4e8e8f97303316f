"""Handing out changes: each subscriber has a bounded buffer of its own and is told what it lost."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Condition, Lock
from typing import Any, Generic, Self, TypeVar

from ..engine.deadline import Deadline
from ..exceptions import ConnectionClosed, EventsLost, WaitTimeout
from .draft import Change

__all__ = ["ChangeStream", "ChangeSubscription", "Feed"]

logger = logging.getLogger("pyami_sync")
T = TypeVar("T")
MAXSIZE = 50_000


class Subscriber:
    """One taker of changes.

    Args:
        owner: where it is registered.
        kinds: classes of entities; none means all.
        maxsize: most changes in the buffer.

    """

    def __init__(self, owner: Feed, kinds: tuple[type, ...], maxsize: int) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize must be a positive number of changes, not {maxsize!r}")
        self._owner = owner
        self._kinds = frozenset(kinds)
        self._maxsize = maxsize
        self._lock = Lock()
        self._buffer: deque[Change[Any] | int] = deque()  # a number stands for so many changes that were lost there
        self.lost = 0
        """Changes lost so far because the buffer was full."""

    def offer(self, changes: list[Change[Any]]) -> None:
        """Put changes into the buffer as far as they fit; never waits."""
        kinds, buffer = self._kinds, self._buffer
        with self._lock:
            for change in changes:
                if kinds and change.kind not in kinds:
                    continue
                if len(buffer) < self._maxsize:
                    buffer.append(change)
                    continue
                self.lost += 1
                last = buffer[-1]
                if isinstance(last, int):
                    buffer[-1] = last + 1
                else:
                    buffer.append(1)
            some = bool(buffer)
        if some:
            self.wake()

    def wake(self) -> None:
        """Let the taker look into the buffer."""
        raise NotImplementedError

    def finish(self) -> None:
        """Note that no more changes will come."""
        raise NotImplementedError


class ChangeStream(Subscriber, Generic[T]):
    """Changes in their order: an iterator and a context manager.

    Iterating blocks until the next change and ends when the live model is closed. A buffer that has overflowed raises
    :exc:`~pyami_sync.EventsLost` at the place where changes are missing; look at :meth:`Live.view` then and go on.
    """

    def __init__(self, owner: Feed, kinds: tuple[type, ...], maxsize: int, timeout: float | None) -> None:
        super().__init__(owner, kinds, maxsize)
        self._timeout = timeout
        self._some = Condition(self._lock)
        self._ended = False

    def get(self, timeout: float | None = None) -> Change[T]:
        """Wait for the next change, at most `timeout` seconds (None: for ever).

        Raises:
            WaitTimeout: none came in time.
            EventsLost: changes are missing at this place.
            ConnectionClosed: the stream or the model was closed, and the buffer is empty.

        """
        self._owner.check_thread("waiting for a change")
        deadline = Deadline(timeout)
        with self._some:
            while not self._buffer:
                if self._ended:
                    raise ConnectionClosed("the live model was closed")
                remaining = deadline.remaining()
                if remaining == 0:
                    raise WaitTimeout("a change", timeout)
                self._some.wait(remaining)
            change = self._buffer.popleft()
        if isinstance(change, int):
            raise EventsLost(change)
        return change

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change[T]:
        try:
            return self.get(self._timeout)
        except (WaitTimeout, ConnectionClosed):
            raise StopIteration from None

    def wake(self) -> None:
        with self._some:
            self._some.notify()

    def finish(self) -> None:
        with self._some:
            self._ended = True
            self._some.notify_all()

    def close(self) -> None:
        """Take no more changes; waiting threads are released."""
        self._owner.remove(self)
        with self._some:
            self._buffer.clear()
        self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class ChangeSubscription(Subscriber):
    """A registered callback: called one change at a time, in their order, on a callback thread."""

    def __init__(
        self, owner: Feed, kinds: tuple[type, ...], maxsize: int, callback: Callable[[Change[Any]], object]
    ) -> None:
        super().__init__(owner, kinds, maxsize)
        self.callback = callback
        self._scheduled = False
        self._active = True

    def cancel(self) -> None:
        """Stop: no further call begins; one under way goes on to its end."""
        self._owner.remove(self)
        self._active = False

    def wake(self) -> None:
        with self._lock:
            if self._scheduled or not self._buffer:
                return
            self._scheduled = True
        self._owner.submit(self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                # Under the lock, so that a change offered now either is seen here or starts the next run.
                if not self._buffer or not self._active:
                    self._scheduled = False
                    return
                change = self._buffer.popleft()
            if isinstance(change, int):
                logger.warning("a callback for changes does not keep up: %d changes were lost", change)
                continue
            try:
                self.callback(change)
            except BaseException:  # sys.exit() too: it must not keep the next change from being told
                logger.exception("a callback for changes raised")

    def finish(self) -> None:
        """Leave what is in the buffer to the callback."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()


class Feed:
    """All subscribers to the changes of one model.

    Args:
        submit: hands a job to the callback threads.
        check_thread: raises on a thread that must not block.

    """

    def __init__(self, submit: Callable[[Callable[[], None]], None], check_thread: Callable[[str], None]) -> None:
        self.submit = submit
        self.check_thread = check_thread
        self._lock = Lock()
        self._subscribers: tuple[Subscriber, ...] = ()
        self._ended = False

    def add(self, subscriber: Subscriber) -> None:
        """Give it every matching change from now on."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)
            ended = self._ended
        if ended:
            subscriber.finish()

    def remove(self, subscriber: Subscriber) -> None:
        """Give it no more."""
        with self._lock:
            self._subscribers = tuple(each for each in self._subscribers if each is not subscriber)

    def offer(self, changes: list[Change[Any]]) -> None:
        """Hand changes to all subscribers; never waits. One thread at a time may call it."""
        for subscriber in self._subscribers:
            subscriber.offer(changes)

    def finish(self) -> None:
        """Note that no more changes will come."""
        with self._lock:
            self._ended = True
            subscribers = self._subscribers
        for subscriber in subscribers:
            subscriber.finish()
