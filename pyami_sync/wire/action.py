"""What is sent: an action, checked before a byte of it leaves.

Asterisk has no escaping on input. A CR or LF in a value *is* a new header, and a blank line starts a new
action with the rights of this connection, so both are refused, with NUL (which cuts a line short) and all
that a server refuses or garbles: lines over 1022 bytes, more than 128 lines, ActionIDs over 64 bytes or
with blanks (longer ones overflow the buffers of some list handlers, so that messages merge).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self

from ..exceptions import InvalidAction
from .message import Message, kinds
from .origin import LOCAL, Origin, local_origin
from .response import Response

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    R = TypeVar("R", bound=Response, covariant=True, default=Response)
else:
    from typing import TypeVar

    R = TypeVar("R", bound=Response, covariant=True)

__all__ = ["Action", "HeaderValue", "check_action_id", "quote_variable"]

MAX_LINE = 1022  # content of a line; manager.c reads into 1024 bytes
MAX_HEADERS = 128  # AST_MAX_MANHEADERS, Action and ActionID included
MAX_ACTION_ID = 64  # the smallest buffer that an id is copied to holds 67

HeaderValue = str | int | float | bool | None | Iterable["str | int | float | bool"] | Mapping[str, Any]
"""What a header may be given as; see :class:`Action`."""

_forbidden = re.compile(rb"[\r\n\0]").search
_usable_id = re.compile(r"[!-~]{1,64}\Z").match


class Action(Message, Generic[R]):
    """An action: a name and ordered headers.

    Headers come as a mapping or pairs (for names that are no Python words), as keywords, or both. A value is:

    * a :class:`str`, sent as it is; an :class:`int` or a :class:`float`;
    * a :class:`bool`, sent as ``yes`` or ``no``;
    * :data:`None`, not sent at all;
    * a list or other iterable of these: the header is repeated;
    * a mapping: the header is repeated as ``name=value``. Under ``Variable`` the values are quoted as the
      server needs it, so that commas, quotes and backslashes arrive.

    Args:
        name: of the action, such as ``"QueueAdd"``.
        headers: in the order in which they are sent.

    Raises:
        InvalidAction: the server would refuse or misread it; nothing has been sent.

    """

    __module__ = "pyami_sync"  # its public path

    __slots__ = ("_checked", "action_id", "name")

    name: str
    """The action's name."""
    action_id: str | None
    """The ActionID that was given; a client makes one for actions without."""
    _checked: bool

    response_class: ClassVar[type[Response]] = Response
    """What :meth:`~pyami_sync.AMIClient.send` answers with."""

    def __init__(
        self,
        name: str,
        headers: Mapping[str, HeaderValue] | Iterable[tuple[str, HeaderValue]] = (),
        /,
        *,
        encoding: str = "utf-8",
        **more: HeaderValue,
    ) -> None:
        try:
            origin = local_origin(encoding)
        except ValueError as exc:
            raise InvalidAction(str(exc)) from None
        # A dict is by far the most frequent, and whether something is a Mapping is a slow question.
        pairs: list[tuple[str, HeaderValue]] = list(
            headers.items() if isinstance(headers, (dict, Mapping)) else headers
        )
        pairs += more.items()
        if not isinstance(name, str) or not name.strip():
            raise InvalidAction("an action needs a name", header="Action")
        lines = [encode_line("Action", name, encoding)]
        action_id = None
        for header, value in pairs:
            if value is None:
                continue
            if not isinstance(header, str):
                raise InvalidAction(f"a header's name can't be a {type(header).__name__}", header=str(header))
            texts = [value] if isinstance(value, str) else as_texts(header, value)
            if header.lower() == "actionid":
                for text in texts:
                    check_action_id(text)
                    action_id = action_id or text
            lines += [encode_line(header, text, encoding) for text in texts]
        if len(lines) > MAX_HEADERS:
            raise InvalidAction(f"{name}: {len(lines)} lines; a server takes at most {MAX_HEADERS}")
        self._raw = b"\r\n".join(lines)
        self._origin = origin
        self.name = name
        self.action_id = action_id
        self._checked = len(lines) < MAX_HEADERS  # there is room for an ActionID

    @classmethod
    def _wire(cls, raw: bytes, origin: Origin = LOCAL) -> Self:
        self = super()._wire(raw, origin)
        self.name = self.get("Action", "")
        self.action_id = self.get("ActionID") or None
        self._checked = False  # what is made of bytes may hold anything
        return self

    def encode(self, action_id: str, encoding: str = "utf-8") -> bytes:
        """Return the bytes to send, blank line included, with that ActionID if it has none of its own.

        Raises:
            InvalidAction: the ActionID makes it too long, or the encoding can't carry its text.

        """
        return self._frame(action_id.encode("ascii") if self.action_id is None else b"", encoding)

    def _frame(self, action_id: bytes, encoding: str) -> bytes:
        """As :meth:`encode` does, with an ActionID in bytes."""
        raw = self._raw
        if self._checked and encoding == self._origin[0]:
            if self.action_id is not None:
                return raw + b"\r\n\r\n"
            head, line, rest = raw.partition(b"\r\n")
            return b"".join((head, b"\r\nActionID: ", action_id, line, rest, b"\r\n\r\n"))
        if encoding != self._origin.encoding:
            raw = b"\r\n".join(encode_line(name, value, encoding) for name, value in self.items())
        if self.action_id is None:
            head, line, rest = raw.partition(b"\r\n")
            raw = b"%b\r\nActionID: %b%b%b" % (head, action_id, line, rest)
        ends = raw.count(b"\r\n")
        if ends >= MAX_HEADERS:
            raise InvalidAction(f"{self.name}: with its ActionID over {MAX_HEADERS} lines, the most a server takes")
        # One made of bytes has not been checked: to a server a bare LF is a line end, and CR LF CR LF the end.
        if raw.count(b"\n") != ends or raw.count(b"\r") != ends or b"\0" in raw or b"\r\n\r\n" in raw:
            raise InvalidAction("an action holds CR, LF or NUL: refused as an injection")
        if len(raw) > MAX_LINE and max(map(len, raw.split(b"\r\n"))) > MAX_LINE:
            raise InvalidAction(f"{self.name}: a line of more than {MAX_LINE} bytes, the most a server takes")
        return raw + b"\r\n\r\n"

    def with_action_id(self, action_id: str) -> Self:
        """A copy with that ActionID in place of any other."""
        check_action_id(action_id)
        pairs = [(name, value) for name, value in self.items() if name.lower() != "actionid"]
        pairs.insert(1, ("ActionID", action_id))
        encoding = self._origin.encoding
        made = type(self)._wire(b"\r\n".join(encode_line(n, v, encoding) for n, v in pairs), self._origin)
        made._checked = len(pairs) <= MAX_HEADERS
        return made


kinds[b"action"] = Action


def encode_line(name: str, value: str, encoding: str) -> bytes:
    """Encode one header without its line end.

    Raises:
        InvalidAction: it would not arrive as this one header.

    """
    if not isinstance(name, str) or not isinstance(value, str):
        raise InvalidAction(f"header {name!r}: a name or value that is not text", header=str(name))
    if not name or name != name.strip() or ":" in name:
        raise InvalidAction(f"header name {name!r} is empty, or has a colon or outer blanks", header=name)
    try:
        line = f"{name}: {value}".encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        line = None
    if line is None:  # raised out here, as that exception's repr holds the value, which may be a secret
        raise InvalidAction(f"header {name!r} has a character that {encoding} can't carry", header=name)
    # On the encoded bytes, so that no encoding can smuggle a line end past this.
    if _forbidden(line):
        raise InvalidAction(f"header {name!r} holds CR, LF or NUL: refused as an injection", header=name)
    if len(line) > MAX_LINE:
        raise InvalidAction(
            f"header {name!r} makes a line of {len(line)} bytes; a server takes {MAX_LINE}", header=name
        )
    return line


def as_texts(header: str, value: HeaderValue) -> list[str]:
    """Spell a header's value or values as the server reads them."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, bool):
        # Every boolean parser of Asterisk takes yes and no; QueueReload takes no other word.
        return ["yes" if value else "no"]
    if isinstance(value, int | float):
        return [str(value)]
    if isinstance(value, Mapping):
        quote = quote_variable if header.lower() == "variable" else str
        return [f"{quote(name)}={quote(text)}" for name, each in value.items() for text in as_texts(header, each)]
    if isinstance(value, bytes | bytearray) or not isinstance(value, Iterable):
        raise InvalidAction(f"header {header!r} can't be a {type(value).__name__}", header=header)
    found: list[str] = []
    for each in value:
        if not isinstance(each, str | int | float):
            raise InvalidAction(f"header {header!r} can't repeat a {type(each).__name__}", header=header)
        found += as_texts(header, each)
    return found


def quote_variable(value: str) -> str:
    r"""Quote a variable's value for a ``Variable`` header.

    The server splits such a header at commas and drops ``"`` and ``\`` as quoting; a backslash before each
    makes them arrive.
    """
    return _to_quote.sub(r"\\\g<0>", value)


_to_quote = re.compile(r'[\\",]')


def check_action_id(action_id: str) -> None:
    """Refuse an ActionID that a server would garble.

    Raises:
        InvalidAction: it is empty, longer than 64 bytes, or has blanks or anything but printable ASCII.

    """
    if not isinstance(action_id, str) or not _usable_id(action_id):
        raise InvalidAction(
            f"an ActionID is 1 to {MAX_ACTION_ID} printable ASCII characters without blanks", header="ActionID"
        )
