"""When to try again: a policy is a value, and looks at no clock."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["ReconnectPolicy"]


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """How to come back after a link was lost.

    The first try is immediate; then the delays grow by a factor up to a maximum, each shortened at random so
    that the clients of one server do not all come back at the same moment.

    Raises:
        ValueError: a value makes no sense.

    """

    initial: float = 0.25
    """Seconds before the second try."""
    factor: float = 2.0
    """What each further delay is multiplied by."""
    maximum: float = 30.0
    """Seconds that no delay exceeds."""
    jitter: float = 0.5
    """Share of each delay, 0 to 1, that is left to chance."""
    give_up_after: float | None = None
    """Seconds without a link after which the session is closed; :data:`None` tries for ever."""
    retry_login: bool = False
    """Whether a rejected login is tried again; it is not by default, as each try looks like an attack."""

    def __post_init__(self) -> None:
        if self.initial < 0 or self.maximum < 0 or self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError("initial and maximum must not be negative, factor not below 1, jitter within 0 and 1")
        if self.give_up_after is not None and self.give_up_after < 0:
            raise ValueError("give_up_after must not be negative")

    def delay(self, attempt: int, chance: float | None = None) -> float:
        """Seconds to wait before a try.

        Args:
            attempt: number of the try, from zero.
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
        """Whether a link that has been down for that many seconds is given up."""
        return self.give_up_after is not None and outage >= self.give_up_after
