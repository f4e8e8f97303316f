"""Base class of the live models of a server and of a cluster: feeds the reducer with events on a thread of its own."""

from __future__ import annotations

import logging
import os
import weakref
from collections import deque
from collections.abc import Callable
from itertools import count
from threading import Lock, Thread, get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from ..engine.deadline import Deadline
from ..engine.waiting import Waiters
from ..exceptions import AMIError, ConnectionClosed, EventsLost, WaitTimeout
from ..wire.message import Event
from .areas import choose
from .audit import Auditor
from .calls import Call, CallRecord
from .draft import Change
from .feed import MAXSIZE, ChangeStream, ChangeSubscription, Feed
from .ladder import explain
from .reducer import Reducer
from .tracker import Tracker

if TYPE_CHECKING:
    from ..client import AMIClient
    from ..cluster.pool import ClusterPool

__all__ = ["Base"]

logger = logging.getLogger("pyami_sync")
T = TypeVar("T")
models: weakref.WeakSet[Base] = weakref.WeakSet()
TICK = 0.25  # seconds after which wait() checks again without a change: its predicate may depend on time
MARKERS = ("ConnectionLost", "Reconnected", "FullyBooted")
BATCH = 200  # events applied before the model is published and its lock released


class Base:
    """Base class of the live models of one server and of a cluster.

    Args:
        source: the client or the pool.
        areas: names of the areas to include.
        audit: seconds between two comparisons with fresh lists; None for never.
        history: how many events are kept for :meth:`Live.explain`.
        records: how many records of ended calls are kept.

    """

    def __init__(
        self, source: AMIClient | ClusterPool, areas: tuple[str, ...], audit: float | None, history: int, records: int
    ) -> None:
        self._source = source
        self._areas = tuple(area.name for area in choose(areas))
        self._feed = Feed(source.engine.submit, source.engine.check_thread)
        self._trackers: dict[str | None, Tracker] = {}
        self._making = Lock()
        self._feeding = Lock()  # changes of several servers come from several threads
        self._changed = Waiters()
        self._version = 0
        self._versions = count(1)
        self._history: deque[Event] = deque(maxlen=history)
        self._records: deque[CallRecord] = deque(maxlen=records)
        self._closed = False
        names = {name for area in choose(areas) for name in area.handlers}
        self._stream = source.events(*sorted(names), *MARKERS, maxsize=MAXSIZE * 4)
        self._thread = Thread(target=self._run, name="pyami-live", daemon=True)
        self._auditor = Auditor(audit, self._live_trackers) if audit is not None else None
        models.add(self)

    # Applying events; runs on the thread of the model

    def _run(self) -> None:
        stream, trackers = self._stream, self._trackers
        while True:
            try:
                event = stream.get()
                left = min(stream.pending, BATCH)
                while True:
                    tracker = trackers.get(event._origin.node) or self._tracker(event._origin.node)
                    self._history.append(event)
                    try:
                        with tracker.lock:
                            tracker.feed(event)
                    except Exception:
                        logger.exception("the live model could not apply %r", event)
                    if left <= 0:
                        break
                    left -= 1
                    event = stream.get()  # does not block: the buffer is not empty
                self._notify()
            except EventsLost as exc:
                logger.warning("the live model lost %d events and fetches all lists again", exc.count)
                lost_by: Any = getattr(exc, "lost_by_node", None) or list(trackers)
                for node in lost_by:
                    if node in trackers:
                        with trackers[node].lock:
                            trackers[node].gap()
            except AMIError:
                break
        self._end()

    def _tracker(self, node: str | None) -> Tracker:
        """Return the tracker of a node; a new one begins to fetch lists."""
        with self._making:
            tracker = self._trackers.get(node)
            if tracker is None:
                tracker = Tracker(Reducer(*self._areas, node=node), self._sender(node), self._publish)
                self._trackers[node] = tracker
                if not self._closed:
                    with tracker.lock:
                        tracker.load()
        return tracker

    def _sender(self, node: str | None) -> Callable[..., Any]:
        raise NotImplementedError

    def _live_trackers(self) -> list[Tracker]:
        return list(self._trackers.values())

    def _publish(self, changes: list[Change[Any]]) -> None:
        """Publish changes of one server; its lock is held, which keeps them in order."""
        for change in changes:
            if isinstance(change.after, CallRecord):
                self._records.append(change.after)
        if changes:
            with self._feeding:
                self._feed.offer(changes)
        if get_ident() != self._thread.ident:
            self._notify()

    def _notify(self) -> None:
        self._version = next(self._versions)
        self._changed.notify_all()

    def _end(self) -> None:
        self._closed = True
        self._feed.finish()
        for tracker in self._live_trackers():
            tracker.close()
        if self._auditor is not None:
            self._auditor.close()
        self._notify()

    # Loading and closing

    def _open(self) -> None:
        self._source.engine.check_thread("loading the live model")
        self._thread.start()
        if self._auditor is not None:
            self._auditor.start()

    def close(self) -> None:
        """Close the model: streams of changes end, and its threads are joined. The client stays open. Idempotent."""
        self._closed = True
        self._stream.close()
        self._feed.finish()
        threads = [self._thread, *(tracker.close() for tracker in self._live_trackers())]
        if self._auditor is not None:
            threads.append(self._auditor.close())
        for thread in threads:
            if thread is not None and thread.is_alive() and thread.ident != get_ident():
                thread.join(5.0)
        self._notify()

    def after_fork(self) -> None:
        """Become a closed model in a forked child, with the state at the fork, since its threads exist only in the
        parent.
        """
        self._making, self._feeding = Lock(), Lock()
        self._changed = Waiters()
        self._closed = True
        self._stream.close()
        for tracker in self._trackers.values():
            tracker.after_fork()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, look: Callable[[], T | None], timeout: float | None) -> T:
        """Wait until `look` returns a true value, and return that; it is called after each change, and every
        :data:`TICK`.

        Raises:
            WaitTimeout: it did not within the timeout.
            ConnectionClosed: the model was closed.

        """
        self._source.engine.check_thread("waiting for the live model")
        deadline = Deadline(timeout)
        while True:
            version = self._version
            found = look()
            if found:
                return found
            if self._closed:
                raise ConnectionClosed("the live model was closed")
            remaining = deadline.remaining()
            if remaining == 0:
                raise WaitTimeout("a state of the live model", timeout)
            pause = TICK if remaining is None else min(TICK, remaining)
            self._changed.wait(lambda: self._version != version or self._closed, pause)  # noqa: B023

    # Changes

    def changes(self, *kinds: type[T], timeout: float | None = None, maxsize: int = MAXSIZE) -> ChangeStream[T]:
        """Open a stream of the changes from now on; iterate over it, and close it (``with``) when done.

        Args:
            kinds: classes of entities, such as :class:`Queue`, or :class:`CallRecord`; none means all.
            timeout: seconds without a change after which iteration ends.
            maxsize: most changes in its buffer; when it is full, the newest are dropped and
                :exc:`~pyami_sync.EventsLost` is raised at their place.

        """
        stream: ChangeStream[T] = ChangeStream(self._feed, kinds, maxsize, timeout)
        self._feed.add(stream)
        return stream

    @overload
    def on(self, kind: type[T], callback: Callable[[Change[T]], object], /) -> ChangeSubscription: ...
    @overload
    def on(self, kind: type[T], /) -> Callable[[Callable[[Change[T]], object]], ChangeSubscription]: ...
    def on(self, kind: type[Any], callback: Callable[[Change[Any]], object] | None = None, /) -> Any:
        """Register a callback for changes of one kind, as a decorator or by a call; return a handle that ends it.

        Calls run one at a time, in order, on a callback thread; they may use the client and the model in any way.

        Args:
            kind: a class of entities, or :class:`CallRecord` for calls that have ended.
            callback: called with a :class:`Change`.

        """

        def register(function: Callable[[Change[Any]], object]) -> ChangeSubscription:
            subscription = ChangeSubscription(self._feed, (kind,), MAXSIZE, function)
            self._feed.add(subscription)
            return subscription

        return register if callback is None else register(callback)

    @property
    def records(self) -> list[CallRecord]:
        """Return the records of recently ended calls, the oldest first."""
        return list(self._records)

    @property
    def refused(self) -> frozenset[str]:
        """The list actions that a server refused, because the user may not use them or the module is not loaded.

        Their items are missing in the model, or known from events only.
        """
        return frozenset(action for tracker in self._live_trackers() for action in tracker.refused)

    @property
    def drift(self) -> int:
        """Number of differences that audits have found and repaired; should be 0."""
        return sum(tracker.drift for tracker in self._live_trackers())

    def explain(self, call: str | Call | CallRecord) -> str:
        """Return the ladder of one call as text: what happened to each of its legs, by the events in the history.

        Args:
            call: a call, a record, or a Linkedid, unique id or name of a channel.

        """
        key = call if isinstance(call, str) else call.linkedid
        return explain(list(self._history), key)


def _after_fork() -> None:
    for model in list(models):
        model.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)  # runs after that of the clients, which is registered earlier
