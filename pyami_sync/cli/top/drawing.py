"""Draws the screen of ``top`` with rich."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ..fitting import fit
from ..output import clean
from .browser import HELP, Browser
from .listings import LISTINGS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

__all__ = ["draw"]

HEAD, FOOT = 3, 1  # lines above and below the rows, without the headings of the columns
HEALTH = {"consistent": "green", "loading": "yellow", "gap": "bold red"}
KEYS = "? help  / filter  s sort  Enter details  Space hold  q end"


def draw(browser: Browser, where: str, rate: float, width: int, height: int, at: datetime) -> RenderableType:
    """Return the screen of a browser, fitted to the terminal."""
    from rich.console import Group

    browser.height = max(1, height - HEAD - FOOT - 1)
    browser._move(0)  # the terminal may have become smaller
    lines: list[Text] = [*head(browser, where, rate, at)]
    if browser.mode == "help":
        body = help_lines()
    elif browser.mode == "detail":
        body = [line(text) for text in browser.detail]
    else:
        body = table(browser, width)
    body = body[: browser.height + 1]
    body += [line("")] * (browser.height + 1 - len(body))
    lines += body
    lines.append(foot(browser))
    for each in lines:
        each.truncate(width, overflow="ellipsis")
        each.no_wrap = True
    return Group(*lines)


def line(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(clean(text), style)


def head(browser: Browser, where: str, rate: float, at: datetime) -> list[Text]:
    from rich.text import Text

    first = Text.assemble((clean(where), "bold"), f"  {at:%H:%M:%S}  {rate:.0f} events/s  ")
    for node, view in sorted(browser.views.items()):
        text = {"consistent": "current", "gap": f"connection lost {view.age:.0f} s ago"}.get(view.health, view.health)
        first.append(f"{node + ': ' if node else ''}{text} ", HEALTH.get(view.health, ""))
    if browser.held:
        first.append(" HELD ", "reverse yellow")
    tabs = Text()
    for at_, listing in enumerate(LISTINGS):
        count = len(browser.rows) if at_ == browser.at else sum(1 for _ in listing.rows(browser.views, at))
        tabs.append(f" {at_ + 1} {listing.title} {count} ", "reverse" if at_ == browser.at else "")
        tabs.append(" ")
    return [first, tabs, line(f"showing only {browser.filter!r}" if browser.filter else "", "cyan")]


def table(browser: Browser, width: int) -> list[Text]:
    from rich.text import Text

    listing, rows = browser.listing, browser.visible
    several = len(browser.views) > 1
    columns = [*listing.columns, *(["Server"] if several else [])]
    column, descending = browser.sorting
    titles = [name + (" ↓" if descending else " ↑") if at == column else name for at, name in enumerate(columns)]
    cells = [[clean(cell) for cell in (*row.cells, *([row.node] if several else []))] for row in rows]
    natural = [max([cell_length(row[at]) for row in cells], default=0) for at in range(len(columns))]
    widths = fit(titles, natural, width, least={titles[0]: 12})
    places = [titles.index(each) for each in widths]
    right = {titles[columns.index(each)] for each in listing.numbers}

    def make(values: list[str], style: str) -> Text:
        made = Text("", style)
        for title, at in zip(widths, places, strict=True):
            cell = Text(values[at])
            cell.truncate(widths[title], overflow="ellipsis")
            pad = " " * (widths[title] - cell.cell_len)
            made.append(("  " if made.plain else "") + (pad + cell.plain if title in right else cell.plain + pad))
        return made

    lines = [make(titles, "bold underline")]
    for at, (row, values) in enumerate(zip(rows, cells, strict=True)):
        selected = browser.offset + at == browser.cursor
        lines.append(make(values, f"{row.style} reverse".strip() if selected else row.style))
    if not rows:
        lines.append(line("none" if not browser.filter else "no row contains that", "dim"))
    return lines


def cell_length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def help_lines() -> list[Text]:
    from rich.text import Text

    width = max(len(keys) for keys, _ in HELP)
    return [Text.assemble((keys.ljust(width + 2), "bold"), text) for keys, text in HELP]


def foot(browser: Browser) -> Text:
    if browser.mode == "confirm":
        return line(f"{browser.question}  y: yes, any other key: no", "bold yellow")
    if browser.mode == "filter":
        return line(f"/{browser.filter}_  Enter keeps it, Esc shows all", "bold")
    if browser.mode in ("detail", "help"):
        return line("Esc goes back", "dim")
    return line(browser.message or KEYS, "cyan" if browser.message else "dim")
