"""The development servers of Flask and Django, which start a new process when a source file changes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pyami_sync.testing import Simulator
from tests.support.peer import eventually

from .reloading import DJANGO, FLASK
from .serving import FINE, ask_all, deployed, free_port, get, is_alive, members


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=["terminated", "interrupted"])
@pytest.mark.parametrize("name", ["flask", "django"])
def test_reloads(name: str, end: int, tmp_path: Path) -> None:
    pytest.importorskip(name)
    port, source = free_port(), tmp_path / "site_of_test.py"
    source.write_text(FLASK if name == "flask" else DJANGO, "utf-8")
    env = {"PYTHONPATH": f"{Path.cwd()}{os.pathsep}{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
    if name == "flask":
        command = ["-m", "flask", "--app", str(source), "run", "--debug", "--port", str(port)]
    else:
        command = [str(source), "runserver", "--skip-checks", f"127.0.0.1:{port}"]
        env["DJANGO_SETTINGS_MODULE"] = "site_of_test"
    with Simulator() as sim, deployed(sim, *command, env=env, end=end) as server:
        (first,) = ask_all(lambda: get(port), 1, 40, ([],))
        assert int(first) != server.pid, "the reloader's own process serves"
        sim.wait_for_sessions(1)

        def gone() -> bool:
            # Touched until it is noticed: a server may answer before its reloader has looked at the files.
            alive = is_alive(int(first))
            if alive:
                os.utime(source)
            return not alive

        source.write_text(source.read_text("utf-8") + "# changed\n", "utf-8")
        eventually(gone, 40)
        (second,) = ask_all(lambda: get(port), 1, 40, ([],))
        sim.wait_for_sessions(1)  # that of the process before is gone
        assert len(members(server.pid)) == 2
        sim.drop()
        assert ask_all(lambda: get(port), 1, 20, (["lost"],)) == {second}
        assert get(port)[1:] == FINE
        sim.wait_for_sessions(1)
