"""``ladder``: calls of a recording and of a server."""

from __future__ import annotations

from pathlib import Path

from pyami_sync import connect
from pyami_sync.testing import Simulator
from tests.cli.running import Process, Server, run

TRAFFIC = Path(__file__).parents[1] / "traffic" / "asterisk-22.10-400-calls.ami.xz"


def test_the_calls_of_a_recording_are_listed_and_one_is_drawn() -> None:
    done = run("ladder", "--tape", str(TRAFFIC))
    assert done.code == 0, done
    lines = done.out.splitlines()
    assert len(lines) == 400
    linkedid = next(line for line in lines if "107" in line).split()[0]
    drawn = run("ladder", "--tape", str(TRAFFIC), linkedid)
    assert drawn.code == 0, drawn
    for word in ("A is Local/107@default", "DialBegin", "BridgeEnter", "talking", "ended:", "Hangup"):
        assert word in drawn.out
    assert drawn.out.count("Newchannel") == 4
    (form,) = run("ladder", "--tape", str(TRAFFIC), linkedid, "--json").objects
    assert form["linkedid"] == linkedid
    assert form["ladder"] == drawn.out.splitlines()


def test_a_call_that_is_not_in_the_recording_is_told() -> None:
    done = run("ladder", "--tape", str(TRAFFIC), "nobody")
    assert done.code == 2
    assert "holds no call 'nobody', but 400 others" in done.err


def test_the_next_call_of_a_server_is_drawn_when_it_has_ended(sim: Simulator, simulated: Server) -> None:
    with Process("ladder", "--timeout", "30s", env=simulated.env) as process:
        assert process.process.stderr is not None
        assert "waiting for the end of the next call" in process.process.stderr.readline()
        with connect(simulated.url, secret=simulated.secret) as client:
            client.originate("Local/106@default", Context="default", Exten="106", Priority="1")
            done = process.ended()
    assert done.code == 0
    assert "A is Local/106@default" in done.out
    assert "ended:" in done.out


def test_a_call_that_is_not_there_is_told(server: Server) -> None:
    done = run("ladder", "PJSIP/none", env=server.env)
    assert done.code == 2
    assert "there is no call 'PJSIP/none' now" in done.err
