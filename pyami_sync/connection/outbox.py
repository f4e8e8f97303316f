"""The write queue of one connection: the only way for bytes to the server.

Whichever thread has something to send puts it in the queue and, if no other thread is writing, writes all that is
queued. A thread that finds another one writing leaves its entry to that one. So no caller waits for a lock while a peer
is slow; what the socket does not accept the engine writes when it can.

Who writes:

* on a plain socket, whichever thread comes. The main thread, on which signal handlers run, writes only a lone frame,
  in one call of C code that no handler can interrupt; anything else it leaves to the engine thread. Otherwise a handler
  that waits for another thread's answer would keep that thread's action from being sent.
* over TLS, the engine thread alone: an OpenSSL object must not be used by two threads at a time.
* a transport that can only block has a writer thread of its own.

A write that fails, or that an exception of a signal handler cuts short, ends the connection: the server may have got
part of an action, and whatever followed would be read as the rest of it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import count
from threading import Lock, get_ident, main_thread
from time import monotonic

from ..engine.engine import Engine
from ..engine.waiting import Waiters
from ..wire.redaction import shown
from .holder import LAST, let_go
from .request import Request
from .transport import Transport

__all__ = ["HIGH_WATER", "Entry", "Outbox"]

logger = logging.getLogger("pyami_sync")

HIGH_WATER = 2_000  # frames that may wait for the socket before callers do
JOIN = 256 * 1024  # bytes of queued frames that are written in one go
TICK = 0.01  # seconds between two looks at a main thread that has the right to write while others want it
NAP = 1.0  # seconds after which a writer thread looks whether it is still wanted

Entry = tuple[bytes, Request, bytes, Request | None]
"""One action in the queue: its frame and its request, and those of the fence that is sent right after it, if any.
A plain tuple, because one is made for each action."""


class Write:
    """The right to write, held by one thread."""

    __slots__ = ("lone", "once", "permit", "sent", "thread")

    def __init__(self, lone: Entry | None = None) -> None:
        self.thread = get_ident()
        self.lone = lone
        """The lone entry that the main thread writes; :data:`None` for any other write."""
        if lone is not None:
            self.permit = [lone[0]]
            """The thread that takes it out decides whether the main thread writes the frame."""
            self.sent: list[int] = []
            """How many bytes of the frame were written, once they were."""
            self.once = [None]


class Outbox:
    """Everything that is to be sent on one connection.

    Args:
        engine: writes on when the socket accepts more.
        transport: written to.
        wait_writable: has the engine wait until the socket accepts more; from any thread.
        failed: called when a write has failed, on the thread that wrote.
        tap: called with the frames that are about to be written, while :attr:`tapping`; on the thread that writes.
        forget: called with the fence of a request that was given up before it was written.

    """

    def __init__(
        self,
        engine: Engine,
        transport: Transport,
        *,
        wait_writable: Callable[[], None],
        failed: Callable[[BaseException], None],
        tap: Callable[[list[bytes]], None],
        forget: Callable[[Request], object],
    ) -> None:
        self.high_water = HIGH_WATER
        self.blocked = False
        """True while the socket accepts no more: the engine goes on when it does."""
        self.tapping = False
        """True if the frames are shown before they are written."""
        self.queue: deque[Entry] = deque()
        """What waits to be written; any thread appends to it, and then calls :attr:`flush`."""
        self._engine = engine
        self._transport = transport
        self._wait_writable = wait_writable
        self._failed = failed
        self._tap = tap
        self._forget = forget
        self._order = count(1)  # in which actions are written
        self._unsent = b""
        self._writer: dict[None, Write] = {}  # who writes now, if anybody; see :mod:`.holder`
        self.busy = self._writer
        """True while a thread writes."""
        self._closed = False
        self._asked = False  # the engine thread was asked to write
        self._watched = False  # the engine thread is going to look at who writes
        self._seen: Write | None = None  # at its last look
        self._space = Waiters()  # callers that wait until the queue is shorter
        self._wake = Lock()  # of the writer thread of a blocking transport
        self._wake.acquire()
        self._main = main_thread().ident
        self.flush = self._write_direct
        """Write what is queued as far as the socket accepts it, on this thread or on the one whose task it is."""
        if transport.blocking:
            self.flush = self._wake_writer
        elif not transport.direct:
            self.flush = self._ask_engine

    def __len__(self) -> int:
        return len(self.queue)

    @property
    def pending(self) -> bool:
        """True if anything waits to be written."""
        return bool(self.queue or self._unsent or self._transport.owes)

    @property
    def crowded(self) -> bool:
        """True if so many frames wait for a slow peer that the next caller has to wait."""
        return len(self.queue) > self.high_water

    def wait_for_space(self, timeout: float | None) -> bool:
        """Block until the queue is short enough or the connection has ended; return False when the time is up."""
        return self._space.wait(lambda: not self.crowded or self._closed, timeout)

    # Writing

    def writable(self) -> None:
        """Write on; the engine thread calls it when the socket accepts more."""
        self.blocked = False
        self._wait_writable()
        self._write()

    def _ask_engine(self) -> None:
        """Have the engine thread write; on that thread, write at once."""
        if self._engine.on_own_thread:
            self._write()
        elif not self._asked:
            try:
                self._asked = True
                self._engine.call_soon(self._answer)
            except BaseException:  # of a signal handler: perhaps the engine was not asked
                self._asked = False
                raise

    def _answer(self) -> None:
        self._asked = False  # before writing: what is queued from now on asks again
        holder = self._writer.get(None)
        if holder is not None and holder.lone and holder.sent:  # it may have asked to have the rest written
            self._complete(holder)
        self._write()

    def _write_direct(self) -> None:
        """Write what waits; on the main thread, where signal handlers run, only a lone frame, in one step.

        A handler may run between any two steps, for as long as it likes. So at none of them is anything in the hands of
        this thread alone but the right to write, of which :meth:`_relieve` can relieve it.
        """
        if get_ident() != self._main:
            self._write()
            return
        queue, writer = self.queue, self._writer
        try:
            entry = queue[0]
        except IndexError:
            if self.pending and not self.blocked:
                self._ask_engine()
            return
        holder = writer.get(None)
        if holder is not None and holder.lone and holder.thread == get_ident():
            self._relieve(holder)  # this is a signal handler, within the write that it has interrupted
        if (
            entry[3] is not None
            or len(queue) != 1
            or self._unsent
            or self.blocked
            or self._closed
            or self.tapping
            or logger.isEnabledFor(logging.DEBUG)
        ):
            self._ask_engine()
            return
        request = entry[1]
        request.order = next(self._order)  # before the look at `given_up`: see Request
        if request.given_up:
            self._ask_engine()
            return
        write = Write(entry)
        try:
            if writer.setdefault(None, write) is write and not self._write_once(write):
                return
        except BaseException:
            self._relieve(write)
            raise
        if queue or (self._unsent and not self.blocked):
            self._ask_engine()

    def _write_once(self, write: Write) -> bool:
        """Write a lone frame; return False if the connection has ended over it."""
        try:
            if self.queue[0] is write.lone:  # and stays there: only a thread with the right to write takes entries out
                # One call of C code: take the permit, write the frame, keep how much was written.
                write.sent.extend(map(self._transport.sock.send, map(write.permit.pop, LAST)))
        except IndexError:  # the entry was written before, or a signal handler or the engine has relieved this thread
            pass
        except (BlockingIOError, InterruptedError):
            write.sent.append(0)
        except BaseException as exc:
            if write.sent:  # it came after the write
                self._complete(write)
                raise
            self._release(write)
            self.fail(exc)
            if not isinstance(exc, OSError):
                raise
            return False
        self._complete(write)
        return True

    def _complete(self, write: Write) -> None:
        """End a lone write: keep what was not written, and let others write; safe to repeat after an exception."""
        assert write.lone is not None
        if write.sent:
            frame, sent = write.lone[0], write.sent[0]
            if sent < len(frame):
                if not self._engine.on_own_thread:
                    self._ask_engine()  # one thread alone keeps the rest, and none that an exception can strike
                    return
                if self._writer.get(None) is write:
                    self._unsent = frame[sent:]
                    self.blocked = True
                    self._wait_writable()
            try:
                self.queue.remove(write.lone)  # the first, found at once; before others may write
            except ValueError:  # taken out by the thread that has relieved this one
                pass
        self._release(write)

    def _relieve(self, write: Write) -> bool:
        """Complete a lone write whose thread is held up by a signal handler; return False if it is under way."""
        try:
            write.permit.pop()  # from now on it writes nothing
        except IndexError:
            if not write.sent:
                return False
        self._complete(write)
        return True

    def _look(self) -> None:
        """Relieve a main thread that has had the right to write since the last look; on the engine thread."""
        self._watched = False
        write = self._writer.get(None)
        if write is None or not write.lone:
            self._write()
        elif write is not self._seen or not self._relieve(write):
            self._seen = write
            self._watch()
        else:
            self._seen = None
            self._write()

    def _watch(self) -> None:
        if not self._watched:
            try:
                self._watched = True
                self._engine.call_at(monotonic() + TICK, self._look)
            except BaseException:  # of a signal handler: perhaps the engine is not going to look
                self._watched = False
                raise

    def _release(self, write: Write) -> None:
        if self._writer.get(None) is not write:
            return
        if write.lone is None:
            del self._writer[None]  # no other thread does
        else:
            let_go(self._writer, write.once)

    def _write(self) -> None:
        """Write all that waits, unless another thread is at it: that one looks once more after it has let go."""
        writer, write = self._writer, None
        queue, transport = self.queue, self._transport
        while (queue or self._unsent or transport.owes) and not (self.blocked or self._closed):
            write = write or Write()
            try:
                holder = writer.setdefault(None, write)
                if holder is not write:
                    if holder.lone:
                        self._watch()  # the main thread, which a signal handler may hold up
                    return
                try:
                    self._drain()
                except BaseException as exc:
                    self.fail(exc)
                    if not isinstance(exc, OSError):
                        raise
            finally:
                self._release(write)

    def _drain(self) -> None:
        transport, queue = self._transport, self.queue
        while self._unsent or queue or transport.owes:
            data = self._unsent or transport.encode(self._next())
            sent = transport.send(data) if data else 0
            self._unsent = data[sent:]
            if sent < len(data):
                self.blocked = True
                self._wait_writable()
                return

    def _next(self) -> bytes:
        """Take entries out of the queue, as many as are written in one go, and return their bytes."""
        queue, order, size = self.queue, self._order, 0
        frames: list[bytes] = []
        while queue and size < JOIN:
            frame, request, fence_frame, fence = queue.popleft()
            request.order = next(order)  # before the look at `given_up`: see Request
            if request.given_up:
                if fence is not None:
                    self._forget(fence)
                continue
            frames.append(frame)
            size += len(frame)
            if fence is not None:
                fence.order = next(order)
                frames.append(fence_frame)
        if self._space and not self.crowded:
            self._space.notify_all()
        if self.tapping and frames:
            self._tap(list(frames))
        if logger.isEnabledFor(logging.DEBUG):
            for frame in frames:
                logger.debug("> %s", shown(frame))
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def fail(self, exc: BaseException) -> None:
        """Write nothing more: part of an action may have been sent."""
        if not self._closed:
            self._closed = True
            self._failed(exc)
            self._space.notify_all()

    @property
    def written_here(self) -> bool:
        """True if the calling thread is within a write, and it can't be relieved of it."""
        write = self._writer.get(None)
        return write is not None and write.thread == get_ident() and not (self._closed or (write.lone and write.sent))

    def close(self) -> bool:
        """Write nothing more; return True once no thread can be within a write. On the engine thread."""
        self._closed = True
        self._space.notify_all()
        if self._transport.blocking:
            self._wake_writer()
            return True
        mine = Write()
        holder = self._writer.setdefault(None, mine)
        if holder.lone and self._relieve(holder):  # a signal handler runs on the main thread, before or after its write
            holder = self._writer.setdefault(None, mine)
        return holder.thread == get_ident()

    # A transport that can only block

    def _wake_writer(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:  # it has been woken already
            pass

    def write_blocking(self) -> None:
        """Write whatever is queued until the connection ends; the whole life of the writer thread."""
        while not self._closed:
            self._wake.acquire(timeout=NAP)
            try:
                while self.queue and not self._closed:
                    data = self._next()
                    if data:
                        self._transport.send(data)
            except Exception as exc:
                self.fail(exc)
