"""EventGate: holds events of a new connection back until the login is complete and the gap's marker is published."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Protocol

from ..connection.connection import Connection
from ..exceptions import ConnectionClosed, ConnectionLost
from ..subscriptions.dispatch import Subscriptions
from ..subscriptions.subscribers import Subscriber
from ..wire.message import Event
from ..wire.origin import Origin

__all__ = ["EventGate", "GateOwner", "Publisher", "WeakPublisher"]

WATCHED = 4  # reads after the release that are searched for FullyBooted
HELD_BYTES = 64 << 20  # of events that are held back at most
_uptime = re.compile(rb"\r\nUptime: *([0-9]+)(?:\r\n|\Z)", re.IGNORECASE).search


class Publisher(Protocol):
    """The receiver of a session's events, on the engine thread: subscriptions of its client, or of a cluster, too."""

    def publish(self, frames: list[bytes], origin: Origin) -> None:
        """Publish events that have arrived, in wire order."""
        ...

    def publish_marker(self, event: Event) -> None:
        """Publish a marker at this place in the order."""
        ...

    def finish(self, exc: ConnectionClosed | None, *, only_loss_sensitive: bool = False) -> None:
        """Report that no more events will come; for a lost link, only to subscribers that do not outlast a loss."""
        ...

    def everybody(self) -> list[Subscriber]:
        """Return who gets events, and who is about to."""
        ...


class WeakPublisher:
    """Passes events to a client's subscriptions while these are referenced, by the client, a stream or a callback.

    The engine refers to this object only, so it does not keep a dropped client alive.
    """

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = weakref.ref(subscriptions)

    def publish(self, frames: list[bytes], origin: Origin) -> None:
        """Pass events on."""
        subscriptions = self._subscriptions()
        if subscriptions is not None:
            subscriptions.publish(frames, origin)

    def publish_marker(self, event: Event) -> None:
        """Pass a marker on."""
        subscriptions = self._subscriptions()
        if subscriptions is not None:
            subscriptions.publish_marker(event)

    def finish(self, exc: ConnectionClosed | None, *, only_loss_sensitive: bool = False) -> None:
        """Pass the end on."""
        subscriptions = self._subscriptions()
        if subscriptions is not None:
            subscriptions.finish(exc, only_loss_sensitive=only_loss_sensitive)

    def everybody(self) -> list[Subscriber]:
        """Return who gets events, and who is about to."""
        subscriptions = self._subscriptions()
        return [] if subscriptions is None else subscriptions.everybody()


class GateOwner(Protocol):
    """The part of a session that a gate uses."""

    @property
    def publisher(self) -> Publisher:
        """The receiver of the events."""
        ...

    def link_ended(self, connection: Connection, exc: ConnectionLost, gate: EventGate) -> None:
        """Handle the end of a connection; called on the engine thread."""
        ...

    tap: Callable[[str, list[bytes]], None]
    """Receives the messages that were sent and received."""


class EventGate:
    """Receives the events and the end of one connection, on behalf of its session.

    Holds events back until :meth:`release`, so that those of a new connection follow the marker of the gap before
    it. Everything but :meth:`tapped` runs on the engine thread.
    """

    def __init__(self, session: GateOwner) -> None:
        self._session = session
        self.released = False
        self.booted = False
        """True if FullyBooted has come: the server has loaded its modules."""
        self.uptime: float | None = None
        """The server's uptime at the login, in seconds; :data:`None` if it is not known."""
        self.on_booted: Callable[[], None] | None = None
        """Called once FullyBooted has come, on the engine thread."""
        self.on_ended: Callable[[ConnectionLost], None] | None = None
        """Called when the connection has ended, on the engine thread."""
        self._held: list[tuple[list[bytes], Origin]] = []
        self._held_bytes = 0
        # The login's FullyBooted may arrive in a separate read, after the release.
        self._watched = WATCHED

    def publish(self, frames: list[bytes], origin: Origin) -> None:
        if self._watched <= 0:
            self.publish = self._session.publisher.publish  # type: ignore[method-assign]  # out of the way from now on
            self.publish(frames, origin)
            return
        if not self.booted:
            for frame in frames:
                if frame.startswith(b"Event: FullyBooted"):
                    self._fully_booted(frame)
        if self.released:
            self._watched -= 1
            self._session.publisher.publish(frames, origin)
            return
        self._held.append((frames, origin))
        self._held_bytes += sum(map(len, frames))
        if self._held_bytes > HELD_BYTES:
            self.release()

    def _fully_booted(self, frame: bytes) -> None:
        self.booted = True
        uptime = _uptime(frame)  # absent in Asterisk 13
        if uptime is not None:
            self.uptime = float(uptime[1])
        if self.on_booted is not None:
            self.on_booted()

    def learn_uptime(self, seconds: float) -> None:
        """Note the server's uptime in seconds."""
        self.uptime = seconds

    def release(self) -> None:
        """Publish the events that were held back, and from now on all events as they arrive."""
        if not self.released:
            self.released = True
            for batch in self._held:
                self._session.publisher.publish(*batch)
            self._held.clear()

    def ended(self, connection: Connection, exc: ConnectionLost) -> None:
        if self.on_ended is not None:
            self.on_ended(exc)
        self._session.link_ended(connection, exc, self)

    def tapped(self, direction: str, frames: list[bytes]) -> None:
        self._session.tap(direction, frames)
