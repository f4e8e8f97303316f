"""Events that the bridge puts into the stream of a node, each where it applies."""

from __future__ import annotations

from .. import Event
from .envelope import Position

__all__ = ["events_lost", "leader_changed", "previous_position", "snapshot"]

PRIVILEGE = ("Privilege", "bridge,all")


def leader_changed(node: str, epoch: int, leader: str, previous: Position | None) -> Event:
    """Return the first event of an epoch.

    What the server said between ``previous`` and this event was published by nobody: AMI has no replay.

    Args:
        node: the node that has a new leader.
        epoch: the epoch that begins.
        leader: the name of the bridge that leads now.
        previous: the last place that the broker holds of earlier epochs.

    """
    headers = [("Event", "LeaderChanged"), PRIVILEGE, ("Node", node), ("Epoch", str(epoch)), ("Leader", leader)]
    if previous is not None:
        headers.append(("Previous", str(previous)))
    return Event(headers)


def events_lost(node: str, first: Position, last: Position, reason: str) -> Event:
    """Return the event that says which places of a node's events are missing, both ends included."""
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
    """Return the event that carries the state of a node, as text, at this place of its events."""
    return Event([("Event", "Snapshot"), PRIVILEGE, ("Node", node), ("State", state)])


def previous_position(event: Event) -> Position | None:
    """Return the place before the epoch that a LeaderChanged begins."""
    text = event.get("Previous")
    return Position.parse(text) if text else None
