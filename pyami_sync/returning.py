"""Coming back: one try after the other, until one succeeds or the session's policy gives up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from . import markers
from .connection import Connection
from .deadline import Deadline
from .dialing import Dial, Dialer
from .exceptions import AMIError, ConnectionLost, LoginRejected
from .link import Link
from .message import Origin

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Return"]

logger = logging.getLogger("pyami_sync")


class Return:
    """The way back of a session whose link was lost, or the way in of one that starts in the background.

    Args:
        session: whose it is.
        generation: of the session; in another one this is void.
        run: runs a try that waits, on a thread of its own choice.
        dialer: connects without a thread that waits.

    """

    def __init__(
        self, session: Session, generation: int, run: Callable[[Callable[[], None]], None], dialer: Dialer | None
    ) -> None:
        self._session = session
        self._generation = generation
        self._run = run
        self._dialer = dialer
        self._lost_at = time.monotonic()
        self._lock = Lock()
        self._dial_under_way: Dial | None = None
        self._cancelled = False

    def begin(self) -> None:
        """Make the first try, when the policy says so; never waits."""
        self._later(0)

    def cancel(self) -> None:
        """Make no further try. What comes of one under way is not the session's any more."""
        with self._lock:
            self._cancelled = True
            dial = self._dial_under_way
        if dial is not None:
            dial.cancel()

    def _later(self, attempt: int) -> None:
        policy = self._session.options.reconnect
        delay = policy.delay(attempt) if policy is not None else 0.0
        if delay:
            job = lambda: self._run(lambda: self._try(attempt))  # noqa: E731
            self._session.engine.call_at(time.monotonic() + delay, job)
        else:
            self._run(lambda: self._try(attempt))

    def _try(self, attempt: int) -> None:
        """Try once; runs where it may wait."""
        if self._cancelled:
            return
        session = self._session
        session.metrics.attempts += 1
        if self._dialer is not None:
            self._dial(self._dialer, attempt)
            return
        try:
            connection, link = session.connect(self._generation, Deadline(session.options.connect_timeout))
        except (AMIError, ValueError, OSError) as exc:
            self._failed(attempt, exc)
            return
        except Exception as exc:
            logger.exception("coming back raised")
            self._failed(attempt, exc)
            return
        self._came(attempt, connection, link)

    def _dial(self, dialer: Dialer, attempt: int) -> None:
        """Try once without waiting; the outcome arrives on the engine thread."""
        session = self._session
        connector, timeout, compare = session.connector, session.options.connect_timeout, bool(session.connected_at)
        link = Link(session)

        def done(outcome: Connection | Exception) -> None:
            if isinstance(outcome, Connection):
                self._came(attempt, outcome, link)
            else:
                self._failed(attempt, outcome)

        dial = dialer.dial(
            session.options,
            make=lambda channel: connector.make(session.engine, channel, link),
            steps=lambda connection: connector.steps(connection, link, timeout, returning=True, compare=compare),
            done=done,
        )
        with self._lock:
            self._dial_under_way = dial
            cancelled = self._cancelled
        if cancelled:
            dial.cancel()

    def _came(self, attempt: int, connection: Connection, link: Link) -> None:
        """A try has succeeded."""
        if self._cancelled:
            connection.close()
            return
        session = self._session
        outage = time.monotonic() - self._lost_at
        # A session that is started in the background and is there at the first try has no gap to mark.
        if session.connected_at or attempt:
            session.metrics.outage(outage)
            # The marker goes to the engine before the state is told, and the events held back behind it.
            restarted = self._restarted(link)
            session.engine.call_soon(lambda: self._mark(link, outage, restarted, attempt + 1))
        else:
            session.engine.call_soon(link.release)
        if session.adopt(self._generation, connection, link):
            logger.info("%s: connected again after %.2f s", session.options.address, outage)

    def _failed(self, attempt: int, exc: Exception) -> None:
        session, policy = self._session, self._session.options.reconnect
        outage = time.monotonic() - self._lost_at
        rejected = isinstance(exc, LoginRejected)
        lost = None
        if policy is None or policy.gives_up(outage) or (rejected and not policy.retry_login):
            lost = ConnectionLost(f"given up after {outage:.1f} s and {attempt + 1} tries: {exc}")
            lost.__cause__ = exc
        if not session.try_failed(self._generation, exc, lost):
            return
        logger.warning("%s: try %d failed: %s", session.options.address, attempt + 1, exc)
        if lost is not None:
            session.publisher.finish(lost)
        else:
            self._later(attempt + 1)

    def _restarted(self, link: Link) -> bool | None:
        """Whether the server has been started again since the last login; :data:`None` if it does not say."""
        connected_at = self._session.connected_at
        if link.uptime is None or not connected_at:
            return None
        # Uptimes are whole seconds, so the second in which both fall is no proof of a restart.
        return link.uptime + 1 < time.monotonic() - connected_at

    def _mark(self, link: Link, outage: float, restarted: bool | None, attempts: int) -> None:
        options = self._session.options
        origin = Origin(options.encoding, time.time(), options.node)
        self._session.publisher.publish_marker(
            markers.Reconnected.make(outage, server_restarted=restarted, attempts=attempts, origin=origin)
        )
        link.release()
