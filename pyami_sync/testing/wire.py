"""The server's side of the protocol: splits input into actions like Asterisk, and renders messages.

Input is parsed like in manager.c, with its limits and oddities: lines end with LF or CR LF, a NUL ends the content of
a line, a line may have 1022 bytes, and a message 128 lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..wire.action import Action
from ..wire.message import Message
from ..wire.response import Response

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Headers", "Pairs", "Reader", "Reply", "frame", "pairs_of", "to_frames"]

MAX_HEADERS = 128
BUFFER = 1024

Pairs = Iterable[tuple[str, object]]
Headers = Mapping[str, Any] | Pairs
Reply = (
    bytes | str | Message | Mapping[str, Any] | Iterable["Reply"] | Callable[[Action, "Session"], "Reply | None"] | None
)
"""Types of scripted answers; see :meth:`~pyami_sync.testing.Simulator.on`."""


def pairs_of(headers: Headers) -> list[tuple[str, str]]:
    """Return headers as pairs of str; a list as value repeats its header, :data:`None` omits it."""
    found = []
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        values = value if isinstance(value, list | tuple) else [value]
        found += [(name, str(each)) for each in values if each is not None]
    return found


def frame(headers: Headers) -> bytes:
    """Return the bytes of a message, its blank line included; nothing is checked."""
    lines = [f"{name}: {value}\r\n" if name else f"{value}\r\n" for name, value in pairs_of(headers)]
    return ("".join(lines) + "\r\n").encode("utf-8", "surrogateescape")


def to_frames(reply: Any, action_id: str) -> bytes:
    """Return the bytes of a scripted answer: bytes and str unchanged, messages with the ActionID of the action.

    Raises:
        TypeError: it is of another type.

    """
    if reply is None:
        return b""
    if isinstance(reply, bytes | bytearray | memoryview):
        return bytes(reply)
    if isinstance(reply, str):
        return reply.encode("utf-8", "surrogateescape")
    if isinstance(reply, Message):
        raw = _with_id(reply.to_bytes(), reply.get("ActionID") is not None, action_id)
        if isinstance(reply, Response):
            more = [*reply.events, reply.complete]
            raw += b"".join(to_frames(event, action_id) for event in more if event is not None)
        return raw
    if isinstance(reply, Mapping):
        return _with_id(frame(reply), any(name.lower() == "actionid" for name in reply), action_id)
    if isinstance(reply, Iterable):
        return b"".join(to_frames(each, action_id) for each in reply)
    raise TypeError(f"a {type(reply).__name__} can't be sent: use bytes, text, messages, mappings or lists of these")


def _with_id(raw: bytes, has_id: bool, action_id: str) -> bytes:
    if has_id or not action_id:
        return raw
    first, line, rest = raw.partition(b"\r\n")
    return b"%b\r\nActionID: %b%b%b" % (first, action_id.encode("utf-8", "surrogateescape"), line, rest)


class Reader:
    """Splits the bytes of one client into actions.

    Args:
        on_action: called with each complete action.
        on_error: called with a text and the ActionID (may be empty) for an invalid one.

    """

    def __init__(self, on_action: Callable[[Action], object], on_error: Callable[[str, str], object]) -> None:
        self._on_action = on_action
        self._on_error = on_error
        self._lines: list[bytes] = []
        self._count = 0
        self._too_long = False
        self._buffer = bytearray()
        self.paused = False
        """True while complete actions stay in the buffer, because the previous one is still being answered."""

    @property
    def room(self) -> int:
        """Return how many bytes the server would read at once."""
        return BUFFER - min(len(self._buffer), BUFFER - 1)

    def feed(self, data: bytes = b"") -> None:
        """Add bytes, and report the actions that are complete, until :attr:`paused` is set."""
        buffer = self._buffer
        buffer += data
        at = 0
        while not self.paused:
            end = buffer.find(b"\n", at, at + BUFFER)
            if end < 0:
                if len(buffer) - at < BUFFER:
                    break
                # The server's buffer is full: it forgets all but the last byte.
                self._too_long = True
                at += BUFFER - 1
                continue
            line = bytes(buffer[at:end]).removesuffix(b"\r").partition(b"\0")[0]
            at = end + 1
            if line:
                self._count += 1
                if self._count <= MAX_HEADERS:
                    self._lines.append(line)
            else:
                self._end()
        del buffer[:at]

    def _end(self) -> None:
        action = Action._wire(b"\r\n".join(self._lines))
        count, too_long = self._count, self._too_long
        self._lines = []
        self._count = 0
        self._too_long = False
        if too_long:
            self._on_error("Failed to parse message: line too long", header(action, "ActionID"))
        elif count > MAX_HEADERS:
            self._on_error("Too many lines in message or allocation failure", header(action, "ActionID"))
        else:
            self._on_action(action)


def header(action: Message, name: str) -> str:
    """Return a header of an action as the server reads it: without leading blanks, with trailing ones."""
    # The first in wire order, in any spelling.
    return next(iter(action.get_all(name)), "").lstrip(" ")


def action_name(action: Message) -> str:
    """Return the name of an action as the server reads it: unlike for other headers, empty ones are skipped."""
    return next((name for value in action.get_all("Action") if (name := value.lstrip(" "))), "")
