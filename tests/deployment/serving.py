"""Starting a server as its users do, asking all of its workers, and looking at what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyami_sync.testing import Simulator
from tests.faults.processes import running
from tests.support.peer import eventually

FINE = ["Pong", "True"]
LOST = ["lost"]

Ask = Callable[[], list[str]]
"""Makes a request; returns the id of the process that answered and its words, or nothing while nobody listens."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def get(port: int) -> list[str]:
    """Return the words of an answer; of none while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/q", timeout=20) as response:
            return str(response.read().decode()).split()
    except urllib.error.HTTPError as exc:
        return ["failed", str(exc.code)]
    except OSError:
        return []


def members(session: int) -> list[int]:
    """Return the processes of a session that are alive."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, sid = (each / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(sid) == session and state not in "ZX":
                    found.append(int(each.name))
    return found


@contextlib.contextmanager
def deployed(
    sim: Simulator, *command: str, env: Mapping[str, str] | None = None, end: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server; at the end tell it to stop, and see that no process and no session is left."""
    with running(*command, env={"AMI_URL": sim.url, **(env or {})}) as process:
        yield process
        process.send_signal(end)
        process.wait(30)
        eventually(lambda: not members(process.pid), 10)
        eventually(lambda: not sim.connections, 10)


def ask_all(ask: Ask, workers: int, seconds: float, allowed: tuple[list[str], ...] = ()) -> set[str]:
    """Ask until so many workers have answered as they should; return their process ids.

    An answer that is neither fine nor among those allowed fails the test.
    """
    seen: set[str] = set()

    def all_seen() -> bool:
        for answer in pool.map(lambda _: ask(), range(2 * workers)):
            if answer[1:] == FINE:
                seen.add(answer[0])
            else:
                assert answer[1:] in allowed, answer
        return len(seen) >= workers

    with ThreadPoolExecutor(2 * workers) as pool:
        eventually(all_seen, seconds)
    assert len(seen) == workers
    return seen


def check(sim: Simulator, ask: Ask, workers: int) -> set[str]:
    """Ask every worker before and after a lost link, twice; return their process ids."""
    began = ask_all(ask, workers, 40, ([],))
    for _ in range(2):
        sim.drop()
        # A request under way in the moment of the loss is told of it. Who has answered has a new connection.
        assert ask_all(ask, workers, 20, (LOST,)) == began
        for _ in range(6):
            assert ask()[1:] == FINE
    return began


def is_alive(pid: int) -> bool:
    """Return whether a process is alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
