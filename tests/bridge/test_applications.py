"""Applications that were written for a server run over a broker: one URL changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request

import pytest

from pyami_sync import connect

from ..integrations.processes import free_port, serving
from .support import new_node, until
from .test_faults import ROOT, Leading

pytest.importorskip("flask")
pytest.importorskip("prometheus_client")
pytest.importorskip("celery")


@pytest.fixture(params=["redis", "rabbitmq"])
def bridged(request, sim):
    """The URL of a simulated server behind a broker."""
    server = request.getfixturevalue("redis_server" if request.param == "redis" else "rabbit_server")
    node = new_node()
    bridge = Leading(server.url, "b", 2.0, f"{node}={sim.url}")
    until(lambda: sim.sessions)
    yield f"{server.url}?node={node}"
    bridge.end()


@pytest.mark.slow
def test_the_wallboard(bridged, sim, tmp_path):
    port = free_port()
    with serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=bridged) as service:

        def state():
            with urllib.request.urlopen(f"{service.url}/api/state", timeout=10) as answer:
                return json.load(answer)

        until(lambda: "support" in json.dumps(state()), 30)
        assert state()["calls"] == []
        with connect(sim.url) as ami:
            ami.originate("Local/100@default/n", Context="default", Exten="101", Priority=1)
            until(lambda: len(state()["calls"]) == 1, 30)
            ami.send("QueueAdd", Queue="support", Interface="Local/109@default/n", MemberName="Erika")
        until(lambda: "Erika" in json.dumps(state()), 30)


@pytest.mark.slow
@pytest.mark.deployment
def test_a_celery_worker(bridged, sim, tmp_path):
    folder = tmp_path / "queues"
    (folder / "control").mkdir(parents=True)
    environment = {
        **os.environ,
        "AMI_URL": bridged,
        "CELERY_BROKER": "filesystem://",
        "CELERY_FOLDER": str(folder),
        "CELERY_RESULTS": f"file://{tmp_path}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples" / "celery_worker")]),
    }
    program = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "WARNING"]
    log = (tmp_path / "log").open("w")
    worker = subprocess.Popen(program, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        code = "import tasks; print(tasks.add_member.delay('support', 'Local/107@default/n').get(timeout=40))"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
        sim.assert_sent("QueueAdd", Queue="support", Interface="Local/107@default/n")
    finally:
        worker.terminate()
        worker.wait(30)
        log.close()
