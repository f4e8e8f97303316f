"""Runs scripts on a bounded number of threads, and handles their results and exceptions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import RLock, Thread, current_thread
from time import monotonic

from ..engine.deadline import Deadline
from ..exceptions import ConnectionClosed
from .call import AGICall
from .errors import HungUp, ScriptNotFound
from .router import Router

__all__ = ["DONE", "ERROR", "LOST", "NOTFOUND", "REFUSED", "ScriptThreads", "run_script"]

logger = logging.getLogger("pyami_sync.agi")

DONE = "DONE"
ERROR = "ERROR"
HANGUP = "HANGUP"
LOST = "LOST"
NOTFOUND = "NOTFOUND"
REFUSED = "REFUSED"


def run_script(router: Router, call: AGICall) -> None:
    """Run the script of a call on the calling thread, and report its result to the dialplan.

    Never raises: exceptions of a script are logged with their traceback.
    """
    log = call.log
    try:
        script, params = router.resolve(call.path)
    except ScriptNotFound as exc:
        log.warning("%s; there are: %s", exc, ", ".join(router.patterns) or "none")
        call.finish(NOTFOUND)
        return
    call.params.update(params)
    log.info("script %r begins on %s", call.path, call.channel)
    started = monotonic()
    status = DONE
    try:
        script(call, **params)
    except HungUp as exc:
        status = HANGUP
        log.debug("%s", exc)
    except ConnectionClosed as exc:
        status = LOST
        log.warning("script %r was ended: %s", call.path, exc)
    except SystemExit:
        log.warning("sys.exit() in a script ends only that script")
    except BaseException:
        status = ERROR
        log.exception("script %r raised", call.path)
    call.finish(status)
    log.info("script %r ended after %.1f s: %s", call.path, monotonic() - started, status)


class ScriptThreads:
    """One thread for each running script, up to a limit.

    They are daemons, so that a script that never returns can't keep the interpreter from exiting.

    Args:
        limit: most threads.

    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"threads is a positive number, not {limit!r}")
        self.limit = limit
        self._lock = RLock()  # reentrant, for a signal handler that calls close()
        self._threads: set[Thread] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._threads)

    def start(self, name: str, job: Callable[[], None]) -> bool:
        """Run a job on a new thread; return False, without running it, at the limit and after :meth:`close`."""

        def run() -> None:
            try:
                job()
            except BaseException:
                logger.exception("a thread of a script failed")
            finally:
                with self._lock:
                    self._threads.discard(current_thread())

        thread = Thread(target=run, name=name, daemon=True)
        # Critical section: the thread is counted before it can end, and a later close() joins it.
        with self._lock:
            if self._closed or len(self._threads) >= self.limit:
                return False
            try:
                thread.start()
            except RuntimeError:  # no thread can be created, or the interpreter is shutting down
                logger.exception("can't start a thread for a script")
                return False
            self._threads.add(thread)
        return True

    def close(self) -> None:
        """Start no more threads."""
        with self._lock:
            self._closed = True

    def join(self, deadline: Deadline) -> list[Thread]:
        """Wait for the threads; return those that are still running at the deadline.

        The calling thread is skipped, so that a script may stop its own server.
        """
        with self._lock:
            threads = self._threads - {current_thread()}
        for thread in threads:
            thread.join(deadline.remaining())
        return [thread for thread in threads if thread.is_alive()]
