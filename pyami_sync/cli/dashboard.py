"""What ``top`` shows: calls, queues and the rates of events, measured and drawn."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .. import Event
from ..client import AMIClient
from ..exceptions import AMIError
from ..session import State
from .fitting import Form, fitted_table
from .output import Output, clean
from .tables import CHANNEL_FORM, Row, channel_rows, queue_rows, read_channels, read_queues

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Dashboard"]

HISTORY = 60
BARS = " ▁▂▃▄▅▆▇█"
QUEUE_COLUMNS = ["Queue", "Callers", "Longest", "Free", "Members"]
ROOM_BEFORE_RATES = 60
"""Characters that stand before the chart of the rates, about."""
SHARE = 5.0
"""Looking at a server may take at most this part of the time: one fifth."""


@dataclass
class Picture:
    """One moment."""

    at: float = 0.0
    rate: float = 0.0
    """Events per second since the picture before."""
    total: int = 0
    lost: int = 0
    round_trip: float | None = None
    channels: list[Row] = field(default_factory=list)
    queues: list[Row] = field(default_factory=list)
    names: list[tuple[str, float, int]] = field(default_factory=list)
    """Name, events per second and number of each kind of event, the most frequent first."""
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """Channels that belong together are one call."""
        return len({row["linkedid"] or row["uniqueid"] for row in self.channels})

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds"),
            "events_per_second": round(self.rate, 1),
            "events": self.total,
            "lost": self.lost,
            "round_trip_ms": None if self.round_trip is None else round(self.round_trip * 1000, 3),
            "calls": self.calls,
            "channels": len(self.channels),
            "queues": [{name: row[name] for name in row if not name.endswith("_list")} for row in self.queues],
            "names": {name: count for name, _, count in self.names},
            "errors": self.errors,
        }


class Dashboard:
    """Counts events as they come, and asks for the rest.

    Args:
        client: connected, with events.

    """

    def __init__(self, client: AMIClient) -> None:
        self.client = client
        self.rates: deque[float] = deque(maxlen=HISTORY)
        self._counts: Counter[str] = Counter()
        # Only counted, on a thread of its own, so a thousand events in a second cost no screen a moment.
        self._subscription = client.on(self._count, overflow="drop_oldest")
        self._before: Counter[str] = Counter()
        self._measured = time.monotonic()
        self._cost = 0.0
        self._asked = 0.0
        self._picture = Picture()

    def _count(self, event: Event) -> None:
        if "Privilege" in event:  # items of our own lists have none
            self._counts[event.name] += 1

    def look(self) -> Picture:
        """Measure; asks the server, unless that would take too much of its time."""
        now = time.monotonic()
        passed = max(1e-3, now - self._measured)
        counts = Counter(self._counts)
        made = counts - self._before
        old = self._picture
        picture = Picture(
            time.time(),
            sum(made.values()) / passed,
            sum(counts.values()),
            self._subscription.lost,
            old.round_trip,
            old.channels,
            old.queues,
            [(name, made[name] / passed, count) for name, count in counts.most_common()],
            old.errors,
        )
        self._before, self._measured = counts, now
        self.rates.append(picture.rate)
        if now - self._asked >= SHARE * self._cost:
            self._ask(picture)
            self._asked = time.monotonic()
            self._cost = self._asked - now
        self._picture = picture
        return picture

    def _ask(self, picture: Picture) -> None:
        picture.errors = {}

        def attempt(what: str, ask: Callable[[], Any]) -> Any:
            try:
                return ask()
            except AMIError as exc:
                if self.client.state is State.CLOSED:
                    raise
                picture.errors[what] = str(exc)
                return None

        # Without a link each of them would wait for it in turn.
        if self.client.state is not State.CONNECTED:
            picture.errors["server"] = "the connection is lost; trying to come back"
            return
        picture.round_trip = attempt("server", self.client.ping)
        picture.channels = attempt("channels", lambda: read_channels(self.client)) or []
        picture.queues = attempt("queues", lambda: read_queues(self.client)) or []

    # Drawing

    def draw(self, output: Output, picture: Picture, where: str) -> RenderableType:
        """Draw a picture to fit the screen: queues beside events, and below them channels over the whole width."""
        from rich.layout import Layout
        from rich.text import Text

        width, height = output.console.size
        trip = "" if picture.round_trip is None else f"   ping {picture.round_trip * 1000:.1f} ms"
        lost = f"   {picture.lost} not counted" if picture.lost else ""
        rates = sparkline(self.rates)
        head = Text.assemble(
            (where, "bold"),
            f"   {datetime.now():%H:%M:%S}{trip}{lost}   ",
            ("q ends, p pauses", "dim"),
            "\n",
            (f"{picture.calls} calls", "bold green"),
            f"   {len(picture.channels)} channels   ",
            (f"{picture.rate:.0f} events/s", "bold yellow"),
            f"   {picture.total} in all   {rates[-max(1, width - ROOM_BEFORE_RATES) :]}\n",
            no_wrap=True,
            overflow="ellipsis",
        )
        errors = Text("\n".join(f"{what}: {clean(error)}" for what, error in picture.errors.items()), "red")
        told = len(errors.wrap(output.console, width)) if errors else 0
        room = max(2, height - 3 - told)
        upper = max(1, min(max(len(picture.queues), len(picture.names)), room // 3 - 1))
        lower = max(1, room - upper - 2 - 1 - 2)  # behind titles, headings and a blank line

        columns, cells = channel_rows(output, sorted(picture.channels, key=lambda row: row["duration"], reverse=True))
        queue_columns, queue_cells = queue_rows(sorted(picture.queues, key=lambda row: row["callers"], reverse=True))
        places = [queue_columns.index(each) for each in QUEUE_COLUMNS]
        queues = [[row[at] for at in places] for row in queue_cells]
        left = min(60, (width - 2) * 4 // 7)
        names = [(name, f"{rate:.1f}", count) for name, rate, count in picture.names]

        layout = Layout()
        layout.split_column(
            Layout(head, size=3),
            Layout(errors, size=told, visible=bool(told)),
            Layout(name="upper", size=upper + 3),
            Layout(
                fitted_table(
                    _title("Channels", cells, lower),
                    columns,
                    cells[:lower],
                    width,
                    replace(CHANNEL_FORM, least={**CHANNEL_FORM.least, "Channel": 20}),
                )
            ),
        )
        layout["upper"].split_row(
            Layout(
                fitted_table(
                    _title("Queues", queues, upper), QUEUE_COLUMNS, queues[:upper], left, Form(QUEUE_COLUMNS[1:])
                ),
                size=left + 2,
            ),
            Layout(
                fitted_table(
                    _title("Events", names, upper),
                    ["Event", "Per s", "Number"],
                    names[:upper],
                    width - left - 2,
                    Form(["Per s", "Number"]),
                )
            ),
        )
        return layout


def _title(text: str, rows: Sequence[object], shown: int) -> str:
    """A table's title: what it is, and how much of it there is room for."""
    return f"{text}, {shown} of {len(rows)}" if len(rows) > shown else text


def sparkline(values: deque[float]) -> str:
    """A tiny chart of the latest values."""
    most = max(values, default=0.0)
    return "".join(BARS[round((len(BARS) - 1) * each / most)] if most else BARS[0] for each in values)
