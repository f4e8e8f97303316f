"""RabbitMQ as the broker (extra ``rabbitmq``).

Names, all durable::

    pyami.events            a topic exchange; keys ami.<node>.<class>.<Event>
    pyami.events.<node>     a stream queue: every reader has a place of its own in it
    pyami.group.<name>      a quorum queue, shared by the members of a group; pyami.dead.<name> has its dead letters
    pyami.lease.<node>      a single-active-consumer queue that holds one message, the token with the latest epoch
    pyami.leader.<node>     holds one message: who leads the node
    pyami.snapshot.<node>   holds one message: the latest Snapshot marker
    pyami.requests.<node>   requests, taken by the leader
    pyami.answers.<id>      answers to one client; expires
    pyami.bridges           has one consumer a bridge

Whoever is the active consumer of a lease queue leads the node, and publishes over that same connection
(:mod:`pyami_sync.bridge.rabbitmq_link`): when the server gives a stopped leader up it closes the connection, and with
it every way to write in the old epoch. Besides, each message bears its epoch, and consumers refuse those that are over.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from functools import partial
from threading import Lock, RLock, get_ident
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pika  # type: ignore[import-untyped]
from pika.exceptions import AMQPError, ChannelClosedByBroker, UnroutableError  # type: ignore[import-untyped]

from ..exceptions import ConcurrencyError
from .envelope import Position, Record
from .errors import BrokerUnavailable
from .rabbitmq_link import RabbitLink
from .rabbitmq_messages import EXCHANGE, PERSISTENT, declare_stream, record_of, snapshot_name, stream_name
from .requests import Answer, Request
from .transport import Delivery, Lease, Start

__all__ = ["RabbitTransport"]

T = TypeVar("T")
TIMEOUT = 5.0
ANSWER_EXPIRY = 300_000  # milliseconds
PREFETCH = 1_000
SHOWN = 0.2  # seconds in which a snapshot that another client looks at is back


@contextmanager
def _broker_errors() -> Iterator[None]:
    """Turn what pika raises into :exc:`BrokerUnavailable`."""
    try:
        yield
    except (AMQPError, OSError) as exc:
        raise BrokerUnavailable(f"RabbitMQ: {type(exc).__name__}: {_text_of(exc)}") from exc


def _text_of(exc: BaseException) -> str:
    """Return what an exception says, of pika's nested ones the innermost."""
    inner = exc.args[0] if exc.args and isinstance(exc.args[0], BaseException) else exc
    return str(inner) or type(inner).__name__


class RabbitTransport:
    """Events as streams, leases as single active consumers of one RabbitMQ server or cluster (3.10 and later).

    Args:
        url: ``amqp://user:password@host:5672/vhost``; ``heartbeat=`` in its query is how many seconds the server waits
            for a sign of life, up to twice: three quarters of the bridges' ``ttl`` keeps the take-over within two of
            them (3 unless given); ``max_bytes=`` is how much of each node's events is kept (a gibibyte unless given).

    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        heartbeat = int(query.pop("heartbeat", 3))
        self.max_bytes = int(query.pop("max_bytes", 1 << 30))
        parameters = pika.URLParameters(urlunsplit(parts._replace(query=urlencode(query))))
        parameters.socket_timeout = parameters.stack_timeout = TIMEOUT
        parameters.blocked_connection_timeout = TIMEOUT
        parameters.connection_attempts = 1
        parameters.heartbeat = 0
        self.parameters = parameters
        self._heartbeat = heartbeat
        self._lock = RLock()  # guards what follows; reentrant for a signal handler that closes
        self._link: RabbitLink | None = None
        self._closed = False
        self._channel = _Channel(parameters)
        self._requests = _Channel(parameters, heartbeat=max(10, heartbeat))
        self._consumed: set[str] = set()
        self._taken: deque[tuple[bytes, int]] = deque()
        self._answers = _Channel(parameters)
        self._offsets: dict[str, tuple[Position, int]] = {}

    def _leading(self) -> RabbitLink:
        with self._lock:
            if self._closed:
                raise BrokerUnavailable("the transport is closed")
            if self._link is None:
                self._link = RabbitLink(self.parameters, self._heartbeat, self.max_bytes)
            return self._link

    # Events

    def publish(self, lease: Lease, records: Sequence[Record], timeout: float) -> None:
        self._leading().publish(lease, records, timeout)

    def reader(self, nodes: Sequence[str], start: Mapping[str, Start]) -> RabbitReader:
        offsets: dict[str, Any] = {}
        for node in nodes:
            begin = start.get(node, "now")
            if isinstance(begin, Position):
                known = self._offsets.get(node)
                # An epoch begins at its number, in seconds since 1970, or later: what is read too much is dropped by
                # whoever knows the place.
                moment = datetime.fromtimestamp(min(begin.epoch, time.time()) - 1, UTC)
                offsets[node] = known[1] + 1 if known and known[0] == begin else moment
            else:
                offsets[node] = "next" if begin == "now" else "first"
        return RabbitReader(self.parameters, offsets, self.max_bytes, self._offsets)

    def snapshot(self, node: str) -> Record | None:
        def look(channel: Any) -> Record | None:
            deadline = time.monotonic() + SHOWN
            while True:
                method, properties, body = channel.basic_get(snapshot_name(node))
                if method is not None:
                    channel.basic_nack(method.delivery_tag, requeue=True)
                    return record_of(properties, body)
                if time.monotonic() > deadline:
                    return None
                channel.connection.sleep(0.02)  # another one may look at it just now

        return self._channel.run(look, {404: None})

    def group(self, name: str, nodes: Sequence[str]) -> RabbitGroupReader:
        return RabbitGroupReader(self.parameters, name, nodes)

    # Leases

    def acquire(self, nodes: Sequence[str], owner: str, ttl: float, most: int) -> list[Lease]:
        return self._leading().acquire(nodes, owner, most)

    def vacancy(self, nodes: Sequence[str]) -> float:
        return math.inf  # the server gives a lease on when it has given its holder up

    def renew(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        return self._leading().held(leases)

    def release(self, lease: Lease) -> None:
        self._leading().release(lease)

    def leaders(self, nodes: Sequence[str]) -> dict[str, Lease]:
        def look(node: str, channel: Any) -> Lease | None:
            consumers = channel.queue_declare(f"pyami.lease.{node}", passive=True).method.consumer_count
            method, properties, _ = channel.basic_get(f"pyami.leader.{node}")
            if method is None:
                return None
            channel.basic_nack(method.delivery_tag, requeue=True)
            headers = properties.headers or {}
            return Lease(node, str(headers["owner"]), int(headers["epoch"])) if consumers else None

        found = {}
        for node in nodes:
            lease = self._channel.run(partial(look, node), {404: None})
            if lease is not None:
                found[node] = lease
        return found

    def announce(self, owner: str, ttl: float) -> int:
        return self._leading().announce()

    # Actions

    def ask(self, request: Request, timeout: float) -> Answer | None:
        def send(channel: Any) -> Answer | None:
            self._declare_answers(channel, request.requester)
            left = max(1, int((request.deadline - time.time()) * 1000))
            try:
                channel.basic_publish(
                    "",
                    f"pyami.requests.{request.node}",
                    request.to_bytes(),
                    pika.BasicProperties(delivery_mode=PERSISTENT, expiration=str(left)),
                    mandatory=True,
                )
            except UnroutableError:
                return Answer(request.id, "refused", f"no bridge has ever led node {request.node!r}")
            return None

        return self._channel.run(send)

    def withdraw(self, request: Request) -> bool:
        # Nobody can say: the server drops it when its time is over, unless a leader has taken it before.
        return False

    def requests(self, leases: Sequence[Lease], timeout: float) -> list[Request]:
        def take(channel: Any) -> list[bytes]:
            if channel is not self._requests.last:
                self._requests.last = channel
                self._consumed.clear()
                self._taken.clear()
                channel.basic_qos(prefetch_count=100)
            wanted = {lease.node for lease in leases}
            for node in self._consumed - wanted:
                channel.basic_cancel(f"requests-{node}")
            for node in wanted - self._consumed:
                name = f"pyami.requests.{node}"
                channel.queue_declare(name, durable=True)
                channel.basic_consume(name, self._take, consumer_tag=f"requests-{node}")
            self._consumed = wanted
            if not self._taken:
                channel.connection.process_data_events(timeout)
            if not self._taken:
                return []
            found = list(self._taken)
            channel.basic_ack(found[-1][1], multiple=True)
            # The server has seen the acknowledgement before anything is run: what it gives to another leader later
            # has not been run by this one.
            channel.basic_qos(prefetch_count=100)
            self._taken.clear()
            return [data for data, _ in found]

        found = []
        for data in self._requests.run(take):
            try:
                found.append(Request.from_bytes(data))
            except ValueError:
                continue  # written by something else; nobody waits for an answer
        return found

    def _take(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._taken.append((body, method.delivery_tag))

    def reply(self, request: Request, answer: Answer) -> None:
        name = f"pyami.answers.{request.requester}"
        self._channel.run(lambda channel: channel.basic_publish("", name, answer.to_bytes()))

    def answers(self, requester: str, timeout: float) -> list[Answer]:
        def take(channel: Any) -> list[Answer]:
            found: list[Answer] = []
            name = f"pyami.answers.{requester}"
            if channel is not self._answers.last:
                self._declare_answers(channel, requester)
                self._answers.last = channel
                self._arrived: deque[bytes] = deque()
                channel.basic_consume(name, lambda c, m, p, body: self._arrived.append(body), auto_ack=True)
            channel.connection.process_data_events(0 if self._arrived else timeout)
            while self._arrived:
                found.append(Answer.from_bytes(self._arrived.popleft()))
            return found

        return self._answers.run(take)

    @staticmethod
    def _declare_answers(channel: Any, requester: str) -> None:
        channel.queue_declare(f"pyami.answers.{requester}", arguments={"x-expires": ANSWER_EXPIRY})

    def close(self) -> None:
        with self._lock:
            self._closed = True
            link, self._link = self._link, None
        if link is not None:
            link.close()
        for channel in (self._channel, self._requests, self._answers):
            channel.close()


class _Channel:
    """A connection with one channel in confirm mode, for one caller at a time; made anew when it was lost."""

    def __init__(self, parameters: Any, heartbeat: int = 0) -> None:
        self._parameters = parameters
        self._heartbeat = heartbeat
        self._lock = Lock()  # held while the connection is used, which blocks for TIMEOUT at most
        self._user: int | None = None  # the thread that uses it
        self._closed = False
        self._connection: Any = None
        self._channel: Any = None
        self.last: Any = None
        """The channel on which the owner has begun to consume."""

    def run(self, job: Callable[[Any], T], closed: Mapping[int, T] | None = None) -> T:
        """Run a job with the channel.

        Args:
            job: called with the channel, once.
            closed: what to return when the broker closes the channel, by its code.

        Raises:
            ConcurrencyError: in a signal handler that has interrupted this very thread's use of it.

        """
        if self._user == get_ident():
            raise ConcurrencyError("a signal handler has interrupted this very thread's use of the RabbitMQ connection")
        with self._lock, _broker_errors():
            self._user = get_ident()
            try:
                return self._use(job, closed)
            finally:
                self._user = None
                if self._closed:
                    self._drop()

    def _use(self, job: Callable[[Any], T], closed: Mapping[int, T] | None) -> T:
        channel = self._open()
        try:
            return job(channel)
        except ChannelClosedByBroker as exc:
            if closed is not None and exc.reply_code in closed:
                return closed[exc.reply_code]
            raise
        except (AMQPError, OSError):
            self._drop()
            raise

    def _open(self) -> Any:
        if self._connection is not None:
            try:
                self._connection.process_data_events(0)  # find out whether it is still there before it is used
            except (AMQPError, OSError):
                self._drop()
        if self._connection is None or not self._connection.is_open:
            self._connection = make_connection(self._parameters, self._heartbeat)
            self._channel = None
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        close_quietly(connection)

    def close(self) -> None:
        self._closed = True  # before the look at the user, which looks at this afterwards
        if self._user == get_ident():
            return  # in a signal handler: the call that it has interrupted closes the connection
        if self._lock.acquire(timeout=2 * TIMEOUT):
            try:
                self._drop()
            finally:
                self._lock.release()


def make_connection(parameters: Any, heartbeat: int = 0) -> Any:
    """Connect; blocks for the parameters' time at most."""
    own = copy(parameters)
    own.heartbeat = heartbeat
    return pika.BlockingConnection(own)


def close_quietly(connection: Any) -> None:
    """Close a connection that may be broken."""
    if connection is not None and connection.is_open:
        try:
            connection.close()
        except (AMQPError, OSError):
            pass


class RabbitReader:
    """Reads the streams of some nodes over a connection of its own."""

    def __init__(
        self, parameters: Any, offsets: Mapping[str, Any], max_bytes: int, seen: dict[str, tuple[Position, int]]
    ) -> None:
        self._found: deque[tuple[Record, int, int]] = deque()
        self._seen = seen
        with _broker_errors():
            self._connection = make_connection(parameters)
            try:
                self._channel = self._connection.channel()
                self._channel.basic_qos(prefetch_count=PREFETCH)
                for node, offset in offsets.items():
                    declare_stream(self._channel, node, max_bytes)
                    self._channel.basic_consume(stream_name(node), self._take, arguments={"x-stream-offset": offset})
            except BaseException:
                close_quietly(self._connection)
                raise

    def _take(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        record = record_of(properties, body)
        if record is None:
            channel.basic_ack(method.delivery_tag)
        else:
            offset = int((properties.headers or {}).get("x-stream-offset", 0))
            self._found.append((record, method.delivery_tag, offset))

    def read(self, limit: int, timeout: float) -> list[Record]:
        with _broker_errors():
            if not self._found:
                self._connection.process_data_events(timeout)
            records: list[Record] = []
            tag = 0
            while self._found and len(records) < limit:
                record, tag, offset = self._found.popleft()
                records.append(record)
                self._seen[record.node] = (record.position, offset)
            if tag:
                self._channel.basic_ack(tag, multiple=True)
            return records

    def close(self) -> None:
        close_quietly(self._connection)


class RabbitGroupReader:
    """A member of a group: a consumer of the queue that its members share."""

    def __init__(self, parameters: Any, name: str, nodes: Sequence[str]) -> None:
        self._dead = f"pyami.dead.{name}"
        self._found: deque[Delivery] = deque()
        with _broker_errors():
            self._connection = make_connection(parameters)
            try:
                self._channel = self._connection.channel()
                self._channel.confirm_delivery()
                self._channel.basic_qos(prefetch_count=PREFETCH)
                self._channel.exchange_declare(EXCHANGE, "topic", durable=True)
                queue = f"pyami.group.{name}"
                for each in (queue, self._dead):
                    self._channel.queue_declare(each, durable=True, arguments={"x-queue-type": "quorum"})
                for node in nodes:
                    self._channel.queue_bind(queue, EXCHANGE, f"ami.{node.replace('.', '_')}.#")
                self._channel.basic_consume(queue, self._take)
            except BaseException:
                close_quietly(self._connection)
                raise

    def _take(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        record = record_of(properties, body)
        if record is None:
            channel.basic_ack(method.delivery_tag)
            return
        tries = int((properties.headers or {}).get("x-delivery-count", 0)) + 1
        self._found.append(Delivery(record, method.delivery_tag, tries))

    def read(self, limit: int, timeout: float) -> list[Delivery]:
        with _broker_errors():
            if not self._found:
                self._connection.process_data_events(timeout)
        return [self._found.popleft() for _ in range(min(limit, len(self._found)))]

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        with _broker_errors():
            for each in deliveries:
                self._channel.basic_ack(each.tag)

    def retry(self, delivery: Delivery) -> None:
        with _broker_errors():
            self._channel.basic_nack(delivery.tag, requeue=True)

    def bury(self, delivery: Delivery, reason: str) -> None:
        record = delivery.record
        properties = pika.BasicProperties(
            headers={**{f"cloudEvents:{name}": value for name, value in record.attributes().items()}, "reason": reason},
            delivery_mode=PERSISTENT,
        )
        with _broker_errors():
            self._channel.basic_publish("", self._dead, record.body, properties)
            self._channel.basic_ack(delivery.tag)

    def close(self) -> None:
        close_quietly(self._connection)
