"""ReplayServer: a server that plays recorded traffic to each client that logs in."""

from __future__ import annotations

import os
import threading
from typing import Any

from .session import Session
from .simulator import Simulator
from .tape import Record, read_tape

__all__ = ["ReplayServer"]

SLICE = 1 << 20


class ReplayServer(Simulator):
    """An AMI server that sends the messages of a tape, from the first one after its login on.

    Every login is accepted; then the recorded messages are sent, whatever the session's event mask, unless that is
    off. Actions are answered as by a :class:`Simulator`, between two messages.

    Args:
        tape: path of a tape or of a dump of what a server sent (``.ami``, also packed), or its records.
        speed: factor of the recorded speed; :data:`None` for as fast as the client reads.
        stepwise: whether messages are sent only by :meth:`step`.
        repeat: how many times to play it.
        close_at_end: whether to close the connection after the last message.
        options: options of :class:`Simulator`.

    """

    def __init__(
        self,
        tape: str | os.PathLike[str] | list[Record],
        *,
        speed: float | None = 1.0,
        stepwise: bool = False,
        repeat: int = 1,
        close_at_end: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(any_login=True, **options)
        records = tape if isinstance(tape, list) else list(read_tape(tape))
        greeting, self._messages = prepare(records)
        if greeting and self.banner is None:
            self.banner = greeting
        self.tells_boot = False
        self.speed = speed
        self.stepwise = stepwise
        self.repeat = repeat
        self.close_at_end = close_at_end
        self._slices = slices(self._messages)
        self._step = 0
        self._steppers: list[_Feed] = []
        self._latest: _Feed | None = None
        self._finished = threading.Event()

    @property
    def messages(self) -> int:
        """Number of messages of the tape."""
        return len(self._messages)

    @property
    def progress(self) -> float:
        """The share of the messages that was sent to the latest client, from 0 to 1; 0 if there was no client."""
        feed = self._latest
        return feed.progress if feed is not None else 0.0

    def step(self, count: int = 1) -> None:
        """Send the next messages of a stepwise replay to every client that is logged in."""

        def step() -> None:
            for feed in self._steppers:
                feed.step(count)

        self.loop.run(step)

    def wait_sent(self, timeout: float = 30.0) -> None:
        """Wait until a client has been sent everything.

        Raises:
            AssertionError: that did not happen within ``timeout`` seconds.

        """
        if not self._finished.wait(timeout):
            raise AssertionError(f"the tape was not sent to its end within {timeout:g} s")

    def logged_in(self, session: Session) -> None:
        """Start playing."""
        super().logged_in(session)
        if not session.mask:
            return
        feed = self._latest = _Feed(self, session)
        if self.stepwise:
            self._steppers.append(feed)
        elif self.speed is None:
            # After the answer to the login.
            self.loop.call_later(0.0, feed.flood)
        else:
            self.loop.call_later(0.0, feed.pace)

    def done(self, session: Session) -> None:
        """Note that everything has been sent to a client."""
        self._finished.set()
        if self.close_at_end:
            session.end()


class _Feed:
    """Sends the tape to one client."""

    def __init__(self, server: ReplayServer, session: Session) -> None:
        self._server = server
        self._session = session
        self._at = 0
        self._round = 0

    @property
    def progress(self) -> float:
        """The share of all rounds that has been sent."""
        server = self._server
        parts = server._slices if server.speed is None and not server.stepwise else server._messages
        rounds = 1 if server.stepwise else server.repeat
        return min(1.0, (self._round + self._at / max(1, len(parts))) / rounds)

    def flood(self) -> None:
        """Send the next slice as soon as the previous one has been written."""
        server, connection = self._server, self._session.connection
        if self._at >= len(server._slices):
            self._at = 0
            self._round += 1
            if self._round >= server.repeat or not server._slices:
                connection.on_drained = None
                server.done(self._session)
                return
        self._at += 1
        connection.on_drained = self.flood
        connection.send(server._slices[self._at - 1])

    def pace(self) -> None:
        """Send the messages that are due, and schedule the next ones."""
        server = self._server
        messages = server._messages
        if self._session.connection.closed:
            return
        if not messages:
            server.done(self._session)
            return
        began = messages[self._at].time
        due = []
        while self._at < len(messages) and messages[self._at].time <= began:
            due.append(messages[self._at].raw)
            self._at += 1
        self._session.connection.send(b"".join(due))
        if self._at >= len(messages):
            self._at = 0
            self._round += 1
            if self._round >= server.repeat:
                server.done(self._session)
                return
            wait = 0.0
        else:
            wait = messages[self._at].time - began
        assert server.speed is not None
        server.loop.call_later(wait / server.speed, self.pace)

    def step(self, count: int) -> None:
        """Send the next few messages."""
        messages = self._server._messages
        for message in messages[self._at : self._at + count]:
            self._session.connection.send(message.raw)
        at, self._at = self._at, min(self._at + count, len(messages))
        if at < len(messages) <= self._at:
            self._server.done(self._session)


def prepare(records: list[Record]) -> tuple[bytes, list[Record]]:
    """Split a tape into the greeting and the messages after the login."""
    greeting = b""
    rest = b""
    messages: list[Record] = []
    for record in records:
        if record.direction != "received":
            continue
        data = rest + record.raw
        if not messages and not greeting and b"\r\n" in data:
            line, _, behind = data.partition(b"\r\n")
            if b": " not in line:
                greeting, data = line + b"\r\n", behind
        *complete, rest = data.split(b"\r\n\r\n")
        messages += [Record(record.time, "received", frame + b"\r\n\r\n") for frame in complete if frame]
    for number, message in enumerate(messages[:10]):
        if b"\r\nMessage: Authentication accepted" in message.raw:
            messages = messages[number + 1 :]
            break
    return greeting, messages


def slices(messages: list[Record]) -> list[bytes]:
    """Join messages into big pieces that end with a message."""
    found: list[bytes] = []
    current: list[bytes] = []
    size = 0
    for message in messages:
        current.append(message.raw)
        size += len(message.raw)
        if size >= SLICE:
            found.append(b"".join(current))
            current, size = [], 0
    return [*found, b"".join(current)] if current else found
