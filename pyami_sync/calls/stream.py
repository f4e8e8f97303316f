"""CallEvents: a stream of the events of one call, from its beginning on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Self

from ..engine.waiting import Waiters
from ..exceptions import EventsLost, WaitTimeout
from ..wire.message import Event

__all__ = ["CallEvents"]

MAXSIZE = 10_000


class CallEvents:
    """An iterator over the events of one call; it ends with the call, or when it is closed.

    Iterating blocks until the next event, and ends when none arrived for ``timeout`` seconds. If more than 10,000
    events wait, further ones are dropped, and :exc:`~pyami_sync.EventsLost` is raised at their place.
    """

    def __init__(self, events: list[Event], timeout: float | None) -> None:
        self.timeout = timeout
        self._buffer: deque[Event] = deque(events)
        self._lost = 0
        self._ended = False
        self._waiters = Waiters()

    def push(self, event: Event) -> None:
        """Add an event; called on the thread that follows calls, never blocks."""
        if len(self._buffer) >= MAXSIZE:
            self._lost += 1
            return
        self._buffer.append(event)
        self._waiters.notify_all()

    def close(self) -> None:
        """End the iteration after the events that are in the buffer."""
        self._ended = True
        self._waiters.notify_all()

    def get(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event, at most ``timeout`` seconds, and return it; :data:`None` if the call has ended.

        Raises:
            WaitTimeout: none came in time.
            EventsLost: events are missing at this place.

        """
        if not self._waiters.wait(lambda: self._buffer or self._lost or self._ended, timeout):
            raise WaitTimeout("events of the call", timeout)
        try:
            return self._buffer.popleft()
        except IndexError:
            lost, self._lost = self._lost, 0
            if lost:
                raise EventsLost(lost) from None
            return None

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            event = self.get(self.timeout)
        except WaitTimeout:
            raise StopIteration from None
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
