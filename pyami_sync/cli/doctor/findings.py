"""Finding: the result of a check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..exits import FAILED

__all__ = ["Finding", "Stop", "Verdict"]

Verdict = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    """What was checked, such as ``port``."""
    verdict: Verdict
    text: str
    """The result; for a failure, its cause."""
    remedy: str = ""
    """What to do; empty if nothing has to be done."""
    code: int = FAILED
    """Exit code for a failure."""

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return asdict(self)


class Stop(Exception):
    """Raised for a failure after which no further checks are possible."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding
