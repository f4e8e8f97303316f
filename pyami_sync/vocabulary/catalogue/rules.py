"""The form of a rule for an action whose answer is more than one Response; :mod:`.answers` has the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["AnswerRule"]


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """The form of one action's answer.

    Names are in lower case, because servers differ in it.
    """

    shape: Literal["list", "event", "text", "window"]
    """What follows:

    * ``list``: items, then a closing event;
    * ``event``: one event after the response, and no closing event;
    * ``text``: text without headers in place of a response, or nothing at all;
    * ``window``: all events up to the closing event (WaitEvent).
    """
    items: frozenset[str] = frozenset()
    """Names of the events that are its items."""
    complete: str = ""
    """Name of the event that closes it."""
    empty: tuple[str, ...] = ()
    """Beginnings of the messages of errors that only mean that the list is empty."""
    fenced: bool = False
    """True if its answer, or a part of it, may be missing, so that only the answer to a Ping sent after it shows that
    nothing more follows.
    """
    items_without_id: bool = False
    """True if its items have no ActionID and are recognised by their place between response and closing event."""
    glued: bool = False
    """True if items and closing event arrive as one message, each beginning with an ``Event`` line."""
    unmarked: bool = False
    """True if servers before 13.2 begin it with a plain Success, without ``EventList: start``."""
    bare_lf: bool = False
    """True if its items have a header line that ends in a bare LF (Agents)."""
