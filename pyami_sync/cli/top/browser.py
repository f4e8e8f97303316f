"""Browser: the state of the screen and the handling of keys; without terminal, threads or clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .listings import LISTINGS, Listing, Row, Views, now_of

__all__ = ["HELP", "Act", "Browser"]

HELP = (
    ("1 2 3 4, Tab", "calls, queues, agents, endpoints"),
    ("↑ ↓ j k, PgUp PgDn, Home End", "move the cursor"),
    ("Enter", "show details; Esc or Enter leaves"),
    ("s, S", "sort by the next column; reverse the order"),
    ("/", "show only rows with a text; Esc shows all"),
    ("h", "hang up the call under the cursor (asks first)"),
    ("p", "pause or unpause the agent under the cursor (asks first)"),
    ("Space", "hold the screen; again to continue"),
    ("?", "this help"),
    ("q", "end"),
)


@dataclass(frozen=True)
class Act:
    """An action on a server that the user has confirmed."""

    node: str
    action: str
    headers: dict[str, object]
    text: str


class Browser:
    """The state of the screen, which keys change."""

    def __init__(self) -> None:
        self.views: Views = {}
        self.at = 0  # index of the present listing
        self.cursor = 0
        self.offset = 0
        self.height = 10  # number of rows that fit; set before each drawing
        self.filter = ""
        self.mode = "browse"  # or filter, confirm, detail, help
        self.held = False
        self.ended = False
        self.message = ""
        self.detail: list[str] = []
        self.rows: list[Row] = []
        self._sorting = [(each.first, each.descending) for each in LISTINGS]
        self._asked: Act | None = None
        self._key: tuple[str, ...] | None = None

    @property
    def listing(self) -> Listing:
        """The present listing."""
        return LISTINGS[self.at]

    @property
    def sorting(self) -> tuple[int, bool]:
        """The column by which rows are sorted, and True for descending order."""
        return self._sorting[self.at]

    @property
    def visible(self) -> Sequence[Row]:
        """The rows on the screen."""
        return self.rows[self.offset : self.offset + self.height]

    @property
    def question(self) -> str:
        """The question to confirm before an action."""
        return self._asked.text if self._asked is not None else ""

    def look(self, views: Views, now: datetime | None = None) -> None:
        """Update the rows from new views, unless the screen is held; the cursor stays on its row."""
        if not self.held:
            self.views = views
        self._refresh(now or now_of(self.views))

    def _refresh(self, now: datetime | None = None) -> None:
        wanted = self.filter.lower()
        found = [
            row
            for row in self.listing.rows(self.views, now or now_of(self.views))
            if not wanted or any(wanted in cell.lower() for cell in (*row.cells, row.node))
        ]
        column, descending = self.sorting
        found.sort(key=lambda row: row.key)
        found.sort(key=lambda row: row.order[column], reverse=descending)
        self.rows = found
        if self._key is not None:
            self.cursor = next((at for at, row in enumerate(found) if row.key == self._key), self.cursor)
        self._move(0)

    def _move(self, by: int) -> None:
        self.cursor = max(0, min(len(self.rows) - 1, self.cursor + by))
        self.offset = max(0, min(self.offset, self.cursor, len(self.rows) - self.height))
        self.offset = max(self.offset, self.cursor - self.height + 1, 0)
        self._key = self.rows[self.cursor].key if self.rows else None

    @property
    def current(self) -> Row | None:
        """Return the row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    # Keys

    def press(self, key: str) -> Act | None:
        """Handle a key; return the action to send, if the key confirmed one."""
        return getattr(self, f"_{self.mode}")(key)  # type: ignore[no-any-return]

    def _browse(self, key: str) -> None:
        moves = {
            "up": -1,
            "k": -1,
            "down": 1,
            "j": 1,
            "pageup": -self.height,
            "pagedown": self.height,
            "home": -len(self.rows),
            "end": len(self.rows),
        }
        if key in moves:
            self._move(moves[key])
        elif key in ("1", "2", "3", "4"):
            self._show(int(key) - 1)
        elif key == "tab":
            self._show((self.at + 1) % len(LISTINGS))
        elif key in ("s", "S"):
            column, descending = self.sorting
            count = len(self.listing.columns)
            self._sorting[self.at] = (column, not descending) if key == "S" else ((column + 1) % count, False)
            self._refresh()
        elif key == "/":
            self.mode = "filter"
        elif key == "escape":
            self.filter = ""
            self._refresh()
        elif key == " ":
            self.held = not self.held
        elif key == "?":
            self.mode = "help"
        elif key == "q":
            self.ended = True
        elif key == "enter" and self.current is not None:
            self.detail = self.current.details()
            self.mode = "detail"
        elif key == "h":
            self._ask_hangup()
        elif key == "p":
            self._ask_pause()

    def _show(self, at: int) -> None:
        self.at, self.cursor, self.offset, self._key = at, 0, 0, None
        self._refresh()

    def _ask_hangup(self) -> None:
        row = self.current
        if row is None or row.hangup is None:
            self.message = "no call is under the cursor"
            return
        text = f"Hang up the call of {row.cells[0]} with {row.cells[1] or 'nobody yet'}?"
        self._asked = Act(row.node, "Hangup", {"Channel": row.hangup, "Cause": 16}, text)
        self.mode = "confirm"

    def _ask_pause(self) -> None:
        row = self.current
        if row is None or row.agent is None:
            self.message = "no agent is under the cursor"
            return
        interface, paused = row.agent
        text = f"{'Unpause' if paused else 'Pause'} {row.cells[0]} in all queues?"
        self._asked = Act(row.node, "QueuePause", {"Interface": interface, "Paused": not paused}, text)
        self.mode = "confirm"

    def _filter(self, key: str) -> None:
        if key in ("enter", "escape"):
            self.mode = "browse"
            if key == "escape":
                self.filter = ""
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self.filter += key
        self._key = None
        self.cursor = 0
        self._refresh()

    def _confirm(self, key: str) -> Act | None:
        asked, self._asked, self.mode = self._asked, None, "browse"
        if key.lower() == "y":
            return asked
        self.message = "nothing was done"
        return None

    def _detail(self, key: str) -> None:
        if key in ("escape", "enter", "q"):
            self.mode = "browse"

    def _help(self, key: str) -> None:
        self.mode = "browse"
