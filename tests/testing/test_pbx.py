"""Calls: the order of their events, and lists that agree with them."""

from __future__ import annotations

import re

import pytest

from pyami_sync.testing import Endpoint, Simulator
from tests.asterisk.raw import RawSession

from .conftest import Dial


def names(data: bytes) -> list[str]:
    return [name.decode() for name in re.findall(rb"^Event: (\S+)\r$", data, re.MULTILINE)]


def headers(data: bytes, event: str) -> dict[str, str]:
    found = re.search(rb"^Event: " + event.encode() + rb"\r\n(.*?)\r\n\r\n", data, re.MULTILINE | re.DOTALL)
    assert found, f"no {event}"
    return dict(line.split(": ", 1) for line in found[1].decode().split("\r\n"))


def listening(sim: Simulator, dial: Dial) -> RawSession:
    raw = dial(sim, events="call,dialplan,agent,user")
    raw.ask("Ping")
    return raw


def originate(raw: RawSession, channel: str, *more: tuple[str, str], action_id: str = "o") -> None:
    raw.action("Originate", ("Channel", channel), ("Async", "yes"), *more, action_id=action_id)


WAIT = (("Application", "Wait"), ("Data", "0.02"))


def test_an_answered_call(sim: Simulator, dial: Dial) -> None:
    raw = listening(sim, dial)
    originate(raw, "Local/100@default/n", *WAIT, ("CallerID", '"Ann O\'Hara" <555>'), ("Variable", r"A=1,B=x\,y"))
    data = raw.read_until(b"Device: Local/100@default\r\nState: NOT_INUSE\r\n\r\n")
    assert data.startswith(
        b"Response: Success\r\nActionID: o\r\nMessage: Originate successfully queued\r\n\r\nEvent: Newchannel\r\n"
    )
    assert [name for name in names(data) if name not in ("VarSet", "DeviceStateChange")] == (
        "Newchannel Newchannel Newexten NewCallerid NewConnectedLine NewCallerid NewConnectedLine LocalBridge DialBegin"
        " Newexten Newstate Newstate Newexten DialEnd OriginateResponse Newexten HangupRequest Hangup SoftHangupRequest"
        " Hangup"
    ).split()
    assert b"Variable: A\r\nValue: 1\r\n" in data
    assert b"Variable: B\r\nValue: x,y\r\n" in data
    assert b"CallerIDName: Ann O\\'Hara\r\n" in data
    answer = headers(data, "OriginateResponse")
    assert list(answer) == (
        "Privilege ActionID Response Channel Application Data Reason Uniqueid CallerIDNum CallerIDName".split()
    )
    assert answer["Response"] == "Success"
    assert answer["CallerIDName"] == "Ann O'Hara"
    assert answer["Reason"] == "4"


def test_calls_that_fail(sim: Simulator, dial: Dial) -> None:
    raw = listening(sim, dial)
    for channel, reason in [
        ("Local/103@default", "5"),
        ("Local/105@default", "8"),
        ("Local/104@default", "0"),
        ("PJSIP/nobody", "0"),
    ]:
        originate(raw, channel, *WAIT)
        data = raw.read_until(b"Event: OriginateResponse\r\n") + raw.read_until(b"\r\n\r\n")
        answer = headers(data, "OriginateResponse")
        assert (answer["Response"], answer["Channel"], answer["Reason"]) == ("Failure", channel, reason)


def test_nobody_answers_in_time(sim: Simulator, dial: Dial) -> None:
    sim.pbx.endpoints["carol"] = Endpoint("carol", ["sip:carol@127.0.0.1"], answers=None)
    raw = listening(sim, dial)
    originate(raw, "PJSIP/carol", *WAIT, ("Timeout", "50"))
    data = raw.read_until(b"Event: OriginateResponse\r\n") + raw.read_until(b"\r\n\r\n")
    assert headers(data, "OriginateResponse")["Reason"] == "3"
    assert headers(data, "DialEnd")["DialStatus"] == "NOANSWER"


def test_a_synchronous_call_holds_everything_up(sim: Simulator, dial: Dial) -> None:
    raw = listening(sim, dial)
    raw.action("Originate", ("Channel", "PJSIP/alice"), ("Application", "Wait"), ("Data", "0"), action_id="o")
    raw.action("Ping", action_id="p")
    data = raw.read_until(b"Event: Hangup\r\n")
    assert data.startswith(b"Response: Success\r\nActionID: o\r\nMessage: Originate successfully queued\r\n\r\n")
    assert data.index(b"Event: Newchannel") < data.index(b"Ping: Pong")
    assert b"OriginateResponse" not in data
    assert b"Message: Originate failed" in raw.ask(
        "Originate", ("Channel", "Local/103@default"), ("Application", "Wait")
    )


def test_originate_is_checked(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    for more, message in [
        ((), b"Channel not specified"),
        ((("Channel", "Local/100@default"),), b"Originate with 'Exten' requires 'Context' and 'Priority'"),
        ((("Channel", "x"), *WAIT), b"Invalid channel"),
        ((("Channel", "Local/100@default"), *WAIT, ("Timeout", "soon")), b"Invalid timeout"),
        (
            (("Channel", "Local/1@default"), ("Context", "default"), ("Exten", "x"), ("Priority", "1")),
            b"Extension does not exist.",
        ),
    ]:
        assert b"Message: " + message in raw.ask("Originate", *more)


def test_two_telephones(sim: Simulator, dial: Dial) -> None:
    raw = listening(sim, dial)
    originate(raw, "PJSIP/alice", ("Context", "default"), ("Exten", "201"), ("Priority", "1"))
    raw.read_until(b"BridgeNumChannels: 2\r\n")
    raw.read_until(b"Variable: BRIDGEPEER\r\nValue: PJSIP/bob-00000001\r\n\r\n")
    shown = raw.ask("CoreShowChannels")
    assert shown.count(b"Event: CoreShowChannel\r\n") == 2
    bridge = headers(shown, "CoreShowChannel")["BridgeId"]
    assert f"BridgeUniqueid: {bridge}\r\n".encode() in raw.ask("BridgeList")
    assert raw.ask("BridgeInfo", ("BridgeUniqueid", bridge)).count(b"Event: BridgeInfoChannel") == 2
    assert b"Channel: PJSIP/alice-00000000\r\n" in raw.ask("CoreShowChannelMap", ("Channel", "PJSIP/bob-00000001"))
    status = raw.ask("Status", ("Channel", "PJSIP/alice-00000000"), ("Variables", "BRIDGEPEER,NOPE"))
    assert b"Variable: BRIDGEPEER=PJSIP/bob-00000001\r\nVariable: NOPE=(null)\r\nActionID: " in status
    assert b"DeviceState: In use\r\nActiveChannels: 1\r\n" in raw.ask("PJSIPShowEndpoints")
    hung = raw.ask("Hangup", ("Channel", "PJSIP/bob-00000001"), ("Cause", "17"))
    assert hung.startswith(b"Response: Success\r\n")
    assert names(hung)[:3] == ["BridgeLeave", "Hangup", "DeviceStateChange"]
    assert headers(hung, "Hangup")["Cause-txt"] == "User busy"
    if b"Device: PJSIP/alice\r\nState: NOT_INUSE" not in hung:
        raw.read_until(b"Device: PJSIP/alice\r\nState: NOT_INUSE\r\n")
    assert not sim.pbx.channels
    assert not sim.pbx.bridges


def test_hangup_by_expression(sim: Simulator, dial: Dial) -> None:
    raw = listening(sim, dial)
    originate(raw, "Local/100@default/n", ("Application", "Wait"), ("Data", "60"))
    raw.read_until(b"OriginateResponse")
    hung = raw.ask("Hangup", ("Channel", "/^Local/"))
    assert hung.count(b"Event: ChannelHungup\r\n") == 2
    assert b"Event: ChannelsHungupListComplete\r\n" in hung
    assert b"Regex compile failed on: /[/" in raw.ask("Hangup", ("Channel", "/[/"))
    assert b"No such channel" in raw.ask("Hangup", ("Channel", "x"))


def test_a_call_into_a_queue(sim: Simulator, dial: Dial) -> None:
    sim.pbx.dialplan["members"]["801"][1] = ("Wait", "0.02")
    raw = listening(sim, dial)
    originate(raw, "Local/500@default/n", ("Application", "Wait"), ("Data", "60"))
    data = raw.read_until(b"Device: Local/500@default\r\nState: NOT_INUSE\r\n\r\n")
    seen = names(data[data.index(b"Event: QueueCallerJoin") :])
    of_queue = [name for name in seen if name.startswith(("Queue", "Agent", "Bridge"))]
    assert (
        of_queue
        == (
            "QueueCallerJoin AgentCalled QueueMemberStatus QueueCallerLeave AgentConnect BridgeCreate BridgeEnter"
            " BridgeEnter BridgeLeave QueueMemberStatus BridgeLeave BridgeDestroy AgentComplete QueueMemberStatus"
        ).split()
    )
    complete = headers(data, "AgentComplete")
    assert (complete["Queue"], complete["MemberName"], complete["Reason"]) == ("support", "Alice", "agent")
    assert list(complete)[-6:] == ["Queue", "Interface", "MemberName", "HoldTime", "TalkTime", "Reason"]
    assert b"CallsTaken: 1\r\n" in raw.ask("QueueStatus", ("Queue", "support"))


def test_a_caller_gives_up(sim: Simulator, dial: Dial) -> None:
    raw = listening(sim, dial)
    originate(raw, "Local/501@default/n", ("Application", "Wait"), ("Data", "60"))
    raw.read_until(b"MusicOnHoldStart")
    entry = headers(raw.ask("QueueStatus", ("Queue", "empty")), "QueueEntry")
    assert entry["Position"] == "1"
    hung = raw.ask("Hangup", ("Channel", entry["Channel"]))
    assert headers(hung, "QueueCallerAbandon")["OriginalPosition"] == "1"
    assert headers(hung, "QueueCallerLeave")["Count"] == "0"
    assert b"Abandoned: 1\r\n" in raw.ask("QueueStatus", ("Queue", "empty"))


def test_members_of_a_queue(sim: Simulator, dial: Dial) -> None:
    raw = listening(sim, dial)
    where = (("Queue", "support"), ("Interface", "PJSIP/alice"))
    added = raw.ask("QueueAdd", *where, ("MemberName", "Al"), ("Penalty", "2"))
    assert added.startswith(b"Response: Success\r\nActionID: raw-3\r\nMessage: Added interface to queue\r\n\r\n")
    assert (
        list(headers(added, "QueueMemberAdded"))
        == (
            "Privilege Queue MemberName Interface StateInterface Membership Penalty CallsTaken LastCall LastPause"
            " LoginTime InCall Status Paused PausedReason Ringinuse Wrapuptime"
        ).split()
    )
    assert b"Unable to add interface: Already there" in raw.ask("QueueAdd", *where)
    paused = raw.ask("QueuePause", *where, ("Paused", "true"), ("Reason", "lunch"))
    assert headers(paused, "QueueMemberPause")["PausedReason"] == "lunch"
    assert b"LoggedIn: 3\r\nAvailable: 2\r\n" in raw.ask("QueueSummary", ("Queue", "support"))
    assert b"QueueMemberRemoved" in raw.ask("QueueRemove", *where)
    assert b"Member not dynamic" in raw.ask("QueueRemove", where[0], ("Interface", "Local/801@members/n"))
    assert b"No such queue" in raw.ask("QueueAdd", ("Queue", "x"), where[1])


def test_park_conference_redirect_bridge(sim: Simulator, dial: Dial) -> None:
    raw = listening(sim, dial)
    originate(raw, "Local/700@default/n", ("Application", "Wait"), ("Data", "60"))
    raw.read_until(b"Event: ParkedCall\r\n")
    parked = headers(raw.ask("ParkedCalls"), "ParkedCall")
    assert parked["ParkingSpace"] == "701"
    originate(raw, "Local/600@default/n", ("Application", "Wait"), ("Data", "60"))
    raw.read_until(b"Event: ConfbridgeJoin\r\n")
    assert b"Parties: 1\r\n" in raw.ask("ConfbridgeListRooms")
    member = headers(raw.ask("ConfbridgeList", ("Conference", "room1")), "ConfbridgeList")
    moved = raw.ask(
        "Redirect", ("Channel", member["Channel"]), ("Context", "default"), ("Exten", "100"), ("Priority", "1")
    )
    assert b"Message: Redirect successful" in moved
    assert names(moved)[:3] == ["ConfbridgeLeave", "ConfbridgeEnd", "BridgeLeave"]
    assert b"No active conferences." in raw.ask("ConfbridgeListRooms")
    joined = raw.ask("Bridge", ("Channel1", member["Channel"]), ("Channel2", parked["ParkeeChannel"]))
    assert b"Message: Channels have been bridged" in joined
    assert b"Event: ParkedCallGiveUp" in joined
    assert names(joined).count("BridgeEnter") == 2
    assert b"ListItems: 0\r\n" in raw.ask("ParkedCalls")
    raw.ask("Hangup", ("Channel", "/./"))
    assert not sim.pbx.channels


def test_variables_and_database(sim: Simulator, dial: Dial) -> None:
    raw = listening(sim, dial)
    assert (
        raw.ask("Getvar", ("Variable", "X"))
        == b"Response: Success\r\nActionID: raw-3\r\nVariable: X\r\nValue: \r\n\r\n"
    )
    assert b"Channel: none\r\nUniqueid: none\r\nVariable: X\r\nValue: 1\r\n" in raw.ask(
        "Setvar", ("Variable", "X"), ("Value", "1")
    )
    assert b"Value: 1\r\n" in raw.ask("Getvar", ("Variable", "X"))
    for key in ("a", "a/b", "ab"):
        assert b"Updated" in raw.ask("DBPut", ("Family", "f"), ("Key", key), ("Val", key))
    assert b"Event: DBGetResponse\r\nFamily: f\r\nKey: a\r\nVal: a\r\nActionID" in raw.ask(
        "DBGet", ("Family", "f"), ("Key", "a")
    )
    assert re.findall(rb"Key: (\S+)", raw.ask("DBGetTree", ("Family", "f"), ("Key", "a"))) == [b"/f/a", b"/f/a/b"]
    assert b"Key deleted" in raw.ask("DBDel", ("Family", "f"), ("Key", "ab"))
    assert b"Database entry not found" in raw.ask("DBGet", ("Family", "f"), ("Key", "ab"))
    assert b"Key tree deleted" in raw.ask("DBDelTree", ("Family", "f"))
    assert b"ListItems: 0" in raw.ask("DBGetTree", ("Family", "f"))


def test_empty_lists(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    sim.pbx.endpoints.clear()
    answer = raw.ask("PJSIPShowEndpoints")
    assert answer == b"Response: Error\r\nActionID: raw-1\r\nMessage: No endpoints found\n\r\n\r\n"
    assert b"ListItems: 0" in raw.ask("CoreShowChannels")
    assert b"No such channel" in raw.ask("Status", ("Channel", "x"))
    assert b"ListItems: 0" in raw.ask("QueueStatus", ("Queue", "x"))


def test_call_under_way_at_the_end() -> None:
    with Simulator() as simulator, RawSession(simulator.port) as raw:
        raw.login(secret="secret", events="call")
        originate(raw, "Local/110@default/n", ("Application", "Wait"), ("Data", "60"))
        raw.read_until(b"OriginateResponse")
    assert not simulator.pbx._tasks


def test_what_can_be_added(sim: Simulator, dial: Dial) -> None:
    sim.pbx.add_endpoint("1101", answers=0.01)
    sim.pbx.add_queue("sales", "PJSIP/1101", exten="510")
    sim.pbx.add_extension("511", "Answer()", ("Wait", "0.01"), "Hangup(17)", context="internal")
    raw = listening(sim, dial)
    originate(raw, "Local/510@default/n", ("Application", "Wait"), ("Data", "60"))
    assert b"Queue: sales\r\nMemberName: PJSIP/1101\r\n" in raw.read_until(b"Event: AgentConnect\r\n")
    raw.ask("Hangup", ("Channel", "/^Local/"))
    originate(raw, "Local/511@internal/n", ("Application", "Wait"), ("Data", "60"), action_id="p")
    assert b"Cause: 17\r\n" in raw.read_until(b"Cause-txt: User busy\r\n")


def test_what_cannot_be_added(sim: Simulator) -> None:
    with pytest.raises(ValueError, match="outcome can't be 'cancelled'"):
        sim.pbx.add_endpoint("1101", outcome="cancelled")
    with pytest.raises(ValueError, match="written as"):
        sim.pbx.add_extension("300", "Wait(5")
