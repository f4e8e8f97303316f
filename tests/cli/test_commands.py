"""Each command on the simulator and on real servers: in a pipe, as JSON, and at a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pyami_sync import connect
from pyami_sync.cli.program import COMMANDS, program
from pyami_sync.testing import Simulator, User, read_tape
from tests.asterisk.server import AsteriskServer
from tests.cli.conftest import SECRET
from tests.cli.running import PROGRAM, Process, Ran, Server, Terminal, environment, in_terminal, run


def lines(done: Ran) -> list[str]:
    assert done.code == 0, done
    assert "\x1b" not in done.out
    return done.out.splitlines()


ASKING = [
    ["ping"],
    ["send", "CoreStatus"],
    ["send", "QueueStatus"],
    ["send", "ListCommands"],
    ["command", "core show version"],
    ["channels"],
    ["queues", "--members"],
    ["endpoints"],
    ["wait", "FullyBooted", "--timeout", "5s"],
    ["events", "--count", "1", "--for", "5s"],
    ["originate", "Local/100@default", "--app", "Wait", "--data", "0", "--ring", "5s"],
    ["top", "--count", "1", "--every", "100ms"],
    ["doctor"],
]
TELLING = [["describe", "Originate", "Hangup"], ["completion", "bash"], ["profiles", "list"], ["profiles", "path"]]


@pytest.mark.parametrize("arguments", ASKING, ids="-".join)
def test_every_command_on_every_server(server: Server, arguments: list[str]) -> None:
    as_json = server.run(*arguments, "--json")
    assert as_json.code == 0, as_json
    assert as_json.objects or arguments == ["channels"]
    assert all(isinstance(json.loads(line), dict) for line in as_json.err.splitlines())
    shown = server.in_terminal(*arguments)
    assert shown.code == 0, shown
    assert shown.out


@pytest.mark.parametrize("arguments", ASKING + TELLING, ids="-".join)
def test_every_command_in_a_pipe(simulated: Server, arguments: list[str]) -> None:
    plain = simulated.run(*arguments)
    assert plain.code == 0, plain
    assert "\x1b" not in plain.out + plain.err
    first = simulated.run("--json", *arguments)
    assert first.code == 0
    assert first.objects or arguments in (["channels"], ["profiles", "list"])


def test_every_command_has_examples() -> None:
    context = click.Context(program, info_name="pyami-sync")
    assert set(program.list_commands(context)) == set(COMMANDS)
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None
        subcommands = command.commands.values() if isinstance(command, click.Group) else ()
        for each in (command, *subcommands):
            text = each.get_help(click.Context(each, info_name=name, parent=context))
            assert "Examples:\n  pyami-sync " in text, name
            assert name in text.split("Examples:")[1]
    assert "Examples:\n  pyami-sync" in run("--help").out


# ping, send, command


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


# events, wait, originate


@contextlib.contextmanager
def listening(server: Server, *arguments: str) -> Iterator[Process]:
    """The program, once it listens."""
    with Process(*arguments, env=server.env) as process:
        assert process.process.stderr is not None
        line = process.process.stderr.readline()
        assert line.startswith(("listening", "waiting")), line
        yield process


def raise_event(server: Server, name: str, **headers: str) -> None:
    with connect(server.url, secret=server.secret) as client:
        client.send("UserEvent", UserEvent=name, **headers)


def test_events_are_filtered_and_counted(server: Server) -> None:
    arguments = ["events", "User*", "--where", "Kind=wan*", "--where", "Kind=other", "--count", "2"]
    with listening(server, *arguments) as process:
        for kind in ("unwanted", "wanted", "another", "other"):
            raise_event(server, "Shown", Kind=kind)
        done = process.ended()
    assert done.code == 0
    assert [each["Kind"] for each in done.objects] == ["wanted", "other"]
    assert all(each["Event"] == "UserEvent" and each["received_at"] for each in done.objects)


def test_events_are_readable_at_a_terminal(server: Server) -> None:
    with Terminal("events", "UserEvent", "--count", "1", "--full", env=server.env) as terminal:
        terminal.until("listening")
        raise_event(server, "Shown", Evil="\x1b[31mred")
        assert terminal.ended() == 0
        assert "\x1b[31mred" not in terminal.text
        assert "\\x1b[31mred" in terminal.text


def test_events_come_back_after_a_loss(sim: Simulator, simulated: Server) -> None:
    with listening(simulated, "events", "--count", "3") as process:
        assert json.loads(process.line())["Event"] == "FullyBooted"
        sim.drop()
        done = process.ended()
    assert [each["Event"] for each in done.objects] == ["ConnectionLost", "Reconnected"]
    assert "the connection was lost" in done.err


def test_events_end_with_the_connection_if_told(sim: Simulator, simulated: Server) -> None:
    with listening(simulated, "events", "--no-reconnect") as process:
        process.line()
        sim.close_sessions()
        assert process.ended().code == 3


def test_wait_sees_what_it_causes(server: Server) -> None:
    program = " ".join(["$PROGRAM", "send", "UserEvent", "UserEvent=Mine", "Answer=42", "-q"])
    env = {"PROGRAM": " ".join(PROGRAM)}
    done = server.run("wait", "UserEvent", "--where", "UserEvent=Mine", "--exec", program, "--json", env=env)
    assert done.code == 0, done
    assert done.objects[-1]["Answer"] == "42"


def test_originate_tells_the_outcome(server: Server) -> None:
    done = server.run("originate", "Local/106@default", "--app", "Wait", "--data", "0", "--follow", "--json")
    assert done.code == 0, done
    *events, last = done.objects
    assert last["answered"] is True
    assert [each["Event"] for each in events].count("Hangup") >= 1
    assert events[0]["Event"] == "Newchannel"
    failed = server.run("originate", "Local/nowhere@nocontext", "--app", "Wait", "--data", "0")
    assert failed.code == 1
    assert "not answered" in failed.out + failed.err or "failed" in failed.err
    queued = server.run("originate", "Local/106@default", "--exten", "106", "--no-wait")
    assert queued.code == 0
    assert "queued" in queued.out


# channels, queues, endpoints, top


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
        terminal.until("support")
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
        terminal.until("support")
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
    count, per_look = 20_000, 100
    with Process("top", "--json", "--every", "200ms", env=simulated.env) as process:
        sim.wait_for_sessions()
        sim.wait_until(lambda: any(session.logged_in for session in sim.sessions))
        assert json.loads(process.line())["errors"] == {}
        for _ in range(count // per_look):
            sim.send_bytes(b"Event: Flood\r\nPrivilege: call,all\r\n\r\n" * per_look)
        while (picture := json.loads(process.line()))["names"].get("Flood") != count:
            assert picture["lost"] == 0
        process.ended(by=signal.SIGINT)
    shown = in_terminal("top", "--count", "2", "--every", "100ms", env=simulated.env | {"TERM": "dumb"})
    assert shown.code == 0
    assert "\x1b[?1049h" not in shown.out


# record, replay, simulate


def recorded(tape: str) -> bytes:
    """All that is in a recording so far."""
    return b"".join(record.raw for record in read_tape(tape))


def test_recording_replays_the_same(server: Server, tmp_path: Path) -> None:
    tape = str(tmp_path / "traffic.tape")
    with Process("record", tape, env=server.env) as process:
        assert process.process.stderr is not None
        assert "recording" in process.process.stderr.readline()
        with connect(server.url, secret=server.secret) as client, client.events("UserEvent") as stream:
            for number in range(20):
                client.send("UserEvent", UserEvent="Recorded", Number=number)
            for _ in range(20):
                stream.get(10)
        deadline = time.monotonic() + 20
        while recorded(tape).count(b"Event: UserEvent\r\n") < 20:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.ended(by=signal.SIGINT).code == 130
    raw = recorded(tape)
    assert server.secret.encode() not in raw
    assert b"Key: [hidden]" in raw
    assert run("record", tape, env=server.env).code == 2
    for speed in (["--full-speed"], ["--speed", "100"]):
        with Process("replay", tape, "--port", "0", "--once", "--json", *speed) as process:
            serving = json.loads(process.line())
            url = f"ami://anyone@127.0.0.1:{serving['port']}"
            listener = ["events", "UserEvent", "--no-reconnect"]
            done = run(*listener, env={"AMI_URL": url, "AMI_SECRET": "any"})
            assert done.code == 3  # the recording is over, and so is the connection
            found = [each["Number"] for each in done.objects if each["UserEvent"] == "Recorded"]
            assert found == [str(number) for number in range(20)]
            assert process.ended().code == 0


def test_replay_goes_stepwise(tmp_path: Path) -> None:
    dump = tmp_path / "dump.ami"
    event = "Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Step{}\r\n\r\n"
    dump.write_text("Asterisk Call Manager/11.0.0\r\n" + "".join(map(event.format, range(3))), newline="")
    with subprocess.Popen(
        [*PROGRAM, "replay", str(dump), "--port", "0", "--step", "--once", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        port = json.loads(process.stdout.readline())["port"]
        with connect(f"ami://x:y@127.0.0.1:{port}", reconnect=None) as client, client.events("UserEvent") as stream:
            process.stdin.write("\n")
            process.stdin.flush()
            assert stream.get(10)["UserEvent"] == "Step0"
            assert stream.pending == 0
            process.stdin.write("2\n")
            process.stdin.flush()
            assert [stream.get(10)["UserEvent"] for _ in range(2)] == ["Step1", "Step2"]
        process.stdin.close()
        assert process.wait(30) == 0


def test_simulate_makes_calls(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    arguments = ["simulate", "--port", "0", "--calls-per-second", "20", "--pace", "5", "--queues", "one,two"]
    with Process(*arguments, "--secret-file", str(file), "--json") as process:
        port = json.loads(process.line())["port"]
        server = Server(f"ami://admin@127.0.0.1:{port}", SECRET)
        seen = server.run("events", "Newchannel", "--count", "5", "--for", "30s")
        assert len(seen.objects) == 5
        assert {each["queue"] for each in server.run("queues", "--json").objects} == {"one", "two"}
        done = process.ended(by=signal.SIGINT)
    assert done.code == 130
    assert SECRET not in done.out + done.err


def test_port_that_is_taken(sim: Simulator) -> None:
    done = run("simulate", "--port", str(sim.port))
    assert done.code == 2
    assert "can't listen" in done.err


# describe, profiles, completion


def test_describe_explains() -> None:
    done = lines(run("describe", "queueadd"))
    assert done[0] == "QueueAdd (action)"
    assert any(line.split()[:2] == ["Queue", "yes"] for line in done)
    assert any("write class agent" in line for line in done)
    (record,) = run("describe", "--json", "QueueMemberStatus").objects
    assert record["kind"] == "event"
    assert {"name": "Queue", "attribute": "queue", "type": "text"} in record["fields"]
    unknown = run("describe", "QueueAd")
    assert unknown.code == 2
    assert "QueueAdd" in unknown.err
    assert len(run("describe", "--json").objects) > 400


def test_profiles(sim: Simulator, tmp_path: Path) -> None:
    env = {"PYAMI_CONFIG": str(tmp_path / "deep" / "config.toml")}
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    url = f"ami://admin@127.0.0.1:{sim.port}"
    added = run("profiles", "add", "test.one", url, "--secret-file", str(secret), "--default", env=env)
    assert added.code == 0, added
    assert run("profiles", "add", "two", "amis://admin@pbx.invalid", env=env).code == 0
    assert run("profiles", "add", "two", url, env=env).code == 2
    assert run("profiles", "add", "bad", f"ami://admin:{SECRET}@x", env=env).code == 2
    listed = run("profiles", "list", "--json", env=env).objects
    assert [(each["profile"], each["default"]) for each in listed] == [("test.one", True), ("two", False)]
    assert run("ping", env=env).code == 0
    assert run("ping", "-p", "test.one", env=env).code == 0
    assert run("ping", env=env | {"AMI_PROFILE": "two", "AMI_SECRET": "x"}).code == 3
    assert run("-p", "none", "ping", env=env).code == 2


def test_profile_with_a_secret_must_be_private(sim: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[profiles.one]\nurl = "ami://admin@127.0.0.1:{sim.port}"\nsecret = "{SECRET}"\n')
    env = {"PYAMI_CONFIG": str(file)}
    file.chmod(0o644)
    open_to_all = run("-p", "one", "ping", env=env)
    assert open_to_all.code == 2
    assert "chmod 600" in open_to_all.err
    file.chmod(0o600)
    assert run("-p", "one", "ping", env=env).code == 0
    for wrong in (
        "[profiles.one]\n",
        "profiles = 1\n",
        "default = 'x'\n",
        "[profiles.one]\nurl='x'\nnonsense=1\n",
        "[",
    ):
        file.write_text(wrong)
        assert run("-p", "one", "ping", env=env).code == 2


def test_completion_completes() -> None:
    env = {"COMP_WORDS": "pyami-sync send Queue", "COMP_CWORD": "2", "_PYAMI_SYNC_COMPLETE": "bash_complete"}
    assert "plain,QueueAdd" in run(env=env).out.splitlines()
    env = {"COMP_WORDS": "pyami-sync ev", "COMP_CWORD": "1", "_PYAMI_SYNC_COMPLETE": "bash_complete"}
    assert run(env=env).out.splitlines() == ["plain,events"]
    for shell in ("bash", "zsh", "fish"):
        assert "_PYAMI_SYNC_COMPLETE" in run("completion", shell).out


# cluster


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


def test_a_mistyped_command_names_the_one_that_is_meant() -> None:
    done = run("pingg")
    assert done.code == 2
    assert "no such command: 'pingg'; did you mean ping?" in done.err
    assert "did you mean" not in run("xyzzy").err


def test_help_lists_options_only_as_options() -> None:
    listed = run("send", "--help").out.split("\nOptions:\n")[1]
    assert listed.startswith("  --show-secrets")


def test_lines_of_events_end_with_their_last_value(simulated: Server) -> None:
    for more in ([], ["--full"]):
        (line,) = lines(simulated.run("events", "FullyBooted", "--count", "1", "--text", *more))
        assert line == line.rstrip()
