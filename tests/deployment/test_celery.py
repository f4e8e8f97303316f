"""Celery's pools: tasks in every worker before and after a lost link."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyami_sync.testing import Simulator
from tests.support.peer import eventually

from .serving import Ask, check, deployed

celery = pytest.importorskip("celery")


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """Have a task run by whichever worker takes it, and return what it wrote."""
    for name in ("queue", "draft", "control", "answers"):
        (tmp_path / name).mkdir()
    app = celery.Celery("askers", broker="filesystem://", set_as_current=False)
    folders = {"data_folder_in": str(tmp_path / "draft"), "data_folder_out": str(tmp_path / "draft")}
    app.conf.update(broker_transport_options={**folders, "control_folder": str(tmp_path / "control")})
    numbers, sending = itertools.count(), threading.Lock()

    def ask() -> list[str]:
        number = str(next(numbers))
        with sending:
            app.send_task("ask", (number,), ignore_result=True)
            for draft in (tmp_path / "draft").iterdir():
                draft.rename(tmp_path / "queue" / draft.name)
        answer = tmp_path / "answers" / number
        eventually(answer.exists, 40)
        return answer.read_text("ascii").split()

    yield ask
    app.close()


@pytest.mark.parametrize(("pool", "workers"), [("prefork", 2), ("threads", 1), ("gevent", 1)])
def test_celery(pool: str, workers: int, ask: Ask, tmp_path: Path) -> None:
    if pool == "gevent":
        pytest.importorskip("gevent")
    command = ["-m", "celery", "-A", "tests.deployment.tasks", "worker", "--pool", pool, "--concurrency", "2"]
    command += ["--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    with Simulator() as sim, deployed(sim, *command, env={"PYAMI_TEST_BROKER": str(tmp_path)}) as worker:
        processes = check(sim, ask, workers)
        assert (str(worker.pid) in processes) == (pool != "prefork")
        sim.wait_for_sessions(workers + (pool == "prefork"))
