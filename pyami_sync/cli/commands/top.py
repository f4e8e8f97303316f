"""``top``: a live view of one server."""

from __future__ import annotations

import time

import click

from ..dashboard import Dashboard
from ..exits import OK
from ..program import Command
from ..screen import FullScreen
from ..settings import Settings, connecting, pass_settings
from ..types import DURATION

__all__ = ["top"]


@click.command(cls=Command, examples=["top", "top --every 500ms", "top --json --every 1m >> load.jsonl"])
@click.option("--every", type=DURATION, default="1s", show_default=True, metavar="TIME", help="How often to look.")
@click.option("-n", "--count", type=click.IntRange(1), help="Stop after so many looks.")
@pass_settings
def top(settings: Settings, every: float, count: int | None) -> int:
    """Show calls, queues and events per second, live, until q or Ctrl-C.

    In a pipe, or on a terminal that can't be drawn on, this prints a line for each look.
    """
    output = settings.output
    with settings.connect(events=True, stay=True) as client:
        where = connecting(client)
        board = Dashboard(client)
        left = count
        if output.full_screen:
            with FullScreen(output.console) as screen:
                paused = False
                while left is None or left > 0:
                    if not paused:
                        screen.show(board.draw(output, board.look(), where))
                        left = None if left is None else left - 1
                    key = screen.key(every).lower()
                    if key == "q":
                        break
                    paused ^= key == "p"
            return OK
        while left is None or left > 0:
            time.sleep(every)
            picture = board.look()
            if output.as_json:
                output.record(picture.to_dict())
            else:
                output.text(
                    f"{picture.calls} calls, {len(picture.channels)} channels, {picture.rate:.0f} events/s,"
                    f" {sum(row['callers'] for row in picture.queues)} callers in {len(picture.queues)} queues"
                )
            output.flush()
            left = None if left is None else left - 1
    return OK
