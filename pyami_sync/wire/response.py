"""The answer to an action."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Self

from .message import Event, Message, kinds
from .origin import LOCAL, Origin

__all__ = ["Response"]

END_COMMAND = b"--END COMMAND--"
follows = re.compile(rb"response:[ ]*follows\r\n((?:privilege|actionid|message):[^\n]*\r\n)*", re.IGNORECASE).match


class Response(Message):
    """The answer to an action, with everything that belongs to it."""

    __module__ = "pyami_sync"  # its public path

    __slots__ = ("_body", "_empty", "complete", "events", "status")

    status: str
    """``Success``, ``Error``, ``Goodbye``, ``Follows`` or ``Pong``; empty for an answer of mere text."""

    _body: bytes
    _empty: bool
    events: list[Any]
    """Items of a list action, in wire order; empty for other actions."""
    complete: Event | None
    """The event that closed the list; :data:`None` when the answer has none."""

    def __init__(
        self,
        headers: Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]] = (),
        *,
        encoding: str = "utf-8",
        events: Iterable[Event] = (),
        complete: Event | None = None,
    ) -> None:
        super().__init__(headers, encoding=encoding)
        self._body = b""
        self._empty = False
        self.events = list(events)
        self.complete = complete
        self.status = self.get("Response", "")

    @classmethod
    def _wire(cls, raw: bytes, origin: Origin = LOCAL) -> Self:
        body = b""
        if raw[9:17] != b" Success" and raw[9:17].lstrip().lower() == b"follows":
            # Console text of Asterisk up to 13 is no part of the headers, whatever it looks like.
            head = follows(raw)
            if head:
                body = raw[head.end() :]
                raw = raw[: head.end() - 2]
        self = super()._wire(raw, origin)
        self._body = body
        self._empty = False
        self.events = []
        self.complete = None
        end = raw.find(b"\r\n")
        if end > 0 and raw[:10] == b"Response: ":
            self.status = raw[10:end].decode(origin[0], "surrogateescape")
        else:
            self.status = self.get("Response", "")
        return self

    @classmethod
    def _success(cls, raw: bytes, origin: Origin) -> Self:
        """Make one of bytes that begin with ``Response: Success``: the quick way for most answers."""
        self = cls.__new__(cls)
        self._raw = raw
        self._origin = origin
        self._body = b""
        self._empty = False
        self.events = []
        self.complete = None
        self.status = "Success"
        return self

    @classmethod
    def _text(cls, body: bytes, origin: Origin) -> Self:
        """Make the answer to an action that answers with text and no headers."""
        self = cls._wire(b"", origin)
        self._body = body
        return self

    def to_bytes(self) -> bytes:
        """The response alone, as it came; :attr:`events` are messages of their own."""
        if not self._body:
            return super().to_bytes()
        return (self._raw + b"\r\n" if self._raw else b"") + self._body + b"\r\n\r\n"

    @property
    def ok(self) -> bool:
        """True if the server did what it was asked.

        An error that only means "there are none", as some list actions send, counts as a success.
        """
        return self._empty or self.status.lower() not in ("error", "failure")

    @property
    def message(self) -> str:
        """What the server said, without the line feed that some actions append."""
        return self.get("Message", "").removesuffix("\n")

    @property
    def action_id(self) -> str | None:
        """The ActionID of the action that it answers."""
        return self.get("ActionID")

    @property
    def node(self) -> str | None:
        """The cluster's node that answered; :data:`None` outside a cluster."""
        return self._origin.node

    @property
    def output(self) -> list[str]:
        """Lines of text: those of ``Command`` in its old and its new form, and of answers of mere text."""
        encoding = self._origin.encoding
        if self._body:
            text = self._body.removesuffix(END_COMMAND).decode(encoding, "surrogateescape")
            lines = text.split("\n")
            if not lines[-1]:
                lines.pop()
            return [line.removesuffix("\r") for line in lines]
        lines = self._raw.decode(encoding, "surrogateescape").split("\r\nOutput: ")
        head = lines.pop(0)
        # The usual answer: nothing but output after the head. Then every line end has been split at. (Line feeds
        # alone are counted faster; only where lines hold some do they prove nothing.)
        if "\r\noutput:" not in head.lower() and (
            self._raw.count(b"\n") == head.count("\n") + len(lines)
            or self._raw.count(b"\r\n") == head.count("\r\n") + len(lines)
        ):
            return lines
        return self.get_all("Output")

    def __repr__(self) -> str:
        items = f" events={len(self.events)}" if self.events or self.complete else ""
        text = f" output={len(self.output)} lines" if self._body else ""
        return f"<{type(self).__name__} {self._shown()}{items}{text}>"

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self._body, self._empty, self.events, self.complete)
        return _restore, (type(self), self._raw, tuple(self._origin), state)


kinds[b"response"] = Response


def _restore(cls: type[Response], raw: bytes, origin: tuple[Any, ...], state: tuple[Any, ...]) -> Response:
    made = cls._wire(raw, Origin(*origin))
    made._raw = raw  # of a console answer these are its headers alone, which must not be cut again
    made._body, made._empty, made.events, made.complete = state
    return made
