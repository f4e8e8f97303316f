"""The live model of a server, or of each server of a cluster: a thin shell around the reducer."""

from __future__ import annotations

import logging
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from threading import Lock, Thread, get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from ..engine.deadline import Deadline
from ..engine.waiting import Waiters
from ..exceptions import AMIError, ConnectionClosed, EventsLost, UnknownNode, WaitTimeout
from ..wire.message import Event
from .areas import choose
from .audit import Auditor
from .calls import Call, CallRecord
from .draft import Change
from .entities import (
    Bridge,
    Conference,
    Device,
    Endpoint,
    Extension,
    Mailbox,
    ParkedCall,
    ParkingLot,
    Registration,
)
from .feed import MAXSIZE, ChangeStream, ChangeSubscription, Feed
from .ladder import explain
from .reducer import Reducer
from .tracker import Tracker
from .view import Channels, Queues, View

if TYPE_CHECKING:
    from ..client import AMIClient
    from ..cluster.pool import ClusterPool

__all__ = ["ClusterLive", "Live"]

logger = logging.getLogger("pyami_sync")
T = TypeVar("T")
models: weakref.WeakSet[Base] = weakref.WeakSet()
TICK = 0.25  # seconds between two looks of wait() while nothing changes: what is asked for may be a waiting time
MARKERS = ("ConnectionLost", "Reconnected", "FullyBooted")
BATCH = 200  # events taken up before others get a look at the model


class Base:
    """What the models of one server and of a cluster share.

    Args:
        source: the client or the pool.
        areas: names of the areas to keep.
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

    # Taking up events; runs on the thread of the model

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
                        logger.exception("the live model could not take up %r", event)
                    if left <= 0:
                        break
                    left -= 1
                    event = stream.get()  # does not wait: it is there
                self._notify()
            except EventsLost as exc:
                logger.warning("the live model lost %d events and looks everything up again", exc.count)
                lost_by: Any = getattr(exc, "lost_by_node", None) or list(trackers)
                for node in lost_by:
                    if node in trackers:
                        with trackers[node].lock:
                            trackers[node].gap()
            except AMIError:
                break
        self._end()

    def _tracker(self, node: str | None) -> Tracker:
        """Return the tracker of a node, which begins to fetch lists if it is new."""
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
        """Hand on changes of one server; its lock is held, which keeps them in order."""
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

    # Life

    def _open(self) -> None:
        self._source.engine.check_thread("loading the live model")
        self._thread.start()
        if self._auditor is not None:
            self._auditor.start()

    def close(self) -> None:
        """End the model: streams of changes end and its threads are joined. The client goes on. Idempotent."""
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
        """Become a closed model in a forked child, which shows what was: its threads are the parent's."""
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
        """Wait until `look` returns something true, looking again at each change and now and then.

        Raises:
            WaitTimeout: it did not in time.
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
        """Open a stream of changes, from now on; iterate over it, and close it (``with``) when done.

        Args:
            kinds: classes of entities, such as :class:`Queue`, or :class:`CallRecord`; none means all.
            timeout: seconds without a change after which iteration ends.
            maxsize: most changes that may wait to be taken; beyond, the newest are dropped and
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
        """Register a callback for changes of one kind, as a decorator or by a call.

        Calls run one at a time, in order, on a callback thread; they may use the client and the model in any way.

        Args:
            kind: a class of entities, or :class:`CallRecord` for calls that have ended.
            callback: gets a :class:`Change`.

        """

        def register(function: Callable[[Change[Any]], object]) -> ChangeSubscription:
            subscription = ChangeSubscription(self._feed, (kind,), MAXSIZE, function)
            self._feed.add(subscription)
            return subscription

        return register if callback is None else register(callback)

    @property
    def records(self) -> list[CallRecord]:
        """Records of the calls that have ended lately, oldest first."""
        return list(self._records)

    @property
    def refused(self) -> frozenset[str]:
        """List actions that a server refused: the user may not use them, or the module is not loaded.

        What they would show is empty in the model, or known from events only.
        """
        return frozenset(action for tracker in self._live_trackers() for action in tracker.refused)

    @property
    def drift(self) -> int:
        """Differences that audits have found and repaired; should be 0."""
        return sum(tracker.drift for tracker in self._live_trackers())

    def explain(self, call: str | Call | CallRecord) -> str:
        """Draw the ladder of one call: what happened to each of its legs, from the events that are still kept.

        Args:
            call: a call, a record, or a Linkedid, unique id or name of a channel.

        """
        key = call if isinstance(call, str) else call.linkedid
        return explain(list(self._history), key)


class Live(Base):
    """The live model of one server; made by :meth:`AMIClient.live`.

    ::

        with connect() as ami, ami.live() as live:
            for caller in live.queues["support"].waiting:
                print(caller.position, caller.caller, caller.since)

    Each attribute is a picture of now; :meth:`view` gives one in which everything belongs together. It stays right over
    lost connections, restarts of the server and lost events: what is unknown then is looked up again, and differences
    become changes that are marked ``inferred``.
    """

    _source: AMIClient

    def __init__(
        self,
        client: AMIClient,
        areas: tuple[str, ...] = (),
        *,
        audit: float | None = None,
        history: int = 20_000,
        records: int = 1_000,
        timeout: float | None = 30.0,
    ) -> None:
        super().__init__(client, areas, audit, history, records)
        try:
            client.ping()  # raises what is the matter with the session, if anything is
        except BaseException:
            self._stream.close()
            raise
        self._open()
        self._one = self._tracker(None if client.options.node is None else client.options.node)
        try:
            self._wait(lambda: self._one.health == "consistent", timeout)
        except BaseException:
            self.close()
            raise

    def _sender(self, node: str | None) -> Callable[..., Any]:
        return self._source.send

    def view(self) -> View:
        """Return an immutable picture of now; costs microseconds and never waits for the server."""
        with self._one.lock:
            return self._one.view()

    def wait(self, predicate: Callable[[View], object], timeout: float | None = None) -> View:
        """Block until a view fits, and return it.

        Args:
            predicate: gets a view after each change, and four times a second; runs on the calling thread.
            timeout: seconds; None for no limit.

        Raises:
            WaitTimeout: none did in time.
            ConnectionClosed: the model or the session was closed.

        """

        def look() -> View | None:
            view = self.view()
            return view if predicate(view) else None

        return self._wait(look, timeout)

    @property
    def health(self) -> str:
        """``consistent``; ``loading`` while lists are fetched; ``gap`` while the connection is lost; ``closed``."""
        return self._one.health

    @property
    def channels(self) -> Channels:
        """Channels by name or unique id."""
        return self.view().channels

    @property
    def bridges(self) -> Mapping[str, Bridge]:
        """Bridges by unique id."""
        return self.view().bridges

    @property
    def calls(self) -> Mapping[str, Call]:
        """Calls by Linkedid."""
        return self.view().calls

    @property
    def queues(self) -> Queues:
        """Queues by name."""
        return self.view().queues

    @property
    def conferences(self) -> Mapping[str, Conference]:
        """Conferences by name."""
        return self.view().conferences

    @property
    def parking_lots(self) -> Mapping[str, ParkingLot]:
        """Parking lots by name."""
        return self.view().parking_lots

    @property
    def parked(self) -> Mapping[str, ParkedCall]:
        """Parked calls by the unique id of the channel."""
        return self.view().parked

    @property
    def devices(self) -> Mapping[str, Device]:
        """States of devices by name."""
        return self.view().devices

    @property
    def extensions(self) -> Mapping[str, Extension]:
        """States of extensions by ``exten@context``."""
        return self.view().extensions

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """PJSIP endpoints by name."""
        return self.view().endpoints

    @property
    def registrations(self) -> Mapping[str, Registration]:
        """Registrations with other servers."""
        return self.view().registrations

    @property
    def mailboxes(self) -> Mapping[str, Mailbox]:
        """Mailboxes by ``number@context``."""
        return self.view().mailboxes

    def __repr__(self) -> str:
        view = self.view()
        return f"<Live {view.health}: {len(view.channels)} channels, {len(view.queues)} queues>"


class ClusterLive(Base, Mapping[str, View]):
    """The live models of all servers of a cluster; made by :meth:`ClusterPool.live`.

    ``live["paris"]`` is a view of one node; iterating gives the nodes' ids. Changes have their ``node``.
    """

    _source: ClusterPool

    def __init__(
        self,
        pool: ClusterPool,
        areas: tuple[str, ...] = (),
        *,
        audit: float | None = None,
        history: int = 20_000,
        records: int = 1_000,
        timeout: float | None = 30.0,
    ) -> None:
        super().__init__(pool, areas, audit, history, records)
        self._stop_health = pool.on_health(lambda health: self._consider(health.node))
        self._open()
        try:
            for node_id in list(pool):
                self._consider(node_id)
            self._wait(self._settled, timeout)
        except BaseException:
            self.close()
            raise

    def _consider(self, node_id: str) -> None:
        """Begin with a node once it is connected."""
        node = self._source.nodes.get(node_id)
        if node is None or not node.connected or self._closed:
            return
        tracker = self._tracker(node_id)
        with tracker.lock:
            if tracker.health == "gap":  # one that was removed and added again has no Reconnected
                tracker.load()

    def _settled(self) -> bool:
        nodes = self._source.nodes
        return all(
            tracker.health == "consistent" or node not in nodes or not nodes[node].connected
            for node, tracker in list(self._trackers.items())
            if node is not None
        )

    def _sender(self, node: str | None) -> Callable[..., Any]:
        assert node is not None
        return lambda action, **headers: self._source.send_to(node, action, **headers)

    def __getitem__(self, node_id: str) -> View:
        tracker = self._trackers.get(node_id)
        if tracker is None:
            raise UnknownNode(node_id)
        with tracker.lock:
            return tracker.view()

    def __iter__(self) -> Iterator[str]:
        return iter([node for node in list(self._trackers) if node is not None and node in self._source.nodes])

    def __len__(self) -> int:
        return len(list(iter(self)))

    __eq__ = object.__eq__  # as a mapping it would be compared by its content, which changes
    __hash__ = object.__hash__

    def views(self) -> dict[str, View]:
        """Return a view of each node, by its id."""
        return {node: self[node] for node in self}

    def wait(self, predicate: Callable[[Mapping[str, View]], object], timeout: float | None = None) -> dict[str, View]:
        """Block until the views of all nodes fit, and return them; see :meth:`Live.wait`."""

        def look() -> dict[str, View] | None:
            views = self.views()
            return views if predicate(views) else None

        return self._wait(look, timeout)

    @property
    def health(self) -> dict[str, str]:
        """Health of each node's model, by its id."""
        return {node: view.health for node, view in self.views().items()}

    def close(self) -> None:
        self._stop_health()
        super().close()

    def __repr__(self) -> str:
        return f"<ClusterLive {self.health}>"


def _after_fork() -> None:
    for model in list(models):
        model.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)  # behind the clients' own, which is registered earlier
