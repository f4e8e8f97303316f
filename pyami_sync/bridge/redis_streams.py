"""Redis Streams as the broker (extra ``redis``).

Keys, all with the node as hash tag::

    pyami:{node}:events            the stream; entry ids are <epoch>-<seq>
    pyami:{node}:lease             "<owner>|<epoch>", expires
    pyami:{node}:epoch             the latest epoch
    pyami:{node}:snapshot          the entry id of the latest Snapshot marker
    pyami:{node}:requests:<epoch>  a list, taken by the leader of that epoch
    pyami:{node}:dead:<group>      dead letters, a stream
    pyami:answers:<requester>      a list, expires
    pyami:bridges                  a sorted set: which bridges are there, until when

Every write of events checks the epoch in the same script, so that a leader that was stopped and wakes up can't write;
and Redis itself refuses an entry whose id is not greater than all before it, so that a repeated batch stores nothing
twice.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .envelope import TYPE, Position, Record, time_of, time_text
from .errors import BrokerUnavailable, Fenced
from .requests import Answer, Request
from .transport import Delivery, Lease, Start

__all__ = ["RedisTransport"]

MAXLEN = 1_000_000
TIMEOUT = 5.0
ANSWER_EXPIRY = 300
CLAIM = 30.0
TAKE = 100

LAST_ID = """
local function last_id(key)
    local info = redis.pcall('XINFO', 'STREAM', key)
    if info.err then return '0-0' end
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then return info[i + 1] end
    end
    return '0-0'
end
"""

PUBLISH = (
    LAST_ID
    + """
local epoch, node, maxlen = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local current = tonumber(redis.call('GET', KEYS[2]) or '0')
local last = last_id(KEYS[1])
local last_epoch, last_seq = string.match(last, '(%d+)-(%d+)')
last_epoch, last_seq = tonumber(last_epoch), tonumber(last_seq)
if current > epoch or last_epoch > epoch then return redis.error_reply('FENCED') end
if current < epoch then redis.call('SET', KEYS[2], ARGV[1]) end
for i = 4, #ARGV, 5 do
    local seq = ARGV[i]
    if last_epoch < epoch or tonumber(seq) > last_seq then
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', maxlen, ARGV[1] .. '-' .. seq,
            'specversion', '1.0', 'id', node .. '/' .. ARGV[1] .. '/' .. seq, 'source', '/ami/' .. node,
            'type', ARGV[i + 1], 'subject', ARGV[i + 2], 'time', ARGV[i + 3],
            'datacontenttype', 'application/json', 'data', ARGV[i + 4])
    end
end
return 1
"""
)

ACQUIRE = (
    LAST_ID
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local old = tonumber(redis.call('GET', KEYS[2]) or '0')
local last = last_id(KEYS[3])
local epoch = math.max(old + 1, tonumber(string.match(last, '(%d+)-')) + 1, tonumber(redis.call('TIME')[1]))
local text = string.format('%.0f', epoch)
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. text, 'PX', ARGV[2])
redis.call('SET', KEYS[2], text)
local waiting = ARGV[3] .. string.format('%.0f', old)
if redis.call('EXISTS', waiting) == 1 then redis.call('RENAME', waiting, ARGV[3] .. text) end
return {text, last}
"""
)

VACANCY = """
local least = math.huge
for i = 1, #KEYS do least = math.min(least, redis.call('PTTL', KEYS[i])) end
return math.max(least, 0)
"""

RENEW = """
local held = redis.call('GET', KEYS[1])
if held == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return 1
end
if held or tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

ANNOUNCE = """
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
return redis.call('ZCARD', KEYS[1])
"""

ASK = """
local epoch = redis.call('GET', KEYS[1])
if not epoch then return 0 end
redis.call('RPUSH', ARGV[1] .. epoch, ARGV[2])
redis.call('EXPIRE', ARGV[1] .. epoch, 86400)
return 1
"""

WITHDRAW = """
local epoch = redis.call('GET', KEYS[1])
if not epoch then return 0 end
return redis.call('LREM', ARGV[1] .. epoch, 1, ARGV[2])
"""


@contextmanager
def _broker_errors() -> Iterator[None]:
    """Turn what redis-py raises into :exc:`BrokerUnavailable`."""
    try:
        yield
    except (redis.RedisError, OSError) as exc:
        raise BrokerUnavailable(f"Redis: {type(exc).__name__}: {exc}") from exc


def _key(node: str, what: str) -> str:
    return f"pyami:{{{node}}}:{what}"


class RedisTransport:
    """Events as streams, leases and requests as keys of one Redis server, or of one with replicas.

    Nothing is sent again by the Redis client: what may be repeated, the bridge repeats.

    Args:
        url: ``redis://``, ``rediss://``; ``maxlen=`` in its query is how many events of a node are kept (a million
            unless given, about), ``claim=`` after how many seconds a group gives away what a member did not
            acknowledge.

    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self.maxlen = int(query.pop("maxlen", MAXLEN))
        self.claim = float(query.pop("claim", CLAIM))
        self._redis: redis.Redis = redis.Redis.from_url(
            urlunsplit(parts._replace(query=urlencode(query))),
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )
        script = self._redis.register_script
        self._publish = script(PUBLISH)
        self._acquire = script(ACQUIRE)
        self._vacancy = script(VACANCY)
        self._renew = script(RENEW)
        self._release = script(RELEASE)
        self._announce = script(ANNOUNCE)
        self._ask = script(ASK)
        self._withdraw = script(WITHDRAW)

    # Events

    def publish(self, lease: Lease, records: Sequence[Record], timeout: float) -> None:
        arguments: list[Any] = [lease.epoch, lease.node, self.maxlen]
        for _, (_, seq), name, category, when, body in records:
            arguments += (seq, TYPE + name, category, time_text(when), body)
        try:
            with _broker_errors():
                self._publish([_key(lease.node, "events"), _key(lease.node, "epoch")], arguments)
        except BrokerUnavailable as exc:
            if isinstance(exc.__cause__, redis.ResponseError) and "FENCED" in str(exc.__cause__):
                raise Fenced(lease.node, lease.epoch) from None
            raise
        for record in records:
            if record.is_snapshot:
                with _broker_errors():
                    self._redis.set(_key(lease.node, "snapshot"), str(record.position))

    def snapshot(self, node: str) -> Record | None:
        with _broker_errors():
            place: Any = self._redis.get(_key(node, "snapshot"))
            found: Any = self._redis.xrange(_key(node, "events"), place, place) if place else []
        return _record(node, *found[0]) if found else None

    def reader(self, nodes: Sequence[str], start: Mapping[str, Start]) -> RedisReader:
        places = {}
        for node in nodes:
            begin = start.get(node, "now")
            if begin == "now":
                places[node] = self._last(node)
            else:
                places[node] = "0-0" if begin == "first" else str(begin)
        return RedisReader(self._redis, places)

    def _last(self, node: str) -> str:
        try:
            with _broker_errors():
                return _text(self._redis.xinfo_stream(_key(node, "events"))["last-generated-id"])
        except BrokerUnavailable as exc:
            if isinstance(exc.__cause__, redis.ResponseError) and "no such key" in str(exc.__cause__):
                return "0-0"
            raise

    def group(self, name: str, nodes: Sequence[str]) -> RedisGroupReader:
        for node in nodes:
            try:
                with _broker_errors():
                    self._redis.xgroup_create(_key(node, "events"), name, "$", mkstream=True)
            except BrokerUnavailable as exc:
                if "BUSYGROUP" not in str(exc):
                    raise
        return RedisGroupReader(self._redis, name, list(nodes), self.claim)

    # Leases

    def acquire(self, nodes: Sequence[str], owner: str, ttl: float, most: int) -> list[Lease]:
        if most <= 0 or not nodes:
            return []
        with _broker_errors():
            held = self._redis.mget([_key(node, "lease") for node in nodes])
            free = [node for node, value in zip(nodes, held, strict=True) if value is None]
            random.shuffle(free)  # so that bridges that begin together don't all try the same ones
            made: list[Lease] = []
            while free and len(made) < most:  # again for those that another bridge has taken meanwhile
                tried, free = free[: most - len(made)], free[most - len(made) :]
                made += self._try(tried, owner, ttl)
        return made

    def _try(self, nodes: Sequence[str], owner: str, ttl: float) -> list[Lease]:
        pipeline = self._redis.pipeline(transaction=False)
        for node in nodes:
            keys = [_key(node, "lease"), _key(node, "epoch"), _key(node, "events")]
            self._acquire(keys, [owner, _ms(ttl), _key(node, "requests:")], client=pipeline)
        made = []
        for node, result in zip(nodes, pipeline.execute(), strict=True):
            if result is not None:
                epoch, last = int(result[0]), Position.parse(_text(result[1]))
                made.append(Lease(node, owner, epoch, last if last.epoch else None))
        return made

    def vacancy(self, nodes: Sequence[str]) -> float:
        if not nodes:
            return math.inf
        with _broker_errors():
            return int(self._vacancy([_key(node, "lease") for node in nodes])) / 1000

    def renew(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        if not leases:
            return []
        with _broker_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for lease in leases:
                keys = [_key(lease.node, "lease"), _key(lease.node, "epoch")]
                self._renew(keys, [_value(lease), lease.epoch, _ms(ttl)], client=pipeline)
            return [lease for lease, held in zip(leases, pipeline.execute(), strict=True) if held]

    def release(self, lease: Lease) -> None:
        with _broker_errors():
            self._release([_key(lease.node, "lease")], [_value(lease)])

    def leaders(self, nodes: Sequence[str]) -> dict[str, Lease]:
        if not nodes:
            return {}
        with _broker_errors():
            values = self._redis.mget([_key(node, "lease") for node in nodes])
        found = {}
        for node, value in zip(nodes, values, strict=True):
            if value is not None:
                owner, _, epoch = _text(value).rpartition("|")
                found[node] = Lease(node, owner, int(epoch))
        return found

    def announce(self, owner: str, ttl: float) -> int:
        with _broker_errors():
            return int(self._announce(["pyami:bridges"], [owner, _ms(ttl)]))

    # Actions

    def ask(self, request: Request, timeout: float) -> Answer | None:
        with _broker_errors():
            known = self._ask([_key(request.node, "epoch")], [_key(request.node, "requests:"), request.to_bytes()])
        if not known:
            return Answer(request.id, "refused", f"no bridge has ever led node {request.node!r}")
        return None

    def withdraw(self, request: Request) -> bool:
        with _broker_errors():
            arguments: list[Any] = [_key(request.node, "requests:"), request.to_bytes()]
            return bool(self._withdraw([_key(request.node, "epoch")], arguments))

    def requests(self, leases: Sequence[Lease], timeout: float) -> list[Request]:
        keys = [_key(lease.node, f"requests:{lease.epoch}") for lease in leases]
        with _broker_errors():
            first: Any = self._redis.blpop(keys, timeout)
            if first is None:
                return []
            more: Any = self._redis.lpop(first[0], TAKE) or []
        found = []
        for data in (first[1], *more):
            try:
                found.append(Request.from_bytes(data))
            except ValueError:
                continue  # written by something else; nobody waits for an answer
        return found

    def reply(self, request: Request, answer: Answer) -> None:
        key = f"pyami:answers:{request.requester}"
        with _broker_errors():
            pipeline = self._redis.pipeline()
            pipeline.rpush(key, answer.to_bytes())
            pipeline.expire(key, ANSWER_EXPIRY)
            pipeline.execute()

    def answers(self, requester: str, timeout: float) -> list[Answer]:
        key = f"pyami:answers:{requester}"
        with _broker_errors():
            first: Any = self._redis.blpop([key], timeout)
            if first is None:
                return []
            more: Any = self._redis.lpop(key, TAKE) or []
        return [Answer.from_bytes(data) for data in (first[1], *more)]

    def close(self) -> None:
        self._redis.close()
        self._redis.connection_pool.disconnect()


class RedisReader:
    """Reads streams from places of its own."""

    def __init__(self, client: redis.Redis, places: dict[str, str]) -> None:
        self._redis = client
        self._places: dict[Any, Any] = {_key(node, "events"): place for node, place in places.items()}

    def read(self, limit: int, timeout: float) -> list[Record]:
        with _broker_errors():
            found: Any = self._redis.xread({**self._places}, count=limit, block=_ms(timeout))
        records = []
        for key, entries in _streams(found):
            if entries:
                self._places[_text(key)] = _text(entries[-1][0])
                node = _node(key)
                records += [record for entry, fields in entries if (record := _record(node, entry, fields)) is not None]
        return records

    def close(self) -> None:
        """Do nothing: connections are the transport's."""


class RedisGroupReader:
    """A member of a consumer group on the streams of some nodes."""

    def __init__(self, client: redis.Redis, name: str, nodes: list[str], claim: float) -> None:
        self._redis = client
        self._group = name
        self._me = uuid.uuid4().hex
        self._nodes = nodes
        self._claim = claim
        self._again: list[Delivery] = []

    def read(self, limit: int, timeout: float) -> list[Delivery]:
        if self._again:
            again, self._again = self._again[:limit], self._again[limit:]
            return again
        with _broker_errors():
            found = self._abandoned(limit)
            if found:
                return found
            streams: dict[Any, Any] = {_key(node, "events"): ">" for node in self._nodes}
            new: Any = self._redis.xreadgroup(self._group, self._me, streams, count=limit, block=_ms(timeout))
        for key, entries in _streams(new):
            node = _node(key)
            for entry, fields in entries:
                record = _record(node, entry, fields)
                if record is not None:
                    found.append(Delivery(record, (_text(key), _text(entry)), 1))
        return found

    def _abandoned(self, limit: int) -> list[Delivery]:
        """Return what members that are gone left behind."""
        found: list[Delivery] = []
        for node in self._nodes:
            key = _key(node, "events")
            # Looked up first, as XAUTOCLAIM does not say how often an entry was delivered.
            pending: Any = self._redis.xpending_range(key, self._group, "-", "+", limit, idle=max(1, _ms(self._claim)))
            for each in pending:
                entry, tries = _text(each["message_id"]), int(each["times_delivered"])
                claimed: Any = self._redis.xclaim(key, self._group, self._me, _ms(self._claim), [entry])
                for _, fields in claimed:
                    record = _record(node, entry, fields) if fields else None
                    if record is not None:
                        found.append(Delivery(record, (key, entry), tries + 1))
        return found

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        with _broker_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for each in deliveries:
                key, entry = _tag(each)
                pipeline.xack(key, self._group, entry)
            pipeline.execute()

    def retry(self, delivery: Delivery) -> None:
        key, entry = _tag(delivery)
        tries = delivery.tries + 1
        with _broker_errors():
            self._redis.xclaim(key, self._group, self._me, 0, [entry], retrycount=tries, justid=True)
        self._again.append(Delivery(delivery.record, delivery.tag, tries))

    def bury(self, delivery: Delivery, reason: str) -> None:
        key, entry = _tag(delivery)
        record = delivery.record
        fields: dict[Any, Any] = {**record.attributes(), "data": record.body, "reason": reason}
        with _broker_errors():
            pipeline = self._redis.pipeline()
            pipeline.xadd(_key(record.node, f"dead:{self._group}"), fields, maxlen=100_000)
            pipeline.xack(key, self._group, entry)
            pipeline.execute()

    def close(self) -> None:
        """Leave; what is pending goes to another member when it has been idle for long enough."""


def _streams(found: Any) -> Iterable[tuple[Any, Any]]:
    """Return pairs of key and entries, in whichever form the version of the protocol has them."""
    if isinstance(found, dict):
        return [
            (key, [entry for part in value for entry in part] if _nested(value) else value)
            for key, value in found.items()
        ]
    return [tuple(islice(pair, 2)) for pair in found or ()]


def _nested(value: Any) -> bool:
    return bool(value) and isinstance(value[0], list) and bool(value[0]) and isinstance(value[0][0], tuple | list)


def _node(key: Any) -> str:
    """Return the node of a stream's key."""
    return _text(key)[len("pyami:{") : -len("}:events")]


def _record(node: str, entry: Any, fields: Mapping[Any, Any]) -> Record | None:
    """Return the record of an entry; :data:`None` for one that something else wrote.

    Its id is the entry's: the attributes that repeat it are for other readers.
    """
    try:
        epoch, _, seq = entry.partition(b"-")
        name = fields[b"type"].decode().removeprefix(TYPE)
        when = time_of(fields[b"time"].decode())
        return Record(node, Position(int(epoch), int(seq)), name, fields[b"subject"].decode(), when, fields[b"data"])
    except (KeyError, ValueError):
        return None


def _tag(delivery: Delivery) -> tuple[str, str]:
    assert isinstance(delivery.tag, tuple)
    return delivery.tag


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _value(lease: Lease) -> str:
    return f"{lease.owner}|{lease.epoch}"


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
