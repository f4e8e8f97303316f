"""Events that no server sends: the marks that a client sets into the order of events where its link was down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from ..wire.message import LOCAL, Message, Origin
from .fields import Bool, Float, Int, Text
from .model import TypedEvent

__all__ = ["ConnectionLost", "Marker", "Reconnected"]


class Marker(TypedEvent):
    """A mark in the order of events; ``received_at`` is when it was set."""

    __slots__ = ()

    @classmethod
    def _mark(cls, facts: Mapping[str, object], origin: Origin) -> Self:
        headers = [
            ("Event", cls.event_name),
            # A value stays one line whatever an exception's text holds.
            *((name, " ".join(str(value).split())) for name, value in facts.items() if value is not None),
        ]
        return cls._wire(Message(headers, encoding=origin.encoding)._raw, origin)


class ConnectionLost(Marker):
    """The link was lost: events from here on are missing."""

    __slots__ = ()

    event_name = "ConnectionLost"

    reason = Text("Reason")
    """How the link ended."""

    @classmethod
    def make(cls, reason: str, *, origin: Origin = LOCAL) -> Self:
        """Make the mark.

        Args:
            reason: how the link ended.
            origin: when, and which node's link it was.

        """
        return cls._mark({"Reason": reason}, origin)


class Reconnected(Marker):
    """The link is there again and logged in: events from here on are complete."""

    __slots__ = ()

    event_name = "Reconnected"

    gap = Float("Gap")
    """Seconds since the link was lost."""
    server_restarted = Bool("ServerRestarted")
    """True if the server started anew meanwhile; None when that is not known."""
    attempts = Int("Attempts")
    """How many attempts it took."""

    @classmethod
    def make(
        cls, gap: float, *, attempts: int = 1, server_restarted: bool | None = None, origin: Origin = LOCAL
    ) -> Self:
        """Make the mark.

        Args:
            gap: seconds since the link was lost.
            attempts: how many attempts it took.
            server_restarted: whether the server started anew meanwhile, if that is known.
            origin: when, and which node's link it is.

        """
        restarted = None if server_restarted is None else ("yes" if server_restarted else "no")
        return cls._mark({"Gap": f"{gap:.3f}", "ServerRestarted": restarted, "Attempts": attempts}, origin)
