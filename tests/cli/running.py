"""Running the program as its users do: as a process, in a pipe or in a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

PROGRAM = (sys.executable, "-W", "error", "-m", "pyami_sync")
PATIENCE = 60.0


@dataclass(frozen=True)
class Ran:
    """How a run ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Standard output as JSON, one object a line; fails when any line is something else."""
        found = [json.loads(line) for line in self.out.splitlines()]
        assert all(isinstance(each, dict) for each in found)
        return found


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a run: nothing of the tester's own servers and profiles, an empty configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AMI_", "PYAMI_", "NO_COLOR"))}
    return kept | {
        "PYAMI_CONFIG": os.devnull + ".none",
        "TERM": "xterm-256color",
        "COLUMNS": "",
        "LINES": "",
        **(more or {}),
    }


def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Ran:
    """Run the program in pipes."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        env=environment(env),
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Server:
    """A server, as the program is told of it: the secret only in the environment."""

    url: str
    secret: str

    @property
    def env(self) -> dict[str, str]:
        """What names it in the environment."""
        return {"AMI_URL": self.url, "AMI_SECRET": self.secret}

    def run(self, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Ran:
        """Run the program on it in pipes; the secret must not show."""
        done = run(*arguments, env=self.env | dict(env or {}), stdin=stdin)
        assert self.secret not in done.out + done.err
        return done

    def in_terminal(self, *arguments: str, typed: Sequence[str] = ()) -> Ran:
        """Run the program on it in a terminal; the secret must not show."""
        done = in_terminal(*arguments, env=self.env, typed=typed)
        assert self.secret not in done.out
        return done


class Process:
    """The program under way in pipes, for tests that talk to it while it runs."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=environment(env),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """The next line of standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ended(self, *, by: int | None = None) -> Ran:
        """Wait for its end, after a signal if one is given."""
        if by is not None:
            self.process.send_signal(by)
        out, err = self.process.communicate(timeout=PATIENCE)
        return Ran(self.process.returncode, out, err)


class Terminal:
    """The program under way in a pseudo-terminal."""

    def __init__(
        self, *arguments: str, env: Mapping[str, str] | None = None, size: tuple[int, int] = (50, 160)
    ) -> None:
        self.screen, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.before = termios.tcgetattr(inner)
        self.inner = inner
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=environment(env),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.seen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for each in (self.inner, self.screen):
            with contextlib.suppress(OSError):
                os.close(each)

    @property
    def text(self) -> str:
        """All that was shown so far."""
        return self.seen.decode("utf-8", "replace")

    def _read(self, wait: float) -> bool:
        if not select.select([self.screen], [], [], wait)[0]:
            return False
        self.seen += os.read(self.screen, 65536)
        return True

    def until(self, shown: str | Callable[[str], bool]) -> str:
        """Wait until a text is shown."""
        deadline = time.monotonic() + PATIENCE
        while not (shown in self.text if isinstance(shown, str) else shown(self.text)):
            assert time.monotonic() < deadline, f"{shown!r} was not shown in {self.text!r}"
            if not self._read(0.2) and self.process.poll() is not None and not self._read(0):
                raise AssertionError(f"it ended with {self.process.returncode} and did not show {shown!r}: {self.text}")
        return self.text

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.screen, text.encode())

    def ended(self) -> int:
        """Wait for its end; give the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.text!r}"
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode

    @property
    def restored(self) -> bool:
        """Whether the terminal's settings are as before."""
        return termios.tcgetattr(self.inner) == self.before


def in_terminal(*arguments: str, env: Mapping[str, str] | None = None, typed: Sequence[str] = ()) -> Ran:
    """Run the program in a terminal to its end."""
    with Terminal(*arguments, env=env) as terminal:
        for each in typed:
            terminal.type(each)
        code = terminal.ended()
        return Ran(code, terminal.text, "")


def lines(done: Ran) -> list[str]:
    """What it printed, if it went well and without colours."""
    assert done.code == 0, done
    assert "\x1b" not in done.out
    return done.out.splitlines()
