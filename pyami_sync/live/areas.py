"""The areas of the model, with the events and lists that each needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import bridges, channels, conferences, devices, merging, parking, queues
from .draft import Draft, Headers
from .merging import Ask, Lists

__all__ = ["AREAS", "Area", "choose", "event_mask"]


@dataclass(frozen=True)
class Area:
    """A part of the model that can be loaded separately.

    Attributes:
        name: its name.
        handlers: the handlers of the events that change it, by the event's name.
        ask: fetches its lists from the server.
        merge: merges them into the model.
        classes: classes of its events, for an event mask.

    """

    name: str
    handlers: dict[str, Callable[[Draft, Headers], None]]
    ask: Callable[[Ask], Lists]
    merge: Callable[[Draft, Lists], None]
    classes: tuple[str, ...]


def on_reload(d: Draft, h: Headers) -> None:
    """Request fresh lists after a module was reloaded, since few events report what that changed."""
    d.stale.update(name for name in AREAS if name != "calls")


RELOAD: dict[str, Callable[[Draft, Headers], None]] = {"Reload": on_reload}
AREAS: dict[str, Area] = {
    each.name: each
    for each in (
        Area(
            "calls",
            {**channels.HANDLERS, **bridges.HANDLERS},
            merging.ask_calls,
            merging.merge_calls,
            ("call", "dialplan"),
        ),
        Area("queues", queues.HANDLERS | RELOAD, merging.ask_queues, merging.merge_queues, ("agent", "call")),
        Area(
            "conferences", conferences.HANDLERS | RELOAD, merging.ask_conferences, merging.merge_conferences, ("call",)
        ),
        Area("parking", parking.HANDLERS | RELOAD, merging.ask_parking, merging.merge_parking, ("call",)),
        Area("devices", devices.DEVICES, merging.ask_devices, merging.merge_devices, ("call",)),
        Area("extensions", devices.EXTENSIONS | RELOAD, merging.ask_extensions, merging.merge_extensions, ("call",)),
        Area("endpoints", devices.ENDPOINTS | RELOAD, merging.ask_endpoints, merging.merge_endpoints, ("system",)),
        Area("mailboxes", devices.MAILBOXES, merging.ask_mailboxes, merging.merge_mailboxes, ("call",)),
    )
}
ALIASES = {"channels": "calls", "bridges": "calls", "parked": "parking", "parking_lots": "parking"}
ALIASES |= {"registrations": "endpoints", "mwi": "mailboxes"}


def choose(names: Iterable[str]) -> tuple[Area, ...]:
    """Return the areas with these names; without names, all areas.

    Raises:
        ValueError: there is no area of that name.

    """
    wanted = {ALIASES.get(name, name) for name in names}
    unknown = sorted(wanted - set(AREAS))
    if unknown:
        raise ValueError(f"the live model has no {unknown[0]!r}, but {', '.join(AREAS)}")
    return tuple(area for name, area in AREAS.items() if not wanted or name in wanted)


def event_mask(*names: str) -> str:
    """Return the event mask for a session that is used only for a live model of these areas.

    ::

        with connect(event_mask=event_mask("queues")) as ami, ami.live("queues") as live:
            ...

    With it the server sends only the classes of events that the model needs. ``system`` is always included, for
    FullyBooted, which shows when a restarted server is ready.
    """
    classes = {each for area in choose(names) for each in area.classes}
    return ",".join(sorted({*classes, "system"}))
