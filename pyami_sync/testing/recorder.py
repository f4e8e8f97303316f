"""Actions: the actions that the code under test has sent, and checks of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, overload

from ..engine.deadline import Deadline
from ..wire.action import Action

__all__ = ["Actions"]


class Actions(Sequence[Action]):
    """The actions that arrived, oldest first. May be read from any thread while more arrive.

    Names and headers are compared without case. A header's expected value may be a glob (``"PJSIP/*"``); values that
    are not str are compared as text, and True and False in the client's spelling.
    """

    def __init__(self) -> None:
        self._actions: list[Action] = []
        self._change = threading.Condition()

    def add(self, action: Action) -> None:
        """Add an action."""
        with self._change:
            self._actions.append(action)
            self._change.notify_all()

    def clear(self) -> None:
        """Forget them all."""
        with self._change:
            self._actions.clear()

    def __len__(self) -> int:
        return len(self._actions)

    @overload
    def __getitem__(self, index: int) -> Action: ...
    @overload
    def __getitem__(self, index: slice) -> list[Action]: ...
    def __getitem__(self, index: int | slice) -> Action | list[Action]:
        return self._actions[index]

    def __iter__(self) -> Iterator[Action]:
        return iter(self._actions[:])

    def __repr__(self) -> str:
        return f"<Actions {self.names()}>"

    def names(self) -> list[str]:
        """The names of the actions, in order."""
        return [action.name for action in self]

    def find(self, name: str | None = None, **headers: Any) -> list[Action]:
        """Return the actions with that name and those headers."""
        return [action for action in self if not mismatch(action, name, headers)]

    def wait_for(self, name: str, timeout: float = 5.0, *, count: int = 1, **headers: Any) -> Action:
        """Wait until ``count`` such actions have arrived, counted from the start; return the last of these.

        Raises:
            AssertionError: they did not arrive within ``timeout`` seconds; it lists what did.

        """
        deadline = Deadline(timeout)
        with self._change:
            while True:
                found = self.find(name, **headers)
                if len(found) >= count:
                    return found[count - 1]
                if deadline.expired:
                    raise AssertionError(
                        f"{_wanted(name, headers)} was not sent within {timeout:g} s{self._report(name, headers)}"
                    )
                self._change.wait(deadline.remaining())

    def assert_sent(self, name: str, times: int | None = None, **headers: Any) -> Action:
        """Check that an action has arrived; return the last one that matches.

        Args:
            name: of the action.
            times: the exact number of times; :data:`None` for at least once.
            headers: the expected headers.

        Raises:
            AssertionError: it has not arrived; the message lists similar actions and their differences.

        """
        found = self.find(name, **headers)
        if not found or (times is not None and len(found) != times):
            often = "" if times is None else f" {times} time(s), but {len(found)}"
            raise AssertionError(f"{_wanted(name, headers)} was not sent{often}{self._report(name, headers)}")
        return found[-1]

    def assert_not_sent(self, name: str, **headers: Any) -> None:
        """Check that no such action has arrived.

        Raises:
            AssertionError: one has.

        """
        found = self.find(name, **headers)
        if found:
            shown = "".join(f"\n  {action!r}" for action in found[:5])
            raise AssertionError(f"{_wanted(name, headers)} was sent {len(found)} time(s):{shown}")

    def _report(self, name: str, headers: dict[str, Any]) -> str:
        near = self.find(name)
        if near:
            lines = [f"\n  {action!r}\n    {mismatch(action, name, headers)}" for action in near[-5:]]
            return "; of that name came:" + "".join(lines)
        names = self.names()
        return f"; what came: {', '.join(names[-20:])}" if names else "; nothing was sent at all"


def mismatch(action: Action, name: str | None, headers: dict[str, Any]) -> str:
    """Return how an action differs from the expected one; empty if it does not."""
    if name is not None and action.name.lower() != name.lower():
        return f"it is {action.name}"
    for header, wanted in headers.items():
        if wanted is None:
            if header in action:
                return f"it has {header}={action[header]!r}"
            continue
        text = {True: "yes", False: "no"}[wanted] if isinstance(wanted, bool) else str(wanted)
        found = action.get_all(header)
        if not found:
            return f"it has no {header}"
        if text not in found and not any(fnmatchcase(value, text) for value in found):
            return f"{header} is {', '.join(map(repr, found))}, not {text!r}"
    return ""


def _wanted(name: str, headers: dict[str, Any]) -> str:
    return name + (f" with {', '.join(f'{key}={value!r}' for key, value in headers.items())}" if headers else "")
