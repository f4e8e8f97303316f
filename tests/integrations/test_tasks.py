"""What a Celery task does about failures: try again only what has certainly not run."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from celery.exceptions import Retry

from pyami_sync import ActionTimeout, ConnectionLost
from pyami_sync.testing import Simulator

from .processes import EXAMPLES


@pytest.fixture
def tasks(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("AMI_URL", sim.url + "/?timeout=0.5")
    spec = importlib.util.spec_from_file_location("celery_example_tasks", EXAMPLES / "celery_worker" / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.client.close()
    module.app.close()


def test_nothing_is_opened_by_importing(sim: Simulator, tasks: ModuleType) -> None:
    assert sim.accepted == 0
    assert tasks.add_member.apply(("support", "PJSIP/alice")).get() == "Added interface to queue"
    assert tasks.call.apply(("Local/100@default", "106")).get()["outcome"] == "answered"
    assert sim.accepted == 1


def test_a_server_that_is_not_there_means_later(sim: Simulator, tasks: ModuleType) -> None:
    sim.stop_listening()
    result = tasks.call.apply(("Local/100@default", "106"), throw=False, retries=5)
    assert "cannot connect" in str(result.result)
    with pytest.raises(Retry):
        run_once(tasks.call, "Local/100@default", "106")


def test_what_may_have_run_is_not_sent_twice(sim: Simulator, tasks: ModuleType) -> None:
    tasks.ami()
    sim.silence("Originate")
    with pytest.raises(ActionTimeout) as caught:
        run_once(tasks.call, "Local/100@default", "106")
    assert caught.value.sent
    assert len(sim.actions.find("Originate")) == 1
    sim.on("QueueAdd", lambda action, session: session.close())
    with pytest.raises(ConnectionLost):
        run_once(tasks.add_member, "support", "PJSIP/alice")
    assert len(sim.actions.find("QueueAdd")) == 1


def run_once(task: Any, *args: Any) -> Any:
    """Run a task as a worker does, once."""
    task.push_request(args=args, kwargs={}, called_directly=False, is_eager=True, retries=0, id="1")
    try:
        return task.run(*args)
    finally:
        task.pop_request()


def test_a_forked_worker_opens_its_own_session(sim: Simulator, tasks: ModuleType) -> None:
    tasks.ami().ping()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if tasks.add_member.apply(("support", "PJSIP/alice")).get().startswith("Added") else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sim.accepted == 2
    assert tasks.client.stats().losses == 0
