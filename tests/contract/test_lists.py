"""Populated lists come back whole: item by item what a naive session sees on the wire."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pyami_sync import Action, ActionError, AMIClient
from tests.asterisk import scenario
from tests.asterisk.raw import RawSession

from .conftest import REAL, Target

VOLATILE = re.compile(
    rb"^(ActionID|Duration|Seconds|Wait|Timeout|BridgedTime|LoginTime|Logintime|LastCall|InCall|Idle|CallStarted|"
    rb"LoggedInTime|TalkingTo\w*|ParkingDuration|Holdtime|TalkTime|LongestHoldTime|RoundtripUsec|AnsweredTime): ?.*$"
)

PLAIN = (
    "Agents BridgeList BridgeTechnologyList ConfbridgeListRooms CoreShowChannels DeviceStateList ExtensionStateList "
    "FAXSessions IAXpeerlist IAXpeers IAXregistry ParkedCalls Parkinglots PJSIPShowAors PJSIPShowAuths "
    "PJSIPShowContacts PJSIPShowEndpoints PJSIPShowRegistrationInboundContactStatuses PJSIPShowRegistrationsInbound "
    "PJSIPShowRegistrationsOutbound PJSIPShowResourceLists PJSIPShowSubscriptionsInbound "
    "PJSIPShowSubscriptionsOutbound PresenceStateList QueueStatus QueueSummary ShowDialPlan Status VoicemailUsersList"
).split()
ONLY_16 = "SIPpeers SIPpeerstatus SIPshowregistry SKINNYdevices SKINNYlines".split()
LEAST = {"CoreShowChannels": 23, "Status": 23, "QueueStatus": 6, "ParkedCalls": 2, "PJSIPShowContacts": 0}
"""Events that there must be at least after the populating, so that the comparison isn't one of empty lists."""


def stable(message: bytes) -> list[bytes]:
    """Take out of a message what differs from one moment or session to the next."""
    lines = message.replace(b"\r\n", b"\n").strip(b"\n").split(b"\n")
    return [line for line in lines if not VOLATILE.match(line)]


def on_the_wire(raw: RawSession, name: str, headers: dict[str, str]) -> list[list[bytes]]:
    """Ask the naive session; items and the closing event."""
    answer = raw.ask(name, *headers.items())
    pieces = re.split(rb"\r\n\r\n", answer)
    if name.startswith("SKINNY"):  # one message for the whole list: a defect of the server
        pieces = re.split(rb"\r\n\r\n|\r\n(?=Event: )", answer)
    return [stable(each) for each in pieces if each.startswith(b"Event: ")]


def by_library(ami: AMIClient, name: str, headers: dict[str, str]) -> list[list[bytes]]:
    """Ask the library for the same."""
    try:
        response = ami.send(Action(name, headers))
    except ActionError as exc:
        return [stable(each.to_bytes()) for each in exc.partial]
    complete = [] if response.complete is None else [response.complete]
    return [stable(event.to_bytes()) for event in (*response.events, *complete)]


@pytest.fixture(scope="module", params=[pytest.param(each, marks=pytest.mark.asterisk) for each in REAL])
def populated(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A server with calls of every kind."""
    server = request.getfixturevalue(request.param)
    server.start()
    scenario.clear(server)
    scenario.channels_up(server, 5)
    scenario.bridged_calls(server, 2)
    scenario.queue_callers(server, 4)
    scenario.parked_call(server)
    scenario.conference(server, 3)
    scenario.agent_logged_in(server)
    with server.session() as raw:
        for number in range(50):
            raw.ask("DBPut", ("Family", "contract"), ("Key", f"k{number}"), ("Val", f"value {number}  "))
    yield Target(request.param, server.port, server.tls_port, server.ca_file, server)
    with server.session() as raw:
        raw.ask("DBDelTree", ("Family", "contract"))
    scenario.clear(server)


@pytest.mark.promise(4)
def test_lists_are_whole(populated: Target) -> None:
    asked: list[tuple[str, dict[str, str]]] = [(name, {}) for name in PLAIN]
    asked += [
        ("ConfbridgeList", {"Conference": "room1"}),
        ("PJSIPShowEndpoint", {"Endpoint": "alice"}),
        ("QueueStatus", {"Queue": "empty"}),
        ("DBGet", {"Family": "contract", "Key": "k7"}),
        ("DBGetTree", {"Family": "contract"}),
        ("ShowDialPlan", {"Context": "switched"}),
        ("Status", {"AllVariables": "true"}),
        ("VoicemailUserStatus", {"Context": "default", "Mailbox": "100"}),
        ("FAXStats", {}),
    ]
    if populated.major == 16:
        asked += [(name, {}) for name in ONLY_16]
    differ = {}
    with populated.witness("admin") as raw, populated.client(event_mask="off") as ami:
        bridge = next(event["BridgeUniqueid"] for event in ami.send("BridgeList").events)
        asked.append(("BridgeInfo", {"BridgeUniqueid": bridge}))
        if populated.major > 16:
            channel = next(event["Channel"] for event in ami.send("BridgeInfo", BridgeUniqueid=bridge).events)
            asked.append(("CoreShowChannelMap", {"Channel": channel}))
        for name, headers in asked:
            got, wire = by_library(ami, name, headers), on_the_wire(raw, name, headers)
            if got != wire or len(got) < LEAST.get(name, 1):
                differ[name, tuple(headers.items())] = got, wire
    assert not differ, differ


def test_hangup_by_pattern_lists_each_channel_once(populated: Target) -> None:
    with populated.client(event_mask="off") as ami:
        for number in range(3):
            headers = {"Application": "Wait", "Data": "600", "ChannelId": f"doomed-{number}"}
            ami.originate("Local/101@default/n", **headers)
        # Two halves each; none is hung up before all are there.
        scenario.wait_until(lambda: len(doomed(ami)) == 6, "three calls more")
        # One half takes the other with it, perhaps before that one's turn has come: so only the first halves.
        names = sorted(name for name in doomed(ami) if name.endswith(";1"))
        response = ami.send("Hangup", Channel="/^Local.101@default-.*;1$/")
        assert sorted(event["Channel"] for event in response.events) == names
        assert response.complete is not None
        assert response.complete.name == "ChannelsHungupListComplete"
        scenario.wait_until(lambda: not doomed(ami), "they are gone")


def doomed(ami: AMIClient) -> list[str]:
    """Return the channels of the calls that are to be hung up."""
    listed = ami.send("CoreShowChannels").events
    return [event["Channel"] for event in listed if event["Uniqueid"].startswith("doomed-")]
