"""The keepalive: detects a peer that has vanished without closing the connection, or that has stopped answering.

A server never closes an idle session and sets no TCP keepalive of its own, and a half-open link looks like a quiet
one. So after an interval without any response a Ping is sent, and without an answer the link counts as lost. Other
bytes that arrive meanwhile are not an answer, since a message without an end would contain everything that follows
it. They only extend the time limit, because the answer may follow them.
"""

from __future__ import annotations

import time
from typing import Any

from ..connection.connection import Connection
from ..connection.request import Request
from ..engine.engine import Timer
from ..exceptions import AMIError, ConcurrencyError, ConnectionLost
from .watchdog import Beat, Watchdog

__all__ = ["Keepalive"]

GRACE = 2  # further timeouts that a Ping may take while bytes arrive


class Keepalive:
    """Watches one connection with timers on the engine thread.

    Args:
        connection: to watch.
        interval: seconds without a response after which a Ping is sent.
        timeout: seconds that the answer may then take.
        watchdog: notified of each Ping; :data:`None` for none.

    """

    def __init__(
        self, connection: Connection, interval: float, timeout: float, watchdog: Watchdog | None = None
    ) -> None:
        self._connection = connection
        self._interval = interval
        self._timeout = timeout
        self._watchdog = watchdog
        self._timer: Timer | None = None
        self._stopped = False

    def start(self) -> None:
        """Start watching."""
        self._at(self._last_answer() + self._interval, self._look)

    def stop(self) -> None:
        """Stop watching."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _last_answer(self) -> float:
        return self._connection.pending.answered_at

    def _at(self, when: float, callback: Any) -> None:
        if not self._stopped:
            self._timer = self._connection.engine.call_at(when, callback)

    def _look(self) -> None:
        connection = self._connection
        if self._stopped or connection.close_exc is not None:
            return
        due = self._last_answer() + self._interval
        if time.monotonic() < due:
            self._at(due, self._look)
            return
        earlier = connection.pending.requests()
        watchdog = self._watchdog
        beat = watchdog.beat(self._timeout) if watchdog is not None else Beat(connection, self._timeout)
        try:
            connection.send(beat)
            if watchdog is not None:
                watchdog.sent(beat, earlier)
        except ConcurrencyError:
            pass  # the write queue is full: an answer to any of its actions serves as well
        except AMIError:
            return  # the connection has ended, and that has been reported
        sent = time.monotonic()
        self._at(sent + self._timeout, lambda: self._judge(beat, sent, earlier))

    def _judge(self, beat: Beat, sent: float, earlier: list[Request]) -> None:
        connection = self._connection
        if self._stopped or connection.close_exc is not None:
            return
        if self._last_answer() >= sent:
            self._at(self._last_answer() + self._interval, self._look)
            return
        # A server runs one action after the other: a Ping after a synchronous Originate has to wait for it. So the
        # link does not count as lost while an earlier action with a longer timeout is still within that.
        living = set(connection.pending.requests())
        waits = [request.deadline for request in earlier if request in living]
        now = time.monotonic()
        if any(deadline is None for deadline in waits):
            self._at(now + self._timeout, lambda: self._judge(beat, sent, earlier))
            return
        latest = max((deadline for deadline in waits if deadline is not None), default=0.0)
        if latest > now:
            self._at(latest, lambda: self._judge(beat, sent, earlier))
            return
        last, patience = connection.last_received, (1 + GRACE) * self._timeout
        if last >= sent and now < sent + patience:
            self._at(min(last + self._timeout, sent + patience), lambda: self._judge(beat, sent, earlier))
            return
        if last >= sent:
            reason = f"bytes arrive, but a Ping was not answered within {now - sent:.1f} s"
        else:
            reason = f"no sign of life for {now - last:.1f} s, a Ping was not answered"
        connection.close(ConnectionLost(reason))
