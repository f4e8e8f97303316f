"""Real process managers that fork: gunicorn and Celery."""

from __future__ import annotations

import concurrent.futures
import importlib
import os
import pathlib
import socket
import urllib.request

import pytest

from tests.asterisk import scenario
from tests.asterisk.plugin import AsteriskFactory
from tests.asterisk.server import AsteriskServer, free_ports

from .processes import running, sessions, url

WORKERS = 4
REQUESTS = 500

pytestmark = pytest.mark.asterisk


@pytest.fixture
def server(killable: AsteriskFactory) -> AsteriskServer:
    """A server whose sessions are the test's own."""
    return killable(22)


def get(port: int, path: str) -> list[str]:
    """Ask over HTTP; the words of the answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as response:
        words: list[str] = response.read().decode().split(" ", 2)
    return words


def listens(port: int) -> bool:
    """Tell whether somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.promise(10)
@pytest.mark.parametrize("preload", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["preload", "lazy"])
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_gunicorn(server: AsteriskServer, kind: str, preload: bool) -> None:
    pytest.importorskip("gunicorn")
    (port,) = free_ports(1, socket.SOCK_STREAM)
    command = ["-m", "gunicorn", "-w", str(WORKERS), "-k", kind, "--threads", "4" if kind == "gthread" else "1"]
    command += ["-b", f"127.0.0.1:{port}", "--timeout", "60", "--no-control-socket"]
    command += ["--preload"] if preload else []
    with running(*command, "tests.faults.apps.wsgi", env={"AMI_URL": url(server)}):
        scenario.wait_until(lambda: listens(port), "gunicorn listens", timeout=60)
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda number: get(port, f"q{number}"), range(REQUESTS)))
        wrong = [words for number, words in enumerate(answers) if words[1:] != [f"q{number}", f"nonesuch q{number}"]]
        assert not wrong, wrong[:10]
        processes = {words[0] for words in answers}
        assert 1 < len(processes) <= WORKERS
        # One for each worker that has served, and the master's own, which the forks did no harm; or one for
        # each worker, when each has imported the application by itself.
        expected = len(processes) + 1 if preload else WORKERS
        # A worker may still be starting while the others have served all requests.
        scenario.wait_until(lambda: len(sessions(server, "patient")) == expected, "each has its session")
        before = sessions(server, "patient")
        # Silence longer than the keepalive's interval: a session that a child had taken over would not survive.
        with server.session() as raw:
            raw.read_silence(0.8)
        assert [line.split()[4] for line in sessions(server, "patient")] == [line.split()[4] for line in before]
    scenario.wait_until(lambda: not sessions(server, "patient"), "all sessions end with their processes")


@pytest.mark.promise(10)
def test_celery(server: AsteriskServer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("celery")
    for folder in ("queue", "control", "results"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("PYAMI_TEST_BROKER", str(tmp_path))
    monkeypatch.delenv("AMI_URL", raising=False)
    tasks = importlib.import_module("tests.faults.apps.tasks")
    command = ["-m", "celery", "-A", "tests.faults.apps.tasks", "worker", "--pool", "prefork"]
    command += ["--concurrency", str(WORKERS), "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    env = {"AMI_URL": url(server), "PYAMI_TEST_BROKER": str(tmp_path)}
    # All before the worker starts: it can't read a file of this broker that is only half written.
    results = [tasks.ask.delay(f"t{number}") for number in range(REQUESTS)]
    with running(*command, env=env) as worker:
        answers = [result.get(timeout=90, interval=0.01) for result in results]
        assert [value for _, value in answers] == [f"t{number}" for number in range(REQUESTS)]
        processes = {process for process, _ in answers}
        assert worker.pid not in processes
        assert 1 < len(processes) <= WORKERS
        before = sessions(server, "patient")
        assert len(before) == len(processes) + 1
        with server.session() as raw:
            raw.read_silence(0.8)
        assert [line.split()[4] for line in sessions(server, "patient")] == [line.split()[4] for line in before]
        assert os.path.exists(f"/proc/{worker.pid}")
    scenario.wait_until(lambda: not sessions(server, "patient"), "all sessions end with their processes")
