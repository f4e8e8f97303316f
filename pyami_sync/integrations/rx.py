"""Events as a reactivex ``Observable`` (extra ``rx``).

::

    calls = client.observable("Newchannel", "Hangup")
    calls.pipe(ops.map(lambda event: event["Channel"])).subscribe(print)

The observable is cold: each subscription to it is a subscription of its own at the client, from then on, and
disposing it cancels that. Observers are called one event at a time, in wire order, on a callback thread of the
client, so that they may block and may use the client in any way. What one raises is logged and told to the
client's error hooks, and the next event is delivered all the same.

Back-pressure: Rx knows none, so each subscription has a bounded buffer, which an observer slower than the
server fills. With ``overflow="error"`` the sequence then ends with :exc:`~pyami_sync.EventsLost` at the place
where events are missing (``retry()`` begins anew); with ``"drop_oldest"`` the oldest events go, and
``client.stats()`` counts them. Neither slows down anybody else.

It may be subscribed to before the client is opened, so that nothing is missed.

How it ends: closing the client completes the sequence (what still waits for a slow observer is dropped, as it is
for callbacks); a link lost for good ends it with :exc:`~pyami_sync.ConnectionLost` behind the last event. A link
that comes back ends nothing: sequences of all events, and those that name them, show the markers
``ConnectionLost`` and ``Reconnected`` at their place.
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
    """One observer's subscription: a strand of callbacks that also says how it ends."""

    def __init__(self, observer: ObserverBase[Any], *args: Any) -> None:
        super().__init__(observer.on_next, *args)
        self._observer = observer

    def finish(self, exc: ConnectionClosed | None) -> None:
        """End behind the events of a loss, or at once at a close."""
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
            # Here and now: the callback threads end with the client and may not come to it any more.
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
    """Make an observable of the events of a client, or of a cluster.

    Args:
        source: a client or a :class:`~pyami_sync.ClusterPool`.
        selectors: event names, globs or event classes; none means every event.
        where: a predicate (runs where the observer does), or a mapping of headers to values or globs.
        maxsize: most events that may wait for an observer.
        overflow: what happens beyond: ``"error"`` ends the sequence with :exc:`~pyami_sync.EventsLost`;
            ``"drop_oldest"`` drops the oldest and counts.

    """
    choice = Selectors(selectors)

    def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
        emission = Emission(observer, choice, where, maxsize, overflow, source.subscriptions)
        source.subscriptions.add(emission)
        if source._over() and not (isinstance(source, AMIClient) and source.stats().connects == 0):
            emission.finish(None)
        return Disposable(emission.cancel)

    return Observable(subscribe)
