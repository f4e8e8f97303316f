"""Events that no server sends: the marks of a gap."""

from __future__ import annotations

import pytest

from pyami_sync import events
from pyami_sync.vocabulary import markers
from pyami_sync.vocabulary.model import event_class
from pyami_sync.wire.message import Event
from pyami_sync.wire.origin import Origin


def test_connection_lost():
    mark = markers.ConnectionLost.make("reset by peer", origin=Origin("utf-8", 1000.0, "pbx-1"))
    assert (mark.name, mark.reason, mark.node) == ("ConnectionLost", "reset by peer", "pbx-1")
    assert mark.received_at.timestamp() == 1000.0
    assert isinstance(mark, Event)


def test_a_reason_stays_one_line():
    mark = markers.ConnectionLost.make("odd\r\nEvent: Fake\n\n text")
    assert mark.reason == "odd Event: Fake text"
    assert mark.get_all("Event") == ["ConnectionLost"]


def test_another_encoding():
    assert markers.ConnectionLost.make("zurückgesetzt", origin=Origin("latin-1")).reason == "zurückgesetzt"


@pytest.mark.parametrize("restarted", [None, True, False])
def test_reconnected(restarted):
    mark = markers.Reconnected.make(1.23456, attempts=3, server_restarted=restarted)
    assert (mark.gap, mark.attempts, mark.server_restarted) == (1.235, 3, restarted)
    assert ("ServerRestarted" in mark) is (restarted is not None)


def test_they_are_among_the_events():
    assert events.ConnectionLost is markers.ConnectionLost
    assert events.Reconnected is markers.Reconnected


def test_a_server_s_event_of_their_name_is_no_marker():
    assert event_class(b"ConnectionLost") is Event
    assert event_class(b"Reconnected") is Event


def test_patterns():
    match markers.Reconnected.make(0.5, attempts=2):
        case events.Reconnected(attempts=2):
            pass
        case _:
            pytest.fail("no match")
