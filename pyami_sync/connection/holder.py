"""A try-lock that another thread can release: a dict with at most one entry, the holder.

``setdefault(None, claim) is claim`` acquires it and never blocks. :func:`let_go` releases it. It is called by the
thread that has acquired the lock, or by one that relieves that thread while a signal handler runs there.
"""

from __future__ import annotations

from collections import deque
from typing import Any

__all__ = ["LAST", "let_go"]

LAST = (-1,)  # what pop() takes of a list with one entry; a deque with one costs four times as much to make


def let_go(holder: dict[None, Any], once: list[None]) -> None:
    """Release what a thread has acquired, unless it has been released for the same claim before.

    One call of C code, so that no signal handler runs between the two steps, and no other thread's claim is released,
    in free-threaded builds either.

    Args:
        holder: the dict.
        once: belongs to the claim; has one entry, the dict's key, until it is released.

    """
    try:
        deque(map(holder.pop, map(once.pop, LAST)), 0)
    except IndexError:
        pass
