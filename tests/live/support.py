"""Events for the tests of the live model."""

from __future__ import annotations

import lzma
import pathlib
from collections.abc import Iterator
from functools import cache

from pyami_sync import Event
from pyami_sync.vocabulary.model import event_class

TRAFFIC = pathlib.Path(__file__).parents[1] / "traffic" / "asterisk-22.10-400-calls.ami.xz"
CALLS = 400


def event(name: str, **headers: object) -> Event:
    """Return an event as it would come over the wire; underscores stand for dashes."""
    pairs = [("Event", name), ("Privilege", "call,all")]
    pairs += [(key.replace("_", "-"), str(value)) for key, value in headers.items()]
    raw = "\r\n".join(f"{key}: {value}" for key, value in pairs).encode()
    return event_class(name.encode())._wire(raw)


def channel(name: str, uniqueid: str, *, state: str = "Up", linkedid: str = "", prefix: str = "") -> dict[str, str]:
    """Return the headers of a channel's snapshot."""
    headers = {
        "Channel": name,
        "ChannelState": "6",
        "ChannelStateDesc": state,
        "CallerIDNum": "100",
        "CallerIDName": "<unknown>",
        "ConnectedLineNum": "<unknown>",
        "ConnectedLineName": "<unknown>",
        "Language": "en",
        "AccountCode": "",
        "Context": "default",
        "Exten": "s",
        "Priority": "1",
        "Uniqueid": uniqueid,
        "Linkedid": linkedid or uniqueid,
    }
    return {prefix + key: value for key, value in headers.items()}


def bridge(uniqueid: str, count: int = 0, technology: str = "simple_bridge") -> dict[str, str]:
    """Return the headers of a bridge's snapshot."""
    return {
        "BridgeUniqueid": uniqueid,
        "BridgeType": "basic",
        "BridgeTechnology": technology,
        "BridgeCreator": "<unknown>",
        "BridgeName": "<unknown>",
        "BridgeNumChannels": str(count),
    }


@cache
def recorded() -> tuple[Event, ...]:
    """Return the events of 400 calls, as Asterisk 22.10 sent them."""
    frames = lzma.decompress(TRAFFIC.read_bytes()).split(b"\r\n\r\n")
    return tuple(of_frames(frame for frame in frames if frame.startswith(b"Event: ")))


def of_frames(frames: Iterator[bytes]) -> Iterator[Event]:
    for frame in frames:
        name = frame[7 : frame.index(b"\r\n")]
        yield event_class(name)._wire(frame)
