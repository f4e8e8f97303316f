"""One deadline across several steps."""

from __future__ import annotations

import math
import time
from typing import Any

__all__ = ["DEFAULT", "Deadline"]

PAUSE = 1.0  # seconds, the first
LONGEST_PAUSE = 86_400.0
LONGEST_WAIT = 2_592_000.0  # seconds; locks and selectors refuse to wait for much longer


class _Default:
    """Stands for the time limit that applies when a call names none; :data:`None` always means that there is none."""

    def __repr__(self) -> str:
        return "default"


DEFAULT: Any = _Default()


class Deadline:
    """A moment after which waiting is over.

    A call that takes several steps makes one :class:`Deadline` and passes it on, so that its steps
    together, not each of them, take no longer than the caller allowed.

    Args:
        timeout: seconds from now; :data:`None` waits for ever, zero and less is already over.

    """

    __slots__ = ("_pause", "at", "timeout")

    def __init__(self, timeout: float | None) -> None:
        if timeout is not None and math.isnan(timeout):
            raise ValueError("timeout must be a number of seconds or None, not NaN")
        if timeout is not None and timeout == math.inf:
            timeout = None
        self.timeout = timeout
        """What the caller allowed, in seconds; for messages."""
        self.at = None if timeout is None else time.monotonic() + timeout
        """The moment on :func:`time.monotonic`'s clock; :data:`None` for never."""
        self._pause = PAUSE

    def remaining(self) -> float | None:
        """Return the seconds left, from 0 to 30 days; :data:`None` when there is no limit."""
        return None if self.at is None else min(max(0.0, self.at - time.monotonic()), LONGEST_WAIT)

    def pause(self) -> float:
        """Seconds to wait at once, in a loop that looks again: one, and each time twice as long.

        A signal in the instant before a lock is waited for, such as Ctrl-C, is handled only when that wait is over.
        The instant that counts is the first: programs are told to end while they start.
        """
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        left = self.remaining()
        return pause if left is None else min(left, pause)

    @property
    def expired(self) -> bool:
        """True if no time is left."""
        return self.at is not None and time.monotonic() >= self.at
