"""Handing out changes: each subscriber has a bounded buffer of its own and is told what it lost."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from ..engine.deadline import Deadline
from ..engine.handle import Handle
from ..engine.waiting import Waiters
from ..exceptions import ConnectionClosed, WaitTimeout
from ..subscriptions.gap import Gap
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
        self._buffer: deque[Change[Any] | Gap] = deque()
        self._gap: Gap | None = None  # the one at the buffer's end while it overflows
        self.lost = 0
        """Changes lost so far because the buffer was full."""

    def offer(self, changes: list[Change[Any]]) -> None:
        """Put changes into the buffer as far as they fit; never waits."""
        kinds, buffer = self._kinds, self._buffer
        for change in changes:
            if kinds and change.kind not in kinds:
                continue
            if len(buffer) < self._maxsize:
                self._gap = None
                buffer.append(change)
                continue
            self.lost += 1
            untold = (1, {}) if self._gap is None else self._gap.grow(1, None)
            if untold is not None:  # none at the buffer's end, or one that has been taken
                self._gap = Gap(untold)
                buffer.append(self._gap)
        if buffer:
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
        self._some = Waiters()
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
        while True:
            try:
                change = self._buffer.popleft()
            except IndexError:
                if self._ended:
                    raise ConnectionClosed("the live model was closed") from None
                if not self._some.wait(lambda: self._buffer or self._ended, deadline.remaining()):
                    raise WaitTimeout("a change", timeout) from None
                continue
            if isinstance(change, Gap):
                lost = change.take()
                if lost is not None:
                    raise lost
                continue
            return change

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change[T]:
        try:
            return self.get(self._timeout)
        except (WaitTimeout, ConnectionClosed):
            raise StopIteration from None

    def wake(self) -> None:
        self._some.notify_all()

    def finish(self) -> None:
        self._ended = True
        self._some.notify_all()

    def close(self) -> None:
        """Take no more changes; waiting threads are released."""
        self._owner.remove(self)
        self._buffer.clear()
        self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class ChangeSubscription(Subscriber, Handle[Callable[[Change[Any]], object]]):
    """A registered callback: called one change at a time, in their order, on a callback thread."""

    def __init__(
        self, owner: Feed, kinds: tuple[type, ...], maxsize: int, callback: Callable[[Change[Any]], object]
    ) -> None:
        Subscriber.__init__(self, owner, kinds, maxsize)
        Handle.__init__(self, callback)
        self.callback = callback
        # Holds one entry, or none while a job is on a callback thread or about to be: taking the entry is atomic.
        self._unscheduled: deque[None] = deque((None,), 1)
        self._active = True

    def cancel(self) -> None:
        """Stop: no further call begins; one under way goes on to its end."""
        self._owner.remove(self)
        self._active = False

    def wake(self) -> None:
        try:
            self._unscheduled.pop()
        except IndexError:
            return
        self._owner.submit(self._run)

    def _run(self) -> None:
        while True:
            try:
                change = self._buffer.popleft()
            except IndexError:
                self._unscheduled.append(None)  # and only then the last look: a change offered since woke nobody
                if self._buffer:
                    self.wake()
                return
            if not self._active:
                continue
            if isinstance(change, Gap):
                lost = change.take()
                logger.warning("a callback for changes does not keep up: %d were lost", lost.count if lost else 0)
                continue
            try:
                self.callback(change)
            except BaseException:  # sys.exit() too: it must not keep the next change from being told
                logger.exception("a callback for changes raised")

    def finish(self) -> None:
        """Leave what is in the buffer to the callback."""


class Feed:
    """All subscribers to the changes of one model.

    Args:
        submit: hands a job to the callback threads.
        check_thread: raises on a thread that must not block.

    """

    def __init__(self, submit: Callable[[Callable[[], None]], None], check_thread: Callable[[str], None]) -> None:
        self.submit = submit
        self.check_thread = check_thread
        self._subscribers: dict[Subscriber, None] = {}  # each change of it is one atomic step
        self._ended = False

    def add(self, subscriber: Subscriber) -> None:
        """Deliver every matching change to it from now on."""
        self._subscribers[subscriber] = None
        if self._ended:
            subscriber.finish()

    def remove(self, subscriber: Subscriber) -> None:
        """Deliver nothing more to it."""
        self._subscribers.pop(subscriber, None)

    def offer(self, changes: list[Change[Any]]) -> None:
        """Hand changes to all subscribers; never waits. One thread at a time may call it."""
        for subscriber in list(self._subscribers):
            subscriber.offer(changes)

    def finish(self) -> None:
        """Note that no more changes will come."""
        self._ended = True  # before the look at who is there: whoever comes later finds it
        for subscriber in list(self._subscribers):
            subscriber.finish()
