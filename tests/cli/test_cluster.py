"""Many servers: cluster."""

from __future__ import annotations

from pathlib import Path

from pyami_sync.testing import Simulator
from tests.cli.conftest import SECRET
from tests.cli.running import Process, in_terminal, run


def nodes_file(path: Path, *simulators: Simulator, dead: bool = False) -> str:
    text = "[defaults]\nusername = 'admin'\n"
    for number, each in enumerate(simulators):
        text += f"[nodes.n{number}]\nurl = 'ami://127.0.0.1:{each.port}'\ntags = ['t{number}', 'all']\n"
    if dead:
        text += "[nodes.dead]\nurl = 'ami://127.0.0.1:1'\n"
    path.write_text(text)
    return str(path)


def test_cluster(tmp_path: Path) -> None:
    env = {"AMI_SECRET": SECRET}
    with Simulator(secret=SECRET) as one, Simulator(secret=SECRET) as two:
        all_up = nodes_file(tmp_path / "up.toml", one, two)
        one_dead = nodes_file(tmp_path / "dead.toml", one, two, dead=True)
        health = run("cluster", "--config", all_up, "health", "--json", env=env)
        assert health.code == 0, health
        assert {each["node"]: each["state"] for each in health.objects} == {"n0": "connected", "n1": "connected"}
        assert all(each["round_trip"] > 0 and each["server_version"] for each in health.objects)
        assert "2 of 2 up" in in_terminal("cluster", "--config", all_up, "health", env=env).out
        assert run("cluster", "--config", one_dead, "health", env=env).code == 3
        sent = run("cluster", "--config", one_dead, "--timeout", "5s", "broadcast", "QueueSummary", "--json", env=env)
        assert sent.code == 3
        assert {each["node"]: each["ok"] for each in sent.objects} == {"n0": True, "n1": True, "dead": False}
        assert len(sent.objects[0]["events"]) == 2
        tagged = run("cluster", "--config", one_dead, "broadcast", "Ping", "--tag", "t1", env=env)
        assert tagged.code == 0
        assert "n1:" in tagged.out
        assert "n0" not in tagged.out
        assert run("cluster", "--config", one_dead, "broadcast", "Ping", "--tag", "none", env=env).code == 2
        with Process("cluster", "--config", all_up, "events", "Test", "--count", "2", env=env) as process:
            assert process.process.stderr is not None
            assert "2 of 2 nodes" in process.process.stderr.readline()
            one.emit("Test", Number=1)
            two.emit("Test", Number=2)
            done = process.ended()
        assert {(each["node"], each["Number"]) for each in done.objects} == {("n0", "1"), ("n1", "2")}
        assert SECRET not in done.out + done.err + sent.out + sent.err + health.out
