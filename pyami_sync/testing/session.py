"""Session: one client of the simulator, with its login, rights, event mask, filters, and the order of messages."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire.action import Action
from .connection import Connection
from .filters import Filters
from .loop import Timer
from .rights import ALL, User
from .wire import Reader, frame, header, to_frames

if TYPE_CHECKING:
    from .simulator import Simulator

__all__ = ["Session"]

log = logging.getLogger("pyami_sync.testing")


class Session:
    """One client of the simulator.

    Scripted replies get it as their second argument and may use all of it, since they run on the simulator's thread.
    """

    def __init__(self, simulator: Simulator, number: int, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.simulator = simulator
        self.number = number
        """Number of the client, counted from 1."""
        self.address: tuple[str, int] = sock.getpeername()[:2]
        """The client's address."""
        self.user: User | None = None
        """The user that is logged in."""
        self.username = ""
        """The user name of the login."""
        self.mask = ALL
        """Bits of the event mask; see :class:`~pyami_sync.testing.User`."""
        self.filters = Filters()
        self.challenge = ""
        self._held: list[bytes] = []  # events that wait for the answer being made
        self._busy = 0
        self._dispatching = False
        self._ending = False
        self.connection = Connection(simulator.loop, sock, tls, self._receive, self._closed)
        self._reader = Reader(self._dispatch, self._unreadable)
        if tls is not None:
            self.connection.read_size = lambda: self._reader.room
        self._timer: Timer | None = None
        if simulator.auth_timeout is not None:
            self._timer = simulator.loop.call_later(simulator.auth_timeout, self._too_late)

    def __repr__(self) -> str:
        return f"<Session {self.number} {self.username or 'not logged in'} from {self.address[0]}:{self.address[1]}>"

    @property
    def logged_in(self) -> bool:
        """True if its login was accepted and it is still connected."""
        return self.user is not None and not self.connection.closed

    # Sending

    def send(self, reply: Any, action_id: str = "") -> None:
        """Send bytes, text, messages, mappings or lists of these."""
        self.connection.send(to_frames(reply, action_id))

    def deliver(self, classes: int, text: bytes) -> None:
        """Send an event, if the rights, mask and filters include it, after the present answer."""
        if self.user is None or classes & ~(self.mask & self.user.read_bits) or not self.filters.accept(text):
            return
        if self._busy:
            self._held.append(text)
        else:
            self.connection.send(text)

    def hold(self) -> Callable[[bytes], None]:
        """Answer later: return a function to call with the answer; until then the session does nothing else.

        A real server, too, does one action after the other, and delivers events only between them.
        """
        self._busy += 1
        self._reader.paused = True
        done = False

        def release(answer: bytes) -> None:
            nonlocal done
            if done:
                return
            done = True
            self.connection.send(answer)
            self._busy -= 1
            if not self._busy and not self._ending and not self.connection.closed:
                self._reader.paused = False
                held, self._held = self._held, []
                self.connection.send(b"".join(held))
                if not self._dispatching:
                    self._reader.feed()

        return release

    def take_held(self) -> list[bytes]:
        """Return the events that wait for the present answer, so that they become a part of it."""
        held, self._held = self._held, []
        return held

    # Ending

    def end(self) -> None:
        """Close once everything has been sent."""
        self._ending = True
        self._reader.paused = True
        self.connection.end()

    def close(self) -> None:
        """Close now (EOF)."""
        self.connection.close()

    def reset(self) -> None:
        """Close now with a reset (RST)."""
        self.connection.reset()

    def log_in(self, username: str, user: User) -> None:
        """Log a user in."""
        self.username = username
        self.user = user
        if self._timer is not None:
            self._timer.cancel()

    # Reading

    def _receive(self, data: bytes) -> None:
        self._reader.feed(data)

    def _dispatch(self, action: Action) -> None:
        self.simulator.received(self, action)
        release = self.hold()
        self._dispatching = True
        try:
            answer = self.simulator.answer(self, action, release)
        except Exception as exc:
            log.exception("the answer to %s failed", action.name)
            self.simulator.errors.append(exc)
            answer = error(header(action, "ActionID"), f"The simulator failed: {type(exc).__name__}: {exc}")
        if answer is not None:
            release(answer)
        self._dispatching = False

    def _unreadable(self, reason: str, action_id: str) -> None:
        self.connection.send(error(action_id, reason))

    def _too_late(self) -> None:
        if self.user is None:
            self.connection.close()

    def _closed(self) -> None:
        self._reader.paused = True
        if self._timer is not None:
            self._timer.cancel()
        self.simulator.left(self)


def error(action_id: str, message: str) -> bytes:
    """Return the bytes of a ``Response: Error``."""
    return frame([("Response", "Error"), ("ActionID", action_id or None), ("Message", message)])
