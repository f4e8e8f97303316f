"""Event filters of a session: regular expressions over the event's text, and criteria (from Asterisk 20 on)."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["BadFilter", "Filters"]

Test = Callable[[str], bool]

_METHODS: dict[str, Callable[[str, str], bool]] = {
    "exact": lambda text, pattern: text == pattern,
    "starts_with": lambda text, pattern: text.startswith(pattern),
    "ends_with": lambda text, pattern: text.endswith(pattern),
    "contains": lambda text, pattern: pattern in text,
    "regex": lambda text, pattern: _compile(pattern).search(text) is not None,
}
_criterion = re.compile(r"\s*(action|name|header|method)\(([^)]*)\)[\s,]*")


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)  # as POSIX has it: an event is one text, and a dot matches its line ends


BAD = "Filter was formatted incorrectly.  Check the syntax of the filter given."


class BadFilter(ValueError):
    """A filter that the server refuses; the text is its answer."""


class Filters:
    """The filters of a session: without filters it gets all events, else those that are included and not excluded."""

    def __init__(self) -> None:
        self._includes: list[Test] = []
        self._excludes: list[Test] = []

    def __len__(self) -> int:
        return len(self._includes) + len(self._excludes)

    def accept(self, raw: bytes) -> bool:
        """Return True if the filters match an event, given as the bytes to be sent."""
        if not self._includes and not self._excludes:
            return True
        text = raw.decode("utf-8", "surrogateescape")
        if self._includes and not any(test(text) for test in self._includes):
            return False
        return not any(test(text) for test in self._excludes)

    def add(self, pattern: str, criteria: str | None = None) -> None:
        """Add a filter of the action ``Filter``.

        Raises:
            BadFilter: the server would refuse it.

        """
        if not pattern and criteria is None:
            raise BadFilter(BAD)
        if criteria is None:
            exclude = pattern.startswith("!")
            test = self._legacy(pattern[1:] if exclude else pattern)
        else:
            exclude, test = self._advanced(pattern, criteria)
        (self._excludes if exclude else self._includes).append(test)

    @staticmethod
    def _legacy(pattern: str) -> Test:
        try:
            search = _compile(pattern).search
        except re.error:
            raise BadFilter(BAD) from None
        return lambda text: search(text) is not None

    @staticmethod
    def _advanced(pattern: str, criteria: str) -> tuple[bool, Test]:
        found: dict[str, str] = {}
        at = 0
        while at < len(criteria):
            match = _criterion.match(criteria, at)
            if not match:
                raise BadFilter(BAD)
            found[match[1]] = match[2].strip()
            at = match.end()
        method = found.get("method", "none")
        name, header = found.get("name", ""), found.get("header", "")
        if (
            found.get("action", "include") not in ("include", "exclude")
            or (method != "none" and method not in _METHODS)
            or (method == "none") != (not pattern)
            or not (name or header or pattern)
        ):
            raise BadFilter(BAD)

        def test(text: str) -> bool:
            if name and not text.startswith(f"Event: {name}\r\n"):
                return False
            if header:
                start = text.find(f"\r\n{header}: ")
                if start < 0:
                    return False
                text = text[start + len(header) + 4 :].partition("\r\n")[0]
            return method == "none" or _METHODS[method](text, pattern)

        return found.get("action") == "exclude", test
