"""Leader/follower reading: normally the engine thread reads the socket; a lone blocked caller may read its own answer.

An answer that the engine reads wakes two threads, first the engine's and then the caller's, and each has to get the
interpreter's lock. A caller who is alone does better to wait at the socket itself: it *leads*. It takes nothing but its
own answer: whatever else has come is left to the engine, in order, and so is the socket when the answer takes long.

While a caller leads, the engine does not wait for the socket's bytes: the caller switches that off before, and on again
afterwards. So the registration of the socket with the engine's poller is changed by the engine thread or by the leader,
and never by both at a time.

A signal handler may run for any length of time on the leader's thread. So the engine looks every 10 ms while callers
lead, and takes the connection back from one who has led since the last look. It can do so because each of the leader's
three steps, the switching off, the read and the switching on, is one call of C code that claims the permit for the
step, takes the step, and notes that it was taken. No handler can run within: either the engine gets the permit, and the
step is never taken, or what came of it is there.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import get_ident
from time import monotonic

from ..engine.engine import Engine
from ..engine.poller import READ
from .holder import LAST, let_go
from .transport import Transport

__all__ = ["LeaderReading", "Lease"]

PATIENCE = 0.01  # seconds that a caller leads; the engine may have urgent things to do with the connection
OFF = (0,)  # nothing is waited for
ON = (READ,)
TICK = 0.01  # seconds between two looks of the engine at who leads
STUCK = 10  # looks at a read that has begun and left nothing, before the connection is given up
ANSWER = 4096  # bytes; a longer answer is not worth a short cut
PAUSE = 15  # requests that leave the reading to the engine after a leader that read for nothing


class Lease:
    """The right to read one connection, in the hands of one thread.

    The permit of each step is a list with one entry, an argument of the step. The thread that takes the entry out
    decides about the step.

    Args:
        number: of the descriptor.

    """

    __slots__ = ("mute", "muted", "once", "permit", "read", "stopped", "thread", "unmute", "unmuted")

    def __init__(self, number: int) -> None:
        self.thread = get_ident()
        self.mute = [number]
        """Permits to switch off that the engine waits for bytes."""
        self.muted: list[object] = []
        """Not empty when that has been done or will not be."""
        self.permit = [ANSWER]
        """Holds the size of the one read that the leader may make."""
        self.read = False
        """True when the read is over. Until then what it brought is in :attr:`LeaderReading.left`."""
        self.unmute = [number]
        """Permits to switch it on again."""
        self.unmuted: list[object] = []
        self.stopped = False
        """True when its own thread takes no step any more but the last."""
        self.once = [None]


def _take_step(permit: list[int], step: Callable[[int, int], object], argument: tuple[int], done: list[object]) -> None:
    try:
        done.extend(map(step, map(permit.pop, LAST), argument))  # one call of C code
    except IndexError:  # the engine has the permit
        pass
    except (OSError, ValueError):  # the connection has ended
        done.append(None)


def _revoke(permit: list[int], done: list[object]) -> bool:
    """Keep a step from being taken; return False if it may be under way."""
    try:
        permit.pop()
    except IndexError:
        return bool(done)
    done.append(None)
    return True


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
        self.left: deque[bytes | OSError] = deque()
        """What a leader has read and left to the engine, oldest first; a socket reports an error only once."""
        self.holder: dict[None, object] = {}
        """Who reads now: a :class:`Lease`, or the connection itself for the engine."""
        self._engine = engine
        self._resume = resume
        self._give_up = give_up
        self._poll: select.poll | None = None
        self._modify: Callable[[int, int], object] | None = None
        self.number = -1
        """Of the descriptor."""
        self._pause = 0
        self._leads = 0  # callers that have led so far; only compared
        self._watched = False  # whether the engine looks
        self._seen: tuple[int, object] = (0, None)  # at its last look
        self._stuck = 0
        self._met = False  # bytes came while a caller led, and the engine is going to look at that

    def open(self, transport: Transport) -> None:
        """Let callers lead, if the platform and the transport allow for it."""
        self._modify, self.number = self._engine.modify, transport.fileno()
        if transport.direct and self._modify is not None:
            self._poll = select.poll()
            self._poll.register(self.number, select.POLLIN)

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
        """Stop being the reader, if this is the reader."""
        if self.holder.get(None) is not reader:
            return
        if isinstance(reader, Lease):
            let_go(self.holder, reader.once)
        else:
            del self.holder[None]  # the engine's: no other thread does

    def close(self, reader: object) -> bool:
        """Become the one who reads for good; return False while a leader may be within its read."""
        return self.reclaim() and self.try_acquire(reader)

    def reclaim(self) -> bool:
        """Relieve the leader, if there is one; return False if it may be within a step. On the engine thread."""
        leader = self.holder.get(None)
        if isinstance(leader, Lease):
            if not self._revoke_all(leader):
                return False
            self.release(leader)
        return True

    def mute(self, lease: Lease) -> None:
        """Keep the engine from waiting for bytes; it begins to look at who leads. On the leader's thread."""
        assert self._modify is not None
        self._leads += 1  # before the look at `_watched`: see _look()
        if not self._watched:
            try:
                self._watched = True
                self._engine.call_at(monotonic() + TICK, self._look)
            except BaseException:  # of a signal handler: perhaps the engine is not going to look
                self._watched = False
                raise
        _take_step(lease.mute, self._modify, OFF, lease.muted)

    def read(self, lease: Lease, transport: Transport, deadline: float | None) -> bool:
        """Wait a moment for bytes and read them into :attr:`left`; return whether any came. On the leader's thread."""
        assert self._poll is not None
        patience = PATIENCE
        if deadline is not None and (left := deadline - monotonic()) < PATIENCE:
            patience = max(0.0, left)
        try:
            ready = self._poll.poll(patience * 1000)
        except RuntimeError:  # one who was relieved is still within poll()
            ready = []
        if not ready:
            self.back_off()
            return False
        keep, read = self.left.extend, map(transport.sock.recv, map(lease.permit.pop, LAST))
        try:
            keep(read)  # one call of C code: claim the permit, read, keep
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            self.left.append(exc)
        except IndexError:  # the engine has the permit
            return False
        finally:
            lease.read = True
        return True

    def stop(self, lease: Lease) -> None:
        """End leading, unless this leader has been relieved; on its thread. Safe to repeat, as after Ctrl-C in here."""
        holder = self.holder
        if holder.get(None) is lease:
            assert self._modify is not None
            lease.stopped = True
            # A handler stops the leader that it has interrupted; the leader goes on afterwards, and must take no step.
            lease.mute.clear()
            lease.permit.clear()
            if lease.muted:
                _take_step(lease.unmute, self._modify, ON, lease.unmuted)
            self.release(lease)

    def back_off(self) -> None:
        """Leave the reading of the next requests to the engine: a leader has read for nothing."""
        self._pause = PAUSE

    # On the engine thread

    def _look(self) -> None:
        """Relieve a leader that has led since the last look."""
        leads, leader = self._leads, self.holder.get(None)
        if isinstance(leader, Lease) and leader is self._seen[1]:
            self._relieve(leader)
        elif leads == self._seen[0] and not isinstance(leader, Lease):  # nobody, or the connection, which has ended
            self._watched = False
            if self._leads == leads:  # a caller that leads from now on sees that nobody looks
                self._seen = (leads, None)
                return
            self._watched = True
        self._seen = (leads, leader)
        self._engine.call_at(monotonic() + TICK, self._look)

    def meet(self) -> None:
        """Give a leader that the engine has met :data:`TICK` seconds to go on.

        It has acquired the right to read, but has not yet come to :meth:`mute`, which makes the engine look: a signal
        handler may run there for long.
        """
        leader = self.holder.get(None)
        if isinstance(leader, Lease) and not self._met:
            self._met = True
            self._engine.call_at(monotonic() + TICK, partial(self._part, leader))

    def _part(self, leader: Lease) -> None:
        self._met = False
        if self.holder.get(None) is leader:
            self._relieve(leader)

    def _revoke_all(self, leader: Lease) -> bool:
        """Keep a leader from all steps that it has not taken; return False if it may be within one."""
        if not leader.stopped:
            try:
                leader.permit.pop()
            except IndexError:
                if not (leader.read or leader.stopped or self.left):
                    return False
            else:
                leader.read = True
            if not (_revoke(leader.mute, leader.muted) or leader.stopped):
                return False
        return _revoke(leader.unmute, leader.unmuted)

    def _relieve(self, leader: Lease) -> None:
        if not self._revoke_all(leader):
            self._stuck += 1  # its thread is within the call of C code, or was stopped right after it
            if self._stuck >= STUCK:
                self._give_up()
            return
        self._stuck = 0
        self.release(leader)
        self._resume()
