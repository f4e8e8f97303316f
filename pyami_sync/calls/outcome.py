"""Outcome: the outcomes of calls, derived from hangup causes, DialStatus and the reasons of OriginateResponse."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["CAUSES", "Outcome", "from_cause", "from_dial_status", "from_reason"]


class Outcome(StrEnum):
    """The outcome of a call or of one leg; compares equal to its text, such as ``"busy"``."""

    ANSWERED = "answered"
    BUSY = "busy"
    NO_ANSWER = "no answer"
    """It rang, or was tried, for the whole time allowed; or the other side ended it without an answer."""
    CONGESTION = "congestion"
    """No circuit was available, or the other side is overloaded."""
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    """No such number or device, or the device is not registered."""
    CANCELLED = "cancelled"
    """The caller ended it before the answer, or another device of the group answered."""
    FAILED = "failed"
    """It could not be set up, for example because there was no common codec; the cause has details."""
    UNKNOWN = "unknown"
    """The outcome is not known, because the link to the server or events were lost."""


CAUSES = {
    0: "unknown",
    1: "unallocated number",
    2: "no route to transit network",
    3: "no route to destination",
    16: "normal clearing",
    17: "user busy",
    18: "no user responding",
    19: "user alerting, no answer",
    20: "subscriber absent",
    21: "call rejected",
    22: "number changed",
    23: "redirected to new destination",
    26: "answered elsewhere",
    27: "destination out of order",
    28: "invalid number format",
    31: "normal, unspecified",
    34: "no circuit available",
    38: "network out of order",
    41: "temporary failure",
    42: "switching equipment congestion",
    44: "requested circuit not available",
    50: "facility not subscribed",
    58: "bearer capability not available",
    88: "incompatible destination",
    102: "recovery on timer expiry",
    127: "interworking, unspecified",
}
"""Texts of hangup causes (Q.850)."""

_BY_CAUSE = {
    **dict.fromkeys((1, 2, 3, 20, 22, 25, 27, 28, 38), Outcome.UNREACHABLE),
    17: Outcome.BUSY,
    **dict.fromkeys((18, 19), Outcome.NO_ANSWER),
    21: Outcome.REJECTED,
    26: Outcome.CANCELLED,
    **dict.fromkeys((34, 42, 44), Outcome.CONGESTION),
}
_SILENT = frozenset({0, 16})  # causes without information about an unanswered call

_BY_STATUS = {
    "ANSWER": Outcome.ANSWERED,
    "BUSY": Outcome.BUSY,
    "CONGESTION": Outcome.CONGESTION,
    "CHANUNAVAIL": Outcome.UNREACHABLE,
    "CANCEL": Outcome.CANCELLED,
    "ABORT": Outcome.CANCELLED,
}
_BY_REASON = {1: Outcome.NO_ANSWER, 3: Outcome.NO_ANSWER, 4: Outcome.ANSWERED, 5: Outcome.BUSY, 8: Outcome.CONGESTION}


def from_cause(cause: int | None) -> Outcome | None:
    """Return the outcome for the hangup cause of an unanswered call; :data:`None` if it does not determine one."""
    if cause is None or cause in _SILENT:
        return None
    return _BY_CAUSE.get(cause, Outcome.FAILED)


def from_dial_status(status: str | None, cause: int | None) -> Outcome | None:
    """Return the outcome for a ``DialStatus``, or for the cause if the status is vague; :data:`None` if there is none.

    Asterisk reports ``NOANSWER`` for refusals, unknown numbers and missing codecs too; the cause tells them apart.
    """
    if not status:
        return None
    return _BY_STATUS.get(status) or from_cause(cause) or Outcome.NO_ANSWER


def from_reason(reason: int | None) -> Outcome | None:
    """Return the outcome for the ``Reason`` of an OriginateResponse; :data:`None` for 0, which is any failure."""
    return None if reason is None else _BY_REASON.get(reason)
