"""What to look for in a message's bytes to find a header, made once for each name."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["NO_NAME", "Needle", "needle", "needles"]

NO_NAME = b"\r\n:"

Needle: TypeAlias = tuple[bytes, bytes, bytes, int, bool, int]
"""What to look for in a message's bytes to find a header. (A plain tuple: its items are read faster than
those of a named one.)

0. The header as most servers send it, with the line end before it;
1. the name in lower case, with its line end and colon: for other spellings;
2. the header as it stands in the first line, which has no line end before it;
3. the first byte of that: a quick look whether the first line can be it;
4. whether a search for its bytes alone can miss it;
5. the first byte of the name in lower case.
"""
needles: dict[str, Needle] = {}
"""Those that were made, by name; bounded."""


def needle(name: str) -> Needle:
    """Make what finds the header of that name."""
    found = needles.get(name)
    if found is None:
        if len(needles) > 10_000:  # names may come from outside: don't let them pile up
            needles.clear()
        line = b"\r\n" + name.encode("utf-8", "surrogateescape") + b":"
        odd = not line.isascii() or line == NO_NAME
        found = needles[name] = (line + b" ", line.lower(), line[2:], line[2], odd, line.lower()[2])
    return found
