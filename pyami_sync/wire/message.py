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
from typing import Annotated, Any, Self, cast

from .escapes import unescape
from .lookup import Lookup
from .names import are_plain, fold
from .origin import LOCAL, Origin, local_origin
from .redaction import redact

__all__ = ["Event", "Message"]

REPR_LIMIT = 600
REPR_LOOK = 65536  # bytes of a message that are redacted for its repr


class Message(Lookup):
    """Ordered, case-insensitive, multi-valued headers; immutable.

    ``message["Channel"]`` is the first value (:exc:`KeyError` when there is none), ``"Channel" in message``
    and :meth:`get` ask without raising, :meth:`get_all` gives every value. Iterating gives names as they
    were sent, with repeats.

    Args:
        headers: pairs of name and value, or a mapping from name to a value or a list of values.
        encoding: of text, one that leaves ASCII as it is; bytes that it can't decode are kept as surrogates
            (``surrogateescape``).

    Raises:
        ValueError: a name or value that would not stay one header, or another encoding.

    """

    __module__ = "pyami_sync"  # its public path

    __slots__ = ()

    def __init__(
        self,
        headers: Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]] = (),
        *,
        encoding: str = "utf-8",
    ) -> None:
        origin = local_origin(encoding)
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
        self._origin = origin

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
        """Make a message from the bytes of exactly one, in an encoding that leaves ASCII as it is.

        Called on :class:`Message` itself it gives an :class:`Event`, a :class:`~pyami_sync.Response` or an
        :class:`~pyami_sync.Action` as the first header says, and a plain message when that says none of them.

        Raises:
            ValueError: the bytes are empty, or hold more than one message, or it is another kind of encoding.

        """
        body = bytes(raw).lstrip(b"\r\n")
        if body.endswith(b"\r\n\r\n"):
            body = body[:-4]
        found = kind_of(body) if cls is Message else cls
        made = found._wire(body, local_origin(encoding))
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

    def keys(self) -> list[str]:
        """Names in wire order, with repeats."""
        return [name for name, _ in self.items()]

    def values(self) -> list[str]:
        """Values in wire order."""
        return [value for _, value in self.items()]

    def to_dict(self) -> dict[str, str | list[str]]:
        """A plain dict for JSON: a repeated header is a list; the first spelling of a name is its key."""
        plain: dict[str, Any] | None = self._plain_dict()
        if plain is not None and are_plain(tuple(plain)):
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

    __slots__ = ()

    name: str = Lookup._event_name  # the descriptor of its slot
    """What happened, as the server spells it."""

    def __init__(
        self,
        headers: Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]] = (),
        *,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(headers, encoding=encoding)
        self._event_name = self.get("Event", "")

    @classmethod
    def _wire(cls, raw: bytes, origin: Origin = LOCAL) -> Self:
        self = super()._wire(raw, origin)
        self._event_name = self.get("Event", "")
        return self

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


kinds: dict[bytes, type[Message]] = {b"event": Event}
"""Which class a message is by the name of its first header, in lower case."""


def kind_of(raw: bytes) -> type[Message]:
    """Which class a message is: the first header decides, whatever else is in it."""
    return kinds.get(raw[: raw.find(b":")].lower(), Message)


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
