"""What users of the live model see, on the simulator as on real servers: code that was tested here works there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyami_sync import AMIClient
from pyami_sync.live import CallRecord, Live

from .conftest import Target


@pytest.fixture
def live(target: Target) -> Iterator[Live]:
    """A live model; what it calls is hung up in the end."""
    with target.client("patient") as ami, ami.live() as live:
        yield live
        ami.send("Hangup", Channel="/^Local/")
        live.wait(lambda view: not any(each.local for each in view.channels.values()), timeout=20)


def ami_of(live: Live) -> AMIClient:
    return live._source


def originate(live: Live, exten: str, channel: str = "Local/100@default/n") -> str:
    """Place a call to an extension; return the unique id of the half that is there."""
    outcome = ami_of(live).originate(
        channel, Context="default", Exten=exten, Priority="1", CallerID='"Ann" <5551>', wait=True, timeout=20
    )
    assert outcome["Response"] == "Success"
    return outcome["Uniqueid"]


def test_a_call_that_is_answered_and_talks(live):
    with live.changes(CallRecord) as ended:
        uniqueid = originate(live, "110", "Local/100@default/n")
        view = live.wait(lambda view: (call := view.call_of(uniqueid)) and call.state == "talking", timeout=20)
        call = view.call_of(uniqueid)
        assert call.from_start
        assert call.answered
        assert len(call.legs) == 4
        channel = view.channels[uniqueid]
        assert channel.state == "Up"
        assert channel.caller.num == "5551"
        bridge = view.bridges[channel.bridge]
        assert uniqueid in bridge.channels
        assert len(bridge.channels) == 2
        assert not bridge.holding
        assert view.channels[channel.other_half].other_half == uniqueid
        ami_of(live).send("Hangup", Channel=channel.name)
        record = ended.get(timeout=20).after
    assert record.complete
    assert record.linkedid == call.linkedid
    assert len(record.legs) == 4
    dialled = [leg for leg in record.legs if leg.dialed_by == uniqueid]
    assert [leg.dial_status for leg in dialled] == ["ANSWER"]
    assert live.view().call_of(uniqueid) is None


def test_a_call_that_is_busy(live):
    with live.changes(CallRecord) as ended:
        ami_of(live).originate("Local/103@default", Context="default", Exten="100", Priority="1")
        record = ended.get(timeout=20).after
    assert record.complete
    assert not any(leg.answered for leg in record.legs)
    assert "BUSY" in {leg.disposition for leg in record.legs}


def test_a_caller_in_a_queue(live):
    uniqueid = originate(live, "501")
    view = live.wait(lambda view: view.queues["empty"].calls == 1, timeout=20)
    (caller,) = view.queues["empty"].waiting
    assert caller.uniqueid == uniqueid
    assert caller.position == 1
    assert caller.since is not None
    assert caller.channel == view.channels[uniqueid].name
    assert view.call_of(uniqueid).state == "queued"
    assert view.call_of(uniqueid).queues == ("empty",)
    abandoned = view.queues["empty"].abandoned
    ami_of(live).send("Hangup", Channel=caller.channel)
    live.wait(lambda view: not view.queues["empty"].waiting, timeout=20)
    live.wait(lambda view: view.queues["empty"].abandoned == abandoned + 1, timeout=20)


def test_a_caller_who_is_answered_by_a_member(live):
    before = live.queues["support"]
    with live.changes(CallRecord) as ended:
        originate(live, "500")
        record = ended.get(timeout=30).after
    assert record.queues == ("support",)
    view = live.wait(lambda view: view.queues["support"].completed == before.completed + 1, timeout=20)
    member = view.queues["support"].member("Local/801@members/n")
    assert member.calls_taken == before.member("Local/801@members/n").calls_taken + 1
    assert member.last_call is not None
    live.wait(lambda view: not view.queues["support"].member("Local/801@members/n").in_call, timeout=20)


def test_a_member_who_comes_pauses_and_goes(live):
    ami, interface = ami_of(live), "Local/100@default"
    ami.send("QueueAdd", Queue="support", Interface=interface, MemberName="Dee", Penalty=3)
    member = (
        live.wait(lambda view: view.queues["support"].member(interface), timeout=20).queues["support"].member(interface)
    )
    assert (member.name, member.penalty, member.membership, member.paused) == ("Dee", 3, "dynamic", False)
    ami.send("QueuePause", Queue="support", Interface=interface, Paused="true", Reason="lunch")
    view = live.wait(lambda view: view.queues["support"].member(interface).paused, timeout=20)
    assert view.queues["support"].member(interface).paused_reason == "lunch"
    assert view.queues["support"].member(interface).last_pause is not None
    ami.send("QueuePause", Queue="support", Interface=interface, Paused="false")
    live.wait(lambda view: not view.queues["support"].member(interface).paused, timeout=20)
    assert live.queues["support"].member(interface).paused_reason == ""
    ami.send("QueueRemove", Queue="support", Interface=interface)
    live.wait(lambda view: view.queues["support"].member(interface) is None, timeout=20)


def test_a_conference(live):
    uniqueid = originate(live, "600")
    view = live.wait(lambda view: "room1" in view.conferences and view.conferences["room1"].members, timeout=20)
    room = view.conferences["room1"]
    (member,) = room.members
    assert member.uniqueid == uniqueid
    assert not member.muted
    ami_of(live).send("ConfbridgeMute", Conference="room1", Channel=member.channel)
    live.wait(lambda view: view.conferences["room1"].members[0].muted, timeout=20)
    ami_of(live).send("Hangup", Channel=member.channel)
    live.wait(lambda view: "room1" not in view.conferences, timeout=20)


def test_a_parked_call(live):
    uniqueid = originate(live, "700")
    view = live.wait(lambda view: uniqueid in view.parked, timeout=20)
    call = view.parked[uniqueid]
    assert call.parkinglot == "default"
    lot = view.parking_lots["default"]
    assert lot.start_space <= call.parking_space <= lot.stop_space
    live.wait(lambda view: view.call_of(uniqueid).state == "parked", timeout=20)
    ami_of(live).send("Hangup", Channel=call.channel)
    live.wait(lambda view: uniqueid not in view.parked, timeout=20)


def test_devices_have_a_state(live):
    assert live.devices
    assert {each.state for each in live.devices.values()} <= {
        *("NOT_INUSE", "INUSE", "BUSY", "INVALID", "UNAVAILABLE", "RINGING", "RINGINUSE", "ONHOLD", "UNKNOWN"),
    }
    assert {"alice", "bob"} <= set(live.endpoints)
