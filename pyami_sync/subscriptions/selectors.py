"""Selectors: which events a subscriber wants, by name, glob or class, and by the values of headers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from typing import Any, TypeAlias

from ..wire.message import Event
from ..wire.needle import needle

__all__ = ["HeaderFilter", "Selector", "Selectors", "Where", "freeze", "header_filter"]

Selector: TypeAlias = str | type[Event]
Where: TypeAlias = Callable[[Any], object] | Mapping[str, Any] | None
HeaderFilter: TypeAlias = Callable[[Event], bool]

_is_glob = re.compile(r"[*?\[]").search


class Selectors:
    """A choice of events by name; names are compared without case.

    Args:
        selectors: names, globs (``"Queue*"``) and event classes; none of them means every event.

    Raises:
        TypeError: a selector is of another type.

    """

    __slots__ = ("_matches", "classes", "every", "globs", "names", "text")

    def __init__(self, selectors: Iterable[Selector]) -> None:
        self.names: set[str] = set()
        """Names, in lower case."""
        self.globs: list[str] = []
        """Globs, in lower case."""
        self.classes: list[type[Event]] = []
        """Classes of events."""
        self._matches: list[Callable[[str], object]] = []  # of the globs
        shown = []
        for selector in selectors:
            if isinstance(selector, type) and issubclass(selector, Event):
                self.classes.append(selector)
                shown.append(selector.__name__)
                continue
            if not isinstance(selector, str) or not selector:
                raise TypeError(f"a selector must be an event name, a glob or an event class, not {selector!r}")
            shown.append(selector)
            if _is_glob(selector):
                self.globs.append(selector.lower())
                self._matches.append(re.compile(translate(selector.lower())).match)
            else:
                self.names.add(selector.lower())
        self.every = not shown or "*" in shown or Event in self.classes
        """True if every event is wanted."""
        self.text = ", ".join(shown) if shown else "any event"
        """For messages."""

    def want(self, name: str, cls: type[Event]) -> bool:
        """Return True if events of that name and class are wanted."""
        folded = name.lower()
        return (
            self.every
            or folded in self.names
            or any(issubclass(cls, wanted) for wanted in self.classes)
            or any(match(folded) for match in self._matches)
        )

    def want_marker(self, name: str, cls: type[Event]) -> bool:
        """Return True if a marker event is wanted: only if every event is, or if its name or class is given."""
        return self.every or name.lower() in self.names or cls in self.classes


def freeze(where: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a copy of a mapping of headers to values; several values become a tuple."""
    return {
        name: wanted if isinstance(wanted, str) or not isinstance(wanted, Iterable) else tuple(wanted)
        for name, wanted in where.items()
    }


def header_filter(where: Mapping[str, Any]) -> HeaderFilter:
    """Return a function that tests headers against a mapping.

    A header must be present and equal to its value, or match it as a glob; a list has several allowed values;
    :data:`None` means that the header must be absent. For a repeated header, one matching value is enough.
    """
    tests = [(name, needle(name), _value_test(wanted)) for name, wanted in where.items()]

    def accepts(event: Event) -> bool:
        for name, key, test in tests:
            first = event._find(key)
            if test is None:
                if first is not None:
                    return False
            elif first is None or not (test(first) or any(map(test, event.get_all(name)))):
                return False
        return True

    return accepts


def _value_test(wanted: Any) -> Callable[[str], object] | None:
    if wanted is None:
        return None
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        text = ("yes" if wanted else "no") if isinstance(wanted, bool) else str(wanted)
        if not _is_glob(text):
            return text.__eq__
        match = re.compile(translate(text)).match
        # A value that contains brackets, such as an IPv6 address, matches itself.
        return lambda value: value == text or match(value)
    tests = [test for test in map(_value_test, wanted) if test is not None]
    return lambda value: any(test(value) for test in tests)
