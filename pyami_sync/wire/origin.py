"""Where messages came from: one value for all that arrived in one read."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

__all__ = ["LOCAL", "Origin", "keeps_ascii", "local_origin", "make_origin"]


class Origin(NamedTuple):
    """Where messages came from: one value for all that arrived in one read."""

    encoding: str = "utf-8"
    received: float = 0.0
    node: str | None = None


LOCAL = Origin()
"""Of messages that were made here."""


def make_origin(values: tuple[str, float, str | None]) -> Origin:
    """Make an origin in a third of the time that its constructor takes; there is one for each read."""
    return tuple.__new__(Origin, values)


def local_origin(encoding: str) -> Origin:
    """Return the origin of a message that is made here.

    Raises:
        ValueError: the encoding is none that leaves ASCII as it is.

    """
    if encoding == LOCAL.encoding:
        return LOCAL
    if not isinstance(encoding, str) or not keeps_ascii(encoding):
        raise ValueError(f"encoding must be a codec that leaves ASCII as it is, not {encoding!r}")
    return Origin(encoding)


@lru_cache(maxsize=100)
def keeps_ascii(encoding: str) -> bool:
    """Return True if there is such an encoding, and ASCII text is the same bytes in it."""
    ascii_bytes = bytes(range(128))
    try:
        if ascii_bytes.decode(encoding) != ascii_bytes.decode("ascii"):
            return False
        # And it encodes nothing else as ASCII bytes, as encodings with shift states do (iso2022_jp).
        others = [other.encode(encoding, "ignore") for other in "éЖあ日한"]
    except (LookupError, UnicodeError):
        return False
    return not any(other and other.isascii() for other in others)
