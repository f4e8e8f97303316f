"""Starting the server of the benchmarks, and telling it what to send.

It runs in a process of its own and is no bottleneck: in C where there is a compiler (``sender.c``), else in
Python with everything rendered beforehand (``replay.py``). Both keep their send buffer small and put answers
between two slices of a flood, so that the latency of an answer under saturation is the client's.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from .traffic import Load

__all__ = ["Sender", "build"]

SOURCE = Path(__file__).with_name("sender.c")


def build(folder: Path) -> list[str]:
    """Give the command that starts the server, made in a folder if it has to be."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return [sys.executable, str(SOURCE.with_name("replay.py"))]
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    program = folder / f"sender-{digest}"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = program.with_suffix(".new")
        subprocess.run([compiler, "-O2", "-o", str(made), str(SOURCE)], check=True)
        made.rename(program)
    return [str(program)]


class Sender:
    """A running server; a context manager.

    Args:
        command: what :func:`build` gave.
        load: what to send.
        list_size: items in a list.
        line_count: lines in the output of a command.

    """

    def __init__(self, command: list[str], load: Load, list_size: int = 0, line_count: int = 0) -> None:
        self._process = subprocess.Popen(
            [*command, str(load.events), str(load.items), str(load.lines), str(list_size), str(line_count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def flood(self, count: int, rate: float = 0) -> None:
        """Begin to send that many events to all sessions, ``rate`` a second (0: as fast as they are taken)."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"flood {count} {rate}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(10)

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
