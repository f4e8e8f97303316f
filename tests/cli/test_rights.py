"""``permissions`` and ``audit``: the rights that code needs, and those that a manager.conf gives away."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyami_sync import connect
from tests.asterisk.server import AsteriskServer, ManagerUser
from tests.cli.running import run

PROGRAM = """
from pyami_sync import actions, connect, events

with connect() as ami:
    ami.send("QueuePause", Interface="PJSIP/1", Paused=True)
    ami.send(actions.CoreShowChannels())
    future = self.ami.submit("DBGet", Family="a", Key="b")
    pool.send_to("paris", "Ping")
    ami.on(events.Hangup)(print)
    for event in ami.events("QueueCaller*"):
        pass
"""


def test_lists_what_the_code_uses(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    (record,) = run("permissions", str(tmp_path), "--json").objects
    assert sorted(record["actions"]) == ["CoreShowChannels", "DBGet", "Ping", "QueuePause"]
    assert sorted(record["events"]) == ["Hangup", "QueueCallerAbandon", "QueueCallerJoin", "QueueCallerLeave"]
    assert (record["read"], record["write"]) == (["agent", "call"], ["reporting", "agent"])
    assert record["unknown"] == []


def test_names_what_can_not_be_told(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text('ami.send(name)\nami.send("QueuePauze")\nami.on()(print)\nami.on("Hangupp")\n')
    (record,) = run("permissions", str(tmp_path / "app.py"), "--json").objects
    assert len(record["unknown"]) == 3
    assert "app.py:1" in record["unknown"][0]
    assert "QueuePauze" in record["unknown"][1]
    assert record["read"] == ["all"]
    (tmp_path / "bad.py").write_text("def (")
    assert run("permissions", str(tmp_path / "bad.py")).code == 2


def test_writes_a_section(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    out = run("permissions", str(tmp_path / "app.py"), "--user", "wallboard").out
    assert "[wallboard]" in out
    assert "read = agent,call" in out
    assert "write = reporting,agent" in out


@pytest.mark.asterisk
def test_the_smallest_user_is_enough_for_a_real_server(asterisk: AsteriskServer, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM.replace("DBGet", "QueueSummary"))
    (record,) = run("permissions", str(tmp_path), "--json").objects
    read, write = ",".join(record["read"]), ",".join(record["write"])
    asterisk.users["small"] = ManagerUser("small", [f"read = {read}", f"write = {write}"])
    asterisk.reload_manager()
    try:
        url = f"ami://small:small-secret@127.0.0.1:{asterisk.port}"
        with connect(url) as ami, ami.expect("Hangup") as hung_up:
            for action in record["actions"]:
                headers = {"Interface": "Local/801@members/n", "Paused": False} if action == "QueuePause" else {}
                assert ami.send(action, **headers).ok
            with connect(f"ami://admin:admin-secret@127.0.0.1:{asterisk.port}") as admin:
                admin.originate("Local/104@default", Application="Wait", Data="0")
            assert hung_up.result(10)["Channel"]
    finally:
        del asterisk.users["small"]
        asterisk.reload_manager()


DANGEROUS = """
[general]
enabled = yes
webenabled = yes
bindaddr = 0.0.0.0

[admin]
secret = mysecret
read = all
write = all

[dialler]
secret = kV8-long-random-secret-9
permit = 10.0.0.0/255.0.0.0
read = call
write = originate

[good]
secret = kV8-long-random-secret-9
deny = 0.0.0.0/0.0.0.0
permit = 127.0.0.1/255.255.255.255
read = call
write = agent
"""


def test_audit_finds_what_is_dangerous(tmp_path: Path) -> None:
    (tmp_path / "manager.conf").write_text(DANGEROUS)
    done = run("audit", str(tmp_path / "manager.conf"), "--json")
    assert done.code == 1
    found = {(each["section"], each["finding"].split(" (")[0]): each for each in done.objects}
    assert {key for key in found if key[0] == "general"} == {
        ("general", "listens in plain text on 0.0.0.0"),
        ("general", "is reachable over HTTP"),
    }
    assert found["admin", "may run commands of the operating system"]["level"] == "danger"
    assert found["admin", "has a secret that is short or widely known"]["level"] == "danger"
    assert ("admin", "may log in from any address") in found
    assert ("dialler", "permits addresses without denying the others first") in found
    assert found["dialler", "may place calls to any application and context"]["level"] == "notice"
    assert not [key for key in found if key[0] == "good"]
    assert all(each["reason"] and each["advice"] for each in found.values())
    assert "mysecret" not in done.out
    assert "kV8" not in done.out


def test_audit_of_a_tight_file(tmp_path: Path) -> None:
    good = DANGEROUS[DANGEROUS.index("[good]") :]
    (tmp_path / "manager.conf").write_text(f"[general]\nenabled = yes\nbindaddr = 127.0.0.1\n{good}")
    done = run("audit", str(tmp_path / "manager.conf"))
    assert (done.code, done.out) == (0, "nothing dangerous found\n")
