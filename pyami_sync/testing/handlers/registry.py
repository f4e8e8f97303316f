"""The table of actions that the simulator knows, and what a handler of one works with."""

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
"""All of them by their names in lower case."""

F = TypeVar("F", bound="Callable[[Call], bytes | None]")


def handler(name: str, classes: str = "", *, about: str, since: int = 0, until: int = 99) -> Callable[[F], F]:
    """Register what answers an action.

    The function gives the whole answer: response, list items and completion. :data:`None` means that it will
    call :attr:`Call.release` with the answer later, and that its session does nothing else before.

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
    """One action being answered."""

    __slots__ = ("action", "id", "release", "session", "simulator")

    def __init__(
        self, action: Action, session: Session, simulator: Simulator, release: Callable[[bytes], object]
    ) -> None:
        self.action = action
        self.session = session
        self.simulator = simulator
        self.release = release
        self.id = header(action, "ActionID")

    # The question

    def get(self, name: str) -> str:
        """A header; empty when it is not there, which is the same to a server."""
        return header(self.action, name)

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value.lstrip(" ") for value in self.action.get_all(name)]

    def number(self, name: str, default: int = 0) -> int:
        """A header as a number, read as C's ``atoi`` does."""
        text = self.get(name)
        digits = text[:1] if text[:1] == "-" else ""
        for char in text[len(digits) :]:
            if not char.isdigit():
                break
            digits += char
        return int(digits) if digits not in ("", "-") else default

    def flag(self, name: str) -> bool:
        """Whether a header is true; what is neither true nor false is false."""
        return self.get(name).lower() in _TRUE

    # The answer

    def response(self, status: str, *headers: tuple[str, object]) -> bytes:
        """Spell a response; headers that are :data:`None` are left out."""
        return frame([("Response", status), ("ActionID", self.id or None), *headers])

    def success(self, message: str | None = None, *headers: tuple[str, object]) -> bytes:
        """Spell ``Response: Success``."""
        return self.response("Success", ("Message", message), *headers)

    def error(self, message: str) -> bytes:
        """Spell ``Response: Error``."""
        return self.response("Error", ("Message", message))

    def item(self, name: str, headers: Pairs, *, id_last: bool = False) -> bytes:
        """Spell an event that answers this action, with the ActionID behind its name or at its end."""
        action_id = ("ActionID", self.id or None)
        if id_last:
            return frame([("Event", name), *headers, action_id])
        return frame([("Event", name), action_id, *headers])

    def start(self, message: str, word: str = "start", *, uniform: bool = True) -> bytes:
        """Spell the response that begins a list.

        Args:
            message: what it says.
            word: what ``EventList`` says.
            uniform: whether it had that header before Asterisk 13.2, too.

        """
        event_list = word if uniform or self.simulator.major >= 13 else None
        return self.response("Success", ("EventList", event_list), ("Message", message))

    def complete(self, name: str, count: int, extra: Pairs = (), *, uniform: bool = True) -> bytes:
        """Spell the event that ends a list."""
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
        """Spell a whole list: its start, its items and its completion."""
        frames = [self.item(name, headers, id_last=id_last) for name, headers in items]
        frames.insert(0, self.start(message, uniform=uniform))
        frames.append(self.complete(complete, len(frames) - 1, extra, uniform=uniform))
        return b"".join(frames)
