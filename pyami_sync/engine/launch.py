"""Starts the engine thread, safely also when a signal handler raises in the middle of it."""

from __future__ import annotations

from _thread import start_new_thread
from threading import Thread, get_ident, main_thread
from typing import TYPE_CHECKING

from ..exceptions import ConnectionClosed
from .poller import Poller, make_poller
from .waiting import Waiters
from .wakeup import Wakeup

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Launch"]

PREVENTED = object()


class Launch:
    """The start of an engine thread.

    :meth:`threading.Thread.start` does not survive an exception that a signal handler raises in it: the new thread
    can end half-started and be listed as alive for ever. Handlers run on the main thread only, so an auxiliary thread
    starts the engine thread, and the caller waits for that.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiters = Waiters()
        self._begun: dict[None, object] = {}
        self._done = False
        self._error: Exception | None = None

    def begin(self) -> None:
        """Begin the start unless that has been done; raise the exception of the interpreter if no thread can be
        created.
        """
        if self._begun:
            return
        if get_ident() != main_thread().ident:
            self._run()
        else:
            start_new_thread(self._run, ())  # if it raises, the launch stays where it is, and the next caller begins it

    def prevent(self) -> bool:
        """Prevent the start, because the engine is closed; return False if it has begun. May be repeated."""
        if self._begun.setdefault(None, PREVENTED) is not PREVENTED:
            return False
        self._error = ConnectionClosed()
        self._finish()
        return True

    def _run(self) -> None:
        engine, me = self._engine, object()
        if self._begun.setdefault(None, me) is not me:
            return
        made: list[Poller | Wakeup] = []
        try:
            if engine._thread is not None:  # an earlier launch ended between two checks
                return
            poller = make_poller()
            made.append(poller)
            wakeup = Wakeup()
            made.append(wakeup)
            poller.add(wakeup)
            engine._poller, engine._wakeup = poller, wakeup
            # A daemon: a session that was not closed must not keep the interpreter from exiting.
            thread = Thread(target=engine._run, name=f"{engine.name}-engine", daemon=True)
            thread.start()
            engine._thread = thread
        except Exception as exc:  # no descriptor, no thread; the next call tries again
            engine._poller = engine._wakeup = None
            for each in made:
                each.close()
            self._error = exc
        finally:
            self._finish()

    def _finish(self) -> None:
        self._done = True
        self._engine._launches.pop(None, None)
        self._waiters.notify_all()

    def wait(self, timeout: float | None) -> bool:
        """Wait until the thread runs or its start has failed; return False if neither happened in time."""
        return self._waiters.wait(lambda: self._done, timeout)

    def check(self) -> None:
        """Raise the exception with which the start failed, if it did."""
        if self._error is not None:
            raise self._error
