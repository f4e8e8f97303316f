"""Marker events: made by the client, not by a server, where its link was lost, restored or slow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from ..wire.origin import LOCAL, Origin
from .fields import Bool, Float, Int, Text
from .model import TypedEvent

__all__ = ["MARKERS", "ConnectionLost", "Marker", "Reconnected", "Recovered", "Stalled"]


class Marker(TypedEvent):
    """Base class of the markers; ``received_at`` is the moment at which the marker was made."""

    __slots__ = ()

    @classmethod
    def _mark(cls, facts: Mapping[str, object], origin: Origin) -> Self:
        lines = [f"Event: {cls.event_name}"]
        for name, value in facts.items():
            if value is not None:
                # It stays one line whatever an exception's text holds.
                lines.append(f"{name}: {' '.join(str(value).split())}")
        return cls._wire("\r\n".join(lines).encode(origin.encoding, "surrogateescape"), origin)


class ConnectionLost(Marker):
    """The link was lost: events from here on are missing."""

    __slots__ = ()

    event_name = "ConnectionLost"

    reason = Text("Reason")
    """How the link ended."""

    @classmethod
    def make(cls, reason: str, *, origin: Origin = LOCAL) -> Self:
        """Return a new marker.

        Args:
            reason: how the link ended.
            origin: when, and which node's link it was.

        """
        return cls._mark({"Reason": reason}, origin)


class Reconnected(Marker):
    """The link is restored and logged in: events from here on are complete."""

    __slots__ = ()

    event_name = "Reconnected"

    gap = Float("Gap")
    """Seconds since the link was lost."""
    server_restarted = Bool("ServerRestarted")
    """True if the server was restarted meanwhile; None if that is not known."""
    attempts = Int("Attempts")
    """Number of attempts to reconnect."""

    @classmethod
    def make(
        cls, gap: float, *, attempts: int = 1, server_restarted: bool | None = None, origin: Origin = LOCAL
    ) -> Self:
        """Return a new marker.

        Args:
            gap: seconds since the link was lost.
            attempts: number of attempts to reconnect.
            server_restarted: whether the server was restarted meanwhile; None if that is not known.
            origin: when, and which node's link it is.

        """
        restarted = None if server_restarted is None else ("yes" if server_restarted else "no")
        return cls._mark({"Gap": f"{gap:.3f}", "ServerRestarted": restarted, "Attempts": attempts}, origin)


class Stalled(Marker):
    """Events or answers arrive more than ``stall_after`` seconds late: the events that follow may be old."""

    __slots__ = ()

    event_name = "Stalled"

    late = Float("Late")
    """By how many seconds."""
    what = Text("What")
    """What is late: ``events``, or ``answers`` to Pings."""

    @classmethod
    def make(cls, late: float, what: str, *, origin: Origin = LOCAL) -> Self:
        """Return a new marker.

        Args:
            late: by how many seconds.
            what: what is late.
            origin: when, and which node's link it is.

        """
        return cls._mark({"Late": f"{late:.3f}", "What": what}, origin)


class Recovered(Marker):
    """Events and answers arrive in time again, after :class:`Stalled`."""

    __slots__ = ()

    event_name = "Recovered"

    lasted = Float("Lasted")
    """Seconds that the stall lasted."""
    late = Float("Late")
    """By how many seconds anything was late, at most."""

    @classmethod
    def make(cls, lasted: float, late: float, *, origin: Origin = LOCAL) -> Self:
        """Return a new marker.

        Args:
            lasted: seconds that the stall lasted.
            late: by how many seconds anything was late, at most.
            origin: when, and which node's link it is.

        """
        return cls._mark({"Lasted": f"{lasted:.3f}", "Late": f"{late:.3f}"}, origin)


MARKERS: tuple[type[Marker], ...] = (ConnectionLost, Reconnected, Stalled, Recovered)
"""All marker classes."""
