"""Parses the target of a call: an extension, an application or an AGI script."""

from __future__ import annotations

import re

__all__ = ["connect_headers", "dialplan_place"]

_APPLICATION = re.compile(r"([A-Za-z_]\w*)\((.*)\)", re.DOTALL)


def connect_headers(to: str) -> dict[str, str]:
    """Return the headers of Originate for ``"200@internal"``, ``"Playback(hello)"`` or ``"agi:async"``.

    Raises:
        ValueError: the text is none of these.

    """
    if to.lower().startswith(("agi:", "agi://", "hagi://")):
        return {"Application": "AGI", "Data": to}
    found = _APPLICATION.fullmatch(to)
    if found:
        return {"Application": found[1], "Data": found[2]} if found[2] else {"Application": found[1]}
    exten, context, priority = dialplan_place(to)
    return {"Context": context, "Exten": exten, "Priority": priority}


def dialplan_place(to: str) -> tuple[str, str, str]:
    """Return extension, context and priority of ``"exten@context"`` or ``"exten@context,priority"``.

    Raises:
        ValueError: the text has no context.

    """
    exten, separator, rest = to.rpartition("@")
    context, _, priority = rest.partition(",")
    if not (separator and exten and context):
        raise ValueError(
            f"{to!r} is no place in the dialplan: write 'extension@context', an application as 'Playback(hello)',"
            " or an AGI script as 'agi://host/script'"
        )
    return exten, context, priority or "1"
