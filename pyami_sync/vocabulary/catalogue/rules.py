"""How an action answers when it does not answer with one Response and nothing else: facts, applied elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["AnswerRule"]


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """How one action answers.

    Names are in lower case, because servers vary it.
    """

    shape: Literal["list", "event", "text", "window"]
    """What follows:

    * ``list``: items, then a closing event;
    * ``event``: one event behind the response and nothing that closes it;
    * ``text``: text without headers in place of a response, or nothing at all;
    * ``window``: whatever happens until the closing event (WaitEvent).
    """
    items: frozenset[str] = frozenset()
    """Names of the events that are its items."""
    complete: str = ""
    """Name of the event that closes it."""
    empty: tuple[str, ...] = ()
    """How the messages of those errors begin that only mean "there are none"."""
    fenced: bool = False
    """True if its answer, or a part of it, may be missing altogether, so that only the answer to a Ping sent
    behind it shows that nothing more comes."""
    items_without_id: bool = False
    """True if its items carry no ActionID and are known by their place between response and closing event."""
    glued: bool = False
    """True if items and closing event arrive as one message, each beginning with an ``Event`` line."""
    unmarked: bool = False
    """True if servers before 13.2 begin it with a plain Success, without ``EventList: start``."""
    bare_lf: bool = False
    """True if its items have a header line that ends in a bare LF (Agents)."""
