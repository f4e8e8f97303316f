"""Variables: a channel's variables, and functions of the dialplan, as a mapping."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["Variables"]


class Variables(MutableMapping[str, str]):
    """The variables of one channel; each access and each assignment sends an action and blocks.

    Functions of the dialplan can be read and set, too (``variables["CDR(accountcode)"]``). Asterisk does not
    distinguish a variable that is not set from an empty one: both are ``""``. Iterating yields the names of the
    channel's variables, without functions.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __getitem__(self, name: str) -> str:
        return self._channel.request("Getvar", Variable=name).get("Value") or ""

    def __setitem__(self, name: str, value: str) -> None:
        self._channel.request("Setvar", Variable=name, Value=value)

    def __delitem__(self, name: str) -> None:
        self[name] = ""

    def _all(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for event in self._channel.request("Status", AllVariables=True).events:
            for text in event.get_all("Variable"):
                name, _, value = text.partition("=")
                found[name] = value
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self[name])
