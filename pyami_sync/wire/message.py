"""One message: ordered headers with repeats, read lazily from the bytes that came.

A message keeps its bytes and cuts a header out of them when it is asked for, because most events are looked
at for one or two headers or not at all. Nothing that the server sent is lost: :meth:`Message.to_bytes` gives
back what came in, repeated headers keep their order, and lines without a colon are kept under an empty name.

Facts that the reading rules rest on: a line ends at CR LF only (a bare LF, VT or U+2028 is part of a value); a name
ends at the first colon; one blank after the colon is dropped and all others are kept; names are compared
without case, because they vary in case between events and versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import repeat
from typing import Annotated, Any, NamedTuple, Self, TypeVar, cast, overload

from .escapes import unescape
from .names import are_plain, fold
from .needle import Needle, needle, needles
from .redaction import redact

__all__ = ["Event", "Message", "Origin"]

FIRST_LOOK = 2048  # bytes of a long message that are searched before an index of it all is made
REPR_LIMIT = 600
REPR_LOOK = 65536  # bytes of a message that are redacted for its repr
COLONS = repeat(": ")


class Origin(NamedTuple):
    """Where messages came from: one value for all that arrived in one read."""

    encoding: str = "utf-8"
    received: float = 0.0
    node: str | None = None


LOCAL = Origin()


def make_origin(values: tuple[str, float, str | None]) -> Origin:
    """Make an origin in a third of the time that its constructor takes; there is one for each read."""
    return tuple.__new__(Origin, values)


class Message:
    """Ordered, case-insensitive, multi-valued headers; immutable.

    ``message["Channel"]`` is the first value (:exc:`KeyError` when there is none), ``"Channel" in message``
    and :meth:`get` ask without raising, :meth:`get_all` gives every value. Iterating gives names as they
    were sent, with repeats.

    Args:
        headers: pairs of name and value, or a mapping from name to a value or a list of values.
        encoding: of text, one that leaves ASCII as it is; bytes that it can't decode are kept as surrogates
            (``surrogateescape``).

    Raises:
        ValueError: a name or value that would not stay one header.

    """

    __module__ = "pyami_sync"  # its public path

    __slots__ = ("_index", "_origin", "_raw")

    _raw: bytes
    _origin: Origin
    _index: dict[str, list[str]]  # only of a long message, once it has been searched

    def __init__(
        self,
        headers: Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]] = (),
        *,
        encoding: str = "utf-8",
    ) -> None:
        lines = []
        for name, value in _pairs(headers):
            if not name and value and ":" not in value and "\r\n" not in value:
                line = value
            else:
                line = f"{name}: {value}"
                if ":" in name or "\r" in name or "\n" in name or "\r\n" in value or value.endswith("\r"):
                    raise ValueError(f"header {name!r} would not stay one line")
            lines.append(line)
        self._raw = "\r\n".join(lines).encode(encoding, "surrogateescape")
        self._origin = LOCAL if encoding == "utf-8" else Origin(encoding)

    # Making from bytes, and back

    @classmethod
    def _wire(cls, raw: bytes, origin: Origin = LOCAL) -> Self:
        """Make a message of this very class from its bytes without their closing blank line."""
        self = cls.__new__(cls)
        self._raw = raw
        self._origin = origin
        return self

    @classmethod
    def from_bytes(cls, raw: bytes, *, encoding: str = "utf-8") -> Self:
        """Make a message from the bytes of exactly one.

        Called on :class:`Message` itself it gives an :class:`Event`, a :class:`~pyami_sync.Response` or an
        :class:`~pyami_sync.Action` as the first header says, and a plain message when that says none of them.

        Raises:
            ValueError: the bytes are empty, or hold more than one message.

        """
        body = raw.lstrip(b"\r\n")
        if body.endswith(b"\r\n\r\n"):
            body = body[:-4]
        found = kind_of(body) if cls is Message else cls
        made = found._wire(body, LOCAL if encoding == "utf-8" else Origin(encoding))
        if not made._raw or b"\r\n\r\n" in made._raw:
            raise ValueError("these bytes are not exactly one message")
        return cast(Self, made)

    def to_bytes(self) -> bytes:
        """The message as on the wire, its closing blank line included: byte for byte what came in."""
        return self._raw + b"\r\n\r\n"

    @property
    def encoding(self) -> str:
        """The encoding that its text is read with."""
        return self._origin.encoding

    # Reading

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: None) -> str | None: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a header, or ``default``."""
        found = self._find(needles.get(name) or needle(name))
        return default if found is None else found

    def _find(self, key: Needle) -> str | None:
        """The first value of the header that :func:`needle` made ``key`` from.

        A header spelled exactly so comes first, then one that differs in case: servers spell a header in one
        way, and looking for this way alone costs half.
        """
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
                found = Message._wire(self._raw[:cut], self._origin)._find_folded(key)
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

    def items(self) -> list[tuple[str, str]]:
        """Pairs of name and value in wire order, with repeats."""
        if not self._raw:
            return []
        lines = self._raw.decode(self._origin[0], "surrogateescape").split("\r\n")
        return [
            (name, value) if blank and ":" not in name else _odd_pair(name + blank + value)
            for name, blank, value in map(str.partition, lines, COLONS)
        ]

    def keys(self) -> list[str]:
        """Names in wire order, with repeats."""
        return [name for name, _ in self.items()]

    def values(self) -> list[str]:
        """Values in wire order."""
        return [value for _, value in self.items()]

    def to_dict(self) -> dict[str, str | list[str]]:
        """A plain dict for JSON: a repeated header is a list; the first spelling of a name is its key."""
        lines = self._raw.decode(self._origin[0], "surrogateescape").split("\r\n")
        try:
            plain: dict[str, Any] = dict([line.split(": ", 1) for line in lines])
        except ValueError:  # a line without a blank after its first colon
            pass
        else:
            if len(plain) == len(lines) and are_plain(tuple(plain)):
                return plain
        pairs = self.items()
        spelled: dict[str, str] = {}
        made: dict[str, str | list[str]] = {}
        for name, value in pairs:
            key = spelled.setdefault(fold(name), name)
            old = made.get(key)
            if old is None:
                made[key] = value
            elif isinstance(old, list):
                old.append(value)
            else:
                made[key] = [old, value]
        return made

    def __getitem__(self, name: str) -> str:
        found = self._find(needle(name))
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(needle(name)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        """How many lines the message has."""
        return self._raw.count(b"\r\n") + 1 if self._raw else 0

    def __bool__(self) -> bool:
        return True

    # Comparing, copying, showing

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self._raw)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (type(self), self._raw, tuple(self._origin))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._shown()}>"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic check and write messages; only pydantic calls this, so only it need be there."""
        from ..schema import PydanticType

        return handler.generate_schema(Annotated[Any, PydanticType(source)])

    def _shown(self) -> str:
        # Redacted before it is cut: what names a credential may come after it.
        shown = Message._wire(redact(self._raw[:REPR_LOOK])[: 4 * REPR_LIMIT], self._origin)
        text = " ".join(f"{name}={value!r}" if name else repr(value) for name, value in shown.items())
        return text if len(text) <= REPR_LIMIT else text[:REPR_LIMIT] + " …"


class Event(Message):
    """Something that happened on the server, or an item of a list.

    Events with a class of their own in :mod:`pyami_sync.events` arrive as that class; all others as this one.
    """

    __module__ = "pyami_sync"  # its public path

    __slots__ = ("name",)

    name: str
    """What happened, as the server spells it."""

    def __init__(
        self,
        headers: Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]] = (),
        *,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(headers, encoding=encoding)
        self.name = self.get("Event", "")

    @classmethod
    def _wire(cls, raw: bytes, origin: Origin = LOCAL) -> Self:
        self = super()._wire(raw, origin)
        self.name = self.get("Event", "")
        return self

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: None) -> str | None: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a header, or ``default``."""
        # As _find(), in one step: in a flood a call more for each event is felt.
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

    @property
    def action_id(self) -> str | None:
        """The ActionID of the action that asked for it; :data:`None` for what happened by itself."""
        return self.get("ActionID")

    @property
    def timestamp(self) -> datetime | None:
        """When it happened on the server's clock (UTC); needs ``timestampevents = yes`` in manager.conf.

        Raises:
            ValueError: the header is there but is no number.

        """
        text = self.get("Timestamp")
        if text is None:
            return None
        try:
            return datetime.fromtimestamp(float(text), UTC)
        except (ValueError, OverflowError, OSError):
            raise ValueError(f"header 'Timestamp' holds no time: {text!r}") from None

    @property
    def received_at(self) -> datetime | None:
        """When its bytes were read, on this machine's clock (UTC); :data:`None` for one made here."""
        received = self._origin.received
        return datetime.fromtimestamp(received, UTC) if received else None

    @property
    def node(self) -> str | None:
        """The cluster's node that it came from; :data:`None` outside a cluster."""
        return self._origin.node

    @property
    def variables(self) -> dict[str, str]:
        """Channel variables that came along (``Variable`` and ``ChanVariable`` headers), with their escapes undone."""
        found: dict[str, str] = {}
        single = ""
        for line in self._raw.decode(self._origin[0], "surrogateescape").split("\r\n"):
            matched = _variable_line(line)
            if matched is None:
                continue
            variable, equals, value = line[matched.end() :].partition("=")
            if equals or matched[1]:
                found.setdefault(variable, unescape(value))
            else:
                single = single or variable
        if single:  # as in VarSet, which names the variable and has its value in a header of its own
            value_header = self.get("Value")
            found.setdefault(single, "" if value_header is None else unescape(value_header))
        return found


# The channel's name in parentheses may have a colon: `ChanVariable(IAX2/10.0.0.1:4569-123): name=value`.
_variable_line = re.compile(r"(chan)?variable(?:\(.*?\)(?=: |:[^:]*=))?: ?", re.IGNORECASE).match


E = TypeVar("E", bound=Event)


def make_event(cls: type[E], raw: bytes, origin: Origin, name: str) -> E:
    """Make an event whose class and name are known already: the quick way for floods and long lists."""
    event = cls.__new__(cls)
    event._raw = raw
    event._origin = origin
    event.name = name
    return event


kinds: dict[bytes, type[Message]] = {b"event": Event}
"""Which class a message is by the name of its first header, in lower case."""


def kind_of(raw: bytes) -> type[Message]:
    """Which class a message is: the first header decides, whatever else is in it."""
    return kinds.get(raw[: raw.find(b":")].lower(), Message)


def _odd_pair(line: str) -> tuple[str, str]:
    """The name and the value of a line without a blank after its first colon, or without a colon."""
    name, colon, value = line.partition(":")
    return (name, value.removeprefix(" ")) if colon else ("", line)


def _pairs(headers: Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    if not isinstance(headers, Mapping):
        yield from headers
        return
    for name, value in headers.items():
        if isinstance(value, str):
            yield name, value
        else:
            for each in value:
                yield name, each


def _unpickle(cls: type[Message], raw: bytes, origin: tuple[Any, ...]) -> Message:
    return cls._wire(raw, Origin(*origin))
