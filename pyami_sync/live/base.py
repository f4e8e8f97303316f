"""Base class of the live models of a server and of a cluster: feeds the reducer with events on a thread of its own."""

from __future__ import annotations

import logging
import os
import weakref
from collections import deque
from collections.abc import Callable
from itertools import count
from threading import Lock, Thread, current_thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from ..engine.deadline import Deadline
from ..engine.waiting import Waiters
from ..exceptions import AMIError, ConcurrencyError, ConnectionClosed, EventsLost, WaitTimeout
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
BATCH = 200  # events taken up before others get a look at the model
LAST_STEPS = 0.1  # seconds that a thread may take to be gone when it has done its work


class Base:
    """Base class of the live models of one server and of a cluster.

    Reading it takes no lock: a signal handler that interrupts the main thread there may use the model, and
    wait for other threads that do. The locks are taken by the model's own threads, which run no user code, and by
    the callback threads of a cluster's health.

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
        self._feed = Feed(source.engine.submit, self._check_thread)
        self._trackers: dict[str | None, Tracker] = {}
        self._feeding = Lock()  # around the offers to subscribers: each server has its own thread for lists
        self._changed = Waiters()
        self._version = 0
        self._versions = count(1)
        self._history: deque[Event] = deque(maxlen=history)
        self._records: deque[CallRecord] = deque(maxlen=records)
        self._closed = False
        self._ended = False  # the thread takes up nothing any more
        names = {name for area in choose(areas) for name in area.handlers}
        self._stream = source.events(*sorted(names), *MARKERS, maxsize=MAXSIZE * 4)
        self._thread = Thread(target=self._run, name="pyami-live", daemon=True)
        self._auditor = Auditor(audit, self._live_trackers, self._notify) if audit is not None else None
        models.add(self)

    # Applying events; runs on the thread of the model

    def _run(self) -> None:
        stream, trackers = self._stream, self._trackers
        touched: set[Tracker] = set()
        for node in list(trackers):
            self._tracker(node)
        while True:
            try:
                event = stream.get()
                left = min(stream.pending, BATCH)
                while True:
                    tracker = trackers.get(event._origin.node) or self._tracker(event._origin.node)
                    touched.add(tracker)
                    self._history.append(event)
                    try:
                        with tracker.lock:
                            tracker.feed(event)
                    except Exception:
                        logger.exception("the live model could not apply %r", event)
                    if left <= 0:
                        break
                    left -= 1
                    event = stream.get()  # does not wait: it is there
            except EventsLost as exc:
                logger.warning("the live model lost %d events and fetches all lists again", exc.count)
                lost_by: Any = getattr(exc, "lost_by_node", None) or list(trackers)
                for node in lost_by:
                    if node in trackers:
                        touched.add(trackers[node])
                        with trackers[node].lock:
                            trackers[node].gap()
            except AMIError:
                break
            self._tell(touched)
            touched.clear()
        self._tell(touched)
        self._end()

    def _tell(self, trackers: set[Tracker]) -> None:
        for tracker in trackers:
            with tracker.lock:
                tracker.tell()

    def _tracker(self, node: str | None) -> Tracker:
        """Return the tracker of a node, which begins to fetch lists if it is new."""
        tracker = self._add(node)
        if not self._closed:
            with tracker.lock:
                tracker.begin()
        return tracker

    def _add(self, node: str | None) -> Tracker:
        """Return the tracker of a node; several threads at a time agree on one."""
        tracker = self._trackers.get(node)
        if tracker is None:
            new = Tracker(Reducer(*self._areas, node=node), self._sender(node), self._publish)
            tracker = self._trackers.setdefault(node, new)
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
        self._notify()

    def _notify(self) -> None:
        self._version = next(self._versions)
        self._changed.notify_all()

    def _end(self) -> None:
        self._finish()
        self._ended = True
        self._notify()

    def _finish(self) -> None:
        """Have everything end; never waits, and may be repeated."""
        self._closed = True
        self._stream.close()
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
        """End the model: streams of changes end and its threads are joined. The client goes on. Idempotent."""
        self._finish()
        threads = self._own_threads()
        if current_thread() in threads or self._source.engine.on_own_thread:
            return  # in a finalizer: they end, but only when it has returned
        # Not join() alone: a signal handler that interrupts it and closes, too, would wait for its own thread.
        if self._changed.wait(self._all_ended, 5.0):
            for thread in threads:
                thread.join(LAST_STEPS)

    def _own_threads(self) -> list[Thread]:
        """Return the threads that have been started, and may not have ended."""
        threads: list[Thread | None] = [self._thread, *(tracker.loader for tracker in self._live_trackers())]
        if self._auditor is not None:
            threads.append(self._auditor.thread)
        return [thread for thread in threads if thread is not None and thread.ident is not None]

    def _all_ended(self) -> bool:
        if self._thread.ident is not None and not self._ended:
            return False
        if self._auditor is not None and self._auditor.thread.ident is not None and not self._auditor.ended:
            return False
        return not any(tracker.loader for tracker in self._live_trackers())

    def _check_thread(self, doing: str) -> None:
        """Refuse to block a thread that what is waited for depends on."""
        self._source.engine.check_thread(doing)
        if current_thread() in self._own_threads():
            raise ConcurrencyError(f"{doing} would block thread {current_thread().name}, which must bring it about")

    def after_fork(self) -> None:
        """Become a closed model in a forked child, which shows what was: its threads are the parent's."""
        self._feeding = Lock()
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
        self._check_thread("waiting for the live model")
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
