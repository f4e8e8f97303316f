"""The typed vocabulary against real servers: every event, every action, every list."""

from __future__ import annotations

import contextlib
import re
import struct
import time
from collections.abc import Iterator

import pytest

from pyami_sync import AMIClient, Event, actions, connect, events
from pyami_sync.exceptions import AMIError
from pyami_sync.vocabulary.catalogue.answers import ANSWERS
from pyami_sync.vocabulary.model import ListResponse, TypedAction, event_class
from tests.asterisk import scenario
from tests.asterisk.plugin import AsteriskFactory
from tests.asterisk.raw import RawError, RawSession
from tests.asterisk.server import AsteriskServer
from tests.support.vocabulary import coverage, typed_events

pytestmark = [pytest.mark.asterisk, pytest.mark.slow]
LOCAL = "Local/{}@default/n"
MUST_SEE = """
    AgentCalled AgentComplete AgentConnect AgentLogin AgentLogoff AgentRingNoAnswer AGIExecEnd AGIExecStart
    AsyncAGIEnd AsyncAGIExec AsyncAGIStart AttendedTransfer BlindTransfer BridgeCreate BridgeDestroy BridgeEnter
    BridgeLeave ChanSpyStart ChanSpyStop ConfbridgeEnd ConfbridgeJoin ConfbridgeLeave ConfbridgeMute
    ConfbridgeRecord ConfbridgeStart ConfbridgeStopRecord ConfbridgeUnmute DeviceStateChange DialBegin DialEnd
    DTMFBegin DTMFEnd ExtensionStatus FullyBooted Hangup HangupRequest InvalidPassword Load LocalBridge
    MessageWaiting MixMonitorStart MixMonitorStop MusicOnHoldStart MusicOnHoldStop NewAccountCode NewCallerid
    Newchannel NewConnectedLine Newexten Newstate OriginateResponse ParkedCall ParkedCallGiveUp
    PresenceStateChange QueueCallerAbandon QueueCallerJoin QueueCallerLeave QueueMemberAdded QueueMemberPause
    QueueMemberPenalty QueueMemberRemoved QueueMemberRinginuse QueueMemberStatus ReceiveFAX Reload SendFAX
    SoftHangupRequest SuccessfulAuth Unload UnParkedCall UserEvent VarSet
""".split()


@contextlib.contextmanager
def client_of(server: AsteriskServer) -> Iterator[AMIClient]:
    """A client of the server that receives no events of its own accord."""
    with connect(
        "127.0.0.1", port=server.port, username="admin", secret="admin-secret", event_mask="off", timeout=20.0
    ) as client:
        yield client


@pytest.fixture
def server(asterisk_version: int, asterisk_factory: AsteriskFactory) -> AsteriskServer:
    return asterisk_factory(asterisk_version)


def call(client: AMIClient, extension: str, application: str = "Wait", data: str = "3600") -> None:
    """Call an extension and run an application on the near half of it."""
    client.send(
        actions.Originate(
            channel=LOCAL.format(extension),
            application=application,
            data=data,
            async_=True,
            caller_id='"Ann O\'Hara" <5551234>',
            variable={"COMMA": "a,b", "QUOTE": 'say "hi"'},
        )
    )


def channels(client: AMIClient, **wanted: str) -> list[str]:
    """Names of the channels whose attributes have these values."""
    items = client.send(actions.CoreShowChannels()).events
    return [
        item.channel
        for item in items
        if item.channel and all(getattr(item, name) == value for name, value in wanted.items())
    ]


def far_half(client: AMIClient, **wanted: str) -> str:
    """Name of the second half of a Local channel whose attributes have these values, once there is one."""
    deadline = time.monotonic() + 10
    while True:
        found = [name for name in channels(client, **wanted) if name.endswith(";2")]
        if found:
            return found[0]
        assert time.monotonic() < deadline, f"no channel with {wanted}"
        time.sleep(0.05)


def calls_and_transfers(server: AsteriskServer, client: AMIClient) -> None:
    scenario.place_calls(server, 12)
    for extension in ("111", "112", "120", "121", "122", "124"):
        call(client, extension, "NoOp", "")
    time.sleep(1)
    scenario.clear(server)
    scenario.bridged_calls(server, 2)
    (first, *_) = channels(client, application="Dial")
    client.send(actions.BlindTransfer(channel=first, context="default", exten="108"))
    scenario.clear(server)
    call(client, "100", "Dial", "Local/101@default/n,30,tT")
    scenario.wait_until(lambda: scenario.channels_answered(server) == 4, "a call that may be transferred")
    (dialling,) = channels(client, application="Dial")
    client.send(actions.Atxfer(channel=dialling, exten="100", context="default"))
    scenario.wait_until(lambda: scenario.channels_answered(server) == 6, "the target has answered")
    client.send(actions.Hangup(channel=dialling))
    time.sleep(0.3)
    scenario.clear(server)


def one_channel(server: AsteriskServer, client: AMIClient) -> None:
    scenario.channels_up(server, 1)
    name = far_half(client, exten="100")
    client.send(actions.PlayDTMF(channel=name, digit="5", duration=100, receive=True))
    client.send(actions.Setvar(channel=name, variable="CHANNEL(accountcode)", value="acme"))
    client.send(actions.Setvar(channel=name, variable="CALLERID(name)", value="Zoë O'Brien"))
    client.send(actions.Setvar(channel=name, variable="CONNECTEDLINE(num,i)", value="77"))
    client.send(actions.MixMonitor(channel=name, file="recording.wav"))
    client.send(actions.MixMonitorMute(channel=name, direction="both", state=True))
    client.send(actions.StopMixMonitor(channel=name))
    call(client, "101", "ChanSpy", f"{name},q")
    time.sleep(0.5)
    client.send(actions.Status(channel=name, variables="COMMA,CHANNEL(language),UNSET"))
    client.send(actions.AbsoluteTimeout(channel=name, timeout=1))
    time.sleep(1.3)
    scenario.clear(server)


def queues_and_agents(server: AsteriskServer, client: AMIClient) -> None:
    member = "Local/106@default/n"
    client.send(actions.QueueAdd(queue="empty", interface=member, penalty=1, paused=True, member_name="Carol"))
    client.send(actions.QueuePause(queue="empty", interface=member, paused=True, reason="lunch, late"))
    client.send(actions.QueuePenalty(queue="empty", interface=member, penalty=2))
    client.send(actions.QueueMemberRingInUse(queue="empty", interface=member, ring_in_use=False))
    client.send(actions.QueueRemove(queue="empty", interface=member))
    scenario.queue_callers(server, 2)
    scenario.clear(server)
    client.send(actions.QueuePause(interface="Local/801@members/n", paused=True))
    call(client, "500")
    time.sleep(1)
    client.send(actions.QueuePause(interface="Local/801@members/n", paused=False))
    for _ in range(2):
        call(client, "500")
    time.sleep(3)
    agent = scenario.agent_logged_in(server)
    client.send(actions.Agents())
    client.send(actions.AgentLogoff(agent=agent.agent))
    time.sleep(0.3)
    scenario.clear(server)


def conferences_and_parking(server: AsteriskServer, client: AMIClient) -> None:
    room = scenario.conference(server, 2).name
    user = far_half(client, application="ConfBridge")
    client.send(actions.ConfbridgeMute(conference=room, channel=user))
    client.send(actions.ConfbridgeUnmute(conference=room, channel=user))
    client.send(actions.ConfbridgeStartRecord(conference=room, record_file="/srv/spool/conference.wav"))
    client.send(actions.ConfbridgeStopRecord(conference=room))
    client.send(actions.ConfbridgeKick(conference=room, channel="all"))
    scenario.clear(server)
    scenario.parked_call(server)
    parked = scenario.parked_call(server)
    client.send(actions.Originate(channel=LOCAL.format("100"), context="parkedcalls", exten=parked.space, priority=1))
    time.sleep(0.5)
    scenario.clear(server)


def blank_fax(rows: int = 300) -> bytes:
    """A TIFF of one blank page in Group 3 coding, the form that the server sends."""
    line = "000000000001" + "010011011" + "00110101"  # end of line, 1728 white dots, 0 white dots
    bits = line * rows
    bits += "0" * (-len(bits) % 8)
    image = int(bits, 2).to_bytes(len(bits) // 8, "big")
    tags = {256: 1728, 257: rows, 258: 1, 259: 3, 262: 0, 266: 1, 277: 1, 278: rows, 279: len(image), 292: 0, 296: 2}
    count = len(tags) + 3
    end = 8 + 2 + 12 * count + 4
    entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()}
    entries[273] = struct.pack("<HHII", 273, 4, 1, end + 16)
    entries[282] = struct.pack("<HHII", 282, 5, 1, end)
    entries[283] = struct.pack("<HHII", 283, 5, 1, end + 8)
    directory = struct.pack("<H", count) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<IIII", 204, 1, 98, 1) + image


def media_and_messages(server: AsteriskServer, client: AMIClient) -> None:
    call(client, "320", "Playback", "beep&beep&beep&beep")  # the caller talks, so that a message is kept
    (server.run_dir / "spool" / "page.tif").write_bytes(blank_fax())
    call(client, "310", "SendFAX", "/srv/spool/page.tif")
    call(client, "300")
    channel = far_half(client, application="AGI")
    time.sleep(0.3)
    client.send(actions.AGI(channel=channel, command="GET VARIABLE COMMA", command_id="one"))
    time.sleep(0.5)
    client.send(actions.AGI(channel=channel, command="ASYNCAGI BREAK"))
    call(client, "108")
    time.sleep(4)
    scenario.wait_until(lambda: not channels(client, exten="310"), "the fax is sent", timeout=90)
    scenario.clear(server)
    client.send(actions.MWIUpdate(mailbox="100@default", new_messages=3, old_messages=1), check=False)


def states_and_modules(server: AsteriskServer, client: AMIClient) -> None:
    client.send(actions.Setvar(variable="DEVICE_STATE(Custom:desk100)", value="INUSE"))
    client.send(actions.Setvar(variable="PRESENCE_STATE(CustomPresence:alice)", value="away,lunch,back at 1"))
    client.send(actions.UserEvent(user_event="Mine", headers={"One": "1", "Two": ["a", "b"]}))
    client.send(actions.ModuleLoad(module="app_echo.so", load_type="unload"))
    client.send(actions.ModuleLoad(module="app_echo.so", load_type="load"))
    client.send(actions.Reload(module="cdr"))
    with RawSession(server.port) as raw, contextlib.suppress(RawError):
        raw.login(secret="wrong")
    client.send(actions.PJSIPQualify(endpoint="alice"), check=False)


def test_covers_events(server: AsteriskServer) -> None:
    with client_of(server) as client, server.session("patient", events="on") as raw:
        for part in (
            states_and_modules,
            calls_and_transfers,
            one_channel,
            queues_and_agents,
            conferences_and_parking,
            media_and_messages,
        ):
            part(server, client)
            raw.ask("Ping", timeout=30)
        wire = raw.capture
    found = coverage(typed_events(wire))
    print(f"Asterisk {server.version}: {found}")
    assert not found.without_class
    assert not found.unreadable
    assert not found.unknown
    assert found.share_unknown < 0.01
    missing = [name for name in MUST_SEE if name not in found.events]
    assert not missing


def declared_privileges(line: str) -> list[str]:
    """The classes in ListCommands' ``… (Priv: system,call,all)``."""
    matched = re.search(r"\(Priv: ([^)]*)\)\Z", line)
    assert matched, line
    return [name for name in matched[1].split(",") if name not in ("all", "<none>")]


def test_covers_actions(asterisk: AsteriskServer) -> None:
    classes = {
        cls.action_name: cls
        for cls in vars(actions).values()
        if isinstance(cls, type) and issubclass(cls, TypedAction) and cls.__module__ == actions.__name__
    }
    with client_of(asterisk) as client:
        answer = client.send(actions.ListCommands())
    commands = {name: text for name, text in answer.items() if "(Priv: " in text}
    assert len(commands) > 140
    for name, text in commands.items():
        assert sorted(classes[name].privileges) == sorted(declared_privileges(text)), name


def list_actions(server: AsteriskServer, client: AMIClient) -> dict[str, TypedAction[ListResponse[Event]]]:
    """Every list action with what it needs on a populated server, by the kind of items that must be there."""
    client.send(actions.Setvar(variable="PRESENCE_STATE(CustomPresence:alice)", value="away,lunch,back at 1"))
    bridges = client.send(actions.BridgeList()).events
    bridge = next(item.bridge_uniqueid for item in bridges if item.bridge_technology == "simple_bridge") or ""
    bridged = client.send(actions.BridgeInfo(bridge_uniqueid=bridge)).events[0].channel or ""
    client.send(actions.DBPut(family="test", key="one", val="1"))
    made = [
        actions.Agents(),
        actions.BridgeInfo(bridge_uniqueid=bridge),
        actions.BridgeList(),
        actions.BridgeTechnologyList(),
        actions.ConfbridgeList(conference="room1"),
        actions.ConfbridgeListRooms(),
        actions.CoreShowChannelMap(channel=bridged),
        actions.CoreShowChannels(),
        actions.DBGet(family="test", key="one"),
        actions.DBGetTree(family="test"),
        actions.DeviceStateList(),
        actions.ExtensionStateList(),
        actions.IAXpeerlist(),
        actions.IAXpeers(),
        actions.IAXregistry(),
        actions.MeetmeList(),
        actions.MeetmeListRooms(),
        actions.MWIGet(mailbox="/./"),
        actions.ParkedCalls(),
        actions.Parkinglots(),
        actions.PJSIPShowAors(),
        actions.PJSIPShowAuths(),
        actions.PJSIPShowContacts(),
        actions.PJSIPShowEndpoint(endpoint="alice"),
        actions.PJSIPShowEndpoints(),
        actions.PJSIPShowMaintenance(),
        actions.PJSIPShowRegistrationInboundContactStatuses(),
        actions.PJSIPShowRegistrationsInbound(),
        actions.PJSIPShowRegistrationsOutbound(),
        actions.PJSIPShowResourceLists(),
        actions.PJSIPShowSubscriptionsInbound(),
        actions.PJSIPShowSubscriptionsOutbound(),
        actions.PresenceStateList(),
        actions.PRIShowSpans(),
        actions.DAHDIShowChannels(),
        actions.DAHDIShowStatus(),
        actions.FAXSessions(),
        actions.FAXStats(),
        actions.QueueStatus(),
        actions.QueueSummary(),
        actions.ShowDialPlan(context="default"),
        actions.SIPpeers(),
        actions.SIPpeerstatus(),
        actions.SIPshowregistry(),
        actions.SKINNYdevices(),
        actions.SKINNYlines(),
        actions.Status(all_variables=True),
        actions.VoicemailBoxSummary(context="default", mailbox="100"),
        actions.VoicemailUsersList(),
        actions.VoicemailUserStatus(context="default", mailbox="100"),
        actions.PJSIPHangup(channel="/^none/", cause=486),
        actions.Hangup(channel="/^Local.100@/"),
    ]
    return {action.name: action for action in made}


MAY_BE_EMPTY = """
    DAHDIShowChannels DAHDIShowStatus FAXSessions IAXregistry MeetmeList MeetmeListRooms MWIGet PJSIPHangup
    PJSIPShowContacts PJSIPShowMaintenance PJSIPShowRegistrationInboundContactStatuses PJSIPShowResourceLists
    PJSIPShowSubscriptionsInbound PJSIPShowSubscriptionsOutbound PRIShowSpans SIPshowregistry VoicemailBoxSummary
    PJSIPShowRegistrationsOutbound SIPpeerstatus
""".split()
"""Lists that the tests' configuration leaves empty; that they arrive and close is seen all the same."""


def test_lists_yield_what_they_declare(server: AsteriskServer) -> None:
    scenario.bridged_calls(server, 1)
    scenario.channels_up(server, 1)
    scenario.conference(server, 2)
    scenario.queue_callers(server, 1)
    scenario.parked_call(server)
    scenario.agent_logged_in(server)
    with client_of(server) as client:
        offered = client.send(actions.ListCommands())
        asked = list_actions(server, client)
        rules = {name for name, rule in ANSWERS.items() if rule.shape == "list"}
        assert rules - {name.lower() for name in asked} == set()
        found: list[Event] = []
        for name, action in asked.items():
            if name not in offered:
                continue
            rule = ANSWERS[name.lower()]
            answer = client.send(action)
            assert isinstance(answer, ListResponse)
            expected = {event_class(item.encode()) for item in rule.items}
            assert {type(item) for item in answer.events} <= expected, name
            if name not in MAY_BE_EMPTY:
                assert answer.events, f"{name}: the list is empty"
            if rule.complete and (answer.events or answer.complete):
                assert type(answer.complete) is event_class(rule.complete.encode()), name
            found += answer.events
            if answer.complete:
                found.append(answer.complete)
        assert not client.send(actions.WaitEvent(timeout=1)).events
    report = coverage(found)
    print(f"Asterisk {server.version}, lists: {report}")
    assert not report.without_class
    assert not report.unreadable
    assert not report.unknown


def test_names_a_missing_action(asterisk: AsteriskServer) -> None:
    with client_of(asterisk) as client, pytest.raises(AMIError, match="DataGet"):
        client.send(actions.DataGet(path="/asterisk"))


def test_reads_live_attributes(asterisk: AsteriskServer) -> None:
    scenario.clear(asterisk)
    with connect("127.0.0.1", port=asterisk.port, username="admin", secret="admin-secret") as client:
        with client.expect(events.Hangup, where={"CallerIDNum": "5551234"}) as future:
            call(client, "104", "NoOp", "")
            event = future.result(10)
    assert isinstance(event, events.Hangup)
    assert event.cause == 17
    assert event.caller_id_name == "Ann O'Hara"
    assert event["CallerIDName"] == r"Ann O\'Hara"
    assert event.channel_state is not None
    assert event.timestamp is not None
    assert event.timestamp.tzinfo is not None
