"""Headers of a message, found in its bytes by name or by a field; events made of bytes.

Programs ask for three or four headers of each event, and that is what costs them most. So this code exists twice, with
the same results: in Python, and in C (``_speedups.c``), which is used where it could be built. The C code does what is
common and leaves the rest to :class:`RareLookup`, in Python.

Which header is found: that of the first line, if it is spelled as asked; then the first one that is spelled as asked
and has a blank after its colon, as servers write them; then the first one in any spelling. Servers spell a header in
one way, and a search for this way alone costs half.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .names import fold
from .needle import Needle, needle, needles
from .origin import Origin

__all__ = [
    "FIRST_LOOK",
    "IN_PYTHON",
    "AnySpelling",
    "HeaderField",
    "Lookup",
    "RareLookup",
    "make_event",
    "make_events",
]

L = TypeVar("L", bound="RareLookup")

FIRST_LOOK = 2048  # bytes of a long message that are searched before an index of it is made; as in _speedups.c
COLONS = repeat(": ")
IN_A_SUBCLASS: tuple[str, ...] = ()  # slots: one is written in Python, one in C


class RareLookup:
    """What is the same for both: long messages, repeated headers, names that no search for their bytes can find."""

    __slots__ = IN_A_SUBCLASS

    _raw: bytes
    _origin: Origin
    _index: dict[str, list[str]]  # only of a long message, once it has been searched
    _event_name: str  # only of an event

    def items(self) -> list[tuple[str, str]]:
        raise NotImplementedError

    def _items_any(self) -> list[tuple[str, str]]:
        """Pairs of name and value in wire order, with repeats."""
        if not self._raw:
            return []
        lines = self._raw.decode(self._origin[0], "surrogateescape").split("\r\n")
        return [
            (name, value) if blank and ":" not in name else _odd_pair(name + blank + value)
            for name, blank, value in map(str.partition, lines, COLONS)
        ]

    def get_all(self, name: str) -> list[str]:
        """Every value of a header, in wire order; the empty name gives the lines that had no colon."""
        index = getattr(self, "_index", None)
        if index is None:
            if len(self._raw) > FIRST_LOOK:
                index = self._make_index()
            else:
                folded = fold(name)
                return [value for key, value in self.items() if fold(key) == folded]
        return list(index.get(fold(name), ()))

    def _find(self, key: Needle) -> str | None:
        raise NotImplementedError

    def _find_named(self, name: str) -> str | None:
        return self._find(needle(name))

    def _find_any(self, key: Needle) -> str | None:
        """The first value of the header that :func:`needle` made ``key`` from."""
        raw = self._raw
        if len(raw) <= FIRST_LOOK:
            # Cutting twice costs less than two calls of find(), which parses its arguments each time.
            _, exact, rest = raw.partition(key[0])
            if not exact or (raw[0] == key[3] and raw.startswith(key[2])):
                return self._find_folded(key)
            text = rest.partition(b"\r\n")[0]
        else:
            start = raw.find(key[0], 0, FIRST_LOOK)
            if start < 0 or (raw[0] == key[3] and raw.startswith(key[2])):
                return self._find_in_long(key)
            start += len(key[0])
            end = raw.find(b"\r\n", start)
            text = raw[start:end] if end >= 0 else raw[start:]
        return text.decode() if text.isascii() else text.decode(self._origin[0], "surrogateescape")

    def _find_folded(self, key: Needle) -> str | None:
        """The first value of a header in any spelling, also in the first line and without a blank."""
        raw = self._raw
        if len(raw) > FIRST_LOOK:
            return self._find_in_long(key)
        folded = raw.lower()
        if folded and folded[0] == key[5] and folded.startswith(key[1][2:]):
            start = len(key[1]) - 2
        else:
            before, found, _ = folded.partition(key[1])
            if not found:
                return self._find_odd(key[1]) if key[4] else None
            start = len(before) + len(key[1])
        text = raw[start:].partition(b"\r\n")[0]
        return (text[1:] if text[:1] == b" " else text).decode(self._origin[0], "surrogateescape")

    def _find_odd(self, key: bytes) -> str | None:
        """Look for what no search for its bytes can find: a line without colon, a name in another encoding."""
        values = self._make_index().get(key[2:-1].decode("utf-8", "surrogateescape"))
        return values[0] if values else None

    def _find_in_long(self, key: Needle) -> str | None:
        index = getattr(self, "_index", None)
        if index is None:
            # The headers that say what a message is come first; look there before all of it is taken apart.
            cut = self._raw.rfind(b"\r\n", 0, FIRST_LOOK)
            if cut > 0:
                head = object.__new__(Lookup)  # not of a user's class
                head._raw, head._origin = self._raw[:cut], self._origin
                found = head._find_folded(key)
                if found is not None:
                    return found
            index = self._make_index()
        values = index.get(key[1][2:-1].decode("utf-8", "surrogateescape"))
        return values[0] if values else None

    def _make_index(self) -> dict[str, list[str]]:
        index: dict[str, list[str]] = {}
        for name, value in self.items():
            index.setdefault(fold(name), []).append(value)
        self._index = index
        return index


class Lookup(RareLookup):
    """The headers of a message, by name."""

    __slots__ = ("_event_name", "_index", "_origin", "_raw")

    _find = RareLookup._find_any

    def items(self) -> list[tuple[str, str]]:
        """Pairs of name and value in wire order, with repeats."""
        return self._items_any()

    def _plain_dict(self) -> dict[str, str] | None:
        """A dict of all headers, or None if a line is no ordinary header or a name is there twice."""
        lines = self._raw.decode(self._origin[0], "surrogateescape").split("\r\n")
        try:
            made: dict[str, str] = dict([line.split(": ", 1) for line in lines])
        except ValueError:  # a line without a blank after its first colon
            return None
        return made if len(made) == len(lines) else None

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: None) -> str | None: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a header, or ``default``."""
        # As _find_any(), in one step: in a flood a call more for each event is felt.
        try:
            key = needles[name]
        except KeyError:
            key = needle(name)
        raw = self._raw
        if len(raw) > FIRST_LOOK:
            value = self._find(key)
            return default if value is None else value
        _, exact, rest = raw.partition(key[0])
        if exact:
            if raw[0] != key[3] or not raw.startswith(key[2]):
                text = rest.partition(b"\r\n")[0]
                return text.decode() if text.isascii() else text.decode(self._origin[0], "surrogateescape")
        elif raw and not key[4]:
            # Whether it is there in another spelling, as _find_folded() looks for it.
            folded = raw.lower()
            if folded[0] != key[5] and folded.find(key[1]) < 0:
                return default
        value = self._find_folded(key)
        return default if value is None else value

    def __getitem__(self, name: str) -> str:
        # As get() does.
        try:
            key = needles[name]
        except KeyError:
            key = needle(name)
        raw = self._raw
        if len(raw) <= FIRST_LOOK:
            _, exact, rest = raw.partition(key[0])
            if exact and (raw[0] != key[3] or not raw.startswith(key[2])):
                text = rest.partition(b"\r\n")[0]
                return text.decode() if text.isascii() else text.decode(self._origin[0], "surrogateescape")
        value = self._find(key)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(needle(name)) is not None


def _odd_pair(line: str) -> tuple[str, str]:
    """The name and the value of a line without a blank after its first colon, or without a colon."""
    name, colon, value = line.partition(":")
    return (name, value.removeprefix(" ")) if colon else ("", line)


class HeaderField:
    """A descriptor whose value is that of one header of the message; the base of fields, which convert it."""

    __slots__ = ("_convert", "_key")

    _key: Needle
    _convert: Callable[[str], Any] | None

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        text = instance._find(self._key)
        convert = self._convert
        if text is None or convert is None:
            return text
        try:
            return convert(text)
        except ValueError:
            return self._unusable(text)

    def _unusable(self, text: str) -> None:
        """Return or raise what text gives that does not convert."""
        raise NotImplementedError


class AnySpelling(Lookup):
    """The headers of a message, by name in any spelling; the first one counts."""

    __slots__ = ()

    _find = RareLookup._find_folded

    if not TYPE_CHECKING:  # the types are those of Lookup

        def get(self, name, default=None):
            """The first value of a header, or ``default``."""
            found = self._find(needle(name))
            return default if found is None else found

    def __getitem__(self, name: str) -> str:
        found = self._find(needle(name))
        if found is None:
            raise KeyError(name)
        return found


def make_event(cls: type[L], raw: bytes, origin: Origin, name: str) -> L:
    """Make an event whose class and name are known."""
    made = cls.__new__(cls)
    made._raw = raw
    made._origin = origin
    made._event_name = name
    return made


def make_events(cls: type[L], frames: list[bytes], origin: Origin, name: str) -> list[L]:
    """Make events of one class and name, such as the items of a list."""
    made = []
    for raw in frames:  # as make_event() does, without a call for each
        event = cls.__new__(cls)
        event._raw = raw
        event._origin = origin
        event._event_name = name
        made.append(event)
    return made


IN_PYTHON = (Lookup, AnySpelling, HeaderField, make_event, make_events)  # all that may be replaced below

if not TYPE_CHECKING:
    try:
        from . import _speedups
    except ImportError:  # not built: no compiler, or an interpreter that runs the above as fast
        pass
    else:
        from ._speedups import AnySpelling, HeaderField, make_event, make_events

        class Lookup(_speedups.Lookup, RareLookup):
            """The headers of a message, by name."""

            __slots__ = ()
