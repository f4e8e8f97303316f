"""Names of headers: how they are compared, and which of them can be the keys of a plain dict."""

from __future__ import annotations

__all__ = ["are_plain", "fold"]

KNOWN_LAYOUTS = 1_000


def fold(name: str) -> str:
    """A header's name for comparing: ASCII case is ignored, nothing else."""
    return (
        name.lower()
        if name.isascii()
        else name.encode("utf-8", "surrogateescape").lower().decode("utf-8", "surrogateescape")
    )


_plain: dict[tuple[str, ...], bool] = {}


def are_plain(names: tuple[str, ...]) -> bool:
    """Return True if none of the names is there twice, in any spelling, and none has a colon.

    Kept, because a server writes an event with the same headers in the same order each time.
    """
    plain = _plain.get(names)
    if plain is None:
        if len(_plain) >= KNOWN_LAYOUTS:  # names may come from outside: don't let them pile up
            _plain.clear()
        plain = _plain[names] = len(set(map(fold, names))) == len(names) and ":" not in "".join(names)
    return plain
