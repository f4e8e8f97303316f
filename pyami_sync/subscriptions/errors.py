"""Exceptions of callbacks: logged and reported to the error hook; ``sys.exit()`` is passed to the main thread."""

from __future__ import annotations

import _thread
import logging
import signal
import threading
from collections.abc import Callable
from typing import TypeVar

from ..engine.hooks import Hook
from ..exceptions import EventsLost
from ..wire.message import Event
from .subscribers import Subscription

__all__ = ["ErrorCallback", "ErrorReports"]

logger = logging.getLogger("pyami_sync")

ErrorCallback = TypeVar("ErrorCallback", bound=Callable[[BaseException, Subscription, Event | None], object])


class ErrorReports:
    """The error hook of one client, or of one cluster.

    Args:
        submit: runs a job on a callback thread.

    """

    def __init__(self, submit: Callable[[Callable[[], None]], None]) -> None:
        self.hook = Hook("errors", submit)
        self._exit: SystemExit | None = None

    def report(self, exc: BaseException, subscription: Subscription, event: Event | None) -> None:
        """Log an exception of a callback, or the events that it lost, and call the hook; on a callback thread."""
        if isinstance(exc, SystemExit):
            self._exit = exc
            interrupt_main()
        elif isinstance(exc, EventsLost):
            logger.warning("%r: %s", subscription, exc)
        else:
            logger.error("%r raised at %r", subscription, event, exc_info=exc)
        self.hook(exc, subscription, event)

    def reraise_exit(self, exc: BaseException | None) -> None:
        """Raise the :exc:`SystemExit` of a callback if ``exc`` is the exception by which it interrupted the main
        thread.
        """
        if isinstance(exc, KeyboardInterrupt) and self._exit is not None:
            raise self._exit


def interrupt_main() -> None:
    """Interrupt the main thread, as Ctrl-C does, because a callback called :func:`sys.exit`."""
    main = threading.main_thread()
    if main.ident is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main.ident, signal.SIGINT)
    else:
        _thread.interrupt_main()
