"""Marker events that the bridge adds to the events of a node, each at its place in the order."""

from __future__ import annotations

from .. import Event
from .envelope import Position

__all__ = ["events_lost", "leader_changed", "previous_position", "snapshot"]

PRIVILEGE = ("Privilege", "bridge,all")


def leader_changed(node: str, epoch: int, leader: str, previous: Position | None) -> Event:
    """Return the first event of an epoch.

    Events that the server sent between ``previous`` and this one were not published, and AMI has no replay.

    Args:
        node: the node that has a new leader.
        epoch: the new epoch.
        leader: the name of the bridge that leads the node now.
        previous: the last position of earlier epochs in the broker.

    """
    headers = [("Event", "LeaderChanged"), PRIVILEGE, ("Node", node), ("Epoch", str(epoch)), ("Leader", leader)]
    if previous is not None:
        headers.append(("Previous", str(previous)))
    return Event(headers)


def events_lost(node: str, first: Position, last: Position, reason: str) -> Event:
    """Return the event that reports missing events of a node, from position ``first`` to ``last`` inclusive."""
    return Event(
        [
            ("Event", "EventsLost"),
            PRIVILEGE,
            ("Node", node),
            ("From", str(first)),
            ("To", str(last)),
            ("Count", str(last.seq - first.seq + 1)),
            ("Reason", reason),
        ]
    )


def snapshot(node: str, state: str) -> Event:
    """Return the event that contains the state of a node, as text, at its place in the order."""
    return Event([("Event", "Snapshot"), PRIVILEGE, ("Node", node), ("State", state)])


def previous_position(event: Event) -> Position | None:
    """Return the last position before the epoch that begins with this LeaderChanged."""
    text = event.get("Previous")
    return Position.parse(text) if text else None
