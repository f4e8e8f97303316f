"""The reducer: applies events to the model and returns the changes. No I/O, no clock, no threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from ..wire.message import Event
from .areas import Area, choose
from .draft import Change, Draft, Headers, Tables
from .legs import close_calls
from .merging import Lists, settle
from .table import Editor
from .view import View

__all__ = ["Reducer", "apply", "headers_of", "replay"]


def headers_of(event: Event) -> Headers:
    """Return the headers of an event as a dict; the first value of a repeated header."""
    text = event._raw.decode(event._origin[0], "surrogateescape")
    try:
        return dict([line.split(": ", 1) for line in reversed(text.split("\r\n"))])
    except ValueError:  # a line without colon or blank
        made: Headers = {}
        for name, value in event.items():
            made.setdefault(name, value)
        return made


class Reducer:
    """A model to which events are applied one after the other. One thread at a time may use it.

    Args:
        areas: names of the areas to include; all of them if none is given.
        view: the view to continue from.
        node: id of the node that the events come from, in a cluster.

    """

    def __init__(self, *areas: str, view: View | None = None, node: str | None = None) -> None:
        self.areas: tuple[Area, ...] = choose(areas)
        self.handlers: dict[str, tuple[Callable[[Draft, Headers], None], ...]] = {}
        for area in self.areas:
            for name, handler in area.handlers.items():
                self.handlers[name] = (*self.handlers.get(name, ()), handler)
        self.draft = Draft(view.tables if view is not None else None, node)
        self.version = view.version if view is not None else 0

    def apply(self, event: Event) -> list[Change[Any]]:
        """Apply an event and return the changes; unknown events change nothing."""
        handlers = self.handlers.get(event.name)
        if handlers is None:
            return []
        draft = self.draft
        headers = headers_of(event)
        draft.begin(event, headers)
        for handler in handlers:
            handler(draft, headers)
        if draft.ended:
            close_calls(draft)
        if not draft.changes:
            return []
        self.version += 1
        return draft.take_changes()

    def merge(self, lists: dict[str, Lists], when: datetime | None, *, inferred: bool = False) -> list[Change[Any]]:
        """Merge the lists of areas and return the changes.

        Args:
            lists: the lists, by the area's name.
            when: the server's time.
            inferred: True if the areas were loaded before, so that differences are changes without events.

        """
        return self._without_event(lambda draft: self._merge(draft, lists), when, inferred)

    def _merge(self, draft: Draft, lists: dict[str, Lists]) -> None:
        for area in self.areas:
            if area.name in lists:
                area.merge(draft, lists[area.name])

    def settle(self, when: datetime | None, *, inferred: bool = True) -> list[Change[Any]]:
        """Remove the channels that were missing in the last list and have not been hung up by an event since."""
        return self._without_event(settle, when, inferred)

    def _without_event(
        self, change: Callable[[Draft], None], when: datetime | None, inferred: bool
    ) -> list[Change[Any]]:
        draft = self.draft
        draft.begin(None, None, when)
        draft.inferred = inferred
        try:
            change(draft)
            close_calls(draft)
        finally:
            draft.inferred = False
        if draft.changes:
            self.version += 1
        return draft.take_changes()

    def mark_gap(self) -> None:
        """Note that events are missing; present calls are marked as incomplete."""
        draft = self.draft
        for call in draft.calls.values():
            if call.from_start:
                draft.calls.put(call.linkedid, call.incomplete())

    def clear(self) -> None:
        """Forget the tombstones: a restarted server assigns new unique ids."""
        self.draft.gone, self.draft.gone_before = Editor(Tables().gone), Editor(Tables().gone)

    def view(self) -> View:
        """Return an immutable view, in constant time."""
        return View(self.draft.freeze(), self.version, node=self.draft.node)


def apply(view: View, event: Event) -> tuple[View, list[Change[Any]]]:
    """Return the view after an event, and the changes; the given view is not modified.

    A :class:`Reducer` does the same for many events in less time.
    """
    reducer = Reducer(view=view)
    changes = reducer.apply(event)
    return reducer.view(), changes


def replay(events: Iterable[Event], *areas: str) -> Iterator[tuple[View, list[Change[Any]]]]:
    """Apply recorded events to a new model; yield the view and the changes after each event that changed something.

    Markers of gaps in the recording (ConnectionLost) mark the present calls as incomplete, as in a live model.
    """
    reducer = Reducer(*areas)
    for event in events:
        if event.name == "ConnectionLost":
            reducer.mark_gap()
        changes = reducer.apply(event)
        if changes:
            yield reducer.view(), changes
