"""CallEvents: a stream of the events of one call, from its beginning on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Self

from ..engine.deadline import Deadline
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

    def __init__(self, timeout: float | None, check_thread: Callable[[str], None]) -> None:
        self.timeout = timeout
        self._check_thread = check_thread
        self._earlier: deque[Event] = deque()
        self._last = 0  # the number of the last of these
        self._buffer: deque[tuple[int, Event]] = deque()
        self._lost = 0
        self._ended = False
        self._waiters = Waiters()

    def begin(self, earlier: list[tuple[int, Event]]) -> None:
        """Begin with earlier events; some of them may have been pushed as well, and are given out once."""
        if earlier:
            self._last = earlier[-1][0]
            self._earlier.extend(event for _, event in earlier)

    def push(self, number: int, event: Event) -> None:
        """Add an event, ``number`` counts those of the call; called on the thread that follows calls, never blocks."""
        if len(self._buffer) >= MAXSIZE:
            self._lost += 1
            return
        self._buffer.append((number, event))
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
            ConcurrencyError: on a thread that events come from.

        """
        self._check_thread("waiting for an event of a call")
        deadline = Deadline(timeout)
        while self._waiters.wait(self._ready, deadline.remaining()):
            try:
                return self._earlier.popleft()
            except IndexError:
                pass
            try:
                number, event = self._buffer.popleft()
            except IndexError:
                lost, self._lost = self._lost, 0
                if lost:
                    raise EventsLost(lost) from None
                return None
            if number > self._last:
                return event
        raise WaitTimeout("events of the call", timeout)

    def _ready(self) -> bool:
        return bool(self._earlier or self._buffer or self._lost or self._ended)

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
