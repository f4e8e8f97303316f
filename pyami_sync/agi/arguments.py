"""Arguments of AGI commands, checked: what Asterisk copies into buffers of its own, or reads as numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from .errors import InvalidCommand

__all__ = ["LONGEST", "keys", "milliseconds", "number", "short", "sound"]

LONGEST = 2_147_483_647
_keys = re.compile(r"[0-9A-Da-d*#]*\Z", re.ASCII)


def keys(value: str) -> str:
    """Return telephone keys, checked."""
    if len(value) > 16 or not _keys.match(value):
        raise InvalidCommand(f"keys are up to 16 of 0123456789*#ABCD, not {value[:40]!r}")
    return value


def short(what: str, value: str, limit: int = 79) -> str:
    """Return a text that Asterisk copies into a buffer of its own, checked."""
    if not value or len(value.encode("utf-8", "surrogatepass")) > limit:
        raise InvalidCommand(f"{what} is a text of 1 to {limit} bytes, not {value[:40]!r}")
    return value


def number(what: str, value: int, least: int = -LONGEST) -> str:
    """Return a whole number that Asterisk reads into an int, as text."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LONGEST:
        raise InvalidCommand(f"{what} is a whole number from {least} to {LONGEST}, not {value!r}")
    return str(value)


def milliseconds(what: str, seconds: float | None) -> str:
    """Return seconds as milliseconds; -1, for ever, for :data:`None`."""
    if seconds is None:
        return "-1"
    if not math.isfinite(seconds) or not 0 <= seconds <= LONGEST / 1000:
        raise InvalidCommand(f"{what} is a number of seconds from 0 to {LONGEST // 1000}, not {seconds!r}")
    return str(round(seconds * 1000))


def sound(value: str | Sequence[str]) -> str:
    """Return a sound's name, or several as one text."""
    text = value if isinstance(value, str) else "&".join(value)
    return short("a sound", text, 512)
