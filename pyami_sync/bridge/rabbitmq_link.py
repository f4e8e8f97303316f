"""The connection with RabbitMQ of a bridge: leases, and publishing events with pipelined confirms.

One thread runs pika's ``SelectConnection`` and owns all state; other threads pass jobs to it and wait for the results.
When the connection is lost, it is opened again, and the link consumes the leases of the nodes that it led: if a token
still has the node's epoch, no other bridge has led the node meanwhile, and publishing continues.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from copy import copy
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import RLock, Thread
from typing import Any

import pika  # type: ignore[import-untyped]
from pika.exceptions import AMQPError  # type: ignore[import-untyped]

from .envelope import Record, routing_key
from .errors import BrokerUnavailable, Fenced
from .rabbitmq_messages import EXCHANGE, PERSISTENT, declare_stream, frames_of, properties_of, snapshot_name
from .transport import Lease

__all__ = ["RabbitLink"]

logger = logging.getLogger("pyami_sync")

TIMEOUT = 5.0
SETTLE = 2.0  # seconds after a reconnect within which the token of a node must arrive
GRACE = (
    1.5  # seconds after a reconnect in which only nodes that were led before are requested: their spools have events
)
REFRESH = 600.0  # seconds after which a token is replaced: a server requeues deliveries after half an hour


@dataclass
class _Node:
    """The link's state for one node."""

    name: str
    consuming: bool = False
    epoch: int | None = None
    """The epoch in which this bridge leads the node."""
    owner: str = ""
    offered: tuple[int, int] | None = None
    """Epoch and delivery tag of a token that was delivered but not accepted yet."""
    tag: int | None = None
    """Delivery tag of the token of :attr:`epoch`; :data:`None` while it is not known to be the latest."""
    since: float = 0.0
    """When the token arrived."""


@dataclass
class _Batch:
    """Unconfirmed messages, with delivery tags from ``begin`` to ``end``."""

    first: str
    begin: int
    end: int
    low: int
    """Every tag up to this one is confirmed."""
    single: set[int] = field(default_factory=set)
    """Confirmed tags above :attr:`low`."""
    refused: bool = False
    future: Future[None] = field(default_factory=Future)

    def note(self, tag: int, multiple: bool, refused: bool) -> bool:
        """Note a confirm; return True if the batch is complete."""
        if multiple:
            if tag < self.begin:
                return False
            self.low = max(self.low, min(tag, self.end))
            self.single = {each for each in self.single if each > self.low}
        elif self.begin <= tag <= self.end:
            self.single.add(tag)
        else:
            return False
        self.refused = self.refused or refused
        return self.low - self.begin + 1 + len(self.single) == self.end - self.begin + 1


class RabbitLink:
    """Leads nodes over one connection; any thread may use it.

    Args:
        parameters: how to connect.
        heartbeat: seconds; the server closes the connection after silence of up to twice this time.
        max_bytes: limit of the stored events of each node.

    """

    def __init__(self, parameters: Any, heartbeat: int, max_bytes: int) -> None:
        own = copy(parameters)
        own.heartbeat = heartbeat
        own.blocked_connection_timeout = None  # an alarm may last long; meanwhile events collect in the spool
        self._parameters = own
        self._max_bytes = max_bytes
        self._nodes: dict[str, _Node] = {}
        self._connection: Any = None
        self._channel: Any = None
        self._ready = False
        self._ready_since = 0.0
        self._lost_before = False
        self._blocked = False
        self._next_tag = 1
        self._batches: dict[str, _Batch] = {}
        self._order: list[_Batch] = []
        self._bridges = 1
        self._why = "not connected yet"
        self._closed = Flag()
        self._lock = RLock()  # guards _loop only; reentrant for a signal handler that closes
        self._loop: Any = None
        self._thread = Thread(target=self._run, name="pyami-bridge-amqp", daemon=True)
        self._thread.start()

    # For other threads

    def publish(self, lease: Lease, records: Sequence[Record], timeout: float) -> None:
        """Publish records and wait until the server has confirmed them.

        Raises:
            Fenced: the lease is over.
            BrokerUnavailable: not confirmed in time; they may be stored.

        """
        confirmed: Future[None] = self._do(lambda: self._publish(lease, records))
        try:
            confirmed.result(timeout)
        except FutureTimeout:
            raise BrokerUnavailable(f"RabbitMQ: {self._why_slow()}") from None

    def acquire(self, nodes: Sequence[str], owner: str, most: int) -> list[Lease]:
        """Consume the leases of these nodes, and accept at most ``most`` of those that are offered."""
        taken: list[Future[Lease]] = self._do(lambda: self._acquire(nodes, owner, most))
        made = []
        for each in taken:
            try:
                made.append(each.result(TIMEOUT))
            except FutureTimeout:
                logger.warning("a lease that was offered could not be taken in time")
            except BrokerUnavailable as exc:
                logger.info("%s", exc)
        return made

    def held(self, leases: Sequence[Lease]) -> list[Lease]:
        """Return the leases that are still held."""
        kept: list[Lease] = self._do(lambda: self._held(leases))
        return kept

    def release(self, lease: Lease) -> None:
        """Release a lease."""
        self._do(lambda: self._release(lease))

    def announce(self) -> int:
        """Return the number of connected bridges by the server's last answer, and ask again."""
        count: int = self._do(self._count_bridges)
        return count

    def close(self) -> None:
        """Close the connection, which releases all leases."""
        self._closed.set()
        with self._lock:
            if self._loop is not None:
                self._loop.add_callback_threadsafe(self._shut)
        self._thread.join(2 * TIMEOUT)

    def _do(self, job: Callable[[], Any]) -> Any:
        """Run a job on the link's thread and return what it returns."""
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                if not self._ready:
                    raise BrokerUnavailable(f"RabbitMQ: {self._why}")
                result = job()
            except AMQPError as exc:
                future.set_exception(BrokerUnavailable(f"RabbitMQ: {exc!r}"))
            except BaseException as exc:
                future.set_exception(exc)
            else:
                future.set_result(result)

        with self._lock:
            if self._loop is None:
                raise BrokerUnavailable(f"RabbitMQ: {self._why}")
            self._loop.add_callback_threadsafe(run)
        try:
            return future.result(TIMEOUT)
        except FutureTimeout:
            future.cancel()
            raise BrokerUnavailable(f"RabbitMQ: {self._why_slow()}") from None

    def _why_slow(self) -> str:
        return "the server blocks publishing (memory or disk alarm)" if self._blocked else "no answer in time"

    # On the link's thread: the connection

    def _run(self) -> None:
        pause = 0.1
        while not self._closed.is_set():
            connection = pika.SelectConnection(
                self._parameters,
                on_open_callback=self._opened,
                on_open_error_callback=self._ended,
                on_close_callback=self._ended,
            )
            self._connection = connection
            connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
            connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
            with self._lock:
                self._loop = connection.ioloop
            try:
                connection.ioloop.start()
            except Exception as exc:
                logger.warning("RabbitMQ: %r", exc)
                self._ended(connection, exc)
            with self._lock:
                self._loop = None
            if self._ready_since:
                pause = 0.1
            self._ready_since = 0.0
            connection.ioloop.close()
            self._closed.wait(pause)
            pause = min(2 * pause, 1.0)

    def _opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._channel_closed)
        channel.basic_qos(prefetch_count=2)
        channel.confirm_delivery(self._confirmed)
        channel.queue_declare("pyami.bridges", durable=True)
        channel.basic_consume("pyami.bridges", lambda c, m, p, b: c.basic_ack(m.delivery_tag))
        self._next_tag = 1
        self._ready = True
        self._ready_since = time.monotonic()
        for node in self._nodes.values():
            node.consuming = False
            node.offered = node.tag = None
            if node.epoch is not None:
                self._stand_by(node)

    def _channel_closed(self, channel: Any, reason: Exception) -> None:
        if channel.connection.is_open:
            self._why = str(reason)
            channel.connection.close()

    def _ended(self, connection: Any, reason: BaseException) -> None:
        self._lost_before = self._lost_before or self._ready
        self._ready = False
        self._blocked = False
        self._why = str(reason) or repr(reason)
        self._channel = None
        batches, self._order = self._order, []
        self._batches.clear()
        for batch in batches:
            batch.future.set_exception(BrokerUnavailable(f"RabbitMQ: {self._why}"))
        connection.ioloop.stop()

    def _shut(self) -> None:
        loop = self._connection.ioloop
        # A server that blocks publishing reads nothing, not even the request to close the connection.
        loop.call_later(TIMEOUT / 2, loop.stop)
        if self._connection.is_open:
            self._connection.close()
        elif not self._connection.is_closing:
            loop.stop()

    def _set_blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        logger.warning("RabbitMQ %s publishing", "blocks" if blocked else "no longer blocks")

    def _count_bridges(self) -> int:
        def counted(frame: Any) -> None:
            self._bridges = max(1, frame.method.consumer_count)

        self._channel.queue_declare("pyami.bridges", passive=True, callback=counted)
        return self._bridges

    # On the link's thread: leases

    def _stand_by(self, node: _Node) -> None:
        """Consume a node's lease queue; the active consumer gets the token."""
        node.consuming = True
        channel, name = self._channel, f"pyami.lease.{node.name}"
        declare_stream(channel, node.name, self._max_bytes)
        channel.queue_declare(f"pyami.requests.{node.name}", durable=True)
        for keeping in (f"pyami.leader.{node.name}", snapshot_name(node.name)):
            channel.queue_declare(keeping, durable=True, arguments={"x-max-length": 1})
        channel.queue_bind(snapshot_name(node.name), EXCHANGE, routing_key(node.name, "bridge", "Snapshot"))

        def declared(frame: Any) -> None:
            if frame.method.message_count == 0 and frame.method.consumer_count == 0:
                self._put_token(node.name, node.epoch or 0)  # a second one does no harm: the older one is dropped
            channel.basic_consume(
                name,
                lambda c, method, properties, body: self._token(node, method.delivery_tag, int(body)),
                consumer_tag=name,
            )

        channel.queue_declare(name, durable=True, arguments={"x-single-active-consumer": True}, callback=declared)

    def _put_token(self, node: str, epoch: int) -> None:
        self._send("", f"pyami.lease.{node}", str(epoch).encode(), pika.BasicProperties(delivery_mode=PERSISTENT))

    def _token(self, node: _Node, tag: int, epoch: int) -> None:
        """Handle a node's token, which means that this bridge is the active consumer of its lease."""
        if node.epoch is None:
            if node.offered is not None:
                older, newer = sorted([node.offered, (epoch, tag)])
                self._channel.basic_ack(older[1])
                epoch, tag = newer
            node.offered = (epoch, tag)
        elif epoch < node.epoch:
            self._channel.basic_ack(tag)
        elif epoch == node.epoch:
            if node.tag is not None:
                self._channel.basic_ack(node.tag)
            node.tag, node.since = tag, time.monotonic()
        else:
            # Another bridge has led the node meanwhile.
            node.epoch = node.tag = None
            node.offered = (epoch, tag)

    def _acquire(self, nodes: Sequence[str], owner: str, most: int) -> list[Future[Lease]]:
        taken: list[Future[Lease]] = []
        graceful = self._lost_before and time.monotonic() - self._ready_since < GRACE
        for name in nodes:
            node = self._nodes.setdefault(name, _Node(name))
            if node.epoch is not None:
                continue
            if most <= len(taken):
                self._step_back(node)
            elif node.offered is not None:
                taken.append(self._take(node, owner))
            elif not node.consuming and not graceful:
                self._stand_by(node)
        return taken

    def _take(self, node: _Node, owner: str) -> Future[Lease]:
        assert node.offered is not None
        (epoch, tag), node.offered = node.offered, None
        node.epoch, node.owner = max(epoch + 1, int(time.time())), owner
        lease = Lease(node.name, owner, node.epoch)
        future: Future[Lease] = Future()
        self._put_token(node.name, node.epoch)
        headers = {"owner": owner, "epoch": node.epoch}
        batch = self._expect(
            f"lease {node.name}",
            self._send(
                "", f"pyami.leader.{node.name}", b"", pika.BasicProperties(headers=headers, delivery_mode=PERSISTENT)
            ),
            2,
        )
        channel = self._channel

        def stored(done: Future[None]) -> None:
            exc = done.exception()
            if exc is None:
                channel.basic_ack(tag)  # only now, so that a token is always stored
                future.set_result(lease)
            else:
                node.epoch = None
                future.set_exception(exc)

        batch.add_done_callback(stored)
        return future

    def _step_back(self, node: _Node) -> None:
        """Stop being the active consumer, so that another one gets the token."""
        if node.consuming:
            self._channel.basic_cancel(f"pyami.lease.{node.name}")
            if node.offered is not None:
                self._channel.basic_nack(node.offered[1], requeue=True)
            elif node.tag is not None:
                self._channel.basic_nack(node.tag, requeue=True)
            node.consuming = False
        node.offered = node.tag = node.epoch = None

    def _held(self, leases: Sequence[Lease]) -> list[Lease]:
        kept = []
        now = time.monotonic()
        for lease in leases:
            node = self._nodes.get(lease.node)
            if node is None or node.epoch != lease.epoch:
                continue
            if node.tag is None and now - self._ready_since > SETTLE and now - node.since > SETTLE:
                self._step_back(node)  # after a reconnect, another bridge is the active consumer
                continue
            if node.tag is not None and now - node.since > REFRESH and not self._blocked:
                node.since = now
                self._put_token(node.name, lease.epoch)
            kept.append(lease)
        return kept

    def _release(self, lease: Lease) -> None:
        node = self._nodes.get(lease.node)
        if node is not None and node.epoch == lease.epoch:
            self._step_back(node)

    # On the link's thread: events

    def _publish(self, lease: Lease, records: Sequence[Record]) -> Future[None]:
        node = self._nodes.get(lease.node)
        if node is None or node.epoch != lease.epoch:
            raise Fenced(lease.node, lease.epoch)
        if node.tag is None:
            raise BrokerUnavailable(f"RabbitMQ: the lease of node {lease.node!r} is not confirmed yet")
        under_way = self._batches.get(lease.node)
        if under_way is not None and under_way.first == records[0].id:
            return under_way.future  # published on this connection already, and not confirmed yet
        if self._blocked:
            raise BrokerUnavailable(f"RabbitMQ: {self._why_slow()}")
        channel = self._channel
        write = getattr(channel.connection, "_output_marshaled_frames", None)
        if write is None or max(len(record.body) for record in records) > channel.connection.params.frame_max - 8:
            for record in records:
                channel.basic_publish(EXCHANGE, record.key, record.body, properties_of(record))
        else:
            # One write for all, because pika makes a system call for each of the three frames of a message.
            write([b"".join([frames_of(record, channel.channel_number) for record in records])])
        self._next_tag += len(records)
        return self._expect(lease.node, self._next_tag - 1, len(records), records[0].id)

    def _send(self, exchange: str, key: str, body: bytes, properties: Any) -> int:
        """Publish one message and return its delivery tag."""
        self._channel.basic_publish(exchange, key, body, properties)
        tag = self._next_tag
        self._next_tag += 1
        return tag

    def _expect(self, name: str, last_tag: int, count: int, first: str = "") -> Future[None]:
        """Return a future of the confirms of the ``count`` messages up to a tag."""
        batch = _Batch(first, last_tag - count + 1, last_tag, last_tag - count)
        self._batches[name] = batch
        self._order.append(batch)
        return batch.future

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        refused = isinstance(method, pika.spec.Basic.Nack)
        for batch in list(self._order):
            if not batch.note(method.delivery_tag, method.multiple, refused):
                continue
            self._order.remove(batch)
            for name in [name for name, each in self._batches.items() if each is batch]:
                del self._batches[name]
            if batch.refused:
                batch.future.set_exception(BrokerUnavailable("RabbitMQ: the server did not take a message (nack)"))
            else:
                batch.future.set_result(None)
