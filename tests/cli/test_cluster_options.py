"""The options of ``cluster``: before or behind its command, and the same as those of the commands for one server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyami_sync.testing import Simulator
from tests.cli.conftest import SECRET
from tests.cli.running import Process, run


@pytest.fixture
def nodes(tmp_path: Path, sim: Simulator) -> str:
    path = tmp_path / "nodes.toml"
    path.write_text(f"[nodes.one]\nurl = 'ami://admin@127.0.0.1:{sim.port}'\ntimeout = 7.0\n")
    return str(path)


ENV = {"AMI_SECRET": SECRET}


@pytest.mark.parametrize("command", [["health"], ["broadcast", "Ping"], ["events", "--count", "1", "--for", "10s"]])
def test_the_file_may_stand_behind_the_command(nodes: str, command: list[str]) -> None:
    behind = run("cluster", *command, "--config", nodes, "--json", env=ENV)
    before = run("cluster", "-c", nodes, *command, "--json", env=ENV)
    assert (behind.code, before.code) == (0, 0), behind
    assert [each["node"] for each in behind.objects] == [each["node"] for each in before.objects] == ["one"]
    assert run("cluster", *command, env=ENV | {"AMI_CLUSTER": nodes}).code == 0


def test_the_file_behind_the_command_counts(nodes: str, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[nodes]\n")
    done = run("cluster", "--config", str(other), "health", "-c", nodes, env=ENV | {"AMI_CLUSTER": str(other)})
    assert done.code == 0, done


def test_says_that_there_is_no_file() -> None:
    done = run("cluster", "health", env=ENV)
    assert done.code == 2
    assert "--config FILE" in done.err
    assert run("cluster", "health", "--help").code == 0


@pytest.mark.parametrize(
    "arguments",
    [["cluster", "broadcast", "Ping", "--timeout", "200ms"], ["cluster", "--timeout", "200ms", "broadcast", "Ping"]],
)
def test_timeout_counts_more_than_the_file(sim: Simulator, nodes: str, arguments: list[str]) -> None:
    sim.silence("Ping")
    done = run(*arguments, "--config", nodes, env=ENV)
    assert done.code == 5, done
    assert "no answer to Ping within 0." in done.out


def test_events_as_lines_in_a_pipe(sim: Simulator, nodes: str) -> None:
    arguments = ["cluster", "events", "Hangup", "--config", nodes, "--count", "1", "--text", "--mask", "call"]
    with Process(*arguments, env=ENV) as process:
        assert process.process.stderr is not None
        assert "1 of 1 nodes" in process.process.stderr.readline()
        sim.emit("UserEvent", UserEvent="Unwanted")
        sim.emit("Hangup", Channel="PJSIP/alice-00000001", Cause=16)
        done = process.ended()
    assert done.code == 0
    (line,) = done.out.splitlines()
    assert line.split()[1:] == ["one", "Hangup", "Channel=PJSIP/alice-00000001", "Cause=16"]
    assert sim.actions.find("Login")[-1]["Events"] == "call"


def test_tells_of_a_lost_node(sim: Simulator, nodes: str) -> None:
    with Process("cluster", "events", "Hangup", "--config", nodes, env=ENV) as process:
        assert process.process.stderr is not None
        assert "1 of 1 nodes" in process.process.stderr.readline()
        sim.drop()
        assert "one: the connection was lost" in process.process.stderr.readline()
        assert "one: connected" in process.process.stderr.readline()
