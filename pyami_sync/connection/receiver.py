"""What a connection receives: bytes in, answers to their requests, events to the owner."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import ConnectError, ConnectionLost, RemoteProtocolError
from ..wire.origin import Origin, make_origin
from ..wire.protocol import Greeting, Limits
from ..wire.protocol import Protocol as WireProtocol
from ..wire.redaction import shown
from .wakeups import WakeChain

if TYPE_CHECKING:
    from .base import BaseConnection

__all__ = ["Owner", "Receiver"]

logger = logging.getLogger("pyami_sync")


class Owner(Protocol):
    """What a connection reports to."""

    def publish(self, frames: list[bytes], origin: Origin) -> None:
        """Events came in; called on the engine thread, in wire order."""
        ...

    def ended(self, connection: Any, exc: ConnectionLost) -> None:
        """The connection has ended; called on the engine thread, after its last event was published."""
        ...

    def tapped(self, direction: str, frames: list[bytes]) -> None:
        """Messages were read or written; called on the thread that did it."""
        ...


class Receiver:
    """Takes what was read from one connection. Belongs to the engine thread.

    Args:
        connection: what it was read from; ended when it makes no sense.
        owner: receives the events.
        wakeups: wakes the callers whose answers have come.
        limits: what to accept from the server.

    """

    def __init__(self, connection: BaseConnection, owner: Owner, wakeups: WakeChain, limits: Limits) -> None:
        self.protocol = WireProtocol(limits)
        self.last_received = time.monotonic()
        self.bytes_received = 0
        self.events_received = 0
        self.sample_at = math.inf
        """When :attr:`sample` is to see events, on :func:`time.monotonic`'s clock."""
        self.sample: Callable[[list[bytes]], None] | None = None
        self._receive = self.protocol.receive
        self._connection = connection
        self._owner = owner
        self._wakeups = wakeups

    def greeting(self) -> Greeting:
        """Return the server's first line, once it has come.

        Raises:
            ConnectError: the connection ended before, or it is no AMI server.

        """
        greeting = self.protocol.greeting
        if greeting is None:
            end = self._connection.close_exc
            if isinstance(end, ConnectError):
                raise end
            raise ConnectError(
                "the server closed the connection before its greeting: too many sessions that have not logged in"
                f" (authlimit), or an address that may not connect ({end})"
            ) from end
        return greeting

    def received(self, chunk: bytes) -> bool:
        """Process bytes that came in, empty at the end of the stream; return whether it goes on."""
        connection = self._connection
        if not chunk:
            held = self.protocol.framer.pending
            reason = "the server closed the connection"
            connection.close(ConnectionLost(f"{reason} in the middle of a message" if held else reason))
            return False
        self.last_received = time.monotonic()
        self.bytes_received += len(chunk)
        protocol = self.protocol
        greeted = protocol.greeting is not None
        try:
            frames = self._receive(chunk)
        except (RemoteProtocolError, ConnectError) as exc:
            connection.close(exc)
            return False
        if not greeted and protocol.greeting is not None:
            self._receive = protocol.framer.feed  # the rest of the connection is messages
            connection.pending.ami_version = protocol.greeting.version
            if connection.tapping:  # before anybody answers the greeting
                self._owner.tapped("received", [protocol.greeting.text.encode() + b"\r\n"])
            connection.greet()
        if frames:
            self._feed(frames)
        if connection.transport.owes:  # TLS may have to answer on its own account
            connection.outbox.flush()
        return True

    def _feed(self, frames: list[bytes]) -> None:
        connection = self._connection
        origin = make_origin((connection.encoding, time.time(), connection.node))
        if connection.tapping:
            self._owner.tapped("received", [frame + b"\r\n\r\n" for frame in frames])
        if logger.isEnabledFor(logging.DEBUG):
            for frame in frames:
                logger.debug("< %s", shown(frame))
        pending = connection.pending
        try:
            events = pending.feed(frames, self.protocol.framer.range, origin)
        finally:
            if pending.answered:
                answered, pending.answered = pending.answered, []
                self._wakeups.start(answered)
        if events:
            self.events_received += len(events)
            if self.last_received >= self.sample_at and self.sample is not None:
                self.sample(events)
            try:
                self._owner.publish(events, origin)
            except Exception:
                # What is wrong with one subscriber is no reason to end the session of all.
                logger.exception("publishing events raised")

    def pump(self) -> None:
        """Read a transport that can only block; the engine thread still does everything else."""
        connection = self._connection
        while connection.close_exc is None:
            try:
                chunk = connection.transport.receive() or b""
            except Exception as exc:
                connection.broken(exc)
                return
            if connection.close_exc is not None:
                return
            done = Event()
            connection.engine.call_soon(partial(self._pumped, chunk, done))
            # One chunk at a time: what a fast peer sends waits in the transport, not in memory.
            while not done.wait(1.0) and connection.close_exc is None:
                pass
            if not chunk:
                return

    def _pumped(self, chunk: bytes, done: Event) -> None:
        try:
            self.received(chunk)
        finally:
            done.set()
