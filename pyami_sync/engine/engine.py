"""The engine thread, which serves all connections; and the table of all locks.

The **engine thread** waits for all sockets at once, reads what has arrived and splits it into messages. It resolves
the answers first, at the cost of a dict look-up and the release of a lock each, so that a flood of events never
delays them; then it offers the events to the subscriptions' buffers; then it runs timers. It never blocks and runs no
user code, so it always returns to the sockets: a server drops a client that does not read for a tenth of a second.

Reading and dispatching share this one thread because handing messages from one thread to another cost a fifth of the
throughput: only one of the two can run at a time, and the messages leave the processor's cache meanwhile. For the
same reason a lone caller reads its own answer (:mod:`~pyami_sync.connection.leader`), many callers are woken one
after the other (:mod:`~pyami_sync.connection.wakeups`), and callback threads are woken after all sockets have been
served.

The **callback threads** (:class:`~pyami_sync.engine.workers.Workers`) run user code. The number of threads depends on
neither connections nor subscriptions.

The engine thread never waits for a lock that a thread running user code can hold: a signal handler may raise, or run
for as long as it likes, at any moment, and a finalizer may run at any allocation. What threads share is therefore
changed by single dict and deque operations, which are atomic (in free-threaded builds too), and waiting is done on
locks that belong to the waiting thread alone (:class:`~pyami_sync.engine.waiting.Waiters`).

All locks, in this package and those above it, except those of :mod:`~pyami_sync.agi` and :mod:`~pyami_sync.bridge`:

======================================  ==================================  =========================================
Lock                                    Guards                              Taken by
======================================  ==================================  =========================================
one in :class:`Waiters` per wait        nothing; it is waited for           the waiting thread; released by any
one per idle thread of ``Workers``      nothing; it is waited for           the idle thread; released by any
``Metrics._lock`` (reentrant)           adding up what was counted          any; the engine thread only when it is free
``Membership._lock`` (reentrant)        a cluster's nodes, its opening      callers
``Future._condition`` (standard)        ``wait()`` and ``as_completed()``   callers; the engine thread only when free
``Tracker.lock``                        the live model of one server        the model's own threads; callback threads
``Tracker._listing``                    one fetch of its lists at a time    the model's threads for lists and audits
``Base._feeding``                       handing on changes of live models   the model's own threads, in ``Tracker.lock``
a lock of a process id (reentrant)      setting up a forked child           the first thread that uses a session
======================================  ==================================  =========================================
"""

from __future__ import annotations

import _thread
import atexit
import logging
import time
import weakref
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from threading import Thread, current_thread, get_ident, main_thread

from ..exceptions import ConcurrencyError, ConnectionClosed
from . import forks
from .deadline import Deadline
from .launch import Launch
from .poller import READ, WRITE, Pollable, Poller
from .timers import Timer, Timers
from .waiting import Waiters
from .wakeup import Wakeup
from .workers import Workers

__all__ = ["Engine", "Timer"]

logger = logging.getLogger("pyami_sync")

LAUNCH_WAIT = 10.0  # seconds
LAST_STEPS = 0.1  # seconds that a thread may take to end after its last job
RETRY = 0.01  # seconds between two tries of a step that can't complete yet
LONGEST_SLEEP = 3600.0  # seconds; selectors refuse to wait for more than some 24 days

engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """One thread for sockets, answers, events and timers, and a pool of threads for user code.

    Threads start with the first use and end with :meth:`close`.

    Args:
        name: what the threads' names begin with.
        callback_threads: most threads for user code.

    """

    def __init__(self, name: str = "pyami", callback_threads: int = 32) -> None:
        self.name = name
        self.workers = Workers(f"{name}-callback", callback_threads, later=self._later)
        self._poller: Poller | None = None
        self._wakeup: Wakeup | None = None
        self._jobs: deque[Callable[[], object]] = deque()
        self._thread: Thread | None = None
        self.ident: int | None = None
        """Identifier of the engine thread; :data:`None` while it does not run."""
        self._pumps: weakref.WeakSet[Thread] = weakref.WeakSet()
        self._launches: dict[None, Launch] = {}  # one, while the engine thread is being started
        self._closed = False
        self._ended = False  # True once the engine thread runs no more jobs
        self._waiters = Waiters()  # threads that wait for _ended
        self._releases = False  # True if the engine thread itself closes the descriptors when it ends
        self._timers = Timers(self._wake_for)
        self.call_at = self._timers.call_at
        """Run something on the engine thread at a moment of :func:`time.monotonic`; it must not block."""
        self._unfinished: set[Callable[[], bool]] = set()  # steps that are tried again; the engine thread's own
        engines.add(self)

    # Life

    def start(self) -> None:
        """Start the engine thread, unless it runs.

        Raises:
            ConnectionClosed: the engine was closed, as happens when one thread opens and another closes.
            ConcurrencyError: the standard library was monkey patched too late.

        """
        if self._closed:
            raise ConnectionClosed
        if self._thread is not None:
            return
        if _thread.start_new_thread is not start_new_thread:
            # Locks made before the patch do not work with threads made after it: everything would hang.
            raise ConcurrencyError(
                "the standard library was monkey patched (gevent, eventlet) after pyami_sync was imported: patch before"
                " that; with gunicorn, leave out --preload or patch at the top of its configuration file"
            )
        forks.warn_of_uwsgi()
        # One atomic step, not a lock: a signal handler may call this while it runs.
        launch = self._launches.setdefault(None, Launch(self))
        launch.begin()
        if not launch.wait(LAUNCH_WAIT):
            raise RuntimeError(f"the engine thread did not start within {LAUNCH_WAIT:g} s")
        launch.check()

    def pump(self, target: Callable[[], None]) -> None:
        """Start a thread that reads a blocking transport; :meth:`close` waits for that thread, too."""
        thread = Thread(target=target, name=f"{self.name}-transport", daemon=True)
        self._pumps.add(thread)
        thread.start()

    def close(self, timeout: float | None = 5.0) -> None:
        """End all threads. Idempotent; may be called from any thread, these included.

        Args:
            timeout: seconds to wait for running callbacks. One that takes longer keeps its daemon thread, and a
                warning with the thread's name is logged.

        """
        self.signal_stop()
        deadline = Deadline(timeout)
        launch = self._launches.get(None)
        if launch is not None and not launch.prevent():  # the thread that began it may have been interrupted
            launch.wait(deadline.remaining())
        thread = self._thread
        # Not join() alone: a signal handler that interrupts it and closes, too, would wait for its own thread.
        if (
            thread is not None
            and thread is not current_thread()
            and self._waiters.wait(lambda: self._ended, deadline.remaining())
        ):
            thread.join(LAST_STEPS)
        for pump in list(self._pumps):
            if pump is not current_thread():
                pump.join(deadline.remaining())
        # Callbacks last: those that waited for an answer were released when their connection ended.
        for busy in self.workers.close(deadline):
            logger.warning("callback thread %s is still busy; its callback does not return", busy.name)
        self._releases = True  # before the check: a thread that ends or starts after it closes its descriptors itself
        if self._ended or (thread is None and not self._launches):
            self._run_jobs()  # those that were added after the thread's last check and before it ended
            self._release()

    def signal_stop(self) -> None:
        """Ask all threads to end, without waiting."""
        self._closed = True
        self._wake()  # always: the thread that closed it first may have been interrupted before this

    def close_soon(self) -> None:
        """End all threads without waiting; the engine thread closes the descriptors when it ends."""
        self._releases = True
        self.signal_stop()

    @property
    def running(self) -> bool:
        """True if there is an engine thread that runs jobs."""
        return self._thread is not None and not self._ended

    @property
    def on_own_thread(self) -> bool:
        """True if the calling thread is the engine thread."""
        return get_ident() == self.ident

    @property
    def closed(self) -> bool:
        """True if :meth:`close` was called."""
        return self._closed

    def _release(self) -> None:
        # All of it is harmless to repeat, as after an exception of a signal handler in here.
        for each in (self._poller, self._wakeup):
            if each is not None:
                each.close()
        self._wakeup = None

    def after_fork(self) -> None:
        """Reset the state in a forked child, which has none of the threads.

        Locks may have been held by threads that don't exist here, so all state is replaced. Descriptors are only
        closed, which does not affect the parent's poller and sockets.
        """
        for each in (self._poller, self._wakeup):
            if each is not None:
                each.close()
        self.__init__(self.name, self.workers.limit)  # type: ignore[misc]

    def check_thread(self, doing: str) -> None:
        """Raise an exception if the calling thread is the engine thread, which must not block.

        Raises:
            ConcurrencyError: the calling thread is the engine's.

        """
        if get_ident() == self.ident:
            raise ConcurrencyError(
                f"{doing} would block thread {current_thread().name}, which has to read the answer; "
                "user code runs there only from __del__, weakref callbacks and log handlers"
            )

    # Jobs for the engine thread

    def register(self, link: Pollable) -> None:
        """Poll a link from now on."""

        self.on_thread(partial(self._register, link))

    def _register(self, link: Pollable) -> None:
        assert self._poller is not None
        self._poller.add(link)
        # Bytes that arrived with a TLS handshake are read already: they make no descriptor readable.
        self._serve(link, READ)

    def watch(self, link: Pollable) -> None:
        """Wait for what a link is interested in; on the engine thread."""
        assert self._poller is not None
        self._poller.add(link)

    def unregister(self, link: Pollable, then: Callable[[], None]) -> None:
        """Stop polling a link; ``then`` is called once no system call uses its descriptor any more."""
        self.on_thread(partial(self._unregister, link, then))

    def _unregister(self, link: Pollable, then: Callable[[], None]) -> None:
        self.unwatch(link)
        then()

    def unwatch(self, link: Pollable) -> None:
        """Stop polling a link; on the engine thread, or after that has ended."""
        try:
            if self._poller is not None:  # None: closed before it was ever started
                self._poller.remove(link)
        except (OSError, ValueError):  # closed in the meantime
            pass

    def rearm(self, link: Pollable) -> None:
        """Update the events that are polled for after the link's interest has changed; on the engine thread."""
        assert self._poller is not None
        try:
            self._poller.rearm(link)
        except (OSError, ValueError):
            pass  # closed in the meantime

    def serve_soon(self, link: Pollable) -> None:
        """Have the engine thread read a link, whether or not its descriptor is readable."""
        self.call_soon(lambda: self._serve(link, READ))

    @property
    def modify(self) -> Callable[[int, int], object] | None:
        """The poller's :attr:`~pyami_sync.engine.poller.Poller.modify`; :data:`None` if it has none."""
        return None if self._poller is None else self._poller.modify

    def on_thread(self, job: Callable[[], object]) -> None:
        """Run a job on the engine thread: at once if this is the engine thread."""
        if get_ident() == self.ident:
            job()
        else:
            self.call_soon(job)

    def call_soon(self, job: Callable[[], object]) -> None:
        """Run a job on the engine thread after everything that has been read; it must not block."""
        if get_ident() == self.ident:
            self._jobs.append(job)
        else:
            self._wake(map(self._jobs.append, (job,)))
            if self._closed and (self._thread is None or self._ended):
                self._run_jobs()  # the engine thread has ended and will not run it

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job on a callback thread.

        From the engine's own thread the job is handed over when all sockets that are ready have been served: a
        callback thread that wakes in the middle of a flood fights with the engine for the interpreter's lock at
        every read. At the engine's end it goes there at once: they close next.
        """
        # The main thread leaves it to the engine thread, too, as long as that runs: starting a thread is not to be
        # interrupted by the exception of a signal handler, and those run on the main thread.
        me = get_ident()
        if me == self.ident and not self._closed:
            self._jobs.append(partial(self.workers.submit, job))
        elif self._closed or not self.running or me != main_thread().ident:
            self.workers.submit(job)
        else:
            self.call_soon(partial(self.workers.submit, job))

    def persist(self, step: Callable[[], bool]) -> None:
        """Run a step repeatedly on the engine thread until it returns True; the thread's end waits a moment for it.

        When the engine ends, the step is run a last time after :attr:`running` has become false.
        """
        self._unfinished.discard(step)
        if not step():
            self._unfinished.add(step)
            self.call_at(time.monotonic() + RETRY, partial(self.persist, step))

    def _later(self, seconds: float, job: Callable[[], None]) -> None:
        self.call_at(time.monotonic() + seconds, job)

    def _wake(self, first: Iterable[object] = (None,)) -> None:
        """Perform a step (iterate over ``first``) and wake the engine thread; no signal handler runs in between."""
        wakeup = self._wakeup
        if wakeup is None:
            deque(first, 0)
        else:
            wakeup.wake(first)

    def _wake_for(self, first: Iterable[object]) -> None:
        if get_ident() == self.ident:
            deque(first, 0)
        else:
            self._wake(first)

    # The engine thread

    def _run(self) -> None:
        poller = self._poller
        assert poller is not None
        self.ident = get_ident()
        while not self._closed:
            left = min(self._timers.run(), LONGEST_SLEEP)
            for link, mask in poller.poll(0 if self._jobs else left):
                if mask != READ:
                    self._serve(link, mask)
                    continue
                try:  # bytes and no error: it waits for them
                    link.readable()
                except BaseException as exc:
                    self._broke(link, exc)
            if self._jobs:
                self._run_jobs()
        self._run_jobs()
        until = time.monotonic() + LAST_STEPS
        while self._unfinished and time.monotonic() < until:
            time.sleep(RETRY / 10)
            self._retry()
        # A job added from here on is run by the thread that adds it, or by the loop that follows.
        self._ended = True
        self._retry()
        self.ident = None  # a thread that is started later may get the same
        self._waiters.notify_all()
        if self._releases:
            self.workers.close(Deadline(0.0))
            self._release()

    def _serve(self, link: Pollable, mask: int) -> None:
        try:
            mask &= link.interest  # the poller reports errors for events that were not asked for, too
            if mask & WRITE:
                link.writable()
            if mask & READ:
                link.readable()
        except BaseException as exc:
            self._broke(link, exc)

    def _broke(self, link: Pollable, exc: BaseException) -> None:
        # A bug must end neither the other links nor this thread.
        logger.error("serving a connection raised", exc_info=exc)
        link.broken(exc)

    def _run_jobs(self) -> None:
        # Only those that are there now: a job that adds another one must not delay the sockets.
        for _ in range(len(self._jobs)):
            try:
                job = self._jobs.popleft()
            except IndexError:  # taken by a closing thread
                return
            try:
                job()
            except Exception:
                logger.exception("a job of the engine raised")

    def _retry(self) -> None:
        self._jobs.extend(partial(self.persist, step) for step in list(self._unfinished))
        self._run_jobs()


def _after_fork() -> None:
    for engine in list(engines):
        engine.after_fork()


def _at_exit() -> None:
    # Ask all to stop first, then wait for each, so that they end at the same time.
    living = [engine for engine in list(engines) if not engine.closed]
    for engine in living:
        engine.signal_stop()
    deadline = Deadline(0.5)
    for engine in living:
        engine.close(deadline.remaining() or 0.01)


forks.register(_after_fork)
atexit.register(_at_exit)
