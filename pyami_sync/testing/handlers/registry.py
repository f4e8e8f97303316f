"""The registry of the simulator's actions, and the argument of their handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ...wire.action import Action
from ..rights import bits_of
from ..wire import Pairs, frame, header

if TYPE_CHECKING:
    from ..session import Session
    from ..simulator import Simulator

__all__ = ["HANDLERS", "Call", "Handler", "Item", "handler"]

Item = tuple[str, Pairs]
"""An event that is an item of a list: its name and its headers."""

_TRUE = {"yes", "true", "y", "t", "1", "on"}
_FALSE = {"no", "false", "n", "f", "0", "off"}


@dataclass(frozen=True, slots=True)
class Handler:
    """An action that the simulator knows."""

    name: str
    function: Callable[[Call], bytes | None]
    classes: str
    about: str
    versions: range

    @property
    def bits(self) -> int:
        """Bits of the classes of which any one is enough; 0 when every user may."""
        return bits_of(self.classes)


HANDLERS: dict[str, Handler] = {}
"""All handlers by the action's name in lower case."""

F = TypeVar("F", bound="Callable[[Call], bytes | None]")


def handler(name: str, classes: str = "", *, about: str, since: int = 0, until: int = 99) -> Callable[[F], F]:
    """Register the function that answers an action.

    The function returns the whole answer: response, list items and completion. If it returns :data:`None`, it calls
    :attr:`Call.release` with the answer later, and its session does nothing else before.

    Args:
        name: of the action.
        classes: comma-separated rights of which the user needs any one; empty for none.
        about: a few words for ``ListCommands``.
        since: first major version of Asterisk that has it.
        until: last major version of Asterisk that has it.

    """

    def register(function: F) -> F:
        HANDLERS[name.lower()] = Handler(name, function, classes, about, range(since, until + 1))
        return function

    return register


class Call:
    """An action that is being answered."""

    __slots__ = ("action", "id", "release", "session", "simulator")

    def __init__(
        self, action: Action, session: Session, simulator: Simulator, release: Callable[[bytes], object]
    ) -> None:
        self.action = action
        self.session = session
        self.simulator = simulator
        self.release = release
        self.id = header(action, "ActionID")

    # The action

    def get(self, name: str) -> str:
        """Return a header; empty if it is absent, which is the same to a server."""
        return header(self.action, name)

    def all(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value.lstrip(" ") for value in self.action.get_all(name)]

    def number(self, name: str, default: int = 0) -> int:
        """Return a header as a number, parsed like C's ``atoi``."""
        text = self.get(name)
        digits = text[:1] if text[:1] == "-" else ""
        for char in text[len(digits) :]:
            if not char.isdigit():
                break
            digits += char
        return int(digits) if digits not in ("", "-") else default

    def flag(self, name: str) -> bool:
        """Return True if a header has one of the spellings of true."""
        return self.get(name).lower() in _TRUE

    # The answer

    def response(self, status: str, *headers: tuple[str, object]) -> bytes:
        """Return the bytes of a response; headers that are :data:`None` are omitted."""
        return frame([("Response", status), ("ActionID", self.id or None), *headers])

    def success(self, message: str | None = None, *headers: tuple[str, object]) -> bytes:
        """Return the bytes of a ``Response: Success``."""
        return self.response("Success", ("Message", message), *headers)

    def error(self, message: str) -> bytes:
        """Return the bytes of a ``Response: Error``."""
        return self.response("Error", ("Message", message))

    def item(self, name: str, headers: Pairs, *, id_last: bool = False) -> bytes:
        """Return the bytes of an event of the answer, with the ActionID after its name or at its end."""
        action_id = ("ActionID", self.id or None)
        if id_last:
            return frame([("Event", name), *headers, action_id])
        return frame([("Event", name), action_id, *headers])

    def start(self, message: str, word: str = "start", *, uniform: bool = True) -> bytes:
        """Return the bytes of the response that begins a list.

        Args:
            message: what it says.
            word: what ``EventList`` says.
            uniform: whether it had that header before Asterisk 13.2, too.

        """
        event_list = word if uniform or self.simulator.major >= 13 else None
        return self.response("Success", ("EventList", event_list), ("Message", message))

    def complete(self, name: str, count: int, extra: Pairs = (), *, uniform: bool = True) -> bytes:
        """Return the bytes of the event that ends a list."""
        if not uniform and self.simulator.major < 13:
            return self.item(name, extra)
        return self.item(name, [("EventList", "Complete"), ("ListItems", count), *extra])

    def listing(
        self,
        message: str,
        items: Iterable[Item],
        complete: str,
        *,
        extra: Pairs = (),
        id_last: bool = False,
        uniform: bool = True,
    ) -> bytes:
        """Return the bytes of a whole list: its start, its items and its completion."""
        frames = [self.item(name, headers, id_last=id_last) for name, headers in items]
        frames.insert(0, self.start(message, uniform=uniform))
        frames.append(self.complete(complete, len(frames) - 1, extra, uniform=uniform))
        return b"".join(frames)
