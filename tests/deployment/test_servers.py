"""gunicorn and uWSGI: a request, a lost link, another request, in every worker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyami_sync.testing import Simulator

from .serving import check, deployed, free_port, get

UWSGI = shutil.which("uwsgi", path=str(Path(sys.executable).parent))
WORKERS = 2


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "lazy"])
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_gunicorn(kind: str, preload: bool) -> None:
    pytest.importorskip("gunicorn")
    if kind == "gevent":
        pytest.importorskip("gevent")
        if preload:
            pytest.skip("the application is loaded before the library is patched: refused, see the next test")
    port = free_port()
    command = ["-m", "gunicorn", "-w", str(WORKERS), "-k", kind, "-b", f"127.0.0.1:{port}", "--no-control-socket"]
    command += ["--threads", "4"] if kind == "gthread" else []
    command += ["--preload"] if preload else []
    with Simulator() as sim, deployed(sim, *command, "tests.deployment.app"):
        check(sim, lambda: get(port), WORKERS)


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
@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="forks"),
        pytest.param(["--lazy-apps"], id="lazy"),
        pytest.param(["--py-call-uwsgi-fork-hooks"], id="hooks"),
        pytest.param(
            ["--py-call-osafterfork"],
            id="osafterfork",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 13), reason="uWSGI's workers abort: unbit/uwsgi, issue 2710"
            ),
        ),
    ],
)
def test_uwsgi(options: list[str]) -> None:
    port = free_port()
    code = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    command = ["-c", code, str(UWSGI), "--http-socket", f"127.0.0.1:{port}", "--master"]
    command += ["--processes", str(WORKERS), "--enable-threads", "--die-on-term", "--module", "tests.deployment.app"]
    with Simulator() as sim, deployed(sim, *command, *options):
        check(sim, lambda: get(port), WORKERS)
