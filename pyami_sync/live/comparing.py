"""Finds the differences between a model and fresh lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .draft import Change
from .entities import evolve

__all__ = ["differences"]

UNTOLD = {
    "Channel": ("application", "application_data", "priority"),
    "Bridge": ("bridge_technology",),
    "Conference": ("locked", "muted"),
    "QueueCaller": ("priority",),
    "ConferenceMember": ("marked_user", "wait_marked", "end_marked", "waiting"),
}
"""Fields that no event reports; lists may change them although the model is right."""


def differences(changes: Iterable[Change[Any]]) -> dict[tuple[str, str], Any]:
    """Return what lists would change in a model, by kind and key, apart from fields that no event reports."""
    found: dict[tuple[str, str], Any] = {}
    for change in changes:
        kind = change.kind.__name__
        if kind in ("Call", "CallRecord"):
            continue  # derived from channels, which are compared themselves
        before, after = change.before, change.after
        if before is not None and after is not None and plain(before) == plain(after):
            continue
        entity = after if after is not None else before
        key = getattr(entity, "uniqueid", None) or getattr(entity, "name", None) or repr(entity)
        found[kind, key] = (before, after)
    return found


def plain(entity: Any) -> Any:
    """Return an entity without the fields that no event reports."""
    drop = UNTOLD.get(type(entity).__name__, ())
    changes: dict[str, Any] = dict.fromkeys(drop)
    for name, value in vars(entity).items():
        if isinstance(value, tuple) and value and hasattr(value[0], "__dataclass_fields__"):
            changes[name] = frozenset(plain(each) for each in value)
    return evolve(entity, changes)
