"""Tables, once and kept up: channels, queues, endpoints, top."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator

import pytest

from pyami_sync import connect
from pyami_sync.testing import Simulator
from tests.cli.running import Process, Server, Terminal, in_terminal, lines


@contextlib.contextmanager
def call_up(server: Server) -> Iterator[str]:
    """A call that stays while the block runs; gives a channel's name."""
    with connect(server.url, secret=server.secret) as client:
        outcome = client.originate("Local/100@default/n", Application="Wait", Data=60, wait=True)
        try:
            yield outcome["Channel"]
        finally:
            client.send("Hangup", Channel=outcome["Channel"], check=False)


def test_tables_show_what_is_there(server: Server) -> None:
    with call_up(server) as name:
        found = {each["channel"]: each for each in server.run("channels", "--json").objects}
        assert found[name]["state"] == "Up"
        assert found[name]["application"] == "Wait"
        assert any(line.startswith(name) for line in lines(server.run("channels", "Local/100*")))
        assert not any(name in line for line in lines(server.run("channels", "IAX2/*")))
        assert name in server.in_terminal("channels").out
    (queue,) = server.run("queues", "support", "--json").objects
    assert queue["members"] == 2
    assert {each["interface"] for each in queue["member_list"]} == {"Local/801@members/n", "Local/802@members/n"}
    assert server.run("queues", "nosuch").code == 1
    phones = {each["endpoint"]: each for each in server.run("endpoints", "--json").objects}
    assert "PJSIP/bob" in phones
    assert server.run("endpoints", "bob", "--check").code in (0, 1)
    missing = server.run("endpoints", "nosuch", "--check")
    assert missing.code == 1
    assert "no endpoint 'nosuch'" in missing.err


def test_endpoints_check_reachability(sim: Simulator, simulated: Server) -> None:
    assert simulated.run("endpoints", "alice", "bob", "--check").code == 0
    sim.pbx.endpoints["bob"].contacts.clear()
    done = simulated.run("endpoints", "PJSIP/*", "--check")
    assert done.code == 1
    assert "PJSIP/bob can't be reached: Unavailable" in done.err


@pytest.mark.parametrize("command", [["queues"], ["top"]], ids=["watch", "top"])
@pytest.mark.parametrize("end", ["q", "\x03", "SIGTERM", "other key"])
def test_full_screen_leaves_the_terminal_clean(simulated: Server, command: list[str], end: str) -> None:
    more = ["--watch"] if command == ["queues"] else []
    with Terminal(*command, *more, "--every", "100ms", env=simulated.env) as terminal:
        terminal.until("Agents 2" if command == ["top"] else "support")
        assert "\x1b[?1049h" in terminal.text
        assert not terminal.restored
        if end == "SIGTERM":
            terminal.process.send_signal(signal.SIGTERM)
        else:
            terminal.type(end[0])
            if len(end) > 1:
                terminal.type("q")
        code = terminal.ended()
        assert code == {"\x03": 130, "SIGTERM": 143}.get(end, 0)
        assert terminal.text.rstrip().endswith("\x1b[?1049l")
        assert "\x1b[?25h" in terminal.text[-20:]
        assert terminal.restored


def test_full_screen_gives_the_terminal_back_when_stopped(simulated: Server) -> None:
    with Terminal("top", "--every", "100ms", env=simulated.env) as terminal:
        terminal.until("Agents 2")
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.until("\x1b[?1049l")
        os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert terminal.restored
        terminal.process.send_signal(signal.SIGCONT)
        terminal.until(lambda text: text.count("\x1b[?1049h") == 2)
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.restored


def test_top_keeps_up(sim: Simulator, simulated: Server) -> None:
    count, at_once = 20_000, 100
    with Process("top", "--json", "--every", "200ms", env=simulated.env) as process:

        def members() -> dict[str, int]:
            return {each["queue"]: each["members"] for each in json.loads(process.line())["queues"]}

        before = members()["support"]
        for _ in range(count // at_once):
            sim.send_bytes(b"Event: Flood\r\nPrivilege: call,all\r\n\r\n" * at_once)
        with connect(simulated.url, secret=simulated.secret) as ami:
            ami.send("QueueAdd", Queue="support", Interface="Local/109@default/n")
        while members()["support"] != before + 1:
            pass
        process.ended(by=signal.SIGINT)
    shown = in_terminal("top", "--count", "2", "--every", "100ms", env=simulated.env | {"TERM": "dumb"})
    assert shown.code == 0
    assert "\x1b[?1049h" not in shown.out
