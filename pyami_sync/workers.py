"""The threads that run user code: few, made when needed, gone when idle."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Condition, RLock, Thread, current_thread

from .deadline import Deadline

__all__ = ["Workers"]

logger = logging.getLogger("pyami_sync")
Job = Callable[[], None]


class Workers:
    """A pool of daemon threads that grows while its jobs block and shrinks when they don't.

    A callback that blocks keeps one thread; the next job gets another, up to the limit. The threads are
    daemons, so that a callback which never returns can't keep the interpreter from ending (the threads of
    :class:`~concurrent.futures.ThreadPoolExecutor` are waited for at exit).

    Args:
        name: what the threads' names begin with.
        limit: most threads; so many jobs may block before another one waits.
        idle: seconds after which a thread without work ends.

    """

    def __init__(self, name: str, limit: int = 32, idle: float = 10.0) -> None:
        self._name = name
        self.limit = limit
        self._idle_after = idle
        self._work = Condition(RLock())  # close() in a signal handler may come here again
        self._jobs: deque[Job] = deque()
        self._threads: set[Thread] = set()
        self._closing: set[Thread] = set()  # those of them whose job waits in close()
        self._idle = 0
        self._made = 0
        self._closed = False

    def submit(self, job: Job) -> None:
        """Run a job soon on one of the threads; never blocks. After :meth:`close` it is dropped."""
        with self._work:
            if self._closed:
                return
            self._jobs.append(job)
            if len(self._jobs) <= self._idle:
                self._work.notify()
                return
            if len(self._threads) >= self.limit:
                return
            self._made += 1
            thread = Thread(target=self._run, name=f"{self._name}-{self._made}", daemon=True)
            try:
                # Under the lock, so that a close at this moment meets no thread that can't be joined yet.
                thread.start()
            except RuntimeError as exc:
                if "interpreter shutdown" in str(exc):  # from 3.12: the program is over, and with it the session
                    logger.debug("an event came too late for its callback: %s", exc)
                else:  # out of threads: another one does the job
                    logger.exception("can't start a callback thread")
            else:
                self._threads.add(thread)

    def _run(self) -> None:
        while True:
            with self._work:
                while not self._jobs:
                    if self._closed:
                        self._threads.discard(current_thread())
                        self._work.notify_all()  # whoever waits in close()
                        return
                    self._idle += 1
                    woken = self._work.wait(self._idle_after)
                    self._idle -= 1
                    if not woken and not self._jobs:
                        self._threads.discard(current_thread())
                        return
                job = self._jobs.popleft()
            try:
                job()
            except SystemExit:
                logger.warning("sys.exit() in a callback ends only that callback; use close() to end the session")
            except BaseException:
                logger.exception("a callback thread's job raised")
            del job  # it may hold the last reference to a client

    @property
    def threads(self) -> list[Thread]:
        """Those alive now."""
        with self._work:
            return list(self._threads)

    def close(self, deadline: Deadline) -> list[Thread]:
        """Take no more jobs and wait for those handed over; give the threads that are still busy at the deadline.

        What has not begun by then is dropped. Jobs that close from several of these threads at once don't wait
        for each other.
        """
        me = current_thread()
        with self._work:
            self._closed = True
            threads = self._threads - {me}
            if me in self._threads:
                self._closing.add(me)
            self._work.notify_all()
            while me in self._closing and self._threads - self._closing and not deadline.expired:
                self._work.wait(deadline.remaining())
            threads -= self._closing if me in self._closing else set()
        for thread in threads:
            thread.join(deadline.remaining())
        with self._work:
            self._jobs.clear()
        return [thread for thread in threads if thread.is_alive()]
