"""Finding a peer that is gone without a word.

A server never closes an idle session and sets no TCP keepalive of its own, and a half-open link looks like a
quiet one. So after an interval in which nothing arrived a Ping is sent, and no answer means a lost link.
"""

from __future__ import annotations

import time
from typing import Any

from .action import Action
from .request import Call
from .connection import Connection
from .engine import Timer
from .exceptions import AMIError, ConcurrencyError, ConnectionLost
from .response import Response

__all__ = ["Keepalive"]


class Beat(Call):
    """A Ping that nobody waits for: that bytes arrive is all that counts."""

    __slots__ = ()

    def settle(self, result: Response | BaseException) -> None:
        """Nothing to do: its answer has refreshed the time of the last arrival."""


class Keepalive:
    """Watches one connection with timers on the engine; it has no thread.

    Args:
        connection: to watch.
        interval: seconds without an arrival after which a Ping is sent.
        timeout: seconds that anything may then take to arrive.

    """

    def __init__(self, connection: Connection, interval: float, timeout: float) -> None:
        self._connection = connection
        self._interval = interval
        self._timeout = timeout
        self._timer: Timer | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin to watch."""
        self._at(self._connection.last_received + self._interval, self._look)

    def stop(self) -> None:
        """Watch no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _at(self, when: float, callback: Any) -> None:
        if not self._stopped:
            self._timer = self._connection.engine.call_at(when, callback)

    def _look(self) -> None:
        connection = self._connection
        if self._stopped or connection.end is not None:
            return
        due = connection.last_received + self._interval
        if time.monotonic() < due:
            self._at(due, self._look)
            return
        held_back = connection.pending.calls()
        action: Action[Any] = Action("Ping")
        beat = Beat(action, connection.make_key(action), None, self._timeout)
        try:
            connection.request(beat)
        except ConcurrencyError:
            pass  # thousands of frames wait for the peer already: an answer to any of them serves as well
        except AMIError:
            return  # it is over, and has been told
        sent = time.monotonic()
        self._at(sent + self._timeout, lambda: self._judge(beat, sent, held_back))

    def _judge(self, beat: Beat, sent: float, held_back: list[Call]) -> None:
        connection = self._connection
        if self._stopped or connection.end is not None:
            return
        if connection.last_received >= sent:
            self._at(connection.last_received + self._interval, self._look)
            return
        # A server runs one action after the other: a synchronous Originate keeps the Ping behind it waiting.
        # So an action that was given more time than this holds the verdict back until its own time is up.
        living = set(connection.pending.calls())
        waits = [call.deadline for call in held_back if call in living]
        now = time.monotonic()
        if any(deadline is None for deadline in waits):
            self._at(now + self._timeout, lambda: self._judge(beat, sent, held_back))
            return
        latest = max((deadline for deadline in waits if deadline is not None), default=0.0)
        if latest > now:
            self._at(latest, lambda: self._judge(beat, sent, held_back))
            return
        silence = now - connection.last_received
        connection.close(ConnectionLost(f"no sign of life for {silence:.1f} s, a Ping was not answered"))
