"""One connection of a session: its events have a place in the order, behind the mark of the gap before them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .connection import Connection
from .exceptions import ConnectionClosed, ConnectionLost
from .message import Event, Origin

__all__ = ["Link", "LinkOwner", "Publisher"]

HELD_BYTES = 64 << 20  # events of a new link that may wait for their place behind the marker


class Publisher(Protocol):
    """Who gets a session's events: the subscriptions of its client, or more than these; runs on the engine's thread."""

    def publish(self, frames: list[bytes], origin: Origin) -> None:
        """Events came in, in wire order."""
        ...

    def publish_marker(self, event: Event) -> None:
        """A marker has its place here."""
        ...

    def finish(self, exc: ConnectionClosed | None, *, only_loss_sensitive: bool = False) -> None:
        """No more events will come; or, of a loss, only those who can't outlast one are told."""
        ...


class LinkOwner(Protocol):
    """What a link needs of its session."""

    @property
    def publisher(self) -> Publisher:
        """Who gets its events."""
        ...

    def link_ended(self, connection: Connection, exc: ConnectionLost, link: Link) -> None:
        """A connection is over."""
        ...

    tap: Callable[[str, list[bytes]], None]
    """Gets messages that went by on the wire."""


class Link:
    """One connection with what it needs to know of its session.

    Events that come before a new link has its place in the order (behind the marker that tells of the gap)
    are held back. Everything but :meth:`tapped` runs on the engine's thread.
    """

    def __init__(self, session: LinkOwner) -> None:
        self._session = session
        self.released = False
        self.uptime: float | None = None
        self._held: list[tuple[list[bytes], Origin]] = []
        self._held_bytes = 0

    def publish(self, frames: list[bytes], origin: Origin) -> None:
        if self.released:
            self._session.publisher.publish(frames, origin)
            return
        for frame in frames[:4]:
            if frame.startswith(b"Event: FullyBooted"):
                self._fully_booted(Event._wire(frame))
        self._held.append((frames, origin))
        self._held_bytes += sum(map(len, frames))
        if self._held_bytes > HELD_BYTES:
            self.release()

    def _fully_booted(self, event: Event) -> None:
        uptime = event.get("Uptime", "")
        self.uptime = float(uptime) if uptime.isdecimal() else None

    def learn_uptime(self, seconds: float) -> None:
        """Note how long the server has been up."""
        self.uptime = seconds

    def release(self) -> None:
        """Let the events go that were held back, and all further ones."""
        if not self.released:
            self.released = True
            for batch in self._held:
                self._session.publisher.publish(*batch)
            self._held.clear()

    def ended(self, connection: Connection, exc: ConnectionLost) -> None:
        self._session.link_ended(connection, exc, self)

    def tapped(self, direction: str, frames: list[bytes]) -> None:
        self._session.tap(direction, frames)
