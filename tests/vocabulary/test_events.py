"""Typed events: what they read, how they are grouped, and that they cover recorded traffic."""

from __future__ import annotations

import builtins
import keyword
import lzma
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pyami_sync import Event, Message, events
from pyami_sync.vocabulary.model import TypedEvent, event_class, fields_of
from tests.support.vocabulary import coverage, typed_events

TRAFFIC = Path(__file__).parents[1] / "traffic" / "asterisk-22.10-400-calls.ami.xz"
CLASSES = [cls for cls in map(vars(events).get, events.__all__) if isinstance(cls, type)]

HANGUP = (
    b"Event: Hangup\r\nPrivilege: call,all\r\nTimestamp: 1795311952.753425\r\nChannel: PJSIP/alice-00000001\r\n"
    b"ChannelState: 6\r\nChannelStateDesc: Up\r\nCallerIDNum: 5551234\r\nCallerIDName: Ann O\\'Hara\r\n"
    b"ConnectedLineNum: <unknown>\r\nConnectedLineName: <unknown>\r\nLanguage: en\r\nAccountCode: \r\n"
    b"Context: default\r\nExten: 104\r\nPriority: 2\r\nUniqueid: a22-1.7\r\nLinkedid: a22-1.6\r\n"
    b"ChanVariable: COLOUR=red\r\nCause: 16\r\nCause-txt: Normal Clearing\r\nX-New: 1"
)


def event(name: str, *lines: str) -> Event:
    """A typed event with these lines."""
    raw = "\r\n".join((f"Event: {name}", *lines)).encode()
    return event_class(name.encode())._wire(raw)


def test_reads_a_hangup() -> None:
    found = events.Hangup.from_bytes(HANGUP)
    assert found.cause == 16
    assert found.cause_txt == "Normal Clearing"
    assert found.channel == "PJSIP/alice-00000001"
    assert found.channel_state == 6
    assert found.caller_id_num == "5551234"
    assert found.caller_id_name == "Ann O'Hara"
    assert found["CallerIDName"] == r"Ann O\'Hara"
    assert found.connected_line_num is None
    assert found["ConnectedLineNum"] == "<unknown>"
    assert found.account_code == ""
    assert found.tenantid is None
    assert found.tech_cause is None
    assert found.timestamp == datetime(2026, 11, 22, 1, 45, 52, 753425, UTC)
    assert found.chan_variable == found.variables == {"COLOUR": "red"}
    assert found["x-new"] == "1"
    assert found.to_bytes() == HANGUP + b"\r\n\r\n"


def test_a_value_that_does_not_convert_loses_nothing() -> None:
    found = events.Hangup.from_bytes(HANGUP.replace(b"Cause: 16", b"Cause: sixteen"))
    with pytest.raises(ValueError, match="header 'Cause' holds no whole number: 'sixteen'"):
        _ = found.cause
    assert found["Cause"] == "sixteen"
    assert found.cause_txt == "Normal Clearing"


@pytest.mark.parametrize(
    ("name", "line", "attribute"),
    [
        ("Newchannel", "Uniqueid: 1", "uniqueid"),
        ("Cdr", "UniqueID: 1", "uniqueid"),
        ("CEL", "UniqueID: 1", "uniqueid"),
        ("CEL", "LinkedID: 1", "linkedid"),
        ("VoicemailUserEntry", "UniqueID: 1", "uniqueid"),
        ("LocalOptimizationBegin", "DestUniqueId: 1", "dest_uniqueid"),
        ("CEL", "CallerIDnum: 1", "caller_id_num"),
        ("CEL", "Userfield: 1", "user_field"),
        ("Cdr", "UserField: 1", "user_field"),
        ("DAHDIShowChannels", "AccountCode: 1", "account_code"),
        ("PeerEntry", "Accountcode: 1", "account_code"),
        ("CoreShowChannel", "BridgeId: 1", "bridge_id"),
        ("Status", "BridgeID: 1", "bridge_id"),
        ("PeerEntry", "Channeltype: 1", "channel_type"),
        ("PeerStatus", "ChannelType: 1", "channel_type"),
        ("AsyncAGIExec", "CommandId: 1", "command_id"),
        ("AsyncAGIExec", "CommandID: 1", "command_id"),
        ("ContactStatus", "URI: 1", "uri"),
        ("ContactList", "Uri: 1", "uri"),
        ("EndpointList", "Aor: 1", "aor"),
        ("ContactStatus", "AOR: 1", "aor"),
        ("ContactStatusDetail", "CallID: 1", "call_id"),
        ("InboundSubscriptionDetail", "Callid: 1", "call_id"),
        ("NewCallerid", "CID-CallingPres: 1", "cid_calling_pres"),
        ("MusicOnHoldStart", "Class: 1", "class_"),
        ("EndpointDetail", "100rel: 1", "rel_100"),
    ],
)
def test_one_attribute_for_all_spellings(name: str, line: str, attribute: str) -> None:
    assert getattr(event(name, line), attribute) == "1"


@pytest.mark.parametrize(
    ("name", "line", "attribute"),
    [
        ("QueueParams", "Holdtime: 7", "hold_time"),
        ("QueueSummary", "HoldTime: 7", "hold_time"),
        ("AgentLogoff", "Logintime: 7", "login_time"),
        ("QueueParams", "ServicelevelPerf: 7", "service_level_perf"),
        ("QueueParams", "ServiceLevelPerf: 7", "service_level_perf"),
        ("QueueMemberStatus", "Status: 7", "status"),
        ("StatusComplete", "Items: 7", "item_count"),
        ("AgentsComplete", "ListItems: 7", "list_items"),
    ],
)
def test_numbers_whatever_the_spelling(name: str, line: str, attribute: str) -> None:
    assert getattr(event(name, line), attribute) == 7


def test_names_that_a_message_has_taken() -> None:
    assert event("QueueMember", "Name: Ann").name == "QueueMember"
    assert getattr(event("QueueMember", "Name: Ann"), "member_name") == "Ann"  # noqa: B009
    listed = events.ResourceListDetail.from_bytes(b"Event: ResourceListDetail\r\nEvent: presence")
    assert (listed.name, listed.event_package) == ("ResourceListDetail", "presence")


def test_prefixes() -> None:
    lines = ("TransfererChannel: a", "TransfereeChannel: b", "BridgeUniqueid: c", "TransfererChannelState: 6")
    found = event("BlindTransfer", *lines)
    assert isinstance(found, events.BlindTransfer)
    assert (found.transferer_channel, found.transferee_channel, found.bridge_uniqueid) == ("a", "b", "c")
    assert found.transferer_channel_state == 6


def test_numbered_headers() -> None:
    found = events.RTCPSent.from_bytes(b"Event: RTCPSent\r\nReportCount: 1\r\nReport0IAJitter: 5")
    assert found.report_ia_jitter == {0: "5"}
    charge = events.AOC_D.from_bytes(b"Event: AOC-D\r\nCharge/Currency/Cost: 12\r\nCharge/Units(1)/NumberOf: 3")
    assert charge.charge_currency_cost == 12
    assert charge.charge_units_number_of == {1: "3"}


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("Hangup", {events.ChannelEvent}),
        ("BridgeEnter", {events.ChannelEvent, events.BridgeEvent}),
        ("DialBegin", {events.DialEvent, events.ChannelEvent, events.DestChannel}),
        ("AgentConnect", {events.AgentEvent, events.QueueEvent, events.QueueCallEvent, events.ChannelEvent}),
        ("AgentLogin", {events.AgentEvent, events.ChannelEvent}),
        ("QueueMemberPause", {events.QueueEvent, events.QueueMemberEvent}),
        ("QueueCallerJoin", {events.QueueEvent, events.QueueCallerEvent, events.ChannelEvent}),
        ("ConfbridgeJoin", {events.ConferenceEvent, events.ConfbridgeEvent, events.ChannelEvent, events.BridgeEvent}),
        ("MeetmeEnd", {events.ConferenceEvent, events.MeetmeEvent}),
        ("ParkedCall", {events.ParkingEvent}),
        ("AttendedTransfer", {events.TransferEvent}),
        ("InvalidPassword", {events.SecurityEvent}),
        ("MessageWaiting", {events.VoicemailEvent}),
        ("ReceiveFAX", {events.FaxEvent}),
        ("UserEvent", {events.ChannelEvent}),
    ],
)
def test_groups(name: str, groups: set[type[Event]]) -> None:
    found = event(name)
    assert all(isinstance(found, group) for group in groups)
    others = {events.QueueEvent, events.BridgeEvent, events.AgentEvent, events.SecurityEvent, events.ConferenceEvent}
    assert not any(isinstance(found, group) for group in others - groups)


def test_groups_share_attributes() -> None:
    for name in ("AgentCalled", "QueueCallerJoin", "QueueMemberAdded", "QueueParams"):
        found = event(name, "Queue: support")
        assert isinstance(found, events.QueueEvent)
        assert found.queue == "support"


def test_attributes_shadow_nothing() -> None:
    taken = set(dir(TypedEvent)) - set(fields_of(TypedEvent))
    for cls in CLASSES:
        for name in fields_of(cls):
            assert name.isidentifier(), (cls, name)
            assert not keyword.iskeyword(name), (cls, name)
            if name not in fields_of(TypedEvent):
                assert name not in taken, (cls, name)


def test_all_names_are_there() -> None:
    assert len(events.__all__) == len(set(events.__all__))
    assert all(hasattr(events, name) for name in events.__all__)
    shadowed = [name for name in events.__all__ if hasattr(builtins, name)]
    assert not shadowed


def test_every_class_has_a_text() -> None:
    assert not [cls.__name__ for cls in CLASSES if not (cls.__doc__ or "").strip()]


def test_covers_recorded_traffic() -> None:
    """Every event has its class, under 1 % of headers have no attribute, and no attribute fails to read."""
    wire = lzma.decompress(TRAFFIC.read_bytes())
    found = coverage(typed_events(wire))
    print(f"recorded traffic: {found}")
    assert found.events.total() > 10_000
    assert not found.without_class
    assert not found.unreadable
    assert not found.unknown
    assert found.share_unknown < 0.01


def test_messages_become_typed_when_published() -> None:
    plain = Message.from_bytes(HANGUP)
    assert type(plain) is Event
    typed = event_class(plain.name.encode())._wire(HANGUP)
    assert isinstance(typed, events.Hangup)
    assert typed == plain


@pytest.mark.parametrize("size", [0, 5000], ids=["short", "long"])
def test_a_sender_of_a_user_event_shadows_no_header_of_the_server(size: int) -> None:
    raw = b"Event: UserEvent\r\nPrivilege: user,all\r\nUniqueid: 1.1\r\nUserEvent: x\r\nUniqueID: 6.6\r\nprivilege: z"
    raw += b"\r\nText: " + b"x" * size
    event = event_class(b"UserEvent")._wire(raw)
    assert event["UniqueID"] == event["Uniqueid"] == event.uniqueid == "1.1"
    assert event["privilege"] == event.privilege == "user,all"
    assert event.get_all("uniqueid") == ["1.1", "6.6"]
