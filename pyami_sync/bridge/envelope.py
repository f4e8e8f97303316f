"""The form of an event on a broker: CloudEvents 1.0 in binary mode.

Attributes travel beside the body (fields of a stream entry, headers of an AMQP message). The body is JSON:
``{"headers": [["Event", "Hangup"], ["Channel", "PJSIP/1101-00000001"], …]}`` in wire order, repeated headers included.
A line without ``": "`` is a list of one. Joining the lists gives the bytes that the server sent, by construction.
Bytes that are not UTF-8 travel as ``{"raw": "<base64>"}``.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .. import Event, events

__all__ = ["Position", "Record", "decode_body", "encode_body", "event_of", "make_record", "routing_key"]

TYPE = "org.asterisk.ami."
_dumps = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class Position(NamedTuple):
    """A place in the events of one node; later places compare greater."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read ``"<epoch>-<seq>"``.

        Raises:
            ValueError: the text is no position.

        """
        epoch, dash, seq = text.partition("-")
        if not dash or not epoch.isdecimal() or not seq.isdecimal():
            raise ValueError(f"a position is <epoch>-<seq>, such as 1764255600-17, not {text!r}")
        return cls(int(epoch), int(seq))


class Record(NamedTuple):
    """One event of one node on its way over a broker."""

    node: str
    position: Position
    name: str
    """The event's name."""
    category: str
    """The first class of its privilege, such as ``call``; ``bridge`` for markers, ``none`` without one."""
    time: float
    """When the bridge took it, in seconds since 1970."""
    body: bytes

    @property
    def id(self) -> str:
        """``node/epoch/seq``: unique for ever, the same whenever the event is delivered again."""
        return f"{self.node}/{self.position.epoch}/{self.position.seq}"

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
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(),
            "datacontenttype": "application/json",
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any], body: bytes) -> Record:
        """Make a record of what :meth:`attributes` returned.

        Raises:
            ValueError: these are not the attributes of an event of this bridge.

        """
        try:
            node, epoch, seq = str(attributes["id"]).rsplit("/", 2)
            name = str(attributes["type"]).removeprefix(TYPE)
            when = datetime.fromisoformat(str(attributes["time"])).timestamp()
            return cls(node, Position(int(epoch), int(seq)), name, str(attributes.get("subject", "none")), when, body)
        except (KeyError, TypeError) as exc:
            raise ValueError(f"no event of a bridge: attribute {exc} is missing") from None


def routing_key(node: str, category: str, name: str) -> str:
    """Return ``ami.<node>.<class>.<Event>``; a dot inside a part becomes ``_``, since dots separate the parts."""
    return ".".join(("ami", *(part.replace(".", "_").replace(" ", "_") for part in (node, category, name))))


def encode_body(event: Event) -> bytes:
    """Return the JSON body of an event."""
    raw = event.to_bytes()[:-4]
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return _dumps({"raw": base64.b64encode(raw).decode("ascii")}).encode()
    return _dumps({"headers": [line.split(": ", 1) for line in text.split("\r\n")]}).encode()


def decode_body(body: bytes) -> bytes:
    """Return the bytes of the event, as the server sent them, without their closing blank line.

    Raises:
        ValueError: the body is not that of an event.

    """
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("the body of an event is a JSON object")
    try:
        if "raw" in data:
            raw = base64.b64decode(data["raw"], validate=True)
        else:
            raw = "\r\n".join([": ".join(pair) for pair in data["headers"]]).encode()
    except (KeyError, TypeError, binascii.Error) as exc:
        raise ValueError(f"the body of an event holds its headers: {exc!r}") from None
    if not raw or b"\r\n\r\n" in raw:
        raise ValueError("the body does not hold exactly one event")
    return raw


def category_of(event: Event) -> str:
    """Return the first class of the event's privilege, ``none`` for an event without one."""
    privilege = event.get("Privilege")
    return privilege.partition(",")[0] if privilege else "none"


def make_record(node: str, position: Position, event: Event, now: float | None = None) -> Record:
    """Return the record that carries an event."""
    when = round(time.time() if now is None else now, 6)
    return Record(node, position, event.name, category_of(event), when, encode_body(event))


def event_of(record: Record) -> Event:
    """Return the event of a record, in its typed class where there is one.

    Raises:
        ValueError: the body is not that of an event.

    """
    cls = getattr(events, record.name, None)
    if not (isinstance(cls, type) and issubclass(cls, Event) and getattr(cls, "event_name", None) == record.name):
        cls = Event
    return cls.from_bytes(decode_body(record.body) + b"\r\n\r\n")
