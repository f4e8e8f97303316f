"""The interactive shell: what it completes, runs and keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyami_sync import AMIClient
from pyami_sync.cli.commands.shell import Completions, keeps_secret, parse
from pyami_sync.testing import Simulator
from tests.cli.running import Server, Terminal


def completed(ami: AMIClient, text: str) -> list[str]:
    return [found for found, _ in Completions(ami).of(text)]


def test_completes_actions_headers_and_values(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    assert "QueuePause" in completed(ami_client, "queuep")
    assert completed(ami_client, "QueuePause Inter") == ["Interface="]
    assert "Interface=" not in completed(ami_client, "QueuePause Interface=x ")
    assert completed(ami_client, "QueuePause Paused=") == ["yes", "no"]
    assert completed(ami_client, "QueuePause Queue=s") == ["support"]
    assert completed(ami_client, "QueuePause Interface=") == ["Local/801@members/n", "Local/802@members/n"]
    assert completed(ami_client, "! core") == []
    assert completed(ami_client, "Nonsense x") == []
    assert "QueueMemberPause" in completed(ami_client, "describe QueueMemberP")


def test_asks_the_server_now_and_then_only(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    completions = Completions(ami_client)
    for _ in range(5):
        assert list(completions.of("QueuePause Queue=sup")) == [("support", 3)]
    ami_simulator.assert_sent("QueueSummary", times=1)
    ami_simulator.on("CoreShowChannels", {"Response": "Error", "Message": "Permission denied"})
    assert completions.values("Channel") == []


def test_reads_lines() -> None:
    made = parse("Setvar Variable=NAME Value='two words'")
    assert not isinstance(made, str)
    assert (made.name, made["Value"]) == ("Setvar", "two words")
    assert parse("! core show version") == "core show version"
    with pytest.raises(ValueError, match="not Header=Value"):
        parse("Ping now")


def test_keeps_no_credentials() -> None:
    assert keeps_secret("UpdateConfig Var-000000=secret Value-000000=hidden")
    assert keeps_secret("Login Username=x Secret=y")
    assert not keeps_secret("QueueStatus Queue=support")


def test_in_a_pipe(server: Server) -> None:
    done = server.run("shell", stdin="Ping\n# a remark\n! core show version\nexit\nPing\n")
    assert done.code == 0, done
    assert "Asterisk" in done.out
    failed = server.run("shell", stdin="NoSuchAction\nPing now\n")
    assert failed.code == 1
    assert "not Header=Value" in failed.err


def test_at_a_terminal(simulated: Server, tmp_path: Path) -> None:
    env = simulated.env | {"XDG_STATE_HOME": str(tmp_path)}
    with Terminal("shell", env=env, size=(30, 100)) as terminal:
        terminal.until("Ctrl-D ends")
        terminal.until("127.0.0.1>")
        terminal.type("QueueSummary Queue=sup\t")
        terminal.until("port")  # the rest of "support"
        terminal.type("\r")
        terminal.until("summary will follow")
        terminal.type("Login Secret=hidden\r")
        terminal.until("Already authenticated")
        terminal.type("describe Ping\r")
        terminal.until("Ping (action)")
        terminal.type("exit\r")
        assert terminal.ended() == 0
        assert terminal.restored
    kept = (tmp_path / "pyami-sync" / "history").read_text()
    assert "QueueSummary Queue=support" in kept
    assert "hidden" not in kept
