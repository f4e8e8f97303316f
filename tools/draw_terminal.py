"""Draw ``docs/terminal.svg``, the picture of the README: what ``pyami-sync demo`` prints on a terminal.

::

    python tools/draw_terminal.py
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

TARGET = Path(__file__).resolve().parent.parent / "docs" / "terminal.svg"
COLUMNS = 118
# Without the fonts that rich has a browser load from another site.
SVG = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def record(*command: str) -> str:
    """Run a command on a terminal of its own, and return what it printed."""
    terminal, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": str(COLUMNS)}
    with subprocess.Popen(command, stdin=other, stdout=other, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(other)
        parts: list[bytes] = []
        try:
            while part := os.read(terminal, 65536):
                parts.append(part)
        except OSError:  # how Linux reports the end of a terminal's output
            pass
    os.close(terminal)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return b"".join(parts).decode().replace("\r", "")


def main() -> None:
    printed = record(sys.executable, "-m", "pyami_sync", "demo")
    console = Console(record=True, width=COLUMNS, force_terminal=True, file=io.StringIO())
    console.print(Text("$ pyami-sync demo", "bold"))
    console.print(Text.from_ansi(printed), soft_wrap=True)
    console.save_svg(str(TARGET), title="pyami-sync demo", code_format=SVG, unique_id="terminal")


if __name__ == "__main__":
    main()
