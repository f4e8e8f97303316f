"""Deadlines: one time limit shared by several steps."""

from __future__ import annotations

import math
import time
from typing import Any

__all__ = ["DEFAULT", "Deadline"]

PAUSE = 1.0  # seconds, the first
LONGEST_PAUSE = 86_400.0
LONGEST_WAIT = 2_592_000.0  # seconds; locks and selectors refuse to wait for much longer


class _Default:
    """The default of ``timeout`` arguments: use the configured time limit. (:data:`None` always means no limit.)"""

    def __repr__(self) -> str:
        return "default"


DEFAULT: Any = _Default()


class Deadline:
    """The moment at which waiting ends.

    A call that takes several steps makes one :class:`Deadline` and passes it on, so that its steps
    together, not each of them, take no longer than the caller allowed.

    Args:
        timeout: seconds from now; :data:`None` for no limit, zero or less for a deadline that has passed.

    """

    __slots__ = ("_pause", "at", "timeout")

    def __init__(self, timeout: float | None) -> None:
        if timeout is not None and math.isnan(timeout):
            raise ValueError("timeout must be a number of seconds or None, not NaN")
        if timeout is not None and timeout == math.inf:
            timeout = None
        self.timeout = timeout
        """The caller's time limit in seconds, for messages."""
        self.at = None if timeout is None else time.monotonic() + timeout
        """The moment on :func:`time.monotonic`'s clock; :data:`None` for no limit."""
        self._pause = PAUSE

    def remaining(self) -> float | None:
        """Return the seconds left, from 0 to 30 days; :data:`None` when there is no limit."""
        return None if self.at is None else min(max(0.0, self.at - time.monotonic()), LONGEST_WAIT)

    def pause(self) -> float:
        """Return the seconds to wait in one step of a loop that checks a condition: one at first, each time twice as
        many.

        A signal, such as Ctrl-C, that arrives in the instant before a thread waits for a lock is handled only when
        that wait is over. Short first steps matter most, since programs are often stopped while they start.
        """
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        left = self.remaining()
        return pause if left is None else min(left, pause)

    @property
    def expired(self) -> bool:
        """True if no time is left."""
        return self.at is not None and time.monotonic() >= self.at
