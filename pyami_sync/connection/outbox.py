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

from collections import deque
from collections.abc import Callable
from itertools import repeat, starmap
from operator import itemgetter
from threading import Lock, get_ident, main_thread
from time import monotonic

from ..engine.engine import Engine
from ..engine.waiting import Waiters
from .request import Request
from .transport import Transport

__all__ = ["HIGH_WATER", "Entry", "Outbox"]

HIGH_WATER = 2_000  # frames that may wait for the socket before callers do
JOIN = 256 * 1024  # bytes of queued frames that are written in one go
TICK = 0.01  # seconds between two looks at a main thread that has the right to write while others want it
NAP = 1.0  # seconds after which a writer thread looks whether it is still wanted


_frame = itemgetter(0)


Entry = tuple[bytes, Request, bytes, Request | None]
"""One action in the queue: its frame and its request, and those of the fence that goes right behind it, if it has one.
A plain tuple, because one is made for each action."""


class Write:
    """The right to write, in the hands of one thread."""

    __slots__ = ("frame", "permit", "sent", "thread")

    def __init__(self, frame: bytes = b"") -> None:
        self.thread = get_ident()
        self.frame = frame
        """The lone frame that the main thread writes; empty for any other write."""
        if frame:
            self.permit = deque((frame,))
            """Whoever takes it out decides whether the lone frame is written by the thread that wanted to."""
            self.sent: list[int] = []
            """How many bytes of it were written, once they were."""


class Outbox:
    """Everything that is to be sent on one connection.

    Args:
        engine: writes on when the socket accepts more.
        transport: written to.
        wait_writable: has the engine wait until the socket accepts more; from any thread.
        failed: called when a write has failed, on the thread that wrote.
        prepare: called with the entries that are about to be written; returns the bytes. On the thread that writes.
        is_lone: called on the main thread with the only entry; notes that it is about to be written and returns True,
            or False if it can't be written as it is.

    """

    def __init__(
        self,
        engine: Engine,
        transport: Transport,
        *,
        wait_writable: Callable[[], None],
        failed: Callable[[BaseException], None],
        prepare: Callable[[list[Entry]], bytes],
        is_lone: Callable[[Entry], bool],
    ) -> None:
        self.high_water = HIGH_WATER
        self.blocked = False
        """True while the socket accepts no more: the engine goes on when it does."""
        self.queue: deque[Entry] = deque()
        """What waits to be written; any thread appends to it, and then calls :attr:`flush`."""
        self._engine = engine
        self._transport = transport
        self._wait_writable = wait_writable
        self._failed = failed
        self._prepare = prepare
        self._is_lone = is_lone
        self._unsent = b""
        self._writer: dict[None, Write] = {}  # who writes now, if anybody; setdefault and pop on it are atomic
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

    def _write_direct(self) -> None:
        if get_ident() == self._main:
            self._write_lone()
        else:
            self._write()

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
        if holder is not None and holder.frame and holder.sent:  # it may have asked to have the rest written
            self._complete(holder)
        self._write()

    def _write_lone(self) -> None:
        """Write the only frame that waits, in one step; on the main thread, where signal handlers run.

        A handler may run between any two steps, for as long as it likes. So at none of them is anything in the hands of
        this thread alone but the right to write, of which :meth:`_relieve` can relieve it.
        """
        queue, writer = self.queue, self._writer
        try:
            entry = queue[0]
        except IndexError:
            if self.pending and not self.blocked:
                self._ask_engine()
            return
        holder = writer.get(None)
        if holder is not None and holder.frame and holder.thread == get_ident():
            self._relieve(holder)  # this is a signal handler, within the write that it has interrupted
        if len(queue) != 1 or self._unsent or self.blocked or self._closed or not self._is_lone(entry):
            self._ask_engine()
            return
        write = Write(entry[0])
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
        # One call of C code: claim the permit, take the entry out of the queue, write its frame, keep how much was
        # written.
        claim = zip(
            starmap(write.permit.popleft, repeat((), 1)), starmap(self.queue.popleft, repeat((), 1)), strict=False
        )
        try:
            write.sent.extend(map(self._transport.sock.send, map(_frame, claim)))
        except IndexError:  # a signal handler or the engine has relieved this thread, or the entry was written before
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
        if write.sent and write.sent[0] < len(write.frame):
            if not self._engine.on_own_thread:
                self._ask_engine()  # one thread alone keeps the rest, and none that an exception can strike
                return
            if self._writer.get(None) is write:
                self._unsent = write.frame[write.sent[0] :]
                self.blocked = True
                self._wait_writable()
        self._release(write)

    def _relieve(self, write: Write) -> bool:
        """Complete a lone write whose thread is held up by a signal handler; return False if it is under way."""
        try:
            write.permit.popleft()  # from now on it writes nothing
        except IndexError:
            if not write.sent:
                return False
        self._complete(write)
        return True

    def _look(self) -> None:
        """Relieve a main thread that has had the right to write since the last look; on the engine thread."""
        self._watched = False
        write = self._writer.get(None)
        if write is None or not write.frame:
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
        writer = self._writer
        # Nothing is called between the look and the act, so that no signal handler runs there.
        if None in writer and writer[None] is write:
            del writer[None]

    def _write(self) -> None:
        """Write all that waits, unless another thread is at it: that one looks once more after it has let go."""
        writer, write = self._writer, None
        queue, transport = self.queue, self._transport
        while (queue or self._unsent or transport.owes) and not (self.blocked or self._closed):
            write = write or Write()
            try:
                holder = writer.setdefault(None, write)
                if holder is not write:
                    if holder.frame:
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
        """Take entries out of the queue, as many as are written in one go."""
        queue, entries, size = self.queue, [], 0
        while queue and size < JOIN:
            entry = queue.popleft()
            entries.append(entry)
            size += len(entry[0])
        if self._space and not self.crowded:
            self._space.notify_all()
        return self._prepare(entries) if entries else b""

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
        return write is not None and write.thread == get_ident() and not (self._closed or (write.frame and write.sent))

    def close(self) -> bool:
        """Write nothing more; return True once no thread can be within a write. On the engine thread."""
        self._closed = True
        self._space.notify_all()
        if self._transport.blocking:
            self._wake_writer()
            return True
        mine = Write()
        holder = self._writer.setdefault(None, mine)
        if holder.frame and self._relieve(holder):  # a signal handler holds the main thread up before or behind it
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
