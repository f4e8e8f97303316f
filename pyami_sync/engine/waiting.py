"""Waiting for a condition without a lock that the notifying thread could find taken.

:class:`threading.Condition` is written in Python: an exception that a signal handler raises between two of its
steps can leave its lock taken, and a handler may run for as long as it likes while the lock is held. The engine
thread must not depend on either. So each waiting thread has a lock of its own, which it alone waits for, and
whoever notifies takes none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from time import monotonic

__all__ = ["Waiters"]

FIRST_PAUSE = 0.25  # seconds that are waited at once; then twice as long each time
LONGEST_PAUSE = 3600.0


class Waiters(deque[Lock]):
    """The threads that wait for some condition to become true: what each of them waits for, the oldest first.

    Relies on :meth:`deque.append`, :meth:`deque.popleft` and :meth:`deque.remove` being atomic. It is a deque itself
    because one is made for every action.
    """

    __slots__ = ()

    def wait(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """Block until ``ready()`` is true; return whether it is.

        Args:
            ready: called on the waiting thread, at first and after each :meth:`notify_all`; must be quick.
            timeout: seconds; :data:`None` for no limit.

        """
        if ready():
            return True
        at = None if timeout is None else monotonic() + timeout
        woken = Lock()
        woken.acquire()
        self.append(woken)
        try:
            # Looked at again after the lock is in place: a change before that has notified nobody.
            pause = FIRST_PAUSE
            while not ready():
                left = LONGEST_PAUSE if at is None else at - monotonic()
                if left <= 0:
                    return False
                # A signal in the instant before the lock is waited for is handled only when this wait is over.
                slept, pause = min(left, pause), min(2 * pause, LONGEST_PAUSE)
                if woken.acquire(timeout=slept):
                    self.append(woken)  # notify_all() has taken it out
            return True
        finally:
            # An exception before this line leaves a lock that nobody waits for; releasing it does no harm.
            try:
                self.remove(woken)
            except (ValueError, IndexError):
                pass

    def notify_all(self) -> None:
        """Have all waiting threads look again; never blocks, and runs no user code. Change the state first."""
        for _ in range(len(self)):  # not those that look again and come back meanwhile
            try:
                self.popleft().release()
            except IndexError:  # another thread was first
                return
