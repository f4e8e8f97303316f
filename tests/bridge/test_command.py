"""``pyami-sync bridge``, as its users run it."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from ..cli.running import PROGRAM, environment, run
from .support import new_node, until

pytest.importorskip("click")
pytest.importorskip("rich")


@pytest.fixture
def node():
    return new_node()


@pytest.fixture
def config(tmp_path, sim, node):
    path = tmp_path / "nodes.toml"
    path.write_text(f'[allow."*"]\nactions = ["*"]\n[nodes.{node}]\nurl = "{sim.url}"\n')
    return str(path)


def test_run_status_tail_and_a_bridged_client(redis_server, sim, node, config):
    broker = ("--broker", redis_server.url)
    nobody = run("bridge", "status", "--config", config, *broker)
    assert (nobody.code, "nobody" in nobody.out) == (3, True)
    process = subprocess.Popen(
        [*PROGRAM, "bridge", "run", "--config", config, *broker, "--name", "one"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: run("--json", "bridge", "status", "--config", config, *broker).code == 0)
        [status] = run("--json", "bridge", "status", "--config", config, *broker).objects
        assert (status["node"], status["leader"]) == (node, "one")
        until(lambda: sim.sessions)
        url = f"{redis_server.url}?node={node}"
        until(lambda: run("--url", url, "ping", "--count", "1").code == 0)
        assert "Asterisk" in run("--url", url, "send", "CoreSettings").out
        sim.emit("Foo", N=1)
        tail = run("--json", "bridge", "tail", node, *broker, "--start", "first", "--count", "2")
        assert [json.loads(line)["Event"] for line in tail.out.splitlines()] == ["LeaderChanged", "FullyBooted"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode in (0, 143), errors
    assert "leads" in errors
    assert run("bridge", "status", "--config", config, *broker).code == 3


def test_mistakes_are_told(tmp_path, config):
    assert run("bridge", "run", "--config", config).code == 2
    wrong = run("bridge", "run", "--config", config, "--broker", "kafka://x")
    assert (wrong.code, "no broker transport" in wrong.err) == (2, True)
    assert "position" in run("bridge", "tail", "x", "--broker", "memory://x", "--start", "y").err
    assert "which node" in run("--url", "memory://x", "ping").err
