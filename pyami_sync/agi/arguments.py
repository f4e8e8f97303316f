"""Checks the arguments of AGI commands that Asterisk copies into fixed buffers or reads as numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from .errors import InvalidCommand

__all__ = ["LONGEST", "keys", "milliseconds", "number", "short", "sound"]

LONGEST = 2_147_483_647
_keys = re.compile(r"[0-9A-Da-d*#]*\Z", re.ASCII)


def keys(value: str) -> str:
    """Check telephone keys and return them."""
    if len(value) > 16 or not _keys.match(value):
        raise InvalidCommand(f"keys are up to 16 of 0123456789*#ABCD, not {value[:40]!r}")
    return value


def short(what: str, value: str, limit: int = 79) -> str:
    """Check a text that Asterisk copies into a fixed buffer, and return it."""
    if not value or len(value.encode("utf-8", "surrogatepass")) > limit:
        raise InvalidCommand(f"{what} is a text of 1 to {limit} bytes, not {value[:40]!r}")
    return value


def number(what: str, value: int, least: int = -LONGEST) -> str:
    """Check a whole number, which Asterisk reads into an int, and return it as text."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LONGEST:
        raise InvalidCommand(f"{what} is a whole number from {least} to {LONGEST}, not {value!r}")
    return str(value)


def milliseconds(what: str, seconds: float | None) -> str:
    """Return seconds as milliseconds; -1 (no limit) for :data:`None`."""
    if seconds is None:
        return "-1"
    if not math.isfinite(seconds) or not 0 <= seconds <= LONGEST / 1000:
        raise InvalidCommand(f"{what} is a number of seconds from 0 to {LONGEST // 1000}, not {seconds!r}")
    return str(round(seconds * 1000))


def sound(value: str | Sequence[str]) -> str:
    """Return a sound's name, or several as one text."""
    text = value if isinstance(value, str) else "&".join(value)
    return short("a sound", text, 512)
