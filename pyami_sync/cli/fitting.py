"""Fits tables to narrow screens: drops the least important columns, then cuts values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .output import Output, clean, make_table

__all__ = ["WHOLE", "Form", "draw", "fit", "fitted_table", "show_table"]

GAP = 2
SHORTEST = 8
"""Default of the least width of a column, in characters."""

WHOLE = 1000
"""The least width of a column whose values are never cut."""


@dataclass(frozen=True)
class Form:
    """The form of a table.

    Args:
        numbers: headings of the columns to align right.
        least: least width of columns by heading; if there is none, long values are wrapped.
        dispensable: headings in the order in which columns are dropped on a narrow terminal.

    """

    numbers: Sequence[str] = ()
    least: Mapping[str, int] = field(default_factory=dict)
    dispensable: Sequence[str] = ()


def draw(output: Output, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], form: Form) -> Any:
    """Draw a table for a terminal."""
    if not form.least:
        return make_table(title, columns, rows, numbers=form.numbers)
    return fitted_table(title, columns, rows, output.console.width, form)


def show_table(
    output: Output, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], form: Form
) -> None:
    """Print a table: fitted to a terminal, or complete in a pipe."""
    if output.terminal:
        output.show(draw(output, title, columns, rows, form))
    else:
        output.table(title, columns, rows, numbers=form.numbers)


def fit(
    columns: Sequence[str],
    natural: Sequence[int],
    room: int,
    *,
    least: Mapping[str, int] | None = None,
    dispensable: Sequence[str] = (),
) -> dict[str, int]:
    """Choose columns and their widths.

    Args:
        columns: headings.
        natural: the width that each column needs.
        room: width that is available for all of them.
        least: least width of columns by heading.
        dispensable: headings in the order in which columns are dropped; after them the others, from the last on.

    """
    # A heading is never cut, because it explains the values below it.
    smallest = {
        column: max(len(column), min(width, (least or {}).get(column, SHORTEST)))
        for column, width in zip(columns, natural, strict=True)
    }
    widths = {column: max(len(column), width) for column, width in zip(columns, natural, strict=True)}

    def gaps() -> int:
        return GAP * (len(widths) - 1)

    for column in [*dispensable, *reversed([each for each in columns if each not in dispensable])]:
        if len(widths) == 1 or sum(smallest[each] for each in widths) + gaps() <= room:
            break
        del widths[column]
    while sum(widths.values()) + gaps() > room:
        spare = {each: width - smallest[each] for each, width in widths.items()}
        most = max(spare, key=lambda each: spare[each])
        if spare[most] <= 0:
            break
        widths[most] -= 1
    return widths


def fitted_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    room: int,
    form: Form,
) -> Any:
    """Return a rich table that is no wider than ``room``, with one line for each row; see :func:`fit`."""
    from rich.table import Table
    from rich.text import Text

    cells = [[value if isinstance(value, Text) else Text(clean(str(value))) for value in row] for row in rows]
    natural = [max((row[at].cell_len for row in cells), default=0) for at in range(len(columns))]
    widths = fit(columns, natural, room, least=form.least, dispensable=form.dispensable)
    right = set(form.numbers)
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="dim underline",
        box=None,
        padding=(0, GAP, 0, 0),
        pad_edge=False,
    )
    for column, width in widths.items():
        justify: Any = "right" if column in right else "left"
        table.add_column(column, justify=justify, width=width, no_wrap=True, overflow="ellipsis")
    places = [columns.index(column) for column in widths]
    for row in cells:
        table.add_row(*(row[at] for at in places))
    return table
