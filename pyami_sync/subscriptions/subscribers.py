"""Subscribers: callbacks, streams and expectations, each with its own bounded buffer.

The engine thread puts events into the buffers and never waits; they are consumed on the thread of a stream's user, or
on a callback thread, one call at a time for each subscription (a strand). When a subscriber is too slow, its buffer
fills; the number of events lost is then reported to it at the place in the order where they are missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import repeat, starmap
from typing import TYPE_CHECKING, Any, Generic, Literal, Self

from ..engine.deadline import Deadline
from ..engine.futures import ExpectedEvent
from ..engine.handle import Handle
from ..engine.waiting import Waiters
from ..exceptions import ConnectionClosed, EventsLost, WaitTimeout
from ..wire.message import Event
from .gap import Gap, add_loss
from .selectors import HeaderFilter, Selectors, Where, freeze, header_filter

__all__ = ["EventStream", "Expectation", "Gap", "Overflow", "Subscriber", "Subscription"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # type checkers include it

    from .dispatch import Subscriptions

    E_co = TypeVar("E_co", bound=Event, covariant=True, default=Any)
else:
    from typing import TypeVar

    E_co = TypeVar("E_co", bound=Event, covariant=True)

Overflow = Literal["error", "drop_oldest"]
MAXSIZE = 50_000
BURST = 1_000  # callbacks that a strand runs before it leaves its thread to another strand


class Subscriber:
    """Base class: a consumer of events with its selection, its buffer and its counts.

    Args:
        selectors: which events by name.
        where: which of these by their headers. A mapping is tested on the engine thread; a predicate is user code and
            runs on the thread that consumes the events.
        maxsize: most events in the buffer.
        overflow: what happens when it is full.

    """

    def __init__(self, selectors: Selectors, where: Where, maxsize: int, overflow: Overflow) -> None:
        if overflow not in ("error", "drop_oldest"):
            raise ValueError(f"overflow must be 'error' or 'drop_oldest', not {overflow!r}")
        if not isinstance(maxsize, int) or maxsize < 1:
            raise ValueError(f"maxsize must be a positive number of events, not {maxsize!r}")
        self.selectors = selectors
        self.accepts: HeaderFilter | None = None
        self.predicate: Callable[[Any], object] | None = None
        self.where = where
        """The selection by headers."""
        if callable(where):
            self.predicate = where
        elif where is not None:
            self.where = where = freeze(where)  # the user may change the original
            self.accepts = header_filter(where)
        self.maxsize = maxsize
        self.overflow = overflow
        self.delivered = 0
        """Number of events delivered to the user."""
        self.lost = 0
        """Number of events lost because the buffer was full."""
        self._lost_by_node: dict[str, int] = {}
        self.active = True
        """True while it gets events."""
        self.missed = 0  # events that could not be stored, for example after a MemoryError; reported with the next ones
        self._buffer: deque[Event | Gap] = deque()
        self._gap: Gap | None = None  # the gap at the end of the buffer, while it overflows
        self._end: tuple[ConnectionClosed | None] | None = None  # the session's end, after the events in the buffer

    @property
    def pending(self) -> int:
        """Number of events in the buffer."""
        return len(self._buffer)

    @property
    def lost_by_node(self) -> dict[str, int]:
        """In a cluster, the events of :attr:`lost` by node id."""
        return dict(self._lost_by_node)

    def _lose(self, count: int, node: str | None) -> None:
        self.lost += count
        if node is not None:
            self._lost_by_node[node] = self._lost_by_node.get(node, 0) + count

    def offer(self, events: list[Event]) -> None:
        """Put events of one origin into the buffer, as far as they fit, and wake the consumer; on the engine thread."""
        self.store(events)
        self.wake()

    def store(self, events: list[Event]) -> None:
        """Put events into the buffer without waking the consumer."""
        buffer = self._buffer
        if self.missed:
            if self.overflow == "error":
                buffer.append(Gap((self.missed, {})))
            self.lost += self.missed
            self.missed = 0
            self._gap = None
        room = self.maxsize - len(buffer)
        if len(events) <= room:
            self._gap = None
            buffer.extend(events)
        elif self.overflow == "drop_oldest":
            buffer.extend(events)
            for _ in range(len(buffer) - self.maxsize):
                try:
                    dropped = buffer.popleft()
                except IndexError:  # taken in the meantime
                    break
                self._lose(1, dropped._origin.node if isinstance(dropped, Event) else None)
        else:
            # One place beyond the maximum is reserved for the gap, which counts events until the buffer has room
            # again.
            if room > 0:
                self._gap = None
                buffer.extend(events[:room])
                events = events[room:]
            node = events[0]._origin.node
            gap = self._gap
            loss = add_loss((0, {}), len(events), node) if gap is None else gap.grow(len(events), node)
            if loss is not None:
                self._gap = Gap(loss)
                buffer.append(self._gap)
            self._lose(len(events), node)

    def wake(self) -> None:
        """Wake the consumer, because there is something in the buffer."""
        raise NotImplementedError

    def after_fork(self) -> None:
        """Reset the state in a forked child: an empty buffer, and locks that no thread of the parent holds."""
        self._buffer = deque()
        self._gap = None

    def finish(self, exc: ConnectionClosed | None) -> None:
        """Report that no more events will come; any thread may call this, and only the first call counts.

        The events in the buffer are still delivered. After them the subscription completes: a stream ends or raises,
        and a callback's strand calls :meth:`Subscription.completed`.
        """
        if self._end is None:
            self._end = (exc,)
        self.wake()


class Subscription(Subscriber, Handle[Callable[[Any], object]]):
    """A registered callback.

    Its calls run one at a time, in wire order, on a callback thread. They may call any blocking method of the
    client. An exception in a callback is logged and reported to the error hook; later events are still delivered.
    Leaving its ``with`` block cancels the subscription.
    """

    __module__ = "pyami_sync"  # its public path

    def __init__(
        self,
        callback: Callable[[Any], object],
        selectors: Selectors,
        where: Where,
        maxsize: int,
        overflow: Overflow,
        owner: Subscriptions,
    ) -> None:
        Subscriber.__init__(self, selectors, where, maxsize, overflow)
        Handle.__init__(self, callback)
        self.callback = callback
        self._owner = owner
        # Each holds one entry, or none while a thread has taken it. Taking an entry is atomic, so that neither the
        # engine thread nor a finalizer ever waits. A thread that puts one back checks the buffer again.
        self._unscheduled: deque[None] = deque((None,), 1)  # taken: a job for it is on a callback thread or about to be
        self._turn: deque[None] = deque((None,))  # taken: a thread is delivering
        self._completed = False

    def cancel(self) -> None:
        """End the subscription: no further call begins; one that is running on another thread is not interrupted."""
        self._owner.remove(self)
        self.active = False
        self._buffer.clear()

    @property
    def ready(self) -> bool:
        """True if there is something to deliver, and no thread that delivers."""
        return bool(self._turn and (self._buffer or (self._end is not None and not self._completed)))

    def wake(self) -> None:
        # Without a call of `ready`: this runs for each read that brings events.
        if not (self.active and self._turn and (self._buffer or (self._end is not None and not self._completed))):
            return
        scheduled = False
        try:
            self._unscheduled.pop()
            self._owner.submit(self._run)
            scheduled = True
        except IndexError:
            scheduled = True  # by another thread
        finally:
            if not scheduled:  # such as of a MemoryError: the next event tries again; once too often does no harm
                self._unscheduled.append(None)

    def _run(self) -> None:
        try:
            self._deliver_in_turn()
        finally:
            self._unscheduled.append(None)
            self.wake()

    def deliver(self) -> None:
        """Deliver what waits on this thread, unless another one does."""
        try:
            self._deliver_in_turn()
        finally:
            self.wake()

    def _deliver_in_turn(self) -> None:
        """Deliver what waits, unless another thread does; the caller calls :meth:`wake` afterwards."""
        try:
            self._turn.pop()
        except IndexError:
            return
        try:
            self._deliver()
            if self._end is not None and not self._buffer and not self._completed and self.active:
                self._completed = True
                self.completed(self._end[0])
        finally:
            self._turn.append(None)

    def missing(self, lost: EventsLost) -> None:
        """Handle that events are missing at this place in the order."""
        raise lost

    def completed(self, exc: ConnectionClosed | None) -> None:
        """Handle the end of the session; called once, after the last event. Does nothing for callbacks."""

    def _deliver(self) -> None:
        callback, predicate = self.callback, self.predicate
        delivered = 0
        try:
            # One by one: events still in the buffer count as pending, and can still be cancelled.
            for event in starmap(self._buffer.popleft, repeat((), BURST)):
                if not self.active:
                    return
                try:
                    if type(event) is Gap:
                        lost = event.take()
                        if lost is not None:
                            self.missing(lost)
                        continue
                    if predicate is None or predicate(event):
                        delivered += 1
                        callback(event)
                except (Exception, SystemExit) as exc:
                    self._owner.report(exc, self, None if isinstance(event, Gap) else event)
        except IndexError:
            pass  # the buffer is empty
        finally:
            self.delivered += delivered

    def after_fork(self) -> None:
        super().after_fork()
        self._unscheduled = deque((None,), 1)
        self._turn = deque((None,))
        self._end = None
        self._completed = False

    def __repr__(self) -> str:
        name = getattr(self.callback, "__qualname__", repr(self.callback))
        return f"<Subscription {name} to {self.selectors.text}>"


class EventStream(Subscriber, Generic[E_co]):
    """Events in wire order: an iterator and a context manager.

    Iterating blocks until the next event. It ends when the session is closed, when nothing came for
    ``timeout`` seconds, or when the stream is closed. It raises :exc:`~pyami_sync.ConnectionLost` if the link is lost
    and the session does not reconnect, and :exc:`~pyami_sync.EventsLost` at the place where events are missing
    because the buffer overflowed; iteration can continue after that. Several threads may iterate over one stream;
    each event goes to one of them.
    """

    __module__ = "pyami_sync"  # its public path

    def __init__(
        self,
        selectors: Selectors,
        where: Where,
        maxsize: int,
        overflow: Overflow,
        owner: Subscriptions,
        timeout: float | None = None,
    ) -> None:
        super().__init__(selectors, where, maxsize, overflow)
        self.timeout = timeout
        self._owner = owner
        self._waiters = Waiters()

    def get(self, timeout: float | None = None) -> E_co:
        """Wait for the next event, at most ``timeout`` seconds (:data:`None`: no limit), and return it.

        Raises:
            WaitTimeout: none came in time.
            EventsLost: events are missing at this place.
            ConnectionClosed: the stream or the session has ended and the buffer is empty.

        """
        deadline = Deadline(timeout)
        left: int | None = None  # events to examine once the time is up: a flood must not delay the return
        while left != 0:
            event = self._take(deadline)
            if event is None:
                break
            if event.__class__ is Gap:
                lost = event.take()
                if lost is not None:
                    raise lost
                continue
            if self.predicate is None or self.predicate(event):
                self.delivered += 1
                return event  # type: ignore[no-any-return]
            if deadline.expired:
                left = len(self._buffer) if left is None else left - 1
        raise WaitTimeout(self.selectors.text, timeout)

    def _take(self, deadline: Deadline) -> Any:
        try:
            return self._buffer.popleft()  # the usual case under load, without a lock
        except IndexError:
            pass
        self._owner.check_thread("waiting for an event")
        while self._waiters.wait(lambda: self._buffer or self._end is not None, deadline.remaining()):
            try:
                return self._buffer.popleft()
            except IndexError:
                if self._end is not None:
                    raise self._end[0] or ConnectionClosed("the event stream is closed") from None
        return None

    def __iter__(self) -> Iterator[E_co]:
        return self

    def __next__(self) -> E_co:
        try:
            return self.get(self.timeout)
        except WaitTimeout:
            raise StopIteration from None
        except ConnectionClosed as exc:
            if type(exc) is ConnectionClosed:
                raise StopIteration from None
            raise

    def wake(self) -> None:
        self._waiters.notify_all()

    def after_fork(self) -> None:
        super().after_fork()
        self._waiters = Waiters()

    def close(self) -> None:
        """Close the stream: the events in the buffer are dropped, and waiting threads are woken."""
        self._owner.remove(self)
        self.active = False
        self._buffer.clear()
        self.finish(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EventStream of {self.selectors.text}, {self.pending} pending, {self.lost} lost>"


class Expectation(Subscriber):
    """A subscription to one event, which resolves a future."""

    def __init__(self, selectors: Selectors, where: Where, owner: Subscriptions, fail_on_loss: bool) -> None:
        super().__init__(selectors, where, 1, "error")
        self._owner = owner
        self.fail_on_loss = fail_on_loss
        self.future: ExpectedEvent[Any] = ExpectedEvent(owner.submit, selectors.text, self.cancel)

    def store(self, events: list[Event]) -> None:
        if self.active:
            self.active = False
            self._owner.remove(self)
            self.delivered = 1
            self.future.resolve(events[0])

    def wake(self) -> None:
        """Do nothing: the future has woken the waiting threads."""

    def finish(self, exc: ConnectionClosed | None) -> None:
        if self.active:
            self.active = False
            self.future.fail(exc or ConnectionClosed())

    def cancel(self) -> None:
        """End the subscription."""
        self.active = False
        self._owner.remove(self)
