"""Fields of typed messages: descriptors that convert a header's text to str, int, bool, datetime and so on.

A field reads its header when the attribute is accessed; nothing is converted or copied before. Rules for all fields:

* The attribute is the header's name in snake_case. Header names vary in case between events and versions
  (``Uniqueid``, ``UniqueID``): the attribute is made from the spelling that channels use, or else most events
  (``uniqueid``, ``hold_time``). Prefixes stay (``dest_channel``, ``local_one_uniqueid``). A name that Python
  or :class:`~pyami_sync.Message` has taken gets another one (``class_``, ``from_``, ``item_count``).
* A header that is absent is :data:`None`; for repeated headers an empty list or dict.
* Where a number, truth or time is expected, an empty value and what servers write in place of one
  (``<unknown>``, ``<none>``, ``(null)``, ``(None)``, ``N/A``, ``none``, ``unknown``) are :data:`None` too.
* Text is given as it was sent, an empty one as ``""``, with two exceptions: ``<unknown>`` and ``<none>`` are
  :data:`None` in the caller's and connected line's number and name and in a bridge's creator and name, where
  they only say that there is none; and values that servers escape as in C (names of parties in channels'
  headers, values of VarSet and of channel variables) are unescaped. The text on the wire is always there too:
  ``event["CallerIDName"]``.
* A value that does not convert raises :exc:`ValueError`, which names the header, when the attribute is read;
  the message and all its other attributes are untouched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, Self, TypeVar, overload
from urllib.parse import unquote

from ..wire.escapes import unescape
from ..wire.lookup import HeaderField
from ..wire.message import Message
from ..wire.needle import needle

__all__ = [
    "Assignments",
    "Bool",
    "Environment",
    "Field",
    "Float",
    "Int",
    "IsoTime",
    "LocalTime",
    "Numbered",
    "Party",
    "PartyName",
    "Percent",
    "Second",
    "Text",
    "Texts",
    "Time",
    "Unescaped",
    "Variables",
]

T = TypeVar("T")

NOTHING = frozenset({"", "<unknown>", "<none>", "(null)", "(none)", "n/a", "none", "unknown"})
NOBODY = frozenset({"<unknown>", "<none>"})
TRUTH = {
    **dict.fromkeys(("yes", "true", "y", "t", "1", "on", "enabled"), True),
    **dict.fromkeys(("no", "false", "n", "f", "0", "off", "disabled"), False),
}
_assignment = re.compile(r'(?:\\.|"(?:\\.|[^"\\])*(?:"|\Z)|[^,\\"]|\\\Z)+', re.DOTALL)


class Field(HeaderField, Generic[T]):
    """Descriptor for one header of a message, which is read when the attribute is accessed.

    Args:
        header: its name on the wire.

    """

    __slots__ = ("attribute", "header")

    kind: ClassVar[Mapping[str, Any]] = {}
    """JSON Schema of its values."""
    convert: ClassVar[Any] = None
    """Called with a header's text, it returns the value, or raises :exc:`ValueError`; None for text as it is."""
    what: ClassVar[str] = ""
    """What the text should be, for the error."""

    def __init__(self, header: str) -> None:
        self.header = header
        self.attribute = ""
        self._key = needle(header)
        self._convert = type(self).convert

    def __init_subclass__(cls) -> None:
        # What takes more than a conversion of text has a `read` of its own, which becomes __get__ itself: one call less
        # for each look at an attribute, and type checkers go by the overloads below.
        read = vars(cls).get("read")
        if read is not None:
            cls.__get__ = read  # type: ignore[method-assign]

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type | None = None) -> Self: ...
        @overload
        def __get__(self, instance: Message, owner: type | None = None) -> T: ...
        def __get__(self, instance: Message | None, owner: type | None = None) -> Self | T:
            """Return the value in a message, or the field itself when accessed on the class.

            Raises:
                ValueError: the text does not convert.

            """
            ...

    def __set__(self, instance: Message, value: NoReturn) -> NoReturn:
        raise AttributeError(f"messages are immutable: {self.attribute!r} can't be set")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.attribute!r} of header {self.header!r}>"

    def _unusable(self, text: str) -> None:
        """Return None for a text that stands for the absence of a value.

        Raises:
            ValueError: the text is a value of another kind.

        """
        if text.strip().lower() not in NOTHING:
            raise ValueError(f"header {self.header!r} holds no {self.what}: {text!r}") from None


class Text(Field[str | None]):
    """Text as it was sent."""

    __slots__ = ()
    kind = {"type": ["string", "null"]}


def somebody(text: str) -> str | None:
    """Return None for what only says that there is nobody."""
    return None if text in NOBODY else text


class Party(Field[str | None]):
    """Text, or None where the server writes ``<unknown>``."""

    __slots__ = ()
    kind = {"type": ["string", "null"]}
    convert = staticmethod(somebody)


def unescaped_somebody(text: str) -> str | None:
    """Undo escapes; return None for what only says that there is nobody."""
    return None if text in NOBODY else unescape(text)


class PartyName(Field[str | None]):
    """Text that is escaped on the wire, or None where the server writes ``<unknown>``."""

    __slots__ = ()
    kind = {"type": ["string", "null"]}
    convert = staticmethod(unescaped_somebody)


class Unescaped(Field[str | None]):
    """Text that is escaped on the wire."""

    __slots__ = ()
    kind = {"type": ["string", "null"]}
    convert = staticmethod(unescape)


class Percent(Field[str | None]):
    """Text that is percent-encoded on the wire."""

    __slots__ = ()
    kind = {"type": ["string", "null"]}

    def read(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        text = instance._find(self._key)
        return None if text is None else unquote(text, instance.encoding, "surrogateescape")


class Second(Field[str | None]):
    """The second value of a header whose first one is something else."""

    __slots__ = ()
    kind = {"type": ["string", "null"]}

    def read(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        values = instance.get_all(self.header)
        return values[1] if len(values) > 1 else None


class Int(Field[int | None]):
    """A whole number."""

    __slots__ = ()
    kind = {"type": ["integer", "null"]}
    convert = int
    what = "whole number"


class Float(Field[float | None]):
    """A number."""

    __slots__ = ()
    kind = {"type": ["number", "null"]}
    convert = float
    what = "number"


def truth(text: str) -> bool:
    """Return what any of the spellings that servers use means."""
    try:
        return TRUTH[text.lower()]
    except KeyError:
        raise ValueError(text) from None


class Bool(Field[bool | None]):
    """Yes or no, in any of the spellings that servers use."""

    __slots__ = ()
    kind = {"type": ["boolean", "null"]}
    convert = staticmethod(truth)
    what = "yes or no"


def moment(text: str) -> datetime | None:
    """Return the time in UTC that is so many seconds after 1970; None for 0."""
    try:
        seconds = float(text)
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, OSError) as exc:
        raise ValueError(text) from exc


class Time(Field[datetime | None]):
    """A time in UTC, sent as seconds since 1970; 0 means never and is None."""

    __slots__ = ()
    kind = {"type": ["string", "null"], "format": "date-time"}
    convert = staticmethod(moment)
    what = "time in seconds since 1970"


class IsoTime(Field[datetime | None]):
    """A time with its zone, sent as ISO 8601."""

    __slots__ = ()
    kind = {"type": ["string", "null"], "format": "date-time"}
    convert = datetime.fromisoformat
    what = "time as in ISO 8601"


class LocalTime(IsoTime):
    """A time without a zone: it is the server's local one."""

    __slots__ = ()
    kind = {"type": ["string", "null"]}


class Texts(Field[list[str]]):
    """All values of a repeated header."""

    __slots__ = ()
    kind = {"type": "array", "items": {"type": "string"}}

    def read(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else instance.get_all(self.header)


class Variables(Field[dict[str, str]]):
    """Channel variables: a repeated header of ``name=value``, escaped on the wire."""

    __slots__ = ()
    kind = {"type": "object", "additionalProperties": {"type": "string"}}

    def read(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        if instance._find(self._key) is None:
            return {}
        pairs = (text.partition("=") for text in instance.get_all(self.header))
        return {name: unescape(value) for name, _, value in pairs}


class Assignments(Variables):
    """Variables of an action, as the server reads them: separated by commas, quoted, or one a header."""

    __slots__ = ()

    def read(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        found: dict[str, str] = {}
        for line in instance.get_all(self.header):
            for each in _assignment.findall(line):
                name, _, value = re.sub(r'\\(.)|"', r"\1", each, flags=re.DOTALL).partition("=")
                found[name.strip()] = value
        return found


class Environment(Field[dict[str, str]]):
    """The variables of an AGI session: percent-encoded lines of ``name: value``."""

    __slots__ = ()
    kind = {"type": "object", "additionalProperties": {"type": "string"}}

    def read(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        text = unquote(instance._find(self._key) or "", instance.encoding, "surrogateescape")
        pairs = (line.partition(":") for line in text.split("\n") if line)
        return {name: value.removeprefix(" ") for name, _, value in pairs}


class Numbered(Field[dict[int, str]]):
    """Headers whose names hold a number, such as ``Report0IAJitter``: their values by that number."""

    __slots__ = ("_pattern",)
    kind = {"type": "object", "additionalProperties": {"type": "string"}}

    def __init__(self, header: str) -> None:
        super().__init__(header)
        self._pattern: re.Pattern[str] | None = None

    def match(self, name: str) -> re.Match[str] | None:
        """Return True if a header is one of these; the first group is its number."""
        if self._pattern is None:
            # Report0IAJitter, but Charge/Units(0)/NumberOf: parentheses are on the wire in a list's names.
            text = re.escape(self.header)
            text = text.replace(r"Report\(n\)", r"Report(\d+)").replace(r"\(n\)", r"\((\d+)\)")
            self._pattern = re.compile(text, re.IGNORECASE)
        return self._pattern.fullmatch(name)

    def read(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        found: dict[int, str] = {}
        for name, value in instance.items():
            matched = self.match(name)
            if matched:
                found.setdefault(int(matched[1]), value)
        return found
