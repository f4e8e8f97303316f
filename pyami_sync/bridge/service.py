"""Bridge: leads its share of the nodes, and stands by for the others.

Three kinds of threads: the *keeper* takes, renews and gives up leases; the *requests* thread takes requests from the
broker; each node that is led has a thread that publishes its events and then ends the session. One engine thread serves
all sessions.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event as Flag
from threading import RLock, Thread, current_thread
from types import TracebackType
from typing import Any, Self

from .. import AMIClient, ClusterPool, Event, EventStream, UnknownNode
from .errors import BrokerUnavailable
from .leader import BATCH, Leader, LeaderStats, run_request
from .requests import AllowList, Answer, Request, Rule
from .transport import Lease, Transport

__all__ = ["Bridge", "BridgeHealth"]

logger = logging.getLogger("pyami_sync")

SPOOL = 50_000
REPLY_TRIES = 5
VACANT = 0.005  # seconds after the end of a lease in which the broker gives it away


@dataclass(frozen=True, slots=True)
class BridgeHealth:
    """A snapshot of one bridge."""

    name: str
    broker: bool
    """True if the broker answered the last time."""
    bridges: int
    """Number of bridges that share the nodes, this one included."""
    nodes: int
    """Number of nodes that it is configured for."""
    leaders: tuple[LeaderStats, ...]

    @property
    def ready(self) -> bool:
        """True if the broker answers and every node that it leads is connected."""
        return self.broker and all(each.connected for each in self.leaders)


class Bridge:
    """Connects servers to a broker; several bridges with the same nodes share them, and stand by for each other.

    Use it as a context manager, or call :meth:`start` and :meth:`close`.

    Args:
        nodes: the URL (``ami://…``) of each node, by its id, or the arguments of
            :meth:`~pyami_sync.ClusterPool.add_node` for it.
        transport: the broker.
        name: unique name of this bridge; by default made of the host's name, the process id and a random part.
        ttl: seconds that a lease is held without being renewed. A standby takes over within twice this time.
        allowed: which requester may run which actions; by default none.
        spool: most events of a node that may wait for the broker.
        batch: most events that are published at once.
        snapshots: seconds between two ``Snapshot`` markers, with the state of the live model, in the events of each
            node; the bridge then has a live model of each node that it leads. :data:`None` for no snapshots.
        defaults: default options of the nodes.

    """

    def __init__(
        self,
        nodes: Mapping[str, Any],
        transport: Transport,
        *,
        name: str | None = None,
        ttl: float = 5.0,
        allowed: AllowList | Mapping[str, Rule] | None = None,
        spool: int = SPOOL,
        batch: int = BATCH,
        snapshots: float | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        if not nodes:
            raise ValueError("a bridge needs at least one node")
        if not ttl > 0:
            raise ValueError(f"ttl is a positive number of seconds, not {ttl!r}")
        if snapshots is not None and not snapshots > 0:
            raise ValueError(f"snapshots is a positive number of seconds, not {snapshots!r}")
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.ttl = ttl
        self._nodes = dict(nodes)
        self._transport = transport
        self._allowed = allowed if isinstance(allowed, AllowList) else AllowList(allowed or {})
        self._spool = spool
        self._batch = batch
        self._snapshots = snapshots
        self._defaults = {"when_down": "fail", "keepalive": 15.0, **(defaults or {})}
        self._pool = ClusterPool({}, **self._defaults)
        self._lock = RLock()  # guards _leaders; nothing is called while it is held; reentrant, for signal handlers
        self._leaders: dict[str, Leader] = {}
        self._bridges = 1
        self._broker = True
        self._wake = Flag()
        self._closing = Flag()
        self._halt = Flag()
        self._vacant_at = math.inf  # when a lease that another bridge holds runs out
        self._keeper = Thread(target=self._keep, name="pyami-bridge-keeper", daemon=True)
        self._taker = Thread(target=self._take_requests, name="pyami-bridge-requests", daemon=True)

    # Start and end

    def start(self) -> Self:
        """Start; does not block. Nodes are led as soon as their leases can be acquired."""
        self._pool.open()
        self._keeper.start()
        self._taker.start()
        return self

    def close(self, timeout: float = 10.0) -> None:
        """Publish the events in the spools, release the leases, and end all sessions and threads.

        Args:
            timeout: most seconds for that; events that the broker has not confirmed by then are lost.

        """
        self._closing.set()
        self._wake.set()
        if current_thread() not in (self._keeper, self._taker):
            _join(self._keeper, timeout)
            if self._keeper.is_alive():
                logger.warning("bridge %s: events left unpublished after %g s", self.name, timeout)
        self._halt.set()
        self._wake.set()
        for leader in self._led():
            leader.abandon()
        for leader in self._led():
            leader.join(timeout)
        _join(self._keeper, timeout)
        self._pool.close()
        _join(self._taker, timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def health(self) -> BridgeHealth:
        """Return a snapshot; does not block."""
        leaders = tuple(leader.stats() for leader in self._led())
        return BridgeHealth(self.name, self._broker, self._bridges, len(self._nodes), leaders)

    def leads(self, node: str) -> bool:
        """Return True if this bridge leads the node."""
        leader = self._leader(node)
        return leader is not None and leader.leading

    def client(self, node: str) -> AMIClient:
        """Return the session with a node that this bridge leads.

        Raises:
            UnknownNode: it does not lead it.

        """
        return self._pool[node]

    def _led(self) -> list[Leader]:
        with self._lock:
            return list(self._leaders.values())

    def _leader(self, node: str) -> Leader | None:
        with self._lock:
            return self._leaders.get(node)

    # The keeper's thread

    def _keep(self) -> None:
        while not self._halt.is_set():
            begun = time.monotonic()
            try:
                self._turn()
                self._broker = True
            except BrokerUnavailable as exc:
                # No other bridge can take a lease either: the sessions stay open, and events collect in their spools.
                self._broker = False
                logger.warning("bridge %s: %s", self.name, exc)
            except Exception:
                logger.exception("bridge %s: the keeper failed; it goes on", self.name)
            if self._closing.is_set() and not self._led():
                return
            self._wake.wait(max(0.01, min(begun + self.ttl / 3, self._vacant_at) - time.monotonic()))
            self._wake.clear()

    def _turn(self) -> None:
        self._vacant_at = math.inf
        if not self._closing.is_set():
            # Before the leases are renewed, so that a bridge that is killed is not counted when its leases run out.
            self._bridges = max(1, self._transport.announce(self.name, self.ttl))
        self._renew([])
        for leader in self._led():
            if leader.over.is_set():
                # On this thread, which also renews: a renewal at the same time would acquire a lease that is being
                # released.
                self._transport.release(leader.lease)
                with self._lock:
                    self._leaders.pop(leader.lease.node, None)
        held = {leader.lease.node: leader for leader in self._led()}
        if self._closing.is_set():
            for leader in held.values():
                leader.resign()
            return
        share = math.ceil(len(self._nodes) / self._bridges)
        leading = [leader for leader in held.values() if leader.leading]
        if len(leading) > share:
            # A few at a time, because each hand-over is a short gap for its consumers.
            for leader in leading[: max(1, (len(leading) - share + 3) // 4)]:
                leader.resign()
        wanted = [node for node in self._nodes if node not in held]
        # Even with nothing to take, because a transport may stand by for the nodes, and must let other bridges go
        # first.
        taken = self._transport.acquire(wanted, self.name, self.ttl, max(0, share - len(leading)))
        renewed = time.monotonic()
        while taken:
            self._lead(taken.pop())
            if time.monotonic() - renewed > self.ttl / 4:  # starting many nodes may take longer than a lease lasts
                taken = self._renew(taken)
                renewed = time.monotonic()
        # A lease that is renewed has two thirds of its time left at least. The next turn is when one that is not runs
        # out, and soon when nobody holds one: a bridge that is counted may not be there any more.
        left = self._transport.vacancy([node for node in self._nodes if self._leader(node) is None])
        self._vacant_at = time.monotonic() + max(left + VACANT, self.ttl / 20)

    def _renew(self, waiting: list[Lease]) -> list[Lease]:
        """Renew all leases; return those in ``waiting``, whose nodes are not led yet, that are still held."""
        leaders = {leader.lease: leader for leader in self._led()}
        kept = set(self._transport.renew([*leaders, *waiting], self.ttl))
        for lease, leader in leaders.items():
            if lease not in kept and leader.leading:
                logger.warning("bridge %s lost the lease of node %r", self.name, lease.node)
                leader.abandon()
        return [lease for lease in waiting if lease in kept]

    def _lead(self, lease: Lease) -> None:
        logger.info("bridge %s leads node %r, epoch %d", self.name, lease.node, lease.epoch)
        given = self._nodes[lease.node]
        streams: list[EventStream[Event]] = []
        self._pool.add_node(
            lease.node,
            **({"target": given} if isinstance(given, str) else given),
            wait=False,
            prepare=lambda client: streams.append(client.events(maxsize=self._spool)),
        )
        leader = Leader(
            lease,
            self._transport,
            self._pool[lease.node],
            streams[0],
            batch=self._batch,
            snapshots=self._snapshots,
            ended=self._end,
        )
        with self._lock:
            self._leaders[lease.node] = leader
        leader.start()

    def _end(self, leader: Leader) -> None:
        """End the session with a node that is no longer led; on the leader's thread, since actions may be pending."""
        try:
            # The session ends before the lease, so that two bridges never have sessions with the node at the same time.
            self._pool.remove_node(leader.lease.node)
        except UnknownNode:
            pass
        leader.over.set()
        self._wake.set()

    # The requests' thread

    def _take_requests(self) -> None:
        while not self._halt.is_set():
            leases = [leader.lease for leader in self._led() if leader.leading]
            if not leases:
                self._halt.wait(0.05)
                continue
            try:
                taken = self._transport.requests(leases, min(0.5, self.ttl / 3))
            except BrokerUnavailable:
                self._halt.wait(0.2)
                continue
            for request in taken:
                leader = self._leader(request.node)
                try:
                    run_request(request, None if leader is None else leader.client, self._allowed, self._reply)
                except Exception:
                    logger.exception("request %s failed", request.id)

    def _reply(self, request: Request, answer: Answer) -> None:
        for number in range(REPLY_TRIES):
            try:
                self._transport.reply(request, answer)
                return
            except BrokerUnavailable as exc:
                logger.info("the answer to request %s waits: %s", request.id, exc)
                if self._halt.wait(0.1 * 2**number):
                    return
        logger.warning("the answer to request %s (%s) could not be sent", request.id, answer.outcome)


def _join(thread: Thread, timeout: float) -> None:
    if thread.ident is not None:  # else a signal handler closes the bridge before start() has started it
        thread.join(timeout)
