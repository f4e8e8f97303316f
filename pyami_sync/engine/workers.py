"""The callback threads, which run user code: a pool that starts threads on demand and ends idle ones."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Lock, Thread, current_thread, get_ident

from .deadline import Deadline
from .waiting import Waiters

__all__ = ["Workers"]

logger = logging.getLogger("pyami_sync")
Job = Callable[[], None]
Later = Callable[[float, Callable[[], None]], object]

FIRST_RETRY = 0.05  # seconds after a thread could not be started; each further time twice as long
LONGEST_RETRY = 1.0


class Workers:
    """A pool of daemon threads that grows while its jobs block and shrinks when they do not.

    A callback that blocks keeps one thread; the next job gets another, up to the limit. The threads are
    daemons, so that a callback which never returns can't keep the interpreter from ending (the threads of
    :class:`~concurrent.futures.ThreadPoolExecutor` are waited for at exit).

    There is no lock that a submitting thread could find locked: each idle thread waits for a lock of its own, and
    the collections below change by single deque and set operations, which are atomic.

    Args:
        name: what the threads' names begin with.
        limit: most threads, and so the number of jobs that may block at a time.
        idle: seconds after which a thread without work ends.
        later: ``later(seconds, job)`` runs a job after a pause, on a thread that may start others; used while no
            thread can be started. Without it the next :meth:`submit` tries again.

    """

    def __init__(self, name: str, limit: int = 32, idle: float = 10.0, later: Later | None = None) -> None:
        self._name = name
        self.limit = limit
        self._idle_after = idle
        self._later = later
        self._jobs: deque[Job] = deque()
        self._parked: deque[Lock] = deque()  # the locks that idle threads wait for
        self._running: dict[int, Job] = {}  # the job of each busy thread
        self._threads: set[Thread] = set()
        self._closing: set[Thread] = set()  # those of them whose job waits in close()
        self._changed = Waiters()  # threads that wait in close()
        self._made = 0
        self._retry_after = FIRST_RETRY
        self._retrying = False
        self._closed = False

    def submit(self, job: Job) -> None:
        """Run a job soon on one of the threads; never blocks. After :meth:`close` it is dropped.

        A job that submits itself again continues on its own thread when it has returned, unless another thread takes
        it first. No thread is woken for it, since that one would find the job done, or run it on cold caches.
        """
        if self._closed:
            return
        self._jobs.append(job)
        if self._running.get(get_ident()) == job:
            return
        # In this order: a thread that parks checks for jobs afterwards, and one that ends checks after it has left
        # the set.
        try:
            self._parked.pop().release()  # the latest to become idle: its caches are warm, and the others may end
        except IndexError:
            self._grow()

    def _grow(self) -> None:
        """Start a thread for the jobs that wait, unless there are enough."""
        if len(self._threads) >= self.limit or self._closed:
            return
        self._made += 1
        thread = Thread(target=self._run, name=f"{self._name}-{self._made}", daemon=True)
        self._threads.add(thread)  # before it runs: it takes itself out
        try:
            thread.start()
        except (RuntimeError, MemoryError) as exc:
            self._threads.discard(thread)
            if "interpreter shutdown" in str(exc):  # from 3.12: no thread can be started at exit
                logger.debug("an event came too late for its callback: %s", exc)
                return
            # The job stays queued for a busy thread, or for one that can be started later.
            self._retry_later(exc)
        else:
            self._retry_after = FIRST_RETRY

    def _retry_later(self, exc: BaseException) -> None:
        pause, self._retry_after = self._retry_after, min(2 * self._retry_after, LONGEST_RETRY)
        if pause == FIRST_RETRY:
            logger.error("can't start a callback thread (%s); jobs wait until one can be started", exc)
        if self._later is None or self._retrying:
            return
        self._retrying = True
        self._later(pause, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        for _ in range(min(len(self._jobs), self.limit)):
            self._grow()
            if self._retrying:
                return

    def _run(self) -> None:
        me, ident = current_thread(), get_ident()
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                if self._stays(me):
                    continue
                return
            self._running[ident] = job
            try:
                job()
            except SystemExit:
                logger.warning("sys.exit() in a callback ends only that callback; use close() to end the session")
            except BaseException:
                logger.exception("a callback thread's job raised")
            self._running.pop(ident, None)
            del job  # it may hold the last reference to a client

    def _stays(self, me: Thread) -> bool:
        """Wait for a job; return False if the thread is to end."""
        woken = Lock()
        woken.acquire()
        self._parked.append(woken)
        if not self._jobs and not self._closed:
            woken.acquire(timeout=self._idle_after)
        try:
            self._parked.remove(woken)
        except ValueError:
            if not self._closed:
                return True  # taken out by submit(): there was a job
        if self._jobs:
            return True
        self._threads.discard(me)
        # A thread that submitted a job before that line relied on this one to check for jobs.
        if self._jobs and not self._closed:
            self._threads.add(me)
            return True
        self._changed.notify_all()
        return False

    @property
    def _idle(self) -> int:
        return len(self._parked)

    @property
    def threads(self) -> list[Thread]:
        """Return the threads that are alive."""
        return list(self._threads)

    def close(self, deadline: Deadline) -> list[Thread]:
        """Accept no more jobs and wait for those submitted; return the threads that are still busy at the deadline.

        Jobs that have not begun by then are dropped. Jobs on several of these threads that call close() at the same
        time do not wait for each other.
        """
        me = current_thread()
        self._closed = True
        threads = set(self._threads) - {me}
        inside = me in self._threads
        if inside:
            self._closing.add(me)
            self._changed.notify_all()
        while self._parked:
            try:
                self._parked.popleft().release()
            except IndexError:  # it woke meanwhile
                break

        def ended() -> bool:
            return not (set(self._threads) - {me} - (set(self._closing) if inside else set()))

        self._changed.wait(ended, deadline.remaining())
        threads -= set(self._closing) if inside else set()
        for thread in threads:
            # A thread that has left the set is about to end.
            if thread.ident is not None:
                thread.join(max(deadline.remaining() or 0.0, 1.0 if thread not in self._threads else 0.0))
        self._jobs.clear()
        return [thread for thread in threads if thread.is_alive()]
