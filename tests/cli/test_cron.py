"""The examples for cron: what they print, their locks and their exit codes."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyami_sync.testing import Simulator
from tests.cli.conftest import SECRET
from tests.cli.running import Ran, Server, environment

EXAMPLES = Path(__file__).parents[2] / "examples" / "cron"


@pytest.fixture
def cron(tmp_path: Path, simulated: Server) -> dict[str, str]:
    """What cron would set: a short environment, with the program on the path and the secret in a file."""
    program = tmp_path / "bin" / "pyami-sync"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pyami_sync "$@"\n')
    program.chmod(0o755)
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    return {
        "PATH": f"{program.parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AMI_URL": simulated.url,
        "AMI_SECRET_FILE": str(secret),
        "QUEUE_REPORT_LOCK": str(tmp_path / "lock"),
        "TRUNK_ALERT_STATE": str(tmp_path / "state" / "trunks"),
        "PYTHONPATH": str(EXAMPLES.parents[1]),
    }


def run(name: str, *arguments: str, env: dict[str, str]) -> Ran:
    done = subprocess.run(
        [str(EXAMPLES / name), *arguments],
        env=environment() | env,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert SECRET not in done.stdout + done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def test_report(sim: Simulator, cron: dict[str, str]) -> None:
    done = run("queue-report", env=cron)
    assert done.code == 0, done
    assert "support" in done.out
    assert "Alice" in done.out
    sim.assert_not_sent("QueueReset")
    assert run("queue-report", "--reset", "support", env=cron).code == 0
    sim.assert_sent("QueueReset", Queue="support")


def test_report_keeps_what_it_could_not_tell(sim: Simulator, cron: dict[str, str]) -> None:
    assert run("queue-report", "--reset", "nosuch", env=cron).code == 1
    sim.assert_not_sent("QueueReset")
    sim.refuse_logins()
    assert run("queue-report", "--reset", env=cron).code == 4


def test_report_runs_once_at_a_time(cron: dict[str, str]) -> None:
    with open(cron["QUEUE_REPORT_LOCK"], "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run("queue-report", env=cron).code == 75
    assert run("queue-report", env=cron).code == 0


def test_alert_speaks_once_for_each_change(sim: Simulator, cron: dict[str, str]) -> None:
    assert run("trunk-alert", env=cron).code == 2
    assert run("trunk-alert", "bob", env=cron) == Ran(0, "", "")
    contacts, sim.pbx.endpoints["bob"].contacts = sim.pbx.endpoints["bob"].contacts, []
    first = run("trunk-alert", "bob", env=cron)
    assert first.code == 1
    assert "PJSIP/bob can't be reached" in first.out
    assert run("trunk-alert", "bob", env=cron) == Ran(1, "", "")
    sim.pbx.endpoints["bob"].contacts = contacts
    back = run("trunk-alert", "bob", env=cron)
    assert back.code == 0
    assert "reachable again" in back.out
    sim.refuse_logins()
    assert run("trunk-alert", "bob", env=cron).code == 4
    with open(cron["TRUNK_ALERT_STATE"] + ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run("trunk-alert", "bob", env=cron) == Ran(75, "", "")


def test_crontab_names_what_there_is() -> None:
    table = (EXAMPLES / "crontab").read_text("utf-8")
    jobs = re.findall(r"^(?:[\d*/,-]+\s+){5}(.+)$", table, re.MULTILINE)
    assert len(jobs) == 3
    for name in re.findall(r"/cron/([\w-]+)", table):
        assert (EXAMPLES / name).stat().st_mode & 0o111
    assert "%" not in "".join(jobs)  # cron would make it a line end
