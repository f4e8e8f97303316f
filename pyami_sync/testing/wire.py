"""The server's side of the wire: how Asterisk cuts input into actions, and how messages are spelled.

The reading is that of manager.c, limits and accidents included: lines end with LF or CR LF, a NUL ends the
content of a line, more than 1022 bytes make a line too long, 128 lines are the most a message has.
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
"""What a scripted action may answer; see :meth:`~pyami_sync.testing.Simulator.on`."""


def pairs_of(headers: Headers) -> list[tuple[str, str]]:
    """Headers as pairs of text; a list as a value repeats its header, :data:`None` leaves it out."""
    found = []
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        values = value if isinstance(value, list | tuple) else [value]
        found += [(name, str(each)) for each in values if each is not None]
    return found


def frame(headers: Headers) -> bytes:
    """Spell one message, its blank line included. Nothing is checked: a server sends what it has."""
    lines = [f"{name}: {value}\r\n" if name else f"{value}\r\n" for name, value in pairs_of(headers)]
    return ("".join(lines) + "\r\n").encode("utf-8", "surrogateescape")


def to_frames(reply: Any, action_id: str) -> bytes:
    """Spell what a script answers: bytes and text as they are, messages with the ActionID of the action.

    Raises:
        TypeError: this can't be sent.

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
    """Cut the bytes of one client into actions.

    Args:
        on_action: called with each complete action.
        on_error: called with a text and the ActionID (may be empty) for one that can't be read.

    """

    def __init__(self, on_action: Callable[[Action], object], on_error: Callable[[str, str], object]) -> None:
        self._on_action = on_action
        self._on_error = on_error
        self._lines: list[bytes] = []
        self._count = 0
        self._too_long = False
        self._buffer = bytearray()
        self.paused = False
        """Whether complete actions are left in the buffer: the one before is still being answered."""

    @property
    def room(self) -> int:
        """How many bytes the server would read at once now."""
        return BUFFER - min(len(self._buffer), BUFFER - 1)

    def feed(self, data: bytes = b"") -> None:
        """Take bytes; hand on the actions that are complete, until :attr:`paused` is set."""
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
    """A header of an action as the server reads it: leading blanks dropped, trailing ones kept."""
    # The first in wire order, however it is spelled.
    return next(iter(action.get_all(name)), "").lstrip(" ")


def action_name(action: Message) -> str:
    """The name of an action as the server reads it: unlike other headers, empty ones are passed over."""
    return next((name for value in action.get_all("Action") if (name := value.lstrip(" "))), "")
