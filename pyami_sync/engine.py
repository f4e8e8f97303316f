"""The threads that serve connections, one or a thousand.

* The **reader** waits for all sockets in one selector, reads what is there, has it framed, and lets answers
  out at once: resolving a call is a dict look-up and the release of a lock, and an answer must not wait behind
  a flood of events. Everything else of a read goes to the dispatcher in one piece.
* The **dispatcher** offers events to subscriptions and runs timers. It never blocks either.
* The **callback threads** (:class:`~pyami_sync.workers.Workers`) run user code, and what has to wait, such as
  connecting again.

No user code runs on the first two. The number of threads depends on neither connections nor subscriptions.
"""

from __future__ import annotations

import atexit
import heapq
import logging
import os
import selectors
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable
from itertools import count
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread, current_thread, get_ident
from typing import Any, Protocol

from .deadline import Deadline
from .exceptions import ConcurrencyError
from .workers import Workers

__all__ = ["Engine", "Pollable", "Timer"]

logger = logging.getLogger("pyami_sync")

# Bytes of events that may wait for the dispatcher. Beyond it the reader waits for the dispatcher, which runs
# no user code and so always comes; in the meantime the kernel holds what the server sends.
BACKLOG = 8 << 20
IDLE_STOP = 5.0

engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Pollable(Protocol):
    """What the reader serves."""

    def fileno(self) -> int:
        """For the selector."""
        ...

    def readable(self) -> None:
        """Read what is there."""
        ...

    def writable(self) -> None:
        """Write what waits; only called while wanted."""
        ...

    def broken(self, exc: BaseException) -> None:
        """End: serving it raised."""
        ...


class Timer:
    """Something to do at a moment, on the dispatcher; it must not block."""

    __slots__ = ("_engine", "callback", "when")

    def __init__(self, engine: Engine, when: float, callback: Callable[[], None]) -> None:
        self._engine = engine
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Don't do it. Safe from any thread; too late is no error."""
        self.callback = None
        self._engine._timer_cancelled()


class Engine:
    """Reader, dispatcher, timers and callback threads.

    Threads start with the first use and end with :meth:`close`.

    Args:
        name: what the threads' names begin with.
        callback_threads: most threads for user code.

    """

    def __init__(self, name: str = "pyami", callback_threads: int = 32) -> None:
        self.name = name
        self.workers = Workers(f"{name}-callback", callback_threads)
        self.inbox: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self.engine_threads: frozenset[int | None] = frozenset()
        self._lock = Lock()
        self._selector: selectors.BaseSelector | None = None
        self._commands: deque[Callable[[selectors.BaseSelector], None]] = deque()
        self._reader: Thread | None = None
        self._dispatcher: Thread | None = None
        self._wake_in: socket.socket | None = None
        self._wake_out: socket.socket | None = None
        self._closed = False
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_order = count()
        self._dead_timers = 0
        self._next_wake = float("inf")
        self._backlog_in = 0  # bytes handed to the dispatcher; only the reader writes it
        self._backlog_out = 0  # bytes it is done with; only the dispatcher writes it
        self._room = Event()
        engines.add(self)

    # Life

    def start(self) -> None:
        """Start reader and dispatcher, unless they run."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if self._reader is not None:
                return
            self._selector = selectors.DefaultSelector()
            self._wake_in, self._wake_out = socket.socketpair()
            self._wake_in.setblocking(False)
            self._wake_out.setblocking(False)
            self._selector.register(self._wake_in, selectors.EVENT_READ, None)
            # Daemons: a session that nobody closed must not keep the interpreter from ending.
            self._reader = Thread(target=self._read, name=f"{self.name}-reader", daemon=True)
            self._dispatcher = Thread(target=self._dispatch, name=f"{self.name}-dispatcher", daemon=True)
            self._reader.start()
            self._dispatcher.start()
            self.engine_threads = frozenset((self._reader.ident, self._dispatcher.ident))

    def close(self, timeout: float | None = IDLE_STOP) -> None:
        """End all threads; safe from any of them, and to repeat.

        Args:
            timeout: seconds to wait for callbacks under way. One that takes longer is left to its daemon
                thread, with a warning that names it.

        """
        self.signal_stop()
        reader, dispatcher = self._reader, self._dispatcher
        deadline = Deadline(timeout)
        me = current_thread()
        for thread in (reader, dispatcher):
            if thread is not None and thread is not me:
                thread.join(deadline.remaining())
        # Callbacks last: one that waits for an answer has been released by the end of its connection.
        for thread in self.workers.close(deadline):
            logger.warning("callback thread %s is still busy; its callback does not return", thread.name)
        if reader is not None and not reader.is_alive():
            self._release()

    def signal_stop(self) -> None:
        """Tell all threads to end and wait for none."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wake()
        self.inbox.put(None)

    def _release(self) -> None:
        with self._lock:
            held = (self._selector, self._wake_in, self._wake_out)
            self._wake_in = self._wake_out = None
        for each in held:
            if each is not None:
                each.close()

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has none of the threads.

        Locks may have been held by threads that don't exist here, so all state is made again. Descriptors
        are only closed: this leaves the parent's selector and sockets as they are.
        """
        self._release_in_child()
        self.__init__(self.name, self.workers.limit)  # type: ignore[misc]

    def _release_in_child(self) -> None:
        for each in (self._selector, self._wake_in, self._wake_out):
            if each is not None:
                each.close()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def check_thread(self, doing: str) -> None:
        """Refuse to block the threads that everything depends on.

        Raises:
            ConcurrencyError: the calling thread is the reader or the dispatcher.

        """
        if get_ident() in self.engine_threads:
            raise ConcurrencyError(
                f"{doing} would block thread {current_thread().name}, which must answer it; "
                "user code runs there only from __del__, weakref callbacks and log handlers"
            )

    # The reader

    def register(self, link: Pollable) -> None:
        """Serve a link from now on."""

        def add(selector: selectors.BaseSelector) -> None:
            selector.register(link, selectors.EVENT_READ, link)
            # Bytes that came along with a TLS handshake make no descriptor readable any more.
            self._serve(link, selectors.EVENT_READ)

        self._command(add)

    def watch(self, link: Pollable, events: int) -> None:
        """Wait for a link that is not connected yet; ``events`` are those of :mod:`selectors`."""

        def add(selector: selectors.BaseSelector) -> None:
            selector.register(link, events, link)

        self._command(add)

    def unregister(self, link: Pollable, then: Callable[[], None]) -> None:
        """Serve it no more; ``then`` runs on the reader when it is out of the selector."""

        def out(selector: selectors.BaseSelector) -> None:
            try:
                selector.unregister(link)
            except (KeyError, ValueError, OSError):
                pass
            then()

        self._command(out)

    def want_write(self, link: Pollable, wanted: bool) -> None:
        """Call the link's ``writable`` when its socket takes bytes again, or no more."""
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)

        def modify(selector: selectors.BaseSelector) -> None:
            try:
                selector.modify(link, mask, link)
            except (KeyError, ValueError, OSError):
                pass  # closed in the meantime

        self._command(modify)

    def run_on_reader(self, job: Callable[[], object]) -> None:
        """Have the reader run something that must not block."""

        def run(selector: selectors.BaseSelector) -> None:
            job()

        self._command(run)

    def _command(self, command: Callable[[selectors.BaseSelector], None]) -> None:
        """Have the reader do something with its selector, which no other thread touches."""
        if get_ident() == (self._reader.ident if self._reader else None) and self._selector is not None:
            command(self._selector)
            return
        self._commands.append(command)
        self._wake()
        if self._selector is not None and (self._reader is None or not self._reader.is_alive()):
            self._run_commands(self._selector)  # the engine has ended: nobody else will

    def _wake(self) -> None:
        try:
            if self._wake_out is not None:
                self._wake_out.send(b"\0")
        except OSError:
            pass  # full: it wakes anyway; closed: it is gone

    def _read(self) -> None:
        selector = self._selector
        assert selector is not None
        while not self._closed:
            for key, mask in selector.select():
                link = key.data
                if link is None:
                    self._drain_wakes()
                    continue
                self._serve(link, mask)
            self._run_commands(selector)
        self._run_commands(selector)

    def _serve(self, link: Pollable, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                link.writable()
            if mask & selectors.EVENT_READ:
                link.readable()
        except BaseException as exc:
            # A bug must not take the other links, nor this thread, with it.
            logger.exception("serving a connection raised")
            link.broken(exc)

    def _run_commands(self, selector: selectors.BaseSelector) -> None:
        while self._commands:
            try:
                command = self._commands.popleft()
            except IndexError:  # taken by a closing thread
                return
            try:
                command(selector)
            except Exception:
                logger.exception("a reader command raised")

    def _drain_wakes(self) -> None:
        assert self._wake_in is not None
        try:
            while len(self._wake_in.recv(4096)) == 4096:
                pass
        except OSError:
            pass

    def hand_over(self, size: int, item: tuple[Any, ...]) -> None:
        """Give the dispatcher what came in; called by the reader, which waits when too much has piled up."""
        self._backlog_in += size
        self.inbox.put((size, *item))
        while self._backlog_in - self._backlog_out > BACKLOG and not self._closed:
            self._room.clear()
            if self._backlog_in - self._backlog_out > BACKLOG:
                self._room.wait(0.1)

    # The dispatcher

    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        """Run something on the dispatcher, behind everything handed over before; it must not block."""
        self.inbox.put((0, callback, *args))

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Run something on the dispatcher at a moment of :func:`time.monotonic`; it must not block."""
        timer = Timer(self, when, callback)
        with self._lock:
            heapq.heappush(self._timers, (when, next(self._timer_order), timer))
            sooner = when < self._next_wake
            if sooner:
                self._next_wake = when
        if sooner:
            self.inbox.put((0, _nothing))  # it sleeps until a later moment: let it look again
        return timer

    def _timer_cancelled(self) -> None:
        self._dead_timers += 1
        if self._dead_timers > 64 and self._dead_timers * 2 > len(self._timers):
            with self._lock:
                self._timers = [entry for entry in self._timers if entry[2].callback is not None]
                heapq.heapify(self._timers)
                self._dead_timers = 0

    def _run_timers(self) -> float | None:
        """Run what is due; give the seconds until the next."""
        while True:
            with self._lock:
                while self._timers and self._timers[0][2].callback is None:
                    heapq.heappop(self._timers)
                if not self._timers:
                    self._next_wake = float("inf")
                    return None
                when = self._timers[0][0]
                left = when - time.monotonic()
                if left > 0:
                    self._next_wake = when
                    return left
                callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                try:
                    callback()
                except Exception:
                    logger.exception("a timer raised")

    def _dispatch(self) -> None:
        get = self.inbox.get
        while True:
            left = self._run_timers() if self._timers else None
            try:
                item = get(timeout=left)
            except Empty:
                continue
            if item is None:
                return
            try:
                item[1](*item[2:])
            except Exception:
                logger.exception("dispatching raised")
            if item[0]:
                self._backlog_out += item[0]
                self._room.set()


def _nothing() -> None:
    """Only wakes the dispatcher."""


def _after_fork() -> None:
    for engine in list(engines):
        engine.after_fork()


def _at_exit() -> None:
    # Tell all first, then wait for each: what takes time takes it side by side.
    living = [engine for engine in list(engines) if not engine.closed]
    for engine in living:
        engine.signal_stop()
    deadline = Deadline(0.5)
    for engine in living:
        engine.close(deadline.remaining() or 0.01)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
