"""What is concluded from the events of a call, in whatever order the server publishes them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from pyami_sync import Event
from pyami_sync.calls.outcome import CAUSES, Outcome, from_cause, from_dial_status, from_reason
from pyami_sync.calls.state import EVENTS, IDENTITIES, CallState

OWN = "pyami-000000000000-00000001-1"
OTHER = "pyami-000000000000-00000001-2"
START = datetime(2026, 11, 27, tzinfo=UTC)


def event(name: str, **headers: str) -> Event:
    return Event([("Event", name), *headers.items()])


def apply(state: CallState, *events: Event) -> CallState:
    members: dict[str, list[str]] = {}
    for each in events:
        bridge = members.setdefault(each.get("BridgeUniqueid", ""), [])
        if each.name == "BridgeEnter":
            bridge.append(each["Uniqueid"])
        if each.name == "BridgeLeave":
            bridge.remove(each["Uniqueid"])
        state.apply(each, lambda bridge: members.get(bridge, []))
    return state


def placed() -> CallState:
    return CallState(OWN, OTHER, START)


def own(name: str, **more: str) -> Event:
    return event(name, Channel="PJSIP/1101-00000001", Uniqueid=OWN, Linkedid=OWN, **more)


def dest(name: str, **more: str) -> Event:
    return event(name, DestChannel="PJSIP/1101-00000001", DestUniqueid=OWN, DestLinkedid=OWN, **more)


def response(kind: str, reason: int) -> Event:
    return event("OriginateResponse", Response=kind, Reason=str(reason), Uniqueid=OWN)


# What real servers sent, and what it means: DialStatus, Reason, Cause.
REFUSED = [
    ("BUSY", 0, 17, Outcome.BUSY),
    ("BUSY", 5, 0, Outcome.BUSY),
    ("CONGESTION", 8, 34, Outcome.CONGESTION),
    ("NOANSWER", 0, 21, Outcome.REJECTED),
    ("NOANSWER", 0, 1, Outcome.UNREACHABLE),
    ("NOANSWER", 0, 20, Outcome.UNREACHABLE),
    ("NOANSWER", 0, 58, Outcome.FAILED),
    ("NOANSWER", 0, 19, Outcome.NO_ANSWER),
    ("NOANSWER", 0, 16, Outcome.NO_ANSWER),
]


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize(("status", "reason", "cause", "outcome"), REFUSED)
def test_a_refusal_in_every_order(status: str, reason: int, cause: int, outcome: Outcome, cancelled: bool) -> None:
    """A hangup of ours that came too late does not make a busy telephone a cancelled call."""
    ends = [dest("DialEnd", DialStatus=status), own("Hangup", Cause=str(cause)), response("Failure", reason)]
    for order in itertools.permutations(ends):
        state = placed()
        state.cancelled = cancelled
        apply(state, own("Newchannel"), dest("DialBegin", DialString="1101"), *order)
        wanted = Outcome.CANCELLED if cancelled and outcome in (Outcome.FAILED, Outcome.NO_ANSWER) else outcome
        assert state.outcome is wanted, [each.name for each in order]
        assert state.ended
        assert state.cause == cause


def test_the_cause_of_our_own_hangup_is_no_refusal() -> None:
    state = placed()
    state.cancelled, state.cancel_cause = True, 21
    apply(state, own("Newchannel"), dest("DialBegin"), own("Hangup", Cause="21"), response("Failure", 0))
    assert state.outcome is Outcome.CANCELLED


def test_nothing_is_decided_before_all_is_there() -> None:
    refusal = [dest("DialEnd", DialStatus="BUSY"), own("Hangup", Cause="17"), response("Failure", 0)]
    for number in (0, 1, 2):
        state = apply(placed(), own("Newchannel"), dest("DialBegin"), *refusal[:number])
        assert state.outcome is None
        assert not state.ended
    state = apply(placed(), own("Newchannel"), dest("DialBegin"), dest("DialEnd", DialStatus="BUSY"), refusal[2])
    assert state.outcome is None  # the cause is to come


def test_an_answer_in_every_order() -> None:
    parts = [
        own("Newstate", ChannelState="6", ChannelStateDesc="Up"),
        dest("DialEnd", DialStatus="ANSWER"),
        response("Success", 4),
        own("Hangup", Cause="16"),
    ]
    for order in itertools.permutations(parts):
        state = apply(placed(), own("Newchannel"), dest("DialBegin"), *order)
        assert state.outcome is Outcome.ANSWERED
        assert state.ended
        assert state.cause == 16


def test_no_answer_is_concluded_from_silence() -> None:
    state = apply(placed(), own("Newchannel"), dest("DialBegin"), dest("DialState", DialStatus="RINGING"))
    assert state.outcome is None
    state.lose()
    assert state.outcome is Outcome.UNKNOWN
    assert (state.answered_at, state.talk_time) == (None, None)


def test_an_outcome_is_never_taken_back() -> None:
    state = apply(placed(), own("Newchannel"), response("Success", 4))
    state.lose()
    assert state.outcome is Outcome.ANSWERED
    assert state.connected is Outcome.UNKNOWN


def test_the_other_half_brings_the_cause() -> None:
    """Busy() on a Local channel: the first half ends without a cause."""
    halves = {"LocalOneUniqueid": OWN, "LocalTwoUniqueid": OTHER}
    ends = [
        own("Hangup", Cause="0"),
        event("Hangup", Uniqueid=OTHER, Cause="17"),
        dest("DialEnd", DialStatus="BUSY"),
        response("Failure", 5),
    ]
    for order in itertools.permutations(ends):
        state = apply(placed(), own("Newchannel"), event("LocalBridge", **halves), dest("DialBegin"), *order)
        assert (state.outcome, state.cause) == (Outcome.BUSY, 17)


def test_a_forwarded_call_goes_on_elsewhere() -> None:
    first = [own("Newchannel"), dest("DialBegin"), dest("DialEnd", DialStatus="CANCEL", Forward="106")]
    state = apply(placed(), *first)
    state.forwarded_to([event("VarSet", Uniqueid="1.2", Channel="Local/106@default-1;1")])
    apply(state, own("Hangup", Cause="23"), response("Success", 4))
    assert state.outcome is Outcome.ANSWERED
    assert not state.ended
    assert state.channel == "Local/106@default-1;1"
    apply(state, event("Hangup", Uniqueid="1.2", Cause="16"))
    assert state.ended
    assert state.cause == 16
    # Where nothing says who it was forwarded to, its end is unknown.
    state = apply(placed(), *first, own("Hangup", Cause="23"), response("Success", 4))
    assert not state.ended
    assert state.orphan_since is not None
    state.settle()
    assert state.outcome is Outcome.ANSWERED
    assert state.gap


def test_a_local_channel_that_is_optimised_away() -> None:
    halves = {"LocalOneUniqueid": OWN, "LocalTwoUniqueid": OTHER}
    state = apply(
        placed(),
        event("Newchannel", Channel="Local/1@default-1;1", Uniqueid=OWN),
        event("Newchannel", Channel="Local/1@default-1;2", Uniqueid=OTHER),
        event("LocalBridge", **halves),
        event("DialBegin", Uniqueid=OTHER, DestUniqueid="1.3", DestChannel="PJSIP/1-1"),
        event("DialEnd", Uniqueid=OTHER, DestUniqueid="1.3", DestChannel="PJSIP/1-1", DialStatus="ANSWER"),
        response("Success", 4),
        event("BridgeEnter", Uniqueid="1.3", BridgeUniqueid="b1"),
        event("BridgeEnter", Uniqueid=OTHER, BridgeUniqueid="b1"),
        event("LocalOptimizationEnd", **halves),
        event("Hangup", Uniqueid=OTHER, Cause="16"),
        event("Hangup", Uniqueid=OWN, Cause="16"),
    )
    assert state.channel == "PJSIP/1-1"
    assert not state.ended
    apply(state, event("Hangup", Uniqueid="1.3", Cause="16"))
    assert state.ended


def test_waiting_in_a_holding_bridge_is_no_conversation() -> None:
    up = [own("Newchannel"), response("Success", 4)]
    holding = {"BridgeUniqueid": "b1", "BridgeTechnology": "holding_bridge"}
    state = apply(placed(), *up, own("BridgeEnter", **holding), event("BridgeEnter", Uniqueid="9.9", **holding))
    assert state.connected is None


def test_times_come_from_the_events() -> None:
    state = placed()
    state.ringing_at, state.answered_at = START + timedelta(seconds=1), START + timedelta(seconds=4)
    state.end(START + timedelta(seconds=10))
    assert (state.ring_time, state.talk_time) == (3.0, 6.0)


def test_words() -> None:
    assert Outcome.BUSY == "busy"
    assert f"{Outcome.NO_ANSWER}" == "no answer"
    assert from_cause(0) is from_cause(16) is from_cause(None) is None
    assert all(from_cause(cause) is not None for cause in CAUSES if cause not in (0, 16))
    assert from_cause(99) is Outcome.FAILED
    assert from_dial_status("", 17) is None
    assert from_dial_status("CHANUNAVAIL", None) is Outcome.UNREACHABLE
    assert [from_reason(reason) for reason in (None, 0, 1, 3, 4, 5, 8)] == [
        *(None, None, Outcome.NO_ANSWER, Outcome.NO_ANSWER, Outcome.ANSWERED, Outcome.BUSY, Outcome.CONGESTION)
    ]


def test_every_event_says_whom_it_is_about() -> None:
    assert set(EVENTS) == set(IDENTITIES)
