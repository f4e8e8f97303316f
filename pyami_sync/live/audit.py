"""The audit: compares the model with fresh lists from time to time, and counts and repairs differences."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Thread

from ..engine.waiting import Waiters
from ..exceptions import AMIError
from .tracker import Tracker

__all__ = ["Auditor"]

logger = logging.getLogger("pyami_sync")
AGAIN = 0.5  # seconds between two comparisons: a difference found only once was a delayed event


class Auditor:
    """Compares models with fresh lists at an interval, on a thread of its own.

    Args:
        interval: seconds between two comparisons.
        trackers: returns the models.
        at_end: runs when the thread has done its last look.

    """

    def __init__(
        self, interval: float, trackers: Callable[[], list[Tracker]], at_end: Callable[[], object] = lambda: None
    ) -> None:
        if interval <= 0:
            raise ValueError(f"audit must be a positive number of seconds, not {interval!r}")
        self._interval = interval
        self._trackers = trackers
        self._at_end = at_end
        self._pausing = Waiters()  # not an Event: a signal handler that closes could meet its lock
        self._closed = False
        self.ended = False
        """True if the thread looks at nothing any more."""
        self.thread = Thread(target=self._run, name="pyami-live-audit", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def close(self) -> None:
        """End; never waits, and may be repeated."""
        self._closed = True
        self._pausing.notify_all()

    def _pause(self, seconds: float) -> bool:
        """Wait; return False if it was closed meanwhile."""
        return not self._pausing.wait(lambda: self._closed, seconds)

    def _run(self) -> None:
        while self._pause(self._interval):
            for tracker in self._trackers():
                try:
                    self._audit(tracker)
                except AMIError as exc:
                    logger.debug("the live model could not be compared: %s", exc)
                except Exception:
                    logger.exception("the live model could not be compared")
        self.ended = True
        self._at_end()

    def _audit(self, tracker: Tracker) -> None:
        """Compare one model twice: a difference found both times, without an event about it between, is drift."""
        first = tracker.compare()
        if first is None:
            return
        if first:
            if not self._pause(AGAIN):
                return
            again = tracker.compare()
            if again is None:
                return
            drift = [key for key, (mine, _) in again.items() if key in first and first[key][0] == mine]
            if drift:
                logger.error("the live model differed from the server in %d places: %s", len(drift), drift)
                tracker.repair(len(drift))
        tracker.audits += 1
