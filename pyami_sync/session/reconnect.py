"""Reconnecting: ReconnectPolicy computes the backoff between attempts; Reconnect is the loop over the attempts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ..exceptions import LoginRejected

__all__ = ["Reconnect", "ReconnectPolicy"]

T = TypeVar("T")
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


class Cancellable(Protocol):
    """An attempt that can be cancelled."""

    def cancel(self) -> None:
        """Cancel it; its outcome will not be reported."""
        ...


class Scheduler(Protocol):
    """Something that calls a function at some moment."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> Cancellable:
        """Call a function on the engine thread at a moment of :func:`time.monotonic`."""
        ...


class Reconnect(Generic[T]):
    """Attempts to connect, one after the other, until one succeeds or the policy gives up.

    Used on the engine thread only; nothing here blocks.

    Args:
        policy: when to try and when to give up; :data:`None` for a single attempt.
        scheduler: calls the next attempt when its delay is over.
        attempt: starts an attempt; its argument is the function to call with the outcome, but not before ``attempt``
            has returned.
        succeeded: called with the result of the successful attempt.
        failed: called with the exception of each attempt that failed, and whether it was the last one.

    """

    def __init__(
        self,
        policy: ReconnectPolicy | None,
        scheduler: Scheduler,
        *,
        attempt: Callable[[Callable[[T | Exception], None]], Cancellable],
        succeeded: Callable[[T], None],
        failed: Callable[[Exception, bool], None],
    ) -> None:
        self.attempts = 0
        """Number of attempts that were started."""
        self.cancelled = False
        self._policy = policy
        self._scheduler = scheduler
        self._attempt = attempt
        self._succeeded = succeeded
        self._failed = failed
        self._began = time.monotonic()
        self._under_way: Cancellable | None = None  # an attempt, or the timer of the next one

    @property
    def outage(self) -> float:
        """Seconds since the link was lost."""
        return time.monotonic() - self._began

    def begin(self) -> None:
        """Start the first attempt after the policy's delay."""
        self._after(self._policy.delay(0) if self._policy is not None else 0.0)

    def cancel(self) -> None:
        """Cancel the attempt under way, and make no further ones."""
        self.cancelled = True
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.cancel()

    def _after(self, delay: float) -> None:
        if delay:
            self._under_way = self._scheduler.call_at(time.monotonic() + delay, self._try)
        else:
            self._try()

    def _try(self) -> None:
        if self.cancelled:
            return
        self.attempts += 1
        self._under_way = self._attempt(self._ended)

    def _ended(self, outcome: T | Exception) -> None:
        if self.cancelled:
            return
        self._under_way = None
        if not isinstance(outcome, Exception):
            self._succeeded(outcome)
            return
        policy = self._policy
        rejected = isinstance(outcome, LoginRejected)
        last = policy is None or policy.gives_up(self.outage) or (rejected and not policy.retry_login)
        self._failed(outcome, last)
        if policy is not None and not last and not self.cancelled:
            # Never at once: attempts that fail immediately must not keep the engine thread from its other work.
            self._after(max(policy.delay(self.attempts), LEAST_DELAY))
