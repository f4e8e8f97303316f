"""The form of an event on a broker: CloudEvents 1.0 in binary mode.

Attributes are sent beside the body (as fields of a stream entry, or headers of an AMQP message). The body is JSON:
``{"headers": [["Event", "Hangup"], ["Channel", "PJSIP/1101-00000001"], …]}`` in wire order, repeated headers included.
A line without ``": "`` is a list of one. Joining the lists gives exactly the bytes that the server sent. Bytes that
are not UTF-8 are sent as ``{"raw": "<base64>"}``.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from .. import Event, events
from ..wire.lookup import make_event
from ..wire.origin import LOCAL

__all__ = ["Position", "Record", "decode_body", "encode_body", "event_of", "make_record", "routing_key"]

TYPE = "org.asterisk.ami."
ESCAPED = bytes((*range(32), *b'"\\'))
_dumps = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class Position(NamedTuple):
    """A position in the events of one node; later positions compare greater."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Parse ``"<epoch>-<seq>"``.

        Raises:
            ValueError: the text is not a position.

        """
        epoch, dash, seq = text.partition("-")
        if not dash or not epoch.isdecimal() or not seq.isdecimal():
            raise ValueError(f"a position is <epoch>-<seq>, such as 1764255600-17, not {text!r}")
        return cls(int(epoch), int(seq))


class Record(NamedTuple):
    """One event of one node, in the form for a broker."""

    node: str
    position: Position
    name: str
    """The event's name."""
    category: str
    """The first class of its privilege, such as ``call``; ``bridge`` for markers, ``none`` without one."""
    time: float
    """When the bridge read it from its socket, in seconds since 1970."""
    body: bytes

    @property
    def id(self) -> str:
        """``node/epoch/seq``: unique, and the same whenever the event is delivered again."""
        return f"{self.node}/{self.position.epoch}/{self.position.seq}"

    @property
    def is_snapshot(self) -> bool:
        """True if it is a Snapshot marker, and not a server's event of that name."""
        return self.name == "Snapshot" and self.category == "bridge"

    @property
    def key(self) -> str:
        """The routing key."""
        return routing_key(self.node, self.category, self.name)

    def attributes(self) -> dict[str, str]:
        """Return the attributes of CloudEvents 1.0."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/ami/{self.node}",
            "type": TYPE + self.name,
            "subject": self.category,
            "time": time_text(self.time),
            "datacontenttype": "application/json",
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any], body: bytes) -> Record:
        """Return the record with these attributes, as returned by :meth:`attributes`.

        Raises:
            ValueError: these are not the attributes of an event of this bridge.

        """
        try:
            node, epoch, seq = str(attributes["id"]).rsplit("/", 2)
            name = str(attributes["type"]).removeprefix(TYPE)
            when = time_of(str(attributes["time"]))
            return cls(node, Position(int(epoch), int(seq)), name, str(attributes.get("subject", "none")), when, body)
        except (KeyError, TypeError) as exc:
            raise ValueError(f"no event of a bridge: attribute {exc} is missing") from None


@lru_cache(64)
def time_text(seconds: float) -> str:
    """Return a time in the form of CloudEvents; cached, since events of one read share it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@lru_cache(64)
def time_of(text: str) -> float:
    """Return the seconds since 1970 of a text that :func:`time_text` returned.

    Raises:
        ValueError: the text is not a time.

    """
    return datetime.fromisoformat(text).timestamp()


@lru_cache(1024)
def routing_key(node: str, category: str, name: str) -> str:
    """Return ``ami.<node>.<class>.<Event>``; a dot inside a part becomes ``_``, since dots separate the parts."""
    return ".".join(("ami", *(part.replace(".", "_").replace(" ", "_") for part in (node, category, name))))


def encode_body(event: Event) -> bytes:
    """Return the JSON body of an event."""
    raw = event.to_bytes()[:-4]
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            return _dumps({"raw": base64.b64encode(raw).decode("ascii")}).encode()
    lines = raw.split(b"\r\n")
    if len(raw) == len(raw.translate(None, ESCAPED)) + 2 * len(lines) - 2:
        # It contains no character that JSON escapes, so the lines are put between quotation marks as they are.
        return b'{"headers":[["' + b'"],["'.join([line.replace(b": ", b'","', 1) for line in lines]) + b'"]]}'
    return _dumps({"headers": [line.split(": ", 1) for line in raw.decode().split("\r\n")]}).encode()


def decode_body(body: bytes) -> bytes:
    """Return the bytes of the event, as the server sent them, without their closing blank line.

    Raises:
        ValueError: the body is not that of an event.

    """
    raw = body[14:-4].replace(b'"],["', b"\r\n").replace(b'","', b": ")
    if b'"' in raw or b"\\" in raw or body[:14] != b'{"headers":[["' or body[-4:] != b'"]]}':
        # It contains characters that JSON escapes, or was written by another program.
        raw = _parse_body(body)
    if not raw or b"\r\n\r\n" in raw:
        raise ValueError("the body does not hold exactly one event")
    return raw


def _parse_body(body: bytes) -> bytes:
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("the body of an event is a JSON object")
    try:
        if "raw" in data:
            return base64.b64decode(data["raw"], validate=True)
        return "\r\n".join([": ".join(pair) for pair in data["headers"]]).encode()
    except (KeyError, TypeError, binascii.Error) as exc:
        raise ValueError(f"the body of an event holds its headers: {exc!r}") from None


def make_record(node: str, position: Position, event: Event, now: float | None = None) -> Record:
    """Return the record that carries an event."""
    when = now or event._origin.received or time.time()
    privilege = event.get("Privilege")
    category = privilege.partition(",")[0] if privilege else "none"
    return Record(node, position, event.name, category, round(when, 6), encode_body(event))


@lru_cache(4096)
def class_of(name: str) -> type[Event]:
    """Return the typed class of an event, or :class:`Event` for one that has none."""
    found = getattr(events, name, None)
    if isinstance(found, type) and issubclass(found, Event) and getattr(found, "event_name", None) == name:
        return found
    return Event


def event_of(record: Record) -> Event:
    """Return the event of a record, in its typed class where there is one.

    Raises:
        ValueError: the body is not that of an event.

    """
    return make_event(class_of(record.name), decode_body(record.body), LOCAL, record.name)
