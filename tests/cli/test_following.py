"""Following what happens: events, wait, originate."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from pyami_sync import connect
from pyami_sync.testing import Simulator
from tests.cli.running import PROGRAM, Process, Server, Terminal, lines


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


def test_lines_of_events_end_with_their_last_value(simulated: Server) -> None:
    for more in ([], ["--full"]):
        (line,) = lines(simulated.run("events", "FullyBooted", "--count", "1", "--text", *more))
        assert line == line.rstrip()


def test_wait_sees_what_it_causes(server: Server) -> None:
    program = " ".join(["$PROGRAM", "send", "UserEvent", "UserEvent=Mine", "Answer=42", "-q"])
    env = {"PROGRAM": " ".join(PROGRAM)}
    done = server.run("wait", "UserEvent", "--where", "UserEvent=Mine", "--exec", program, "--json", env=env)
    assert done.code == 0, done
    assert done.objects[-1]["Answer"] == "42"


def test_originate_tells_the_outcome(server: Server) -> None:
    done = server.run("originate", "Local/106@default", "--app", "Wait", "--data", "2", "--follow", "--json")
    assert done.code == 0, done
    *events, last = done.objects
    assert last["answered"] is last["ended"] is True
    assert (last["outcome"], last["cause"], last["cause_text"]) == ("answered", 16, "normal clearing")
    assert 0.0 <= last["talk_time"] < 10.0
    assert [each["Event"] for each in events].count("Hangup") >= 1
    assert events[0]["Event"] == "Newchannel"
    failed = server.run("originate", "Local/nowhere@nocontext", "--app", "Wait", "--data", "0")
    assert failed.code == 1
    assert "Local/nowhere@nocontext" in failed.out
    assert "not answered: unreachable" in failed.out
    busy = server.run("originate", "Local/103@default", "--exten", "106", "--json")
    assert busy.code == 1
    assert [(each["outcome"], each["cause"]) for each in busy.objects] == [("busy", 17)]
    nowhere = server.run("originate", "Local/106@default", "--exten", "", "--app", "not an application")
    assert nowhere.code == 2
    queued = server.run("originate", "Local/106@default", "--exten", "106", "--no-wait")
    assert queued.code == 0
    assert "queued" in queued.out
