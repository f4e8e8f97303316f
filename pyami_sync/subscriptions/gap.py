"""Gap: the entry in a subscriber's buffer that stands for events which were lost."""

from __future__ import annotations

from collections import deque

from ..exceptions import EventsLost

__all__ = ["Gap"]

Loss = tuple[int, dict[str, int]]


class Gap:
    """Counts events that did not fit into the buffer, and stands in their place there.

    The engine thread adds to it, and the thread that consumes events takes it out. Neither waits for the other: the
    loss is one entry in a deque, whose operations are atomic, so each loss is reported exactly once.
    """

    __slots__ = ("_losses", "_taken")

    def __init__(self, loss: Loss) -> None:
        self._losses: deque[Loss] = deque((loss,))
        self._taken = False

    def grow(self, count: int, node: str | None) -> Loss | None:
        """Add events of a node. Return :data:`None`, or if the gap has been taken, the loss that is still to be
        reported.
        """
        try:
            before, by_node = self._losses.pop()
        except IndexError:  # taken
            before, by_node = 0, {}
        loss = add_loss((before, by_node), count, node)
        self._losses.append(loss)
        if not self._taken:
            return None
        try:
            self._losses.remove(loss)
        except ValueError:  # taken just now, with what was added
            return None
        return loss

    def take(self) -> EventsLost | None:
        """Return the exception for the subscriber; :data:`None` if the next gap in the buffer reports the loss."""
        self._taken = True  # first: grow() checks it after it has added
        try:
            count, by_node = self._losses.pop()
        except IndexError:  # grow() is adding at this moment, and will see that this gap is taken
            return None
        return EventsLost(count, lost_by_node=by_node)


def add_loss(loss: Loss, count: int, node: str | None) -> Loss:
    """Return a loss with events of a node added."""
    before, by_node = loss
    if node is not None:
        by_node = {**by_node, node: by_node.get(node, 0) + count}
    return before + count, by_node
