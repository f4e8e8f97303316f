"""Asking: ping, send, command."""

from __future__ import annotations

import pytest

from pyami_sync.testing import Simulator, User
from tests.asterisk.server import AsteriskServer
from tests.cli.conftest import SECRET
from tests.cli.running import Server, lines


def test_ping_has_statistics(server: Server) -> None:
    done = server.run("ping", "-c", "4", "-i", "0", "--json")
    *pings, last = done.objects
    assert [each["seq"] for each in pings] == [1, 2, 3, 4]
    facts = last["statistics"]
    assert (facts["sent"], facts["answered"], facts["lost_percent"]) == (4, 4, 0)
    assert 0 < facts["min_ms"] <= facts["avg_ms"] <= facts["max_ms"]


def test_send_repeats_headers(sim: Simulator, simulated: Server) -> None:
    headers = ["Channel=PJSIP/alice", "Application=Wait", "Data=0", "Variable=a=1", "Variable=b=x=y", "Async=yes"]
    assert simulated.run("send", "originate", *headers).code == 0
    assert sim.assert_sent("Originate").get_all("Variable") == ["a=1", "b=x=y"]


def test_send_prints_lists_whole(server: Server) -> None:
    done = server.run("send", "QueueStatus", "--json")
    kinds = [each.get("Event", each.get("Response")) for each in done.objects]
    assert kinds[0] == "Success"
    assert kinds[-1] == "QueueStatusComplete"
    assert kinds.count("QueueParams") == 2
    assert kinds.count("QueueMember") == 2
    table = lines(server.run("send", "QueueStatus"))
    assert any(line.startswith("Queue ") and "Strategy" in line for line in table)
    assert sum("Local/80" in line for line in table) == 2


@pytest.mark.asterisk
def test_send_hides_credentials(real: Server) -> None:
    done = real.run("send", "PJSIPShowAuths")
    assert "alice-secret" not in done.out
    assert "[hidden]" in done.out
    assert "alice-secret" in real.run("send", "PJSIPShowAuths", "--show-secrets").out


@pytest.mark.asterisk
def test_command_prints_what_the_console_would(real: Server, asterisk: AsteriskServer) -> None:
    for text in ("core show help", "dialplan show default"):
        assert real.run("command", text).out.rstrip("\n") == asterisk.cli(text).rstrip("\n")


def test_command_reads_standard_input(server: Server) -> None:
    done = server.run("command", "--json", stdin="core show version\n# a remark\n\ncore show channels count\n")
    assert [each["command"] for each in done.objects] == ["core show version", "core show channels count"]
    assert all(each["output"] for each in done.objects)


def test_command_that_does_not_exist(server: Server) -> None:
    done = server.run("command", "no such thing")
    assert done.code == 1
    assert "No such command" in done.out


def test_refused_action_tells_the_missing_right() -> None:
    with Simulator(users={"weak": User(SECRET, write=("call",))}) as sim:
        server = Server(f"ami://weak@127.0.0.1:{sim.port}", SECRET)
        done = server.run("command", "core show version")
    assert done.code == 1
    assert "write class" in done.err
