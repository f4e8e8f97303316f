"""The pytest plugin as users have it: a package of their own, tested in an environment that has only the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

PACKAGE = '''
"""Lets people join queues."""


def join(ami, queue, interface):
    """Add a member, unless it is there already."""
    members = {member["Location"] for member in ami.send("QueueStatus", Queue=queue).events if "Location" in member}
    if interface in members:
        return False
    ami.send("QueueAdd", Queue=queue, Interface=interface)
    return True


def wait_for_hangup(ami, channel, timeout=5):
    """Give the cause of a channel's end."""
    return ami.wait_for("Hangup", where={"Channel": channel}, timeout=timeout)["Cause"]
'''

TESTS = """
import threading

import pytest

from people import join, wait_for_hangup
from pyami_sync import ActionError, ActionTimeout


def test_joins(ami_simulator, ami_client):
    assert join(ami_client, "support", "PJSIP/alice")
    ami_simulator.assert_sent("QueueAdd", Queue="support", Interface="PJSIP/*")
    assert not join(ami_client, "support", "PJSIP/alice")
    assert ami_simulator.actions.names().count("QueueAdd") == 1


def test_a_refusal(ami_simulator, ami_client):
    ami_simulator.on("QueueAdd", {"Response": "Error", "Message": "No such queue"})
    with pytest.raises(ActionError, match="No such queue"):
        join(ami_client, "support", "PJSIP/alice")


def test_an_event(ami_simulator, ami_client):
    def emit():
        ami_simulator.wait_until(lambda: ami_client.stats().subscriptions)
        ami_simulator.emit("Hangup", Channel="PJSIP/x", Cause=17)

    thread = threading.Thread(target=emit)
    thread.start()
    ami_simulator.notify()
    try:
        assert wait_for_hangup(ami_client, "PJSIP/x") == "17"
    finally:
        thread.join()


def test_a_fault(ami_simulator, ami_client):
    ami_simulator.silence("QueueStatus")
    with pytest.raises(ActionTimeout):
        ami_client.send("QueueStatus", timeout=0.05)


@pytest.mark.ami_simulator(asterisk="16")
def test_an_older_server(ami_client):
    assert ami_client.server_version.startswith("16.")


def test_that_fails(ami_simulator, ami_client):
    join(ami_client, "support", "PJSIP/alice")
    ami_simulator.assert_sent("QueueAdd", Queue="sales")
"""

SETUP = """
from setuptools import setup

setup(name="people", version="1", py_modules=["people"], install_requires=["pyami-sync[test]"])
"""


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # Options meant for this project's own tests are none of theirs.
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [str(each) for each in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=150
    )


@pytest.mark.slow
def test_a_package_of_somebody_else(tmp_path: Path) -> None:
    wheels, environment, people = tmp_path / "wheels", tmp_path / "environment", tmp_path / "people"
    sources = tmp_path / "sources"  # building leaves files behind
    shutil.copytree(REPOSITORY / "pyami_sync", sources / "pyami_sync")
    for name in ("setup.py", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(REPOSITORY / name, sources)
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", wheels, sources)
    assert built.returncode == 0, built.stderr
    (wheel,) = wheels.glob("pyami_sync-*.whl")
    people.mkdir()
    (people / "people.py").write_text(PACKAGE)
    (people / "setup.py").write_text(SETUP)
    (people / "test_people.py").write_text(TESTS)
    assert run(sys.executable, "-m", "venv", environment).returncode == 0
    python = environment / "bin" / "python"
    installed = run(python, "-m", "pip", "install", "--find-links", wheels, f"{wheel}[test]", people)
    assert installed.returncode == 0, installed.stderr
    origin = run(python, "-c", "import pyami_sync; print(pyami_sync.__file__)", cwd=people).stdout
    assert origin.startswith(str(environment))
    done = run(python, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", "-q", people, cwd=people)
    assert "1 failed, 5 passed" in done.stdout, done.stdout + done.stderr
    # A failed assertion tells what was sent instead.
    said = "AssertionError: QueueAdd with Queue='sales' was not sent; of that name came:"
    assert said in done.stdout
    assert "Queue is 'support', not 'sales'" in done.stdout
