"""``dial`` and ``events --call``, on the simulator and on real servers."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from pyami_sync import AMIClient
from tests.cli.running import Process, Server, Terminal


@contextlib.contextmanager
def client(server: Server) -> Iterator[AMIClient]:
    with AMIClient.from_url(server.url, secret=server.secret) as ami:
        yield ami
        ami.send("Hangup", Channel="/^Local/", check=False)


# A device and an extension, the exit code, the outcome of the device and of the connection.
CALLS = [
    ("Local/101@default/n", "100", 0, "answered", "answered"),
    ("Local/101@default/n", "110", 0, "answered", "answered"),
    ("Local/101@default/n", "115", 1, "answered", "busy"),
    ("Local/101@default/n", "104", 1, "answered", "busy"),
    ("Local/101@default/n", "111", 1, "answered", "no answer"),
    ("Local/103@default/n", "100", 1, "busy", "busy"),
]


@pytest.mark.parametrize(("device", "exten", "code", "outcome", "connected"), CALLS, ids=lambda value: str(value))
def test_dial_reports_the_outcome(
    server: Server, request: pytest.FixtureRequest, device: str, exten: str, code: int, outcome: str, connected: str
) -> None:
    if exten == "115" and "asterisk" not in request.node.callspec.id:
        pytest.skip("the simulator has no such extension")
    done = server.run(
        "dial",
        device,
        exten,
        "--for",
        "1s" if code == 0 else "30s",
        "--ring",
        "5s",
        "--json",
        "-v",
        "FIRST=Local/103@default",
    )
    (record,) = done.objects
    assert (done.code, record["outcome"], record["connected"]) == (code, outcome, connected), done
    assert record["ended"] is True
    if code == 0:
        assert 0.5 < record["talk_time"] < 10
    assert not done.err


def test_dial_tells_its_stages_and_how_long_they_talked(server: Server) -> None:
    done = server.run("dial", "Local/101@default/n", "110", "--for", "1s")
    assert done.code == 0
    assert done.out.startswith("Local/101@default/n answered, connected with 110; ")
    assert "talked 0:01" in done.out
    assert done.err.splitlines()[-1] == "Local/101@default/n talks with 110"
    assert not server.run("--quiet", "dial", "Local/103@default/n", "100").err


def test_dial_hangs_up_at_ctrl_c(server: Server) -> None:
    with client(server) as ami, ami.expect("Hangup", where={"Channel": "Local/101@default-*;1"}, timeout=30) as seen:
        with Process("dial", "Local/101@default/n", "100", env=server.env) as dialling:
            assert dialling.process.stderr is not None
            while "has answered" not in dialling.process.stderr.readline():
                pass
            done = dialling.ended(by=signal.SIGINT)
        seen.result()
    assert done.code == 130
    assert "answered, connected with 100" in done.out


def test_dial_shows_the_time_at_a_terminal(simulated: Server) -> None:
    with Terminal("dial", "PJSIP/alice", "100", env=simulated.env) as terminal:
        terminal.until("PJSIP/alice has answered, 0:01; Ctrl-C hangs up")
        terminal.type("\x03")
        assert terminal.ended() == 130


def test_dial_refuses_what_is_no_extension(simulated: Server) -> None:
    assert simulated.run("dial", "PJSIP/alice", "@default").code == 2
    assert simulated.run("dial", "PJSIP/alice").code == 2


def test_events_of_one_call_until_it_is_over(server: Server) -> None:
    with client(server) as ami:
        calls = []
        # Once it is joined, the second call has four channels.
        with ami.expect("BridgeEnter", where={"Channel": "Local/100@default-*;1"}, timeout=20) as joined:
            for exten in ("108", "110"):
                with ami.expect("Newchannel", where={"Channel": "Local/101@default-*;1"}) as seen:
                    ami.originate("Local/101@default/n", Context="default", Exten=exten, Priority=1)
                calls.append(seen.result()["Channel"])
        with Process("events", "--call", calls[1], "--json", env=server.env) as listening:
            assert listening.process.stderr is not None
            assert "listening to the call" in listening.process.stderr.readline()
            linked = joined.result()["Linkedid"]
            for call in calls:
                ami.send("Hangup", Channel=call)
            done = listening.ended()
    assert done.code == 0, done
    hungup = [each["Channel"] for each in done.objects if each["Event"] == "Hangup"]
    assert len(hungup) == len(set(hungup)) == 4
    assert not {calls[0], calls[0][:-1] + "2"} & set(hungup)
    assert {each["Linkedid"] for each in done.objects if "Linkedid" in each} == {linked}


def test_events_of_one_call_can_be_chosen_by_name(server: Server) -> None:
    with client(server) as ami:
        with ami.expect("Newchannel", where={"Channel": "Local/101@default-*;1"}) as seen:
            ami.originate("Local/101@default/n", Context="default", Exten="108", Priority=1)
        with Process("events", "Hangup*", "--call", seen.result()["Linkedid"], "--text", env=server.env) as listening:
            assert listening.process.stderr is not None
            listening.process.stderr.readline()
            ami.send("Hangup", Channel=seen.result()["Channel"])
            done = listening.ended()
    assert done.code == 0
    assert done.out.count(" Hangup ") == 2
    assert all("Hangup" in line for line in done.out.splitlines())


def test_events_of_a_call_that_is_not_there(server: Server) -> None:
    done = server.run("events", "--call", "PJSIP/nobody-00000001")
    assert done.code == 2
    assert "there is no call 'PJSIP/nobody-00000001' now" in done.err
