"""Marks where the link was down."""

from __future__ import annotations

import json

from pyami_sync import events, schema
from pyami_sync.markers import ConnectionLost, Marker, Reconnected
from pyami_sync.message import Origin


def test_connection_lost() -> None:
    mark = ConnectionLost.make("reset\r\nEvent: Hangup\r\n\r\nEvent: Fake", origin=Origin("utf-8", 1795311952.5, "a"))
    assert events.ConnectionLost is ConnectionLost
    assert mark.name == "ConnectionLost"
    assert mark.reason == "reset Event: Hangup Event: Fake"
    assert mark.keys() == ["Event", "Reason"]
    assert mark.node == "a"
    assert mark.received_at is not None
    assert mark.timestamp is None


def test_reconnected() -> None:
    mark = Reconnected.make(1.5, attempts=3, server_restarted=True)
    assert (mark.gap, mark.attempts, mark.server_restarted) == (1.5, 3, True)
    assert Reconnected.make(1.5, server_restarted=False).server_restarted is False
    assert Reconnected.make(1.5).server_restarted is None
    assert isinstance(mark, Marker)


def test_markers_match() -> None:
    match Reconnected.make(2.0):
        case events.Reconnected(gap=gap):
            assert gap == 2.0


def test_markers_in_another_encoding() -> None:
    mark = ConnectionLost.make("Übertragung", origin=Origin("latin-1"))
    assert mark.reason == "Übertragung"


def test_markers_as_json() -> None:
    mark = Reconnected.make(1.25, attempts=2)
    found = schema.from_json(json.loads(json.dumps(schema.to_json(mark))))
    assert type(found) is Reconnected
    assert found == mark
