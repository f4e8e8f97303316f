"""Running programs of other people's making, and counting the sessions that they hold."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping

from tests.asterisk.server import AsteriskServer

ROOT = pathlib.Path(__file__).parents[2]


@contextlib.contextmanager
def running(*command: str, env: Mapping[str, str], pipe: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python program in a process group of its own; show what it said when the test fails.

    With `pipe` its output is the test's to read.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **env}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            (sys.executable, *command),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE if pipe else output,
            stderr=subprocess.PIPE if pipe else output,
            start_new_session=True,
        )
        try:
            yield process
        except BaseException:
            output.seek(0)
            print(output.read().decode("utf-8", "replace")[-6000:])
            raise
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the group that was made above, nobody else
            process.wait(15)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def sessions(server: AsteriskServer, user: str) -> list[str]:
    """Return the lines in which the console shows the sessions of a user, one each."""
    return [line for line in server.cli("manager show connected").splitlines() if line.split()[:1] == [user]]


def url(server: AsteriskServer, user: str = "patient") -> str:
    """Return what to connect to."""
    return f"ami://{user}:{user}-secret@127.0.0.1:{server.port}"
