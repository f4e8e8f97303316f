"""FullScreen: a full-screen display that restores the terminal when it ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["FullScreen"]

SLICE = 0.1  # seconds between two checks for a signal's request
SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "[5~": "pageup",
    "[6~": "pagedown",
    "[H": "home",
    "[F": "end",
    "[1~": "home",
    "[4~": "end",
    "OA": "up",
    "OB": "down",
    "OH": "home",
    "OF": "end",
}
"""Keys that terminals send as an escape sequence, by the characters after the escape."""
NAMES = {"\x1b": "escape", "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace"}


class FullScreen:
    """The terminal's alternate screen, for the length of a ``with`` block; Ctrl-Z suspends it.

    The screen, the cursor and the keyboard are always restored at the end.

    Args:
        console: a console on a terminal that can move its cursor.

    """

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False)
        self._keys = sys.stdin.isatty()
        self._settings: list[Any] | None = None
        self._handler: Any = None
        self._suspend_asked = False
        self._typed = ""

    def __enter__(self) -> Self:
        self._take()
        if hasattr(signal, "SIGTSTP"):
            self._handler = signal.signal(signal.SIGTSTP, self._ask_suspend)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._give_back()
        if self._handler is not None:
            signal.signal(signal.SIGTSTP, self._handler)

    def _take(self) -> None:
        if self._keys:
            import termios
            import tty

            self._settings = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        self._live.start()

    def _give_back(self) -> None:
        # The terminal has gone, such as after a hang-up: there is nothing to restore.
        with contextlib.suppress(OSError):
            self._live.stop()
        if self._settings is not None:
            import termios

            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._settings)
            self._settings = None

    def _ask_suspend(self, number: int, frame: FrameType | None) -> None:
        self._suspend_asked = True  # not in the handler: the screen may be half drawn

    def _suspend(self) -> None:
        self._suspend_asked = False
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)  # stops here until `fg`
        self._take()

    def show(self, renderable: RenderableType) -> None:
        """Draw a renderable; parts that do not fit are cut."""
        self._live.update(renderable, refresh=True)

    def key(self, seconds: float) -> str:
        """Wait at most ``seconds`` for a key and return it: a character, a name such as ``up`` or ``enter``, or an
        empty str.

        A key that was pressed before is returned even if ``seconds`` is 0.
        """
        until = time.monotonic() + seconds
        while not self._typed:
            if self._suspend_asked:
                self._suspend()
                return "\f"  # draw again
            left = max(0.0, min(SLICE, until - time.monotonic()))
            if not self._keys:
                time.sleep(left)
            elif select.select([sys.stdin], [], [], left)[0]:
                pressed = os.read(sys.stdin.fileno(), 64)
                if not pressed:
                    self._keys = False  # the terminal has gone, or Ctrl-D was pressed
                self._typed += pressed.decode("utf-8", "ignore")
            if not left and not self._typed:
                return ""
        return self._next_key()

    def _next_key(self) -> str:
        typed = self._typed
        if typed[0] == "\x1b":
            for sequence, name in SEQUENCES.items():
                if typed.startswith(sequence, 1):
                    self._typed = typed[1 + len(sequence) :]
                    return name
        self._typed = typed[1:]
        return NAMES.get(typed[0], typed[0])
