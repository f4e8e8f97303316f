"""gunicorn and uWSGI: a request, a lost link, another request, in every worker."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from pyami_sync.testing import Simulator
from tests.faults.processes import running
from tests.support.peer import eventually

UWSGI = shutil.which("uwsgi", path=str(Path(sys.executable).parent))


def free_port() -> int:
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


def check(port: int, drop: Callable[[], object]) -> None:
    """Ask before and after a lost link."""
    first = eventually(lambda: get(port), 40)
    assert first[1:] == ["Pong", "True"]
    for _ in range(2):
        drop()
        # A request in the very moment of the loss may be told of it; none after that is.
        eventually(lambda: get(port)[1:] == ["Pong", "True"], 20)
        time.sleep(0.2)
        for _ in range(6):
            assert get(port)[1:] == ["Pong", "True"]


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "lazy"])
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_gunicorn(kind: str, preload: bool) -> None:
    pytest.importorskip("gunicorn")
    if kind == "gevent":
        pytest.importorskip("gevent")
        if preload:
            pytest.skip("the application is loaded before the library is patched: refused, see the next test")
    port = free_port()
    command = ["-m", "gunicorn", "-w", "2", "-k", kind, "-b", f"127.0.0.1:{port}", "--no-control-socket"]
    command += ["--threads", "4"] if kind == "gthread" else []
    command += ["--preload"] if preload else []
    with Simulator() as sim, running(*command, "tests.deployment.app", env={"AMI_URL": sim.url}):
        check(port, sim.drop)


def test_patching_too_late_is_refused() -> None:
    pytest.importorskip("gevent")
    code = "from pyami_sync import connect; from gevent import monkey; monkey.patch_all(); connect()"
    with Simulator() as sim:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "AMI_URL": sim.url},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "monkey patched (gevent, eventlet) after pyami_sync was imported" in done.stderr


@pytest.mark.skipif(UWSGI is None, reason="uWSGI is not installed")
@pytest.mark.parametrize("options", [[], ["--lazy-apps"], ["--py-call-osafterfork"]], ids=["forks", "lazy", "hooks"])
def test_uwsgi(options: list[str]) -> None:
    port = free_port()
    code = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    command = ["-c", code, str(UWSGI), "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2"]
    command += ["--enable-threads", "--die-on-term", "--module", "tests.deployment.app", *options]
    with Simulator() as sim, running(*command, env={"AMI_URL": sim.url}):
        check(port, sim.drop)
