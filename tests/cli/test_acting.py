"""The daily commands, on the simulator and on real servers: what they did, their JSON, their exit codes."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator

import pytest

from pyami_sync import AMIClient
from pyami_sync.testing import Simulator
from tests.cli.running import Server, run


@contextlib.contextmanager
def client(server: Server) -> Iterator[AMIClient]:
    with AMIClient.from_url(server.url, secret=server.secret) as ami:
        yield ami


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def channels(ami: AMIClient) -> dict[str, str]:
    return {item["Channel"]: item["Exten"] for item in ami.send("CoreShowChannels").events}


@pytest.fixture
def call(server: Server) -> Iterator[tuple[str, str]]:
    """Place a call between the halves of a Local channel; yield their names."""
    with client(server) as ami:
        with ami.expect("Newchannel", where={"Channel": "Local/101@default-*;1"}) as seen:
            ami.originate("Local/101@default/n", Context="default", Exten="108", Priority=1)
            one = seen.result(10)["Channel"]
        two = one[:-1] + "2"
        until(lambda: channels(ami).get(one) == "108" and channels(ami).get(two) == "101")
        yield one, two
        for name in channels(ami):
            if name.startswith(one[:-2]):
                ami.send("Hangup", Channel=name, check=False)


def test_hangup(server: Server, call: tuple[str, str]) -> None:
    one, _ = call
    (record,) = server.run("hangup", one, "--cause", "21", "--json").objects
    assert (record["action"], record["channel"], record["ok"]) == ("Hangup", one, True)
    with client(server) as ami:
        until(lambda: one not in channels(ami))
    gone = server.run("hangup", one, "--json")
    assert gone.code == 1
    assert not gone.out
    assert '"type": "ActionError"' in gone.err


def test_hangup_by_pattern_asks_first(server: Server, call: tuple[str, str]) -> None:
    pattern = call[0][:-1] + "*"
    refused = server.run("hangup", pattern)
    assert refused.code == 2
    assert "hang up 2 channels" in refused.err
    assert "--yes" in refused.err
    done = server.run("hangup", pattern, "--yes", "--json")
    assert {each["channel"] for each in done.objects} <= set(call)
    assert server.run("hangup", "PJSIP/nobody-*").code == 2


def test_hangup_by_uniqueid(server: Server, call: tuple[str, str]) -> None:
    with client(server) as ami:
        (unique,) = [each["Uniqueid"] for each in ami.send("CoreShowChannels").events if each["Channel"] == call[0]]
    assert server.run("hangup", unique).code == 0


def test_transfer_of_the_channel_itself(server: Server, call: tuple[str, str]) -> None:
    one, _ = call
    (record,) = server.run("transfer", one, "100@default", "--self", "--json").objects
    assert record == {**record, "action": "Redirect", "channel": one, "exten": "100", "context": "default", "ok": True}
    with client(server) as ami:
        until(lambda: channels(ami).get(one) == "100")


def test_transfer_without_a_bridge_says_so(server: Server, call: tuple[str, str]) -> None:
    failed = server.run("transfer", call[0], "100")
    assert failed.code == 1
    assert "BlindTransfer" in failed.err
    assert server.run("transfer", call[0], "@default").code == 2
    assert server.run("transfer", call[0], "100", "--attended", "--self").code == 2


def test_park(server: Server, call: tuple[str, str]) -> None:
    one, _ = call
    (record,) = server.run("park", one, "--for", "30s", "--json").objects
    assert (record["action"], record["channel"], record["ok"]) == ("Park", one, True)
    with client(server) as ami:
        until(lambda: [each for each in ami.send("ParkedCalls").events if each["ParkeeChannel"] == one])
    assert server.run("park", "PJSIP/nobody-00000001").code == 1


def test_members(server: Server) -> None:
    member = "Local/109@default"
    added = server.run("queue", "add", "support", member, "--penalty", "3", "--name", "Carol", "--json")
    try:
        assert added.objects[0]["ok"] is True
        paused = server.run("pause", member, "--queue", "support", "--reason", "lunch", "--json")
        assert paused.objects[0]["paused"] is True

        def found() -> dict[str, object]:
            with client(server) as ami:
                items = ami.send("QueueStatus", Queue="support").events
                return next(each.to_dict() for each in items if each.get("Location") == member)

        assert found()["Paused"] == "1"
        assert (found()["Penalty"], found()["PausedReason"]) == ("3", "lunch")
        assert server.run("unpause", member).code == 0
        assert found()["Paused"] == "0"
        assert member in server.run("queue", "show", "support", "--json").out
    finally:
        removed = server.run("queue", "remove", "support", member)
    assert removed.code == 0
    again = server.run("queue", "remove", "support", member)
    assert again.code == 1
    assert again.err.count("\n") == 1
    assert server.run("pause", "PJSIP/nobody").code == 1


def test_database(server: Server) -> None:
    assert server.run("db", "put", "pyamitest", "one", "1 and more: text").code == 0
    assert server.run("db", "get", "pyamitest", "one").out == "1 and more: text\n"
    (record,) = server.run("db", "get", "pyamitest", "one", "--json").objects
    assert record == {"family": "pyamitest", "key": "one", "value": "1 and more: text"}
    shown = server.run("db", "show", "pyamitest", "--json").objects
    assert shown == [{"key": "/pyamitest/one", "value": "1 and more: text"}]
    assert server.run("db", "del", "pyamitest", "one").code == 0
    missing = server.run("db", "get", "pyamitest", "one")
    assert missing.code == 1
    assert not missing.out
    assert server.run("db", "del", "pyamitest").code == 2
    assert server.run("db", "put", "pyamitest", "two", "2").code == 0
    assert server.run("db", "del", "pyamitest", "--tree").code == 0


def test_database_of_a_server_without_dbgettree() -> None:
    with Simulator(asterisk="13") as simulator:
        server = Server(f"ami://admin@127.0.0.1:{simulator.port}", "secret")
        with client(server) as ami:
            ami.send("DBPut", Family="pyamitest", Key="one", Val="1: one")
            ami.send("DBPut", Family="other", Key="two", Val="2")
        # Not through server.run(): the word "secret" is in the help of some commands.
        shown = run("db", "show", "pyamitest", "--json", env=server.env)
        assert shown.objects == [{"key": "/pyamitest/one", "value": "1: one"}]
        assert len(run("db", "show", "--json", env=server.env).objects) == 2


def test_reload(server: Server) -> None:
    (record,) = server.run("reload", "app_queue.so", "--json").objects
    assert (record["module"], record["ok"]) == ("app_queue.so", True)
    assert server.run("reload", "no_such_module.so").code == 1


def test_help_is_grouped_by_purpose() -> None:
    text = run("--help").out
    heads = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads[-8:-2] == ["Look", "Act", "Ask", "Serve", "Find faults", "Learn and set up"]


# A daily command, its exit code, and what is said of it.
ERRORS: list[tuple[list[str], int, str]] = [
    (["hangup", "PJSIP/nobody-00000001"], 1, "Hangup failed"),
    (["transfer", "PJSIP/nobody-00000001", "100@default"], 1, "BlindTransfer failed"),
    (["transfer", "PJSIP/nobody-00000001", "100@default", "--attended"], 1, "Atxfer failed"),
    (["transfer", "PJSIP/nobody-00000001", "100@default", "--self"], 1, "Redirect failed"),
    (["park", "PJSIP/nobody-00000001"], 1, "Park failed"),
    (["pause", "PJSIP/nobody"], 1, "QueuePause failed"),
    (["unpause", "PJSIP/nobody"], 1, "QueuePause failed"),
    (["queue", "add", "nosuch", "PJSIP/alice"], 1, "QueueAdd failed"),
    (["queue", "remove", "support", "PJSIP/nobody"], 1, "QueueRemove failed"),
    (["queue", "show", "nosuch"], 1, "there is no queue 'nosuch'"),
    (["db", "get", "nosuch", "key"], 1, "nosuch"),
    (["db", "del", "nosuch", "key"], 1, "DBDel failed"),
    (["reload", "no_such_module.so"], 1, "Reload failed"),
    (["dial", "PJSIP/alice", "nosuch@nowhere"], 1, "Originate failed"),
    (["events", "--call", "nosuch"], 2, "there is no call 'nosuch' now"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "said"), ERRORS, ids=lambda value: "-".join(value) if isinstance(value, list) else ""
)
def test_an_error_of_each_daily_command(server: Server, arguments: list[str], code: int, said: str) -> None:
    done = server.run(*arguments, "--json")
    assert done.code == code, done
    assert not done.objects
    told = json.loads(done.err.splitlines()[-1])
    assert said in (told.get("error") or told["warning"])
    assert told.get("exit", code) == code
    plain = server.run(*arguments)
    assert plain.code == code
    assert not plain.out
    assert any(line.startswith("pyami-sync: ") and said in line for line in plain.err.splitlines())
