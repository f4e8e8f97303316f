"""The form of events and snapshots on RabbitMQ: names, queues, and messages as CloudEvents in binary mode."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Any

import pika  # type: ignore[import-untyped]

from .envelope import Position, Record

__all__ = [
    "EXCHANGE",
    "PERSISTENT",
    "declare_stream",
    "frames_of",
    "properties_of",
    "record_of",
    "snapshot_name",
    "stream_name",
]

EXCHANGE = "pyami.events"
PERSISTENT = 2
PREFIX = "cloudEvents:"
FRAME = Struct(">BHI").pack  # type, channel, size
HEADER = Struct(">HHQH").pack  # class, weight, size of the body, flags of the properties
LONG = Struct(">I").pack
FLAGS = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7  # content type, headers, delivery mode, message id
PUBLISH = b"\0\x3c\0\x28\0\0%c%b" % (len(EXCHANGE), EXCHANGE.encode())
CONTENT_TYPE = b"\x10application/json"
ID_HEADER = b"%c%bidS" % (len(PREFIX) + 2, PREFIX.encode())


def stream_name(node: str) -> str:
    """Return the name of the queue that holds a node's events."""
    return f"pyami.events.{node}"


def snapshot_name(node: str) -> str:
    """Return the name of the queue that holds the latest snapshot of a node."""
    return f"pyami.snapshot.{node}"


def stream_arguments(max_bytes: int) -> dict[str, Any]:
    """Return the arguments of such a queue."""
    segment = max(1 << 20, min(max_bytes // 4, 100 << 20))
    return {"x-queue-type": "stream", "x-max-length-bytes": max_bytes, "x-stream-max-segment-size-bytes": segment}


def declare_stream(channel: Any, node: str, max_bytes: int, **more: Any) -> None:
    """Declare the exchange and queue of a node's events; works on both kinds of pika's channels."""
    channel.exchange_declare(EXCHANGE, "topic", durable=True)
    channel.queue_declare(stream_name(node), durable=True, arguments=stream_arguments(max_bytes), **more)
    channel.queue_bind(stream_name(node), EXCHANGE, f"ami.{node.replace('.', '_')}.#")


def properties_of(record: Record) -> Any:
    """Return the properties of an event's message."""
    headers = {PREFIX + name: value for name, value in record.attributes().items()}
    return pika.BasicProperties(
        content_type="application/json", message_id=record.id, headers=headers, delivery_mode=PERSISTENT
    )


@lru_cache(64)
def common_headers(node: str, name: str, category: str, when: float) -> bytes:
    """Return the encoded headers that an event's message shares with others; cached."""
    attributes = Record(node, Position(0, 0), name, category, when, b"").attributes()
    pieces = []
    for header, value in attributes.items():
        if header != "id":
            key, text = (PREFIX + header).encode(), value.encode()
            pieces.append(b"%c%bS%b%b" % (len(key), key, len(text).to_bytes(4, "big"), text))
    return b"".join(pieces)


def frames_of(record: Record, channel: int) -> bytes:
    """Return the three frames of an event's message, as pika makes them from :func:`properties_of` apart from the
    order of the headers, in a tenth of the time. The body must fit into one frame.
    """
    node, _, name, category, when, body = record
    key, ident = record.key.encode(), record.id.encode()
    common = common_headers(node, name, category, when)
    table = len(common) + len(ID_HEADER) + 4 + len(ident)
    size = len(body)
    return b"".join(
        (
            *(FRAME(1, channel, 9 + len(EXCHANGE) + len(key)), PUBLISH, b"%c" % len(key), key, b"\0\xce"),
            *(FRAME(2, channel, 14 + len(CONTENT_TYPE) + 4 + table + 2 + len(ident)), HEADER(60, 0, size, FLAGS)),
            *(CONTENT_TYPE, LONG(table), common, ID_HEADER, LONG(len(ident)), ident),
            *(b"%c%c" % (PERSISTENT, len(ident)), ident, b"\xce", FRAME(3, channel, size), body, b"\xce"),
        )
    )


def record_of(properties: Any, body: bytes) -> Record | None:
    """Return the record of a message; :data:`None` if another program published it."""
    headers = properties.headers or {}
    found = {name.removeprefix(PREFIX): value for name, value in headers.items()}
    try:
        return Record.from_attributes(found, body)
    except ValueError:
        return None
