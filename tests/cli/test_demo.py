"""The demo tells its whole story and ends well, wherever it is shown."""

from __future__ import annotations

import time

import pytest

from tests.asterisk.server import AsteriskServer
from tests.cli.running import Ran, in_terminal, run

STORY = ["Connected", "Ping", "Version", "Command", "Queues", "Endpoints", "Channels", "Call", "Outcome", "Closed"]


def test_tells_the_story_in_a_pipe() -> None:
    started = time.monotonic()
    done = run("demo")
    assert done.code == 0, done.err
    assert time.monotonic() - started < 30
    said = [line.partition(":")[0] for line in done.out.splitlines()]
    assert [each for each in said if each in STORY] == STORY
    assert "\x1b" not in done.out
    for part in ("PJSIP/alice", "PJSIP/bob", "DialStatus=ANSWER", "BridgeEnter", "Normal Clearing", "answered"):
        assert part in done.out


def test_tells_the_story_at_a_terminal() -> None:
    done = in_terminal("demo")
    assert done.code == 0
    assert "\x1b[" in done.out
    assert "Newchannel" in done.out


def test_tells_the_story_as_json() -> None:
    done = run("demo", "--json")
    assert done.code == 0
    steps = [each["step"] for each in done.objects if "step" in each]
    assert steps == ["server", *(each.lower() for each in STORY)]
    names = [each["Event"] for each in done.objects if "Event" in each]
    assert names[0] == "Newchannel"
    assert names[-1] == "Hangup"
    assert "OriginateResponse" in names


@pytest.mark.asterisk
def test_runs_on_a_real_server(asterisk: AsteriskServer) -> None:
    done = _on(asterisk)
    assert done.code == 0, done.err
    assert "Outcome: answered" in done.out
    assert "Newchannel" in done.out
    assert "pyami-sync-demo" not in asterisk.cli("dialplan show pyami-sync-demo").partition("no existence")[0]


def _on(server: AsteriskServer) -> Ran:
    url = f"ami://admin@127.0.0.1:{server.port}"
    return run("demo", "--url", url, env={"AMI_SECRET": server.users["admin"].secret})
