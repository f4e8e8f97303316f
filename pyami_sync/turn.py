"""Whose turn it is to read a connection: the engine's, or for a moment that of the one caller who waits.

An answer that the engine reads wakes two threads, first the engine's and then the caller's, and each has to
get the interpreter's lock. A caller who is alone with its question does better to wait at the socket itself. It
takes nothing but its own answer: whatever else has come goes to the engine as it is, in order, and so does the
socket when the answer takes long.
"""

from __future__ import annotations

import select
from collections import deque
from itertools import repeat
from time import monotonic

from .engine import Engine
from .transport import Channel

__all__ = ["Turn"]

PATIENCE = 0.01  # seconds that a caller reads; the engine may have urgent things to do with the connection
ANSWER = 4096  # bytes; a longer answer is none for a short cut
PAUSE = 15  # calls that leave the reading to the engine after one that read in vain


class Turn:
    """The right to read one connection.

    Whoever takes it is remembered by identity, in one step that no Ctrl-C can come between, so that a caller
    who is interrupted anywhere can be relieved of it. What looks at the holder and acts upon it does without a
    call in between: only there does a thread give way to a signal's handler, which may relieve it.
    """

    def __init__(self) -> None:
        self.muted = False
        """Whether the engine shall not wait for bytes."""
        self.left: deque[bytes | OSError] = deque()
        """What a caller has read and left to the engine, oldest first; a socket tells of an error only once."""
        self.holders: dict[None, object] = {}
        """Who has it, if anybody, under :data:`None`; for others to look at only."""
        self._poll: select.poll | None = None
        self._pause = 0

    def open(self, engine: Engine, channel: Channel) -> None:
        """Let callers read, if the platform and the channel allow for it."""
        if channel.direct and engine.rearms_at_once:
            self._poll = select.poll()
            self._poll.register(channel.fileno(), select.POLLIN)

    def offered(self) -> bool:
        """Whether a caller should try to read itself this time."""
        if self._pause:
            self._pause -= 1
            return False
        return self._poll is not None

    def take(self, reader: object) -> bool:
        """Take the right to read, if nobody has it; tell whether it was to be had."""
        return self.holders.setdefault(None, reader) is reader

    def held_by(self, reader: object) -> bool:
        """Whether this one has it."""
        return self.holders.get(None) is reader

    def mute(self, reader: object) -> None:
        """Keep the engine from waiting for bytes, if this one still has the right to read them."""
        holder = self.holders
        if None in holder and holder[None] is reader:
            self.muted = True

    def leave(self, reader: object) -> None:
        """Give it back, if this one has it."""
        holder = self.holders
        if None in holder and holder[None] is reader:
            del holder[None]

    def read(self, reader: object, channel: Channel, deadline: float | None) -> bool:
        """Wait a moment for bytes and read them into :attr:`left`; tell whether any came."""
        assert self._poll is not None
        patience = PATIENCE if deadline is None else max(0.0, min(PATIENCE, deadline - monotonic()))
        try:
            ready = self._poll.poll(patience * 1000)
        except RuntimeError:  # a signal's handler took the turn from one who is still within poll()
            ready = []
        if not ready:
            self.in_vain()
            return False
        keep, reading, holder = self.left.extend, map(channel.sock.recv, repeat(ANSWER, 1)), self.holders
        try:
            if None not in holder or holder[None] is not reader:
                return False
            # One step for the interpreter: a Ctrl-C between reading and keeping would lose bytes.
            keep(reading)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            self.left.append(exc)
        return True

    def in_vain(self) -> None:
        """Note that a caller read for nothing; the next ones better leave it to the engine."""
        self._pause = PAUSE
