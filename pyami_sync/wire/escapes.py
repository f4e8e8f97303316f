"""C escapes in names and variables, which servers write as text."""

from __future__ import annotations

import re

__all__ = ["unescape"]

ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_escape = re.compile(r"\\(.)", re.DOTALL)


def unescape(text: str) -> str:
    r"""Undo the escaping of ``\n``, ``\'`` and the like that servers apply to names and variables."""
    if "\\" not in text:
        return text
    return _escape.sub(lambda found: ESCAPES.get(found[1], found[1]), text)
