"""What a check has found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..exits import FAILED

__all__ = ["Finding", "Stop", "Verdict"]

Verdict = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis."""

    check: str
    """What was looked at, such as ``port``."""
    verdict: Verdict
    text: str
    """What was found; for a failure, its cause."""
    remedy: str = ""
    """What to do; empty where nothing need be done."""
    code: int = FAILED
    """Exit code that a failure leads to."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Stop(Exception):
    """A failure that leaves nothing to check behind it."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding
