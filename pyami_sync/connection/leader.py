"""Leader/follower reading: normally the engine thread reads the socket; a lone blocked caller may read its own answer.

An answer that the engine reads wakes two threads, first the engine's and then the caller's, and each has to get the
interpreter's lock. A caller who is alone does better to wait at the socket itself: it *leads*. It takes nothing but its
own answer: whatever else has come is left to the engine, in order, and so is the socket when the answer takes long.

A signal handler may run for any length of time on the leader's thread. So the engine looks every 10 ms while callers
lead, and takes the connection back from one who has led since the last look. It can do so because claiming the permit
to read, reading, and keeping what was read are one call of C code, within which no handler can run: either the engine
gets the permit, and the leader never reads, or what the leader has read is there.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable
from itertools import repeat, starmap
from threading import get_ident
from time import monotonic

from ..engine.engine import Engine
from .transport import Transport

__all__ = ["LeaderReading", "Lease"]

PATIENCE = 0.01  # seconds that a caller leads; the engine may have urgent things to do with the connection
TICK = 0.01  # seconds between two looks of the engine at who leads
STUCK = 10  # looks at a read that has begun and left nothing, before the connection is given up
ANSWER = 4096  # bytes; a longer answer is not worth a short cut
PAUSE = 15  # requests that leave the reading to the engine after a leader that read for nothing


class Lease:
    """The right to read one connection, in the hands of one thread."""

    __slots__ = ("failed", "permit", "thread")

    def __init__(self) -> None:
        self.thread = get_ident()
        self.permit = deque((ANSWER,))
        """Holds the size of the one read that the leader may make; whoever takes it out decides about that read."""
        self.failed = False
        """True when the read has been made and brought nothing."""


class LeaderReading:
    """Who reads one connection.

    A try-lock whose holder can be relieved: :attr:`holder` is a dict with at most one entry, and ``setdefault`` and
    ``pop`` on it are atomic.

    Args:
        engine: reads when no caller leads.
        resume: has the engine wait for bytes again and read what is there; called on the engine thread.
        give_up: ends the connection; called on the engine thread.

    """

    def __init__(self, engine: Engine, resume: Callable[[], None], give_up: Callable[[], None]) -> None:
        self.muted = False
        """True while the engine does not wait for bytes, because a caller leads."""
        self.left: deque[bytes | OSError] = deque()
        """What a leader has read and left to the engine, oldest first; a socket reports an error only once."""
        self.holder: dict[None, object] = {}
        """Who reads now: a :class:`Lease`, or the connection itself for the engine."""
        self._engine = engine
        self._resume = resume
        self._give_up = give_up
        self._poll: select.poll | None = None
        self._pause = 0
        self._leads = 0  # callers that have led so far; only compared
        self._watched = False  # whether the engine looks
        self._seen: tuple[int, object] = (0, None)  # at its last look
        self._stuck = 0

    def open(self, transport: Transport) -> None:
        """Let callers lead, if the platform and the transport allow for it."""
        if transport.direct and self._engine.rearms_at_once:
            self._poll = select.poll()
            self._poll.register(transport.fileno(), select.POLLIN)

    def invites(self) -> bool:
        """Return True if a caller may try to lead this time."""
        if self._pause:
            self._pause -= 1
            return False
        return self._poll is not None

    def try_acquire(self, reader: object) -> bool:
        """Become the one who reads, if nobody does."""
        return self.holder.setdefault(None, reader) is reader

    def holds(self, reader: object) -> bool:
        """Return True if this one reads."""
        return self.holder.get(None) is reader

    def release(self, reader: object) -> None:
        """Let others read, if this one does."""
        holder = self.holder
        # Nothing is called between the look and the act, so that no signal handler runs there.
        if None in holder and holder[None] is reader:
            del holder[None]

    def close(self, reader: object) -> bool:
        """Become the one who reads for good; return False while a leader may be within its read."""
        leader = self.holder.get(None)
        if isinstance(leader, Lease) and self._stop(leader):
            self.release(leader)
        return self.try_acquire(reader)

    def mute(self, lease: Lease) -> None:
        """Keep the engine from waiting for bytes, if this leader has not been relieved; the engine begins to look."""
        holder = self.holder
        if None in holder and holder[None] is lease:
            self.muted = True
        self._leads += 1  # before the look at `_watched`: see _look()
        if not self._watched:
            self._watched = True
            self._engine.call_at(monotonic() + TICK, self._look)

    def read(self, lease: Lease, transport: Transport, deadline: float | None) -> bool:
        """Wait a moment for bytes and read them into :attr:`left`; return whether any came. On the leader's thread."""
        assert self._poll is not None
        patience = PATIENCE if deadline is None else max(0.0, min(PATIENCE, deadline - monotonic()))
        try:
            ready = self._poll.poll(patience * 1000)
        except RuntimeError:  # one who was relieved is still within poll()
            ready = []
        if not ready:
            self.back_off()
            return False
        keep, read = self.left.extend, map(transport.sock.recv, starmap(lease.permit.popleft, repeat((), 1)))
        try:
            keep(read)  # one call of C code: claim the permit, read, keep
        except (BlockingIOError, InterruptedError):
            lease.failed = True
            return False
        except OSError as exc:
            self.left.append(exc)
        except IndexError:  # the engine has the permit
            return False
        return True

    def back_off(self) -> None:
        """Leave the reading of the next requests to the engine: a leader has read for nothing."""
        self._pause = PAUSE

    # On the engine thread

    def _look(self) -> None:
        """Relieve a leader that has led since the last look."""
        leads, leader = self._leads, self.holder.get(None)
        if isinstance(leader, Lease) and leader is self._seen[1]:
            self._relieve(leader)
        elif leads == self._seen[0] and leader is None:
            self._watched = False
            if self._leads == leads:  # whoever leads from now on sees that nobody looks
                self._seen = (leads, None)
                return
            self._watched = True
        self._seen = (leads, leader)
        self._engine.call_at(monotonic() + TICK, self._look)

    def _stop(self, leader: Lease) -> bool:
        """Keep a leader from reading; return False if it may be within its read."""
        try:
            leader.permit.popleft()
        except IndexError:
            return bool(self.left) or leader.failed
        return True

    def _relieve(self, leader: Lease) -> None:
        if not self._stop(leader):
            self._stuck += 1  # its thread is within the call of C code, or was stopped right behind it
            if self._stuck >= STUCK:
                self._give_up()
            return
        self._stuck = 0
        self.release(leader)
        self.muted = False
        self._resume()
