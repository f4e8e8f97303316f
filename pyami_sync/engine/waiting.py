"""Waiters: wait for a condition without a lock that the notifying thread could find locked.

:class:`threading.Condition` is written in Python: an exception that a signal handler raises between two of its
steps can leave its lock locked, and a handler may run for any length of time while the lock is held. The engine
thread must not depend on either. So each waiting thread has a lock of its own, which no other thread waits for, and
notifying takes no lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from time import monotonic

__all__ = ["Waiters"]

FIRST_PAUSE = 0.25  # seconds of the first step of waiting; each further one is twice as long
LONGEST_PAUSE = 3600.0


class Waiters(deque[Lock]):
    """The threads that wait for some condition to become true: what each of them waits for, the oldest first.

    Relies on :meth:`deque.append`, :meth:`deque.popleft` and :meth:`deque.remove` being atomic. It is a deque itself
    because one is made for every action.
    """

    __slots__ = ()

    def wait(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """Block until ``ready()`` is true; return False if it is not within ``timeout`` seconds.

        Args:
            ready: called on the waiting thread, first at once and then after each :meth:`notify_all`; must be quick.
            timeout: seconds; :data:`None` for no limit.

        """
        if ready():
            return True
        at = None if timeout is None else monotonic() + timeout
        woken = Lock()
        woken.acquire()
        self.append(woken)
        try:
            # Check again after the lock is in place: a change before that has notified no one.
            pause = FIRST_PAUSE
            while not ready():
                left = LONGEST_PAUSE if at is None else at - monotonic()
                if left <= 0:
                    return False
                # A signal that arrives just before acquire() begins to wait is handled only when this wait is over.
                slept, pause = min(left, pause), min(2 * pause, LONGEST_PAUSE)
                if woken.acquire(timeout=slept):
                    self.append(woken)  # notify_all() has taken it out
            return True
        finally:
            # An exception before this line leaves a lock that no thread waits for; releasing it does no harm.
            try:
                self.remove(woken)
            except (ValueError, IndexError):
                pass

    def notify_all(self) -> None:
        """Wake all waiting threads so that they check their condition again; never blocks. Change the state first."""
        for _ in range(len(self)):  # not those that check and begin to wait again meanwhile
            try:
                self.popleft().release()
            except IndexError:  # another thread was first
                return
