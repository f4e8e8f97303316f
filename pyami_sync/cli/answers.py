"""Prints an answer: its headers, its list as tables, its lines of output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .. import Message, Response
from .output import Output, clean, hide_secrets

__all__ = ["show_answer", "show_headers", "show_items"]

FRAME = {"response", "actionid", "message", "eventlist", "event", "listitems"}
"""Headers that are part of the protocol and not shown."""
WIDEST = 40
"""Longest value, in characters, for which a list is shown as a table and not as records."""


def show_answer(output: Output, response: Response, *, secrets: bool = False) -> None:
    """Print a whole answer, with ``secrets`` including its credentials."""
    if output.as_json:
        parts = (response, *response.events, *([response.complete] if response.complete is not None else ()))
        for part in parts:
            if secrets:
                output.record(part.to_dict())
            else:
                output.message(part)
        if response.output and "Output" not in response:
            output.record({"output": response.output})
        return
    shown = response if secrets else hide_secrets(response)
    said = [response["Response"]] if "Response" in response else []
    if shown.get("Message"):
        said.append(shown["Message"].strip())
    if said and not output.quiet:
        output.text(": ".join(said), style="green" if response.ok else "bold red")
    show_headers(output, shown, without=FRAME | {"output"})
    for line in response.output:
        output.text(line)
    if response.events or response.complete is not None:
        show_items(output, [item if secrets else hide_secrets(item) for item in response.events])


def show_headers(output: Output, message: Message, *, without: Iterable[str] = ()) -> None:
    """Print a message's headers, one a line, including repeated ones."""
    left_out = set(without)
    pairs = [(name, value) for name, value in message.items() if name.lower() not in left_out]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        if output.terminal:
            from rich.text import Text

            output.show(Text.assemble((f"{clean(name):>{width}}", "cyan"), "  ", clean(value)))
        else:
            output.text(f"{name}: {value}" if name else value)


def show_items(output: Output, items: Sequence[Message]) -> None:
    """Print the items of a list: a table for each kind of item, or records where a table would not fit."""
    kinds: dict[str, list[Message]] = {}
    for item in items:
        kinds.setdefault(item.get("Event", ""), []).append(item)
    for kind, found in kinds.items():
        columns = _columns(found)
        rows = [[", ".join(item.get_all(column)) for column in columns] for item in found]
        widths = [max(len(column), *(len(row[at]) for row in rows)) for at, column in enumerate(columns)]
        if not output.terminal or (sum(widths) + 2 * len(widths) <= output.console.width and max(widths) <= WIDEST):
            output.table(kind, columns, rows)
            continue
        for number, item in enumerate(found, 1):
            output.text(f"{kind} {number}", style="bold")
            show_headers(output, item, without=FRAME)
    if not items:
        output.note("none")
    elif output.terminal and not output.quiet:
        output.text(f"{len(items)} item{'s' if len(items) != 1 else ''}", style="dim")


def _columns(items: Sequence[Message]) -> list[str]:
    """Return the headers that have a value in any item, in the order of their first occurrence."""
    spelled: dict[str, str] = {}
    filled = set()
    for item in items:
        for name, value in item.items():
            if name and name.lower() not in FRAME:
                spelled.setdefault(name.lower(), name)
                if value:
                    filled.add(name.lower())
    return [name for key, name in spelled.items() if key in filled] or list(spelled.values())
