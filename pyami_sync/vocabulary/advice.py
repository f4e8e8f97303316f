"""Warnings about probable mistakes: a typo in a header or an event's name, ``timeout`` for ``Timeout``.

A server silently ignores a header that it does not know, so a typo is hard to find. It causes a warning, never an
exception, because a server may know more headers than the catalogue does.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache

from . import markers
from .model import event_names, fields_of, load_actions

__all__ = ["TIMED", "advise", "advise_events", "advise_timeout", "is_header"]

MOST_SEEN = 1000
TIMED = frozenset({"absolutetimeout", "originate", "park", "waitevent"})
"""Actions that have a header ``Timeout``, in lower case. Written down here so that an action without headers loads no
catalogue; a test compares the two."""
ALIKE = 0.8  # of difflib's ratio; `Interfase` and `Interface` have 0.89
ALIKE_EVENTS = 0.85  # `Hangupp` and `Hangup` have 0.92, `Reload` and `Reloaded` 0.86
_seen: set[tuple[str, ...]] = set()
_seen_events: set[str] = set()


def advise(action: str, headers: Iterable[str], *, stacklevel: int = 3) -> None:
    """Warn of each header that looks like a typo of one that the action has.

    Each combination of an action and its headers is checked once in a process (twice if two threads check it at the
    same time). Any thread may call it.

    Args:
        action: name of the action.
        headers: names of its headers.
        stacklevel: as for :func:`warnings.warn`; 2 is the caller of this function.

    """
    names = (action, *headers)
    if names in _seen:
        return
    if len(_seen) >= MOST_SEEN:  # names may come from outside: bound the memory
        _seen.clear()
    _seen.add(names)
    known = _headers().get(action.lower())
    if known is None:
        return
    for header in names[1:]:
        folded = header.lower()
        if folded in known or folded == "actionid":
            continue
        near = get_close_matches(folded, known, n=1, cutoff=ALIKE)
        if near:
            warnings.warn(
                f"{action} has no header {header!r} that is known here; did you mean {known[near[0]]!r}?",
                stacklevel=stacklevel,
            )


def advise_timeout(action: str, headers: Iterable[str], timeout: object, *, stacklevel: int = 3) -> None:
    """Warn if ``timeout=`` was passed, but the action's header ``Timeout`` may have been meant.

    Args:
        action: name of the action.
        headers: names of its headers.
        timeout: the argument; only a number can be meant for the server.
        stacklevel: as for :func:`warnings.warn`; 2 is the caller of this function.

    """
    if (
        action.lower() in TIMED
        and isinstance(timeout, int | float)
        and not any(header.lower() == "timeout" for header in headers)
    ):
        warnings.warn(
            f"timeout={timeout:g} is how long the client waits for the answer to {action}; the header Timeout, which"
            " the action has as well, is not given: did you mean Timeout=…?",
            stacklevel=stacklevel,
        )


def is_header(action: str, header: str) -> bool:
    """Return True if an action is known to have a header of that name."""
    return header.lower() in _headers().get(action.lower(), {})


def advise_events(names: Iterable[object], *, stacklevel: int = 3) -> None:
    """Warn of each name that looks like a typo of an event's name.

    An unknown name alone is no mistake: modules of a server and the dialplan can send events of any name.

    Args:
        names: names of events; globs, and what is not a str, are skipped.
        stacklevel: as for :func:`warnings.warn`; 2 is the caller of this function.

    """
    for name in names:
        if not isinstance(name, str) or name in _seen_events:
            continue
        if len(_seen_events) >= MOST_SEEN:
            _seen_events.clear()
        _seen_events.add(name)
        folded, known = name.lower(), _event_names()
        if folded not in known and name.isidentifier():
            near = get_close_matches(folded, known, n=1, cutoff=ALIKE_EVENTS)
            if near:
                warnings.warn(
                    f"no event {name!r} is known here; did you mean {known[near[0]]!r}?", stacklevel=stacklevel
                )


@cache
def _event_names() -> dict[str, str]:
    """Return the spelling of all events, and of the markers, by their names in lower case."""
    own = (markers.ConnectionLost, markers.Reconnected)
    return {**event_names(), **{each.event_name.lower(): each.event_name for each in own}}


@cache
def _headers() -> dict[str, dict[str, str]]:
    """Return the spelling of each action's headers by their names, all in lower case."""
    return {
        each.action_name.lower(): {field.header.lower(): field.header for field in fields_of(each).values()}
        for each in load_actions()
    }
