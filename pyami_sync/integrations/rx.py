"""Events as a reactivex ``Observable`` (extra ``rx``).

::

    calls = client.observable("Newchannel", "Hangup")
    calls.pipe(ops.map(lambda event: event["Channel"])).subscribe(print)

The observable is cold: each subscription to it makes a new subscription at the client, which is cancelled when the
former is disposed. Observers are called with one event at a time, in wire order, on a callback thread of the client,
so they may block and use the client in any way. Their exceptions are logged and reported to the client's error hooks;
later events are still delivered.

Rx has no back-pressure, so each subscription has a bounded buffer, which fills if its observer is slower than the
server. With ``overflow="error"`` the sequence then ends with :exc:`~pyami_sync.EventsLost` at the place where events
are missing (``retry()`` subscribes again); with ``"drop_oldest"`` the oldest events are dropped and counted in
``client.stats()``. Other subscriptions are not affected.

It can be subscribed to before the client is opened, so that no event is missed.

Closing the client completes the sequence (events that wait for a slow observer are dropped, as for callbacks). If the
link is lost and the session does not reconnect, the sequence ends with :exc:`~pyami_sync.ConnectionLost` after the
last event. If it reconnects, the sequence continues; sequences of all events, and those that name them, contain the
markers ``ConnectionLost`` and ``Reconnected``.
"""

from __future__ import annotations

from typing import Any

from ..client import AMIClient
from ..exceptions import ConcurrencyError, ConnectionClosed, EventsLost
from ..subscriptions.listener import Listener
from ..subscriptions.selectors import Selector, Selectors, Where
from ..subscriptions.subscribers import MAXSIZE, Overflow, Subscription
from . import missing

try:
    from reactivex import Observable
    from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
    from reactivex.disposable import Disposable
except ModuleNotFoundError:
    raise missing("reactivex", "rx") from None

__all__ = ["observable"]


class Emission(Subscription):
    """The subscription of one observer, which also reports the end of the sequence."""

    def __init__(self, observer: ObserverBase[Any], *args: Any) -> None:
        super().__init__(observer.on_next, *args)
        self._observer = observer

    def finish(self, exc: ConnectionClosed | None) -> None:
        """End after the last event if the link was lost, or at once if the client was closed."""
        if exc is not None or self._end is not None:
            super().finish(exc)
            return
        self._buffer.clear()
        self._end = (exc,)
        try:
            self._owner.check_thread("ending an observable")
        except ConcurrencyError:
            self.wake()
        else:
            # On this thread: the callback threads end with the client and may not run it any more.
            self.deliver()

    def completed(self, exc: Exception | None) -> None:
        self.cancel()
        try:
            if exc is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(exc)
        except (Exception, SystemExit) as raised:
            self._owner.report(raised, self, None)

    def missing(self, lost: EventsLost) -> None:
        self._completed = True
        self.completed(lost)


def observable(
    source: Listener,
    *selectors: Selector,
    where: Where = None,
    maxsize: int = MAXSIZE,
    overflow: Overflow = "error",
) -> Observable[Any]:
    """Return an observable of the events of a client, or of a cluster.

    Args:
        source: a client or a :class:`~pyami_sync.ClusterPool`.
        selectors: event names, globs or event classes; none means every event.
        where: a predicate (runs on the observer's thread), or a mapping of headers to values or globs.
        maxsize: most events in an observer's buffer.
        overflow: what happens when it is full: ``"error"`` ends the sequence with :exc:`~pyami_sync.EventsLost`;
            ``"drop_oldest"`` drops the oldest events and counts them.

    """
    choice = Selectors(selectors)

    def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
        emission = Emission(observer, choice, where, maxsize, overflow, source.subscriptions)
        source.subscriptions.add(emission)
        if source._over() and not (isinstance(source, AMIClient) and source.stats().connects == 0):
            emission.finish(None)
        return Disposable(emission.cancel)

    return Observable(subscribe)
