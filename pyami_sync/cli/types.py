"""Types of arguments: durations and headers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]  # for type checkers only: it is not generic in older releases
else:
    ParamType = click.ParamType

__all__ = ["DURATION", "HEADER", "parse_duration"]

_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_part = re.compile(r"(\d+(?:\.\d*)?|\.\d+)[ ]*(ms|min|[smhd]|)[ ]*", re.IGNORECASE).match


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``30``, ``30s``, ``500ms``, ``1m30s`` or ``2h``.

    Raises:
        ValueError: the text is not a duration.

    """
    at, seconds = 0, 0.0
    while at < len(text):
        part = _part(text, at)
        if part is None:
            raise ValueError(text)
        seconds += float(part[1]) * _UNITS[part[2].lower()]
        at = part.end()
    if not at:
        raise ValueError(text)
    return seconds


class Duration(ParamType):
    """A positive time in seconds, given with or without a unit."""

    name = "time"

    def __init__(self, *, zero: bool = False) -> None:
        self.zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            seconds = parse_duration(value)
        except ValueError:
            self.fail(f"{value!r} is no time: 30, 30s, 500ms, 1m30s, 2h", param, ctx)
        if seconds <= 0 and not self.zero:
            self.fail(f"{value!r} is no time above zero", param, ctx)
        return seconds


class Header(ParamType):
    """``Name=Value``; the value may be empty and may contain equals signs."""

    name = "header=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name.strip():
            self.fail(f"{value!r} is no Header=Value", param, ctx)
        return name.strip(), text


DURATION = Duration()
HEADER = Header()
