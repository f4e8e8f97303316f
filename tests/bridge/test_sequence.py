"""The consumer's rule."""

from __future__ import annotations

from pyami_sync.bridge import Position, Sequence, event_of, make_record
from pyami_sync.bridge.markers import events_lost, leader_changed
from pyami_sync.bridge.transport import Lease

from .support import record

LEASE = Lease("paris", "a", 5)


def told(records):
    """Return what is delivered: numbers of events, and the count of what is lost."""
    found = []
    for each in records:
        event = event_of(each)
        if event.name == "EventsLost":
            found.append((event["From"], event["To"], int(event["Count"])))
        else:
            found.append(event.get("N") or event.name)
    return found


def change(epoch, previous):
    return make_record("paris", Position(epoch, 1), leader_changed("paris", epoch, "b", previous))


def test_duplicates_and_old_epochs_are_dropped():
    order = Sequence("paris", Position(5, 2))
    assert order.accept(record(LEASE, 2)) == []
    assert told(order.accept(record(LEASE, 3))) == ["3"]
    assert order.accept(record(Lease("paris", "z", 4), 9)) == []
    assert (order.duplicates, order.refused, order.lost) == (1, 1, 0)


def test_a_gap_in_the_numbers_is_told_before_what_follows():
    order = Sequence("paris", Position(5, 2))
    assert told(order.accept(record(LEASE, 6))) == [("5-3", "5-5", 3), "6"]
    assert order.lost == 3


def test_what_the_bridge_has_told_is_not_told_again():
    order = Sequence("paris", Position(5, 2))
    marker = make_record("paris", Position(5, 13), events_lost("paris", Position(5, 3), Position(5, 12), "spool full"))
    assert told(order.accept(marker)) == [("5-3", "5-12", 10)]
    assert told(order.accept(record(LEASE, 14))) == ["14"]
    assert order.lost == 10


def test_events_missing_before_a_told_loss_are_told_too():
    order = Sequence("paris", Position(5, 2))
    marker = make_record("paris", Position(5, 13), events_lost("paris", Position(5, 5), Position(5, 12), "spool full"))
    assert told(order.accept(marker)) == [("5-3", "5-4", 2), ("5-5", "5-12", 8)]


def test_a_new_leader_goes_on_where_the_broker_was():
    order = Sequence("paris", Position(5, 2))
    assert told(order.accept(change(6, Position(5, 2)))) == ["LeaderChanged"]
    assert order.lost == 0


def test_what_the_broker_no_longer_has_of_the_old_epoch_is_told():
    order = Sequence("paris", Position(5, 2))
    assert told(order.accept(change(6, Position(5, 9)))) == [("5-3", "5-9", 7), "LeaderChanged"]


def test_a_whole_epoch_that_is_missing_is_told():
    order = Sequence("paris", Position(4, 2))
    assert told(order.accept(change(6, Position(5, 3)))) == [("5-1", "5-3", 3), "LeaderChanged"]


def test_a_first_record_has_no_gap_before_it():
    assert told(Sequence("paris").accept(record(LEASE, 70))) == ["70"]


def test_an_epoch_whose_beginning_is_missing_is_told():
    order = Sequence("paris", Position(4, 2))
    assert told(order.accept(record(LEASE, 3))) == [("5-1", "5-2", 2), "3"]
