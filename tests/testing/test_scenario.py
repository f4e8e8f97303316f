"""A lifelike load: complete calls, the same for the same seed."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from pyami_sync.testing import Scenario, Simulator
from tests.asterisk.raw import RawSession

CLOCKS = re.compile(rb"(LoginTime|LastCall|LastPause): \d+")


def play(scenario: Scenario) -> bytes:
    with Simulator(scenario=None) as simulator, RawSession(simulator.port, timeout=30) as raw:
        raw.login(secret="secret", events="call,agent,dialplan")
        simulator.play(scenario).wait()
        data = raw.ask("Ping").partition(b"Response: Success\r\n")[0]
        assert not simulator.pbx.channels
        assert not simulator.pbx.bridges
        assert not simulator.errors
        assert b"ListItems: 0" in raw.ask("CoreShowChannels")
    return CLOCKS.sub(b"", data)


def test_same_seed_same_bytes() -> None:
    scenario = Scenario(calls_per_second=5, calls=25, speed=200, seed=7)
    data = play(scenario)
    assert data == play(Scenario(calls_per_second=5, calls=25, speed=100, seed=7))
    assert data != play(Scenario(calls_per_second=5, calls=25, speed=200, seed=8))


def test_every_channel_begins_and_ends_once() -> None:
    data = play(Scenario(calls_per_second=4, calls=40, speed=200, queues={"q": ["ann", "ben"]}, endpoints=6))
    counts = Counter(re.findall(rb"^Event: (\w+)", data, re.MULTILINE))
    assert counts[b"Newchannel"] == counts[b"Hangup"] > 40
    assert counts[b"BridgeCreate"] == counts[b"BridgeDestroy"]
    assert counts[b"BridgeEnter"] == counts[b"BridgeLeave"] == 2 * counts[b"BridgeCreate"]
    assert counts[b"DialBegin"] >= counts[b"DialEnd"] > 0
    assert counts[b"QueueCallerJoin"] == counts[b"QueueCallerLeave"] > 0
    assert counts[b"AgentConnect"] == counts[b"AgentComplete"] > 0
    begun = re.findall(rb"Event: Newchannel\r\nPrivilege: call,all\r\nChannel: (\S+)", data)
    ended = re.findall(rb"Event: Hangup\r\nPrivilege: call,all\r\nChannel: (\S+)", data)
    assert sorted(begun) == sorted(ended)
    assert len(set(begun)) == len(begun)


def test_stop_and_start_with_the_simulator() -> None:
    with Simulator(scenario=Scenario(calls_per_second=20, queues=(), speed=10)) as simulator:
        with pytest.raises(AssertionError, match="calls placed"):
            simulator.play(Scenario(calls_per_second=0.001)).wait(0.01)
        play = simulator.play(Scenario(calls_per_second=2, speed=50))
        with RawSession(simulator.port) as raw:
            raw.login(secret="secret", events="agent")
            raw.read_until(b"Event: AgentConnect\r\n")
        play.stop()
        placed = play.placed
        simulator.loop.run(lambda: None)
        assert play.placed == placed
