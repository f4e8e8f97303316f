"""Reconnecting: ReconnectPolicy computes the backoff between attempts; Reconnect is the loop over the attempts."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..exceptions import AMIError, ConnectionLost, LoginRejected
from ..vocabulary import markers

if TYPE_CHECKING:
    from ..engine.engine import Timer
    from .attempt import ConnectAttempt
    from .session import Session

__all__ = ["Reconnect", "ReconnectPolicy"]

logger = logging.getLogger("pyami_sync")

LEAST_DELAY = 0.001  # seconds between two attempts


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """How to reconnect after the link was lost.

    The first attempt is immediate; the delays before further ones grow exponentially up to a maximum. Each is
    shortened at random (jitter), so that the clients of one server do not all reconnect at the same moment.

    Raises:
        ValueError: a value is not allowed.

    """

    __module__ = "pyami_sync"  # its public path

    initial: float = 0.25
    """Seconds before the second attempt."""
    factor: float = 2.0
    """Factor by which each further delay grows."""
    maximum: float = 30.0
    """Longest delay in seconds."""
    jitter: float = 0.5
    """Share of each delay, 0 to 1, that is random."""
    give_up_after: float | None = None
    """Seconds without a link after which the session is closed; :data:`None` for never."""
    retry_login: bool = False
    """True if a rejected login is tried again. By default it is not, since repeated attempts look like an attack."""

    def __post_init__(self) -> None:
        if self.initial < 0 or self.maximum < 0 or self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError("initial and maximum must not be negative, factor not below 1, jitter within 0 and 1")
        if self.give_up_after is not None and self.give_up_after < 0:
            raise ValueError("give_up_after must not be negative")

    def delay(self, attempt: int, chance: float | None = None) -> float:
        """Return the seconds to wait before an attempt.

        Args:
            attempt: number of the attempt, from zero.
            chance: a number from 0 to 1 in place of a random one.

        """
        if attempt <= 0:
            return 0.0
        if chance is None:
            chance = random.random()
        try:
            full = min(self.maximum, self.initial * float(self.factor) ** (attempt - 1))
        except OverflowError:  # a link that is down for a year
            full = self.maximum
        return full * (1 - self.jitter * chance)

    def gives_up(self, outage: float) -> bool:
        """Return True if the session gives up after the link was down for ``outage`` seconds."""
        return self.give_up_after is not None and outage >= self.give_up_after


class Reconnect:
    """From the loss of a session's link to the next login: one attempt after the other, until the policy gives up.

    :meth:`Session.link_ended` makes one and calls :meth:`begin`; the attempt (:mod:`.attempt`) ends in :meth:`_ended`.
    Used on the engine thread only; nothing here blocks.

    Args:
        session: the session; its options have the policy, or :data:`None` for a single attempt.

    """

    def __init__(self, session: Session) -> None:
        self.attempts = 0
        """Number of attempts that were started."""
        self._session = session
        self._policy = session.options.reconnect
        self._began = time.monotonic()
        self._cancelled = False
        self._under_way: ConnectAttempt | Timer | None = None

    def begin(self) -> None:
        """Start an attempt: the first one at once, further ones after their delay."""
        if not self._cancelled:
            self.attempts += 1
            self._session.metrics.attempts += 1
            self._under_way = self._session.connect(self._ended)

    def cancel(self) -> None:
        """Cancel the attempt under way, and make no further ones."""
        self._cancelled = True
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.cancel()

    def _ended(self, outcome: ConnectAttempt | Exception) -> None:
        self._under_way = None
        if isinstance(outcome, Exception):
            self._failed(outcome)
        else:
            self._succeeded(outcome)

    def _failed(self, exc: Exception) -> None:
        session, policy, outage = self._session, self._policy, time.monotonic() - self._began
        logger.warning("%s: attempt %d to connect failed: %s", session.address, self.attempts, exc)
        if isinstance(exc, AMIError):
            session.last_error = exc
        rejected = isinstance(exc, LoginRejected)
        if policy is None or policy.gives_up(outage) or (rejected and not policy.retry_login):
            lost = ConnectionLost(f"gave up after {outage:.1f} s and {self.attempts} attempts: {exc}")
            lost.__cause__ = exc
            session.end(lost, error=exc)
            session.publisher.finish(lost)
            return
        session.tell()
        # Never at once: attempts that fail immediately must not keep the engine thread from its other work.
        delay = max(policy.delay(self.attempts), LEAST_DELAY)
        self._under_way = session.engine.call_at(time.monotonic() + delay, self.begin)

    def _succeeded(self, attempt: ConnectAttempt) -> None:
        session, marker = self._session, None
        # A session that was started in the background and connects at the first attempt has no gap to mark.
        if session.connected_at or self.attempts > 1:
            outage = time.monotonic() - self._began
            restarted = _restarted(attempt.gate.uptime, session.connected_at)
            session.metrics.outage_last = outage
            session.metrics.outage_total += outage
            marker = markers.Reconnected.make(
                outage, server_restarted=restarted, attempts=self.attempts, origin=session.origin()
            )
            logger.info("%s: connected again after %.2f s", session.address, outage)
        session.adopt(attempt, marker)


def _restarted(uptime: float | None, connected_at: float) -> bool | None:
    """Return True if the server was restarted since the last login; :data:`None` if that is not known.

    Args:
        uptime: the server's uptime at this login in seconds, if it is known.
        connected_at: when the last login was, on :func:`time.monotonic`'s clock; 0 if there was none.

    """
    if uptime is None or not connected_at:
        return None
    # Uptimes are whole seconds, so a difference of less than a second does not prove a restart.
    return uptime + 1 < time.monotonic() - connected_at
