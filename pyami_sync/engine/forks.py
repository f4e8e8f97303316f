"""Detection of forks: runs reset functions in a child process, also if the fork was made in C.

:func:`os.fork` calls the functions that are registered here in the child. A fork made in C, as by uWSGI for its
workers, runs no Python code; so every use of a session compares the process id first (:func:`check`).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from threading import RLock

__all__ = ["check", "register", "warn_of_uwsgi"]

logger = logging.getLogger("pyami_sync")

_callbacks: list[Callable[[], None]] = []
_locks: dict[int, RLock] = {}
_pid = os.getpid()
getpid = os.getpid


def register(callback: Callable[[], None]) -> None:
    """Register a function to be called in the child after a fork, in the order of registration."""
    _callbacks.append(callback)


def check() -> None:
    """Run the registered functions if this process is a child in which they have not run yet."""
    if getpid() != _pid:
        _run()


def warn_of_uwsgi() -> None:
    """Log a warning if uWSGI is configured so that threads do not run or workers may hang; called before a thread
    starts.

    By default uWSGI forks without holding the GIL. If another thread holds it at that moment, the worker waits for it
    for ever.
    """
    uwsgi = sys.modules.get("uwsgi")  # exists inside of uWSGI only
    options = getattr(uwsgi, "opt", None)
    if uwsgi is None or not isinstance(options, dict):
        return
    if not options.keys() & {"enable-threads", "threads"}:
        logger.warning("uWSGI runs no Python thread between requests: start it with --enable-threads")
    if "py-call-uwsgi-fork-hooks" not in options and "master" in options and not uwsgi.worker_id():
        logger.warning(
            "opening a session before uWSGI forks can make a worker hang: start uWSGI with --py-call-uwsgi-fork-hooks "
            "or --lazy-apps, or open the session in the worker"
        )


def _run() -> None:
    global _pid
    me = getpid()
    # A lock for each process: one that the parent held at the fork would never be released here. Reentrant: a signal
    # handler that uses a session meanwhile runs them all, so that nothing of it touches what is the parent's.
    with _locks.setdefault(me, RLock()):
        for callback in _callbacks:
            if _pid == me:
                return
            callback()
        _pid = me  # only now: where a signal handler has raised, the next use of a session runs them again


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_run)
