"""Openings: the callers that wait for a session to open."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

from ..engine.deadline import Deadline
from ..exceptions import ActionTimeout, ConnectError, ConnectionClosed, LoginRejected
from .state import State

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Openings"]

LEAST_RETRY = 0.1  # seconds: with less time left no attempt is made after that of another thread has failed
GRACE = 2.0  # seconds after its deadline in which an attempt reports why it failed
INTERRUPT_WAIT = 5.0  # seconds that an interrupted caller waits until its attempt is cancelled


class Opening:
    """One call of :meth:`Session.open`, which waits for the outcome."""

    __slots__ = ("began", "deadline", "done", "error")

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.began = False  # True if it started the attempt, False if one was under way already
        self.done = False
        self.error: Exception | None = None


class Openings:
    """The calls of :meth:`Session.open` under way.

    Each posts what it wants to the engine thread and waits for the outcome on its own thread, without a lock.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.waiting: list[Opening] = []
        """Changed by the engine thread only."""
        self.threads: dict[object, None] = {}
        """An entry for each thread that is in :meth:`open`."""

    # On the calling thread

    def open(self, deadline: Deadline, *, reopens: bool) -> None:
        """Wait until the session is open; see :meth:`Session.open`.

        Args:
            deadline: the caller's.
            reopens: whether the session is that of a forked child, which opens on first use.

        """
        session = self._session
        if session.state is State.CONNECTED and session.current is not None:
            return
        session.engine.check_thread("connecting")
        token = object()
        self.threads[token] = None
        try:
            while True:
                opening = self._open_once(deadline, reopens)
                if opening.error is None:
                    return
                # The failure of another thread's attempt, which may have had less time, is not reported to this one;
                # but a rejected login is reported to all.
                left = deadline.remaining()
                if (
                    opening.began
                    or isinstance(opening.error, LoginRejected)
                    or (left is not None and left < LEAST_RETRY)
                ):
                    break
                if reopens and not session.reopens:
                    break
            error = opening.error if opening.began else copy.copy(opening.error)
            try:
                raise error
            finally:
                del error, opening
        finally:
            self.threads.pop(token, None)

    def on_first_use(self, deadline: Deadline) -> None:
        """Open the session of a forked child on its first use; if that fails, the next use tries again.

        Args:
            deadline: the caller's; opening takes at most that long, and at most ``connect_timeout``.

        Raises:
            ConnectError: it could not be opened.
            ActionTimeout: the caller's time is up. (The caller names the action.)

        """
        left = deadline.remaining()
        shorter = left is not None and left < self._session.options.connect_timeout
        try:
            self.open(deadline if shorter else Deadline(self._session.options.connect_timeout), reopens=True)
        except ConnectError as exc:
            if isinstance(exc, LoginRejected) or not deadline.expired:
                raise
            raise ActionTimeout("", deadline.timeout, sent=False) from exc

    def _open_once(self, deadline: Deadline, reopens: bool) -> Opening:
        """Have the engine thread start an attempt unless one is under way, and wait for the outcome."""
        session = self._session
        session.check_exiting()
        engine = session.engine
        try:
            engine.start()
        except (OSError, RuntimeError) as exc:  # no descriptors, no threads
            host, port = session.options.host, session.options.port
            raise ConnectError(f"this process lacks resources ({exc})", host=host, port=port) from exc
        opening = Opening(deadline)
        left = deadline.remaining()
        try:
            engine.call_soon(lambda: self._begin(opening, reopens))
            # The attempt has the same deadline, and reports which step it had reached by then.
            session.changed.wait(lambda: opening.done or engine.closed, None if left is None else left + GRACE)
        except BaseException:  # Ctrl-C
            engine.call_soon(lambda: self._give_up(opening, interrupted=True))
            # Until then the caller could see a session as open that is about to be closed.
            session.changed.wait(lambda: opening.done or not engine.running, INTERRUPT_WAIT)
            raise
        if not opening.done:
            engine.call_soon(lambda: self._give_up(opening))
            if engine.closed:
                raise ConnectionClosed("the session was closed while it was opened")
            raise self._not_in_time(deadline)
        return opening

    def _not_in_time(self, deadline: Deadline) -> ConnectError:
        session = self._session
        limit = "in time" if deadline.timeout is None else f"within {deadline.timeout:g} s"
        why = f": {session.last_error}" if session.last_error is not None else ""
        exc = ConnectError(f"not connected {limit}{why}", host=session.options.host, port=session.options.port)
        exc.__cause__ = session.last_error
        return exc

    # On the engine thread

    def _begin(self, opening: Opening, reopens: bool) -> None:
        session = self._session
        if session.state is State.CONNECTED:
            self._settle(opening, None)
            return
        self.waiting.append(opening)
        left = opening.deadline.remaining()
        if left is not None:
            session.engine.call_at(time.monotonic() + left, lambda: self._out_of_time(opening))
        if session.state is not State.CLOSED:
            return
        opening.began = True
        session.begin_opening(opening.deadline, reopens=reopens)

    def _out_of_time(self, opening: Opening) -> None:
        # The caller that began the attempt gets its error from the attempt, which has the same deadline.
        if not opening.done and not (opening.began and self._session.state is State.CONNECTING):
            opening.error = self._not_in_time(opening.deadline)
            self._give_up(opening)

    def _give_up(self, opening: Opening, *, interrupted: bool = False) -> None:
        """Remove a caller that has stopped waiting; cancel the attempt if no other caller waits for it."""
        session = self._session
        if opening in self.waiting:
            self.waiting.remove(opening)
        wanted = bool(self.waiting) or not opening.began
        if not wanted and (session.state is State.CONNECTING or (interrupted and session.state is State.CONNECTED)):
            session.end(ConnectionClosed("the session is closed: its opening was interrupted"), reopens=session.reopens)
        self._settle(opening, opening.error)

    def _settle(self, opening: Opening, error: Exception | None) -> None:
        opening.error = error
        opening.done = True
        self._session.changed.notify_all()

    def settle_all(self, error: Exception | None) -> None:
        """Report to all callers that the session is open, or the error."""
        openings, self.waiting = self.waiting, []
        for each in openings:
            self._settle(each, error)
