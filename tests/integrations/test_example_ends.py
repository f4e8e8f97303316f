"""How the examples end: at once when they are done, and at Ctrl-C without a traceback, services and all."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pyami_sync.testing import Simulator

from .processes import Process, free_port

RUNS = [
    (["listen.py"], "listening", 130),
    (["rest_service", "PORT"], "Running on", 0),
    (["wallboard", "PORT"], "Running on", 0),
    (["django_calls", "PORT"], "Quit the server", 0),
    (["celery_worker"], "call 0:", 130),
]


def children(process: Process) -> list[int]:
    """Processes of the same group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                behind = (entry / "stat").read_text("utf-8").rpartition(")")[2].split()
            except OSError:
                continue
            if int(behind[2]) == process.popen.pid and behind[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("command", "mark", "code"), RUNS, ids=lambda each: each[0] if isinstance(each, list) else None
)
def test_ctrl_c(tmp_path: Path, command: list[str], mark: str, code: int) -> None:
    port = str(free_port())
    arguments = [port if each == "PORT" else each for each in command]
    with Process(tmp_path / "log", *arguments, AMI_URL="", DJANGO_SECRET_KEY="x") as process:
        process.wait_for_output(mark)
        os.killpg(process.popen.pid, signal.SIGINT)  # as a terminal does: to all of the group
        assert process.popen.wait(30) == code, process.output
        assert "Traceback" not in process.output
        assert children(process) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("command", "mark", "code"), RUNS[3:], ids=lambda each: each[0] if isinstance(each, list) else None
)
def test_sigterm_to_the_first_process_ends_all(tmp_path: Path, command: list[str], mark: str, code: int) -> None:
    port = str(free_port())
    arguments = [port if each == "PORT" else each for each in command]
    with Process(tmp_path / "log", *arguments, AMI_URL="", DJANGO_SECRET_KEY="x") as process:
        process.wait_for_output(mark)
        assert process.end(signal.SIGTERM) == code, process.output
        assert "Traceback" not in process.output
        assert children(process) == []


def test_ctrl_c_while_a_script_waits(tmp_path: Path) -> None:
    with Simulator() as simulator:
        simulator.silence("Originate")
        with Process(tmp_path / "log", "originate.py", AMI_URL=simulator.url) as process:
            simulator.actions.wait_for("Originate", 30)
            assert process.end(signal.SIGINT) == 130, process.output
        assert process.output == ""


def test_the_celery_worker_ends_soon(tmp_path: Path) -> None:
    with Process(tmp_path / "log", "celery_worker", AMI_URL="") as process:
        process.wait_for_output("Added interface to queue")
        started = time.monotonic()
        assert process.popen.wait(30) == 0, process.output
        assert time.monotonic() - started < 5.0  # two looks at its queue, two seconds apart, are more
