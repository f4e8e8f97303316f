"""Sequence: removes duplicates from a node's events, and marks gaps at their place in the order."""

from __future__ import annotations

from .envelope import Position, Record, event_of, make_record
from .markers import events_lost, previous_position

__all__ = ["Sequence"]


class Sequence:
    """The position of one consumer in one node's events.

    It stores only a pair of integers. One thread at a time may use it.

    Args:
        node: the node whose events it orders.
        last: the last position that was seen; :data:`None` to begin anywhere.

    """

    def __init__(self, node: str, last: Position | None = None) -> None:
        self.node = node
        self.last = last
        self.duplicates = 0
        """Number of records that had been seen before."""
        self.refused = 0
        """Number of records from a past epoch."""
        self.lost = 0
        """Number of events that are known to be missing."""

    def accept(self, record: Record) -> list[Record]:
        """Return the records to deliver: this one, perhaps after a marker of a gap, or nothing."""
        last, place = self.last, record.position
        if last is not None and place <= last:
            if place.epoch < last.epoch:
                self.refused += 1
            else:
                self.duplicates += 1
            return []
        self.last = place
        found = [record]
        lost = self._lost_before(last, record)
        if lost is not None:
            first, end, reason = lost
            self.lost += end.seq - first.seq + 1
            # At the position of the last missing event, so that its id is the same for all consumers.
            found.insert(0, make_record(self.node, end, events_lost(self.node, first, end, reason), record.time))
        if record.name == "EventsLost":
            self.lost += int(event_of(record).get("Count", "0"))
        return found

    def _lost_before(self, last: Position | None, record: Record) -> tuple[Position, Position, str] | None:
        place = record.position
        first = 1
        if last is not None and place.epoch == last.epoch:
            first = last.seq + 1
        elif record.name == "LeaderChanged":
            previous = previous_position(event_of(record))
            if last is None or previous is None or previous <= last:
                return None
            first = last.seq + 1 if previous.epoch == last.epoch else 1
            return Position(previous.epoch, first), previous, "no longer in the broker"
        elif last is None:
            return None
        end = place.seq - 1
        if record.name == "EventsLost":
            told = event_of(record)
            end = Position.parse(told.get("From", str(place))).seq - 1
        if end < first:
            return None
        return Position(place.epoch, first), Position(place.epoch, end), "no longer in the broker"
