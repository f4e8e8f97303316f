"""Noticing that the process is the child of a fork, whoever made it.

:func:`os.fork` calls the functions that are registered here in the child. A fork made in C, as uWSGI makes its
workers, runs no Python code there: so whatever uses a session compares the process id first (:func:`check`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock

__all__ = ["check", "register"]

_callbacks: list[Callable[[], None]] = []
_locks: dict[int, Lock] = {}
_pid = os.getpid()
getpid = os.getpid


def register(callback: Callable[[], None]) -> None:
    """Have a function called in the child after a fork, in the order of registration."""
    _callbacks.append(callback)


def check() -> None:
    """Run the registered functions if this process is a child in which they have not run yet."""
    if getpid() != _pid:
        _run()


def _run() -> None:
    global _pid
    me = getpid()
    # A lock for each process: one that the parent held at the fork would never be released here.
    with _locks.setdefault(me, Lock()):
        if _pid != me:
            try:
                for callback in _callbacks:
                    callback()
            finally:
                _pid = me


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_run)
