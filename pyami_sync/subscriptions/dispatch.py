"""Which subscribers get an event, from its first bytes on.

The cost of an event does not depend on how many subscriptions there are: a name leads, through one dict, to
the subscribers that want it, and an event that nobody wants is never made into an object.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from ..exceptions import ConnectionClosed
from ..wire.lookup import make_event
from ..wire.message import Event
from ..wire.origin import Origin
from .selectors import Selectors
from .subscribers import Subscriber, Subscription

__all__ = ["PREFIX", "DispatchTable", "Subscriptions"]

logger = logging.getLogger("pyami_sync")

KNOWN_NAMES = 5_000
KNOWN_PREFIXES = 20_000
PREFIX = 36  # bytes: "Event: ", all but the longest names, and into the next header's name


class HasSelectors(Protocol):
    """A consumer of events."""

    selectors: Selectors


Taker = TypeVar("Taker", bound=HasSelectors)
Route = tuple[type[Event], str, tuple[Taker, ...]]


class DispatchTable(Generic[Taker]):
    """From how an event begins on the wire to its class, name and takers; :data:`None` where nobody wants it.

    The key is the first :data:`PREFIX` bytes. After its name an event has a header whose value hardly
    varies (``Privilege``, or of list items the ``ActionID``), so there are not many more of these than names;
    and cutting off a fixed length costs less than finding the end of the name. Where the name is longer the
    route is empty: :meth:`of` looks closer.
    """

    def __init__(
        self, takers: tuple[Taker, ...], event_class: Callable[[bytes], type[Event]], version: object = None
    ) -> None:
        self.takers = takers
        self.version = version
        self.by_prefix: dict[bytes, Route[Taker] | tuple[()] | None] = {}
        self._event_class = event_class
        self._by_name: dict[str, Route[Taker] | None] = {}
        # One tuple for all names that the same takers want: publish() sees at a glance that nothing changes.
        self._groups: dict[tuple[Taker, ...], tuple[Taker, ...]] = {}

    def find(self, prefix: bytes) -> Route[Taker] | tuple[()] | None:
        """The route of a prefix that is new."""
        if len(self.by_prefix) >= KNOWN_PREFIXES:  # they come from outside: don't let them pile up
            self.by_prefix.clear()
        route = () if len(prefix) == PREFIX and b"\r\n" not in prefix else self.of(prefix)
        self.by_prefix[prefix] = route
        return route

    def of(self, frame: bytes) -> Route[Taker] | None:
        """The route of an event, by its first line."""
        name = Event._wire(frame.partition(b"\r\n")[0]).name
        try:
            return self._by_name[name]
        except KeyError:
            pass
        if len(self._by_name) >= KNOWN_NAMES:
            self._by_name.clear()
            self._groups.clear()
        cls = self._event_class(name.encode("utf-8", "surrogateescape"))
        wanted = tuple(taker for taker in self.takers if taker.selectors.want(name, cls))
        wanted = self._groups.setdefault(wanted, wanted)
        route = self._by_name[name] = (cls, name, wanted) if wanted else None
        return route


Batches = dict[Subscriber, list[Event]]


def _spread(events: list[Event], takers: tuple[Subscriber, ...], batches: Batches) -> None:
    """Add events to the batches of those who take them."""
    for taker in takers:
        accepts = taker.accepts
        wanted = events if accepts is None else list(filter(accepts, events))
        if wanted:
            batch = batches.get(taker)
            if batch is None:
                batches[taker] = wanted[:]
            else:
                batch += wanted


class Subscriptions:
    """All subscribers of one client, or of one cluster.

    Any thread may add and remove, a signal handler and a finalizer too; :meth:`publish` belongs to the engine. There
    is no lock: the subscribers are the keys of a dict, which are added and removed atomically, and each change is a
    new version. The publishing thread makes new routes if its own are of an older version, and if another thread then
    puts older ones in their place, the next one to publish sees that.

    Args:
        submit: hands a job to the callback threads.
        event_class: which class an event is, by its name on the wire.
        report: error hook, called on a callback thread.
        check_thread: called before a thread waits for an event; raises when it must not, or would for ever.
        added: called with each new subscriber, on its thread, before it gets events; it does not if this raises.

    """

    def __init__(
        self,
        submit: Callable[[Callable[[], None]], None],
        event_class: Callable[[bytes], type[Event]],
        report: Callable[[BaseException, Subscription, Event | None], None],
        check_thread: Callable[[str], None],
        added: Callable[[Subscriber], None] | None = None,
    ) -> None:
        self.submit = submit
        self.report = report
        self.check_thread = check_thread
        self.event_class = event_class
        self._added = added
        self._joining: dict[Subscriber, None] = {}
        self._takers: dict[Subscriber, None] = {}
        self._version = object()
        self._table: DispatchTable[Subscriber] = DispatchTable((), event_class, self._version)

    def add(self, taker: Subscriber) -> None:
        """Deliver every matching event to it from now on."""
        self._joining[taker] = None
        try:
            if self._added is not None:
                self._added(taker)
            self._takers[taker] = None
            self._version = object()  # after the change: a thread that sees this sees the change
        finally:
            self._joining.pop(taker, None)

    def everybody(self) -> list[Subscriber]:
        """Return who gets events, and who is about to."""
        return [*self._joining, *self._takers]  # in this order, or one that moves meanwhile is in neither

    def remove(self, taker: Subscriber) -> None:
        """Deliver nothing more to it."""
        if self._takers.pop(taker, taker) is None:
            self._version = object()

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(list(self._takers))

    def __len__(self) -> int:
        return len(self._takers)

    def _renewed(self) -> DispatchTable[Subscriber]:
        version = self._version  # before the subscribers are read
        routes = self._table = DispatchTable(tuple(self._takers), self.event_class, version)
        return routes

    def publish(self, frames: list[bytes], origin: Origin) -> None:
        """Offer raw events, of one read, to those who want them, in wire order."""
        if not self._takers:
            return
        try:
            self._offer(self._sorted(frames, origin))
        except Exception:
            # Such as a MemoryError, with nothing offered yet. One by one as many as possible get through.
            logger.exception("publishing %d events raised; each is published by itself", len(frames))
            for frame in frames:
                try:
                    batches = self._sorted([frame], origin)
                except Exception:
                    for taker in self:
                        taker.missed += 1
                else:
                    self._offer(batches)

    def _offer(self, batches: Batches) -> None:
        """Deliver its events to each subscriber; what goes wrong with one costs no other one anything."""
        again = []
        for taker, batch in batches.items():
            try:
                taker.store(batch)
            except Exception:
                taker.missed += len(batch)
                logger.exception("%r could not take %d events", taker, len(batch))
            try:
                taker.wake()
            except Exception:
                again.append(taker)
        for taker in again:
            try:
                taker.wake()
            except Exception:
                logger.exception("%r could not be told of events; it will be with the next one", taker)

    def _sorted(self, frames: list[bytes], origin: Origin) -> Batches:
        """Return which events each subscriber gets. Keeps nothing: an exception leaves no trace for the next call."""
        routes = self._table
        if routes.version is not self._version:
            routes = self._renewed()
        batches: Batches = {}
        by_prefix = routes.by_prefix
        run: list[Event] = []  # events one after the other that go to the same takers
        run_takers: tuple[Subscriber, ...] = ()
        for frame in frames:
            try:
                route = by_prefix[frame[:PREFIX]]
            except KeyError:
                route = routes.find(frame[:PREFIX])
            if not route:
                if route is None:
                    continue
                route = routes.of(frame)
                if route is None:
                    continue
            cls, name, takers = route
            if takers is not run_takers:
                if run:
                    _spread(run, run_takers, batches)
                run, run_takers = [], takers
            run.append(make_event(cls, frame, origin, name))
        _spread(run, run_takers, batches)
        return batches

    def publish_marker(self, event: Event) -> None:
        """Offer a marker that the library made to those who want every event or name this one."""
        for taker in self:
            if taker.selectors.want_marker(event.name, type(event)) and (taker.accepts is None or taker.accepts(event)):
                taker.offer([event])

    def reopen(self) -> None:
        """Let callbacks be called again by new threads; what waited for the old ones is of a session that is over."""
        for taker in self:
            if isinstance(taker, Subscription):
                taker.after_fork()

    def after_fork(self) -> None:
        """Keep the subscribers in a forked child; what waits in their buffers is the parent's to deliver."""
        for taker in self:
            taker.after_fork()

    def finish(self, exc: ConnectionClosed | None, *, only_loss_sensitive: bool = False) -> None:
        """Report to all subscribers that no more events will come (of a loss, only to those that can't outlast one)."""
        for taker in self:
            if not only_loss_sensitive or getattr(taker, "fail_on_loss", False):
                taker.finish(exc)
