"""A broker in the memory of this process: for tests, examples and the demo."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from threading import Condition
from urllib.parse import urlsplit

from .envelope import Position, Record
from .errors import BrokerUnavailable, Fenced
from .requests import Answer, Request
from .transport import Delivery, Lease, Start

__all__ = ["MemoryTransport", "open_memory"]

MAXLEN = 100_000
CLAIM = 30.0

_brokers: dict[str, MemoryTransport] = {}


def open_memory(url: str) -> MemoryTransport:
    """Return the broker of ``memory://name``, the same for everyone in this process who names it."""
    name = urlsplit(url).netloc
    return _brokers.setdefault(name, MemoryTransport())


class MemoryTransport:
    """Keeps everything in memory, bounded, under one lock.

    Args:
        maxlen: most records of a node that are kept.

    """

    def __init__(self, maxlen: int = MAXLEN) -> None:
        self.maxlen = maxlen
        self.available = True
        """Set to :data:`False` to have everything raise :exc:`BrokerUnavailable`, as with a broker that is down."""
        self._changed = Condition()  # its lock is reentrant: a signal handler may close what this very thread uses
        self._records: dict[str, deque[Record]] = {}
        self._last: dict[str, Position] = {}
        self._epochs: dict[str, int] = {}
        self._leases: dict[str, tuple[Lease, float]] = {}
        self._bridges: dict[str, float] = {}
        self._requests: dict[str, deque[Request]] = {}
        self._answers: dict[str, deque[Answer]] = {}
        self._groups: dict[tuple[str, str], _Group] = {}

    def _check(self) -> None:
        assert self._changed._is_owned()  # type: ignore[attr-defined]
        if not self.available:
            raise BrokerUnavailable("the broker in memory was made unavailable")

    def publish(self, lease: Lease, records: Sequence[Record], timeout: float) -> None:
        with self._changed:
            self._check()
            if self._epochs.get(lease.node, 0) != lease.epoch:
                raise Fenced(lease.node, lease.epoch)
            kept = self._records.setdefault(lease.node, deque(maxlen=self.maxlen))
            last = self._last.get(lease.node, Position(0, 0))
            for record in records:
                if record.position > last:
                    kept.append(record)
                    last = record.position
            self._last[lease.node] = last
            self._changed.notify_all()

    def reader(self, nodes: Sequence[str], start: Mapping[str, Start]) -> MemoryReader:
        with self._changed:
            places = {}
            for node in nodes:
                begin = start.get(node, "now")
                if begin == "now":
                    begin = self._last.get(node, Position(0, 0))
                places[node] = Position(0, 0) if begin == "first" else begin
            return MemoryReader(self, places)

    def read_after(self, places: dict[str, Position], limit: int) -> list[Record]:
        """Return records behind these places and move the places on; the lock must be held."""
        self._check()
        found: list[Record] = []
        for node, place in places.items():
            kept = self._records.get(node, deque())
            newer = _newer(kept, place)
            newer = newer[: limit - len(found)]
            if newer:
                found += newer
                places[node] = newer[-1].position
            if len(found) >= limit:
                break
        return found

    def group(self, name: str, nodes: Sequence[str]) -> MemoryGroupReader:
        with self._changed:
            for node in nodes:
                self._groups.setdefault((name, node), _Group(self._last.get(node, Position(0, 0))))
            return MemoryGroupReader(self, name, list(nodes))

    def snapshot(self, node: str) -> Record | None:
        with self._changed:
            self._check()
            return next((each for each in reversed(self._records.get(node, ())) if each.is_snapshot), None)

    def acquire(self, nodes: Sequence[str], owner: str, ttl: float, most: int) -> list[Lease]:
        with self._changed:
            self._check()
            now = time.monotonic()
            made: list[Lease] = []
            for node in nodes:
                if len(made) >= most:
                    break
                held = self._leases.get(node)
                if held is not None and held[1] > now:
                    continue
                epoch = max(self._epochs.get(node, 0) + 1, int(time.time()))
                self._epochs[node] = epoch
                lease = Lease(node, owner, epoch, self._last.get(node))
                self._leases[node] = (lease, now + ttl)
                made.append(lease)
            return made

    def vacancy(self, nodes: Sequence[str]) -> float:
        with self._changed:
            self._check()
            ends = [self._leases[node][1] if node in self._leases else 0.0 for node in nodes]
            return max(0.0, min(ends, default=math.inf) - time.monotonic())

    def renew(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        with self._changed:
            self._check()
            now = time.monotonic()
            kept = []
            for lease in leases:
                held = self._leases.get(lease.node)
                if held is not None and held[0].epoch == lease.epoch:
                    self._leases[lease.node] = (held[0], now + ttl)
                    kept.append(lease)
            return kept

    def release(self, lease: Lease) -> None:
        with self._changed:
            self._check()
            held = self._leases.get(lease.node)
            if held is not None and held[0].epoch == lease.epoch:
                del self._leases[lease.node]

    def leaders(self, nodes: Sequence[str]) -> dict[str, Lease]:
        with self._changed:
            self._check()
            now = time.monotonic()
            return {node: held[0] for node in nodes if (held := self._leases.get(node)) is not None and held[1] > now}

    def announce(self, owner: str, ttl: float) -> int:
        with self._changed:
            self._check()
            now = time.monotonic()
            self._bridges[owner] = now + ttl
            self._bridges = {name: end for name, end in self._bridges.items() if end > now}
            return len(self._bridges)

    def ask(self, request: Request, timeout: float) -> Answer | None:
        with self._changed:
            self._check()
            if request.node not in self._epochs:
                return Answer(request.id, "refused", f"no bridge has ever led node {request.node!r}")
            self._requests.setdefault(request.node, deque()).append(request)
            self._changed.notify_all()
            return None

    def withdraw(self, request: Request) -> bool:
        with self._changed:
            self._check()
            try:
                self._requests[request.node].remove(request)
            except (KeyError, ValueError):
                return False
            return True

    def requests(self, leases: Sequence[Lease], timeout: float) -> list[Request]:
        def take() -> list[Request]:
            self._check()
            found: list[Request] = []
            for lease in leases:
                waiting = self._requests.get(lease.node)
                if waiting and self._epochs.get(lease.node) == lease.epoch:
                    found += waiting
                    waiting.clear()
            return found

        with self._changed:
            return self._changed.wait_for(take, timeout) or []

    def reply(self, request: Request, answer: Answer) -> None:
        with self._changed:
            self._check()
            self._answers.setdefault(request.requester, deque(maxlen=1000)).append(answer)
            self._changed.notify_all()

    def answers(self, requester: str, timeout: float) -> list[Answer]:
        def take() -> list[Answer]:
            self._check()
            found = list(self._answers.get(requester, ()))
            self._answers.pop(requester, None)
            return found

        with self._changed:
            return self._changed.wait_for(take, timeout) or []

    def dead_letters(self, group: str, node: str) -> list[tuple[Record, str]]:
        """Return what was buried, oldest first, with the reasons."""
        with self._changed:
            return list(self._groups[group, node].dead)

    def close(self) -> None:
        """Do nothing: the broker is the process's."""


def _newer(kept: deque[Record], place: Position) -> list[Record]:
    """Return the records behind a place, oldest first; costs as much as there are of them."""
    return list(takewhile(lambda record: record.position > place, reversed(kept)))[::-1]


class MemoryReader:
    """Reads from the broker in memory."""

    def __init__(self, broker: MemoryTransport, places: dict[str, Position]) -> None:
        self._broker = broker
        self._places = places
        self._closed = False

    def read(self, limit: int, timeout: float) -> list[Record]:
        changed = self._broker._changed
        with changed:
            found = changed.wait_for(lambda: self._closed or self._broker.read_after(self._places, limit), timeout)
            return found if isinstance(found, list) else []

    def close(self) -> None:
        with self._broker._changed:
            self._closed = True
            self._broker._changed.notify_all()


class _Group:
    """What one group has of one node."""

    def __init__(self, place: Position) -> None:
        self.places = place
        self.pending: dict[Position, tuple[Record, object, int, float]] = {}  # record, member, tries, since when
        self.dead: deque[tuple[Record, str]] = deque(maxlen=1000)


class MemoryGroupReader:
    """A member of a group on the broker in memory."""

    def __init__(self, broker: MemoryTransport, name: str, nodes: list[str]) -> None:
        self._broker = broker
        self._name = name
        self._nodes = nodes
        self._closed = False

    def _group(self, node: str) -> _Group:
        return self._broker._groups[self._name, node]

    def _take(self, limit: int) -> list[Delivery]:
        now = time.monotonic()
        found: list[Delivery] = []
        for node in self._nodes:
            group = self._group(node)
            for place, (record, member, tries, since) in group.pending.items():
                if len(found) < limit and (member is None or now - since > CLAIM):
                    group.pending[place] = (record, self, tries + 1, now)
                    found.append(Delivery(record, place, tries + 1))
            places = {node: group.places}
            for record in self._broker.read_after(places, limit - len(found)):
                group.pending[record.position] = (record, self, 1, now)
                found.append(Delivery(record, record.position, 1))
            group.places = places[node]
        return found

    def read(self, limit: int, timeout: float) -> list[Delivery]:
        changed = self._broker._changed
        with changed:
            found = changed.wait_for(lambda: self._closed or self._take(limit), timeout)
            return found if isinstance(found, list) else []

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        with self._broker._changed:
            self._broker._check()
            for each in deliveries:
                self._group(each.record.node).pending.pop(each.record.position, None)

    def retry(self, delivery: Delivery) -> None:
        with self._broker._changed:
            self._broker._check()
            pending = self._group(delivery.record.node).pending
            if delivery.record.position in pending:
                pending[delivery.record.position] = (delivery.record, None, delivery.tries, 0.0)
            self._broker._changed.notify_all()

    def bury(self, delivery: Delivery, reason: str) -> None:
        with self._broker._changed:
            self._broker._check()
            group = self._group(delivery.record.node)
            group.pending.pop(delivery.record.position, None)
            group.dead.append((delivery.record, reason))

    def close(self) -> None:
        with self._broker._changed:
            self._closed = True
            for node in self._nodes:
                pending = self._group(node).pending
                for place, (record, member, tries, _) in list(pending.items()):
                    if member is self:
                        pending[place] = (record, None, tries, 0.0)
            self._broker._changed.notify_all()
