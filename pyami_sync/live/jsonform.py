"""Conversion of entities of the live model to JSON and back.

The JSON form of an entity has its fields, with times as ISO 8601, and some derived values (a call's ``state`` and
``talking``, a queue's ``calls`` and ``longest_wait``), which are ignored when it is read back. The entities are plain
dataclasses, which pydantic supports: ``TypeAdapter(Queue)``.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, cast

from .calls import Call, CallRecord, Leg
from .draft import Change, Tables
from .entities import Channel, Conference, Queue
from .table import table_of
from .view import View

__all__ = ["from_json", "to_json", "view_from_json"]

T = TypeVar("T")
DERIVED: dict[type, tuple[str, ...]] = {
    Call: ("state", "direction", "started", "answered_at"),
    CallRecord: ("started", "answered_at", "ended_at", "ring_time", "talk_time", "hold_time", "queue_time", "cause"),
    Channel: ("local",),
    Conference: ("parties",),
    Leg: ("answered", "disposition"),
    Queue: ("calls", "longest_wait", "logged_in", "available"),
}
KINDS = (
    *("channels", "bridges", "calls", "queues", "conferences", "parking_lots", "parked", "devices", "extensions"),
    *("endpoints", "registrations", "mailboxes"),
)


def to_json(thing: Any) -> dict[str, Any]:
    """Return the JSON form of an entity, a record, a change or a whole view: a dict that :mod:`json` can write."""
    if isinstance(thing, View):
        made: dict[str, Any] = {
            name: {key: to_json(each) for key, each in getattr(thing, name).items()} for name in KINDS
        }
        about = {"version": thing.version, "health": thing.health, "age": thing.age, "node": thing.node}
        return {**about, "at": plain(thing.moment), **made}
    if isinstance(thing, Change):
        return {
            "kind": thing.kind.__name__,
            "before": plain(thing.before),
            "after": plain(thing.after),
            "event": thing.event.name if thing.event is not None else None,
            "inferred": thing.inferred,
            "at": plain(thing.at),
            "node": thing.node,
        }
    if not is_dataclass(thing):
        raise TypeError(f"the live model has no {type(thing).__name__}")
    made = {each.name: plain(getattr(thing, each.name)) for each in fields(thing) if each.name != "at" or each.compare}
    made.update((name, plain(getattr(thing, name))) for name in DERIVED.get(type(thing), ()))
    if isinstance(thing, Call):
        made["talking"] = [[leg.uniqueid for leg in group] for group in thing.talking]
    return made


def plain(value: Any) -> Any:
    """Return what JSON has for a value."""
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return to_json(value)
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value


@cache
def hints(cls: Any) -> dict[str, Any]:
    """Return the types of the fields of an entity."""
    known = typing.get_type_hints(cls)
    return {each.name: known[each.name] for each in fields(cls)}


def from_json(data: Mapping[str, Any], cls: type[T]) -> T:
    """Return the entity with a JSON form.

    Args:
        data: the result of :func:`to_json`, read back from JSON.
        cls: the class of the entity.

    Raises:
        ValueError: it is not the JSON of that class.

    """
    entity: Any = cls
    try:
        found = {name: made(data[name], hint) for name, hint in hints(entity).items() if name in data}
        return cast(T, entity(**found))
    except (TypeError, ValueError, KeyError) as exc:
        raise ValueError(f"this is no JSON of a {cls.__name__}: {exc}") from exc


def made(value: Any, hint: Any) -> Any:
    """Return the value of a field of that type."""
    if value is None:
        return None
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    if typing.get_origin(hint) is tuple:
        return tuple(made(each, typing.get_args(hint)[0]) for each in value)
    if hint is datetime:
        return datetime.fromisoformat(value)
    return from_json(value, hint) if is_dataclass(hint) and isinstance(hint, type) else value


def view_from_json(data: Mapping[str, Any]) -> View:
    """Return the view with a JSON form; a :class:`~pyami_sync.live.Reducer` can continue from it.

    Raises:
        ValueError: it is not the JSON of a view.

    """
    types_of = typing.get_type_hints(Tables)
    try:
        tables: dict[str, Any] = {}
        for name in KINDS:
            cls = typing.get_args(types_of[name])[0]
            tables[name] = table_of({key: from_json(each, cls) for key, each in data[name].items()})
        legs = ((leg, linkedid) for linkedid, call in tables["calls"].items() for leg in call.legs)
        tables["call_of"] = table_of({leg.uniqueid: linkedid for leg, linkedid in legs})
        tables["names"] = table_of({each.channel: each.uniqueid for each in tables["channels"].values()})
        waiting = ((caller, name) for name, queue in tables["queues"].items() for caller in queue.waiting)
        tables["queue_of"] = table_of({caller.uniqueid: name for caller, name in waiting})
        at = data["at"]
        when = datetime.fromisoformat(at) if at is not None else None
        return View(Tables(**tables, when=when), data["version"], node=data["node"])
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"this is no JSON of a view: {exc!r}") from exc
