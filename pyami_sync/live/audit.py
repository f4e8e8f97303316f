"""The audit: compares the model with fresh lists from time to time, and counts and repairs differences."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event as Flag
from threading import Thread

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

    """

    def __init__(self, interval: float, trackers: Callable[[], list[Tracker]]) -> None:
        if interval <= 0:
            raise ValueError(f"audit must be a positive number of seconds, not {interval!r}")
        self._interval = interval
        self._trackers = trackers
        self._closing = Flag()
        self._thread = Thread(target=self._run, name="pyami-live-audit", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> Thread:
        """Stop; return the thread to be joined."""
        self._closing.set()
        return self._thread

    def _run(self) -> None:
        while not self._closing.wait(self._interval):
            for tracker in self._trackers():
                try:
                    self._audit(tracker)
                except AMIError as exc:
                    logger.debug("the live model could not be compared: %s", exc)
                except Exception:
                    logger.exception("the live model could not be compared")

    def _audit(self, tracker: Tracker) -> None:
        """Compare one model twice: a difference found both times, without an event about it between, is drift."""
        first = tracker.compare()
        if first is None:
            return
        if first:
            if self._closing.wait(AGAIN):
                return
            again = tracker.compare()
            if again is None:
                return
            drift = [key for key, (mine, _) in again.items() if key in first and first[key][0] == mine]
            if drift:
                logger.error("the live model differed from the server in %d places: %s", len(drift), drift)
                tracker.repair(len(drift))
        tracker.audits += 1
