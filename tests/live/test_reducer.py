"""The reducer: events in, changes out."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from pyami_sync import Event
from pyami_sync.live import Call, CallRecord, Channel, Queue, Reducer, View, apply, event_mask, replay, to_json
from pyami_sync.live.draft import Tables
from tests.live.support import CALLS, bridge, channel, event, recorded


def run(events: list[Event] | tuple[Event, ...], *areas: str) -> tuple[Reducer, list[CallRecord]]:
    reducer = Reducer(*areas)
    records = []
    for each in events:
        records += [change.after for change in reducer.apply(each) if isinstance(change.after, CallRecord)]
    return reducer, records


def leftovers(reducer: Reducer) -> dict[str, int]:
    tables = reducer.view().tables
    names = ("channels", "names", "bridges", "calls", "call_of", "queue_of", "parked", "conferences")
    return {name: len(getattr(tables, name)) for name in names if len(getattr(tables, name))}


def test_recorded_calls_leave_nothing_behind_but_their_records():
    reducer, records = run(recorded())
    assert leftovers(reducer) == {}
    assert len(records) == CALLS
    assert all(record.complete for record in records)
    hangups = {each["Uniqueid"]: int(each["Cause"]) for each in recorded() if each.name == "Hangup"}
    assert {leg.uniqueid: leg.cause for record in records for leg in record.legs} == hangups


def test_times_of_legs_are_those_of_the_events():
    _, records = run(recorded())
    legs = {leg.uniqueid: leg for record in records for leg in record.legs}
    for each in recorded():
        if each.name == "Newchannel":
            assert legs[each["Uniqueid"]].started == each.timestamp
        elif each.name == "Hangup":
            assert legs[each["Uniqueid"]].ended_at == each.timestamp
        elif each.name == "Newstate" and each["ChannelStateDesc"] == "Up":
            assert legs[each["Uniqueid"]].answered_at == each.timestamp


def test_apply_is_pure():
    view = View()
    views = [view]
    for each in recorded()[:400]:
        view, _ = apply(view, each)
        views.append(view)
    again = View()
    for each, then in zip(recorded()[:400], views[1:], strict=True):
        again, _ = apply(again, each)
        assert again.tables == then.tables
        assert again.version == then.version


def test_views_are_not_altered_by_later_events():
    views = [(view, dict(view.channels), dict(view.calls)) for view, _ in replay(recorded()[:3000])]
    assert len(views) > 500
    for view, channels, calls in views:
        assert dict(view.channels) == channels
        assert dict(view.calls) == calls


def test_changes_lead_from_one_view_to_the_next():
    reducer = Reducer()
    have: dict[str, Channel] = {}
    for each in recorded():
        for change in reducer.apply(each):
            if change.kind is Channel:
                key = (change.after or change.before).uniqueid  # type: ignore[union-attr]
                assert have.get(key) == change.before
                assert change.event is each
                assert not change.inferred
                if change.after is None:
                    del have[key]
                else:
                    have[key] = change.after
        assert len(have) == len(reducer.draft.channels)


def test_only_the_areas_asked_for_are_kept():
    reducer, _ = run(recorded(), "queues")
    assert dict(reducer.view().channels) == {}
    assert list(reducer.view().queues)
    assert event_mask("queues") == "agent,call,system"
    assert event_mask("endpoints") == "system"
    with pytest.raises(ValueError, match=r"'queue'.*queues"):
        Reducer("queue")


@pytest.mark.parametrize("seed", range(5))
def test_events_removed_at_random_make_no_false_claim(seed):
    """What is missing is not known: no crash, no cause that no Hangup told, no answer that nothing told."""
    random_ = random.Random(seed)
    kept = [each for each in recorded() if random_.random() > 0.1]
    check_claims(kept)


@pytest.mark.parametrize("seed", range(3))
def test_events_doubled_at_random_change_nothing(seed):
    random_ = random.Random(seed)
    doubled = [each for each in recorded() for _ in range(2 if random_.random() < 0.2 else 1)]
    reducer, records = run(doubled)
    _, plainly = run(recorded())
    assert leftovers(reducer) == {}
    ignored = {"talk_time", "hold_time"}
    assert len(records) == len(plainly)
    for record, plain in zip(records, plainly, strict=True):
        for leg, other in zip(record.legs, plain.legs, strict=True):
            mine = {name: value for name, value in vars(leg).items() if name not in ignored}
            assert mine == {name: value for name, value in vars(other).items() if name not in ignored}


@pytest.mark.parametrize("start", [1, 50, 333, 2000, 9000, 19000])
def test_a_log_without_its_front_makes_no_false_claim(start):
    check_claims(list(recorded()[start:]))


def test_each_event_of_some_calls_removed_one_by_one():
    """Whichever event is missing, all others are taken up, and a call not seen completely says so."""
    linked = {each["Linkedid"] for each in recorded()[:600] if each.name == "Newchannel"}
    few = sorted(linked)[:4]
    names = ("Linkedid", "DestLinkedid", "LocalOneLinkedid")
    mine = [each for each in recorded() if any(each.get(name) in few for name in names)]
    assert 100 < len(mine) < 1000
    for missing in range(len(mine)):
        check_claims(mine[:missing] + mine[missing + 1 :])


def check_claims(events: list[Event]) -> None:
    reducer, records = run(events)
    causes = {each["Uniqueid"]: int(each["Cause"]) for each in events if each.name == "Hangup"}
    up = {each.get("Uniqueid") for each in events if each.get("ChannelStateDesc") == "Up"}
    up |= {each.get("DestUniqueid") for each in events if each.get("DestChannelStateDesc") == "Up"}
    for prefix in ("LocalOne", "LocalTwo"):
        up |= {each.get(f"{prefix}Uniqueid") for each in events if each.get(f"{prefix}ChannelStateDesc") == "Up"}
    answers = {each.get("DestUniqueid") for each in events if each.get("DialStatus") == "ANSWER"}
    begun = {each["Uniqueid"] for each in events if each.name == "Newchannel"}
    calls = list(reducer.view().calls.values())
    for leg in (leg for call in [*records, *calls] for leg in call.legs):
        assert leg.cause == (causes.get(leg.uniqueid) if leg.ended else None)
        assert not leg.answered or leg.uniqueid in up | answers
        assert (leg.started is not None) == (leg.uniqueid in begun)
    for record in records:
        if record.complete:
            assert {leg.uniqueid for leg in record.legs} <= begun & set(causes)
    ended = set(causes)
    assert not ended & set(reducer.view().channels)


def test_the_next_list_repairs_what_missing_events_left():
    random_ = random.Random(7)
    reducer, _ = run([each for each in recorded() if random_.random() > 0.1])
    assert leftovers(reducer)
    nothing = {"calls": {"CoreShowChannels": [], "BridgeList": []}, "queues": {"QueueStatus": []}}
    nothing |= {"parking": {"ParkedCalls": [], "Parkinglots": []}, "conferences": {"ConfbridgeListRooms": []}}
    later = recorded()[-1].timestamp + timedelta(seconds=60)
    changes = reducer.merge(nothing, later, inferred=True)
    changes += reducer.settle(None)
    assert leftovers(reducer) == {}
    assert changes
    assert all(change.inferred for change in changes)
    ended = [change.after for change in changes if isinstance(change.after, CallRecord)]
    assert ended
    for record in ended:
        assert not record.complete
        assert any(leg.cause is None and leg.ended_at is None for leg in record.legs)


def test_nothing_brings_back_what_has_ended():
    reducer, _ = run([event("Newchannel", **channel("PJSIP/a-1", "1.1")), event("BridgeCreate", **bridge("b"))])
    enter = event("BridgeEnter", **bridge("b", 1), **channel("PJSIP/a-1", "1.1"))
    reducer.apply(enter)
    reducer.apply(event("BridgeLeave", **bridge("b"), **channel("PJSIP/a-1", "1.1")))
    reducer.apply(event("BridgeDestroy", **bridge("b")))
    reducer.apply(event("Hangup", **channel("PJSIP/a-1", "1.1"), Cause=16))
    for late in (enter, event("Newstate", **channel("PJSIP/a-1", "1.1")), event("BridgeCreate", **bridge("b"))):
        assert reducer.apply(late) == []
    assert leftovers(reducer) == {}


def test_conversations_are_told_across_local_channels_and_not_in_holding_bridges():
    a, one = channel("PJSIP/a-1", "1.1"), channel("Local/x@c-1;1", "1.2", linkedid="1.1")
    two, b = channel("Local/x@c-1;2", "1.3", linkedid="1.1"), channel("PJSIP/b-1", "1.4", linkedid="1.1")
    events = [event("Newchannel", **each) for each in (a, one, two, b)]
    events += [event("BridgeEnter", **bridge("left", 1), **a), event("BridgeEnter", **bridge("left", 2), **one)]
    reducer, _ = run(events)
    call = reducer.view().calls["1.1"]
    assert call.state == "talking"  # a talks to a half, as far as one can see yet
    for each in (two, b):
        reducer.apply(event("BridgeEnter", **bridge("right", 2), **each))
    call = reducer.view().calls["1.1"]
    assert [[leg.channel for leg in group] for group in call.talking] == [["PJSIP/a-1", "PJSIP/b-1"]]
    assert {leg.channel for leg in call.parties} == {"PJSIP/a-1", "PJSIP/b-1"}
    for each, name in ((one, "left"), (two, "right"), (a, "left"), (b, "right")):
        reducer.apply(event("BridgeLeave", **bridge(name), **each))
    for each in (a, b):
        reducer.apply(event("BridgeEnter", **bridge("lot", 2, "holding_bridge"), **each))
    call = reducer.view().calls["1.1"]
    assert call.talking == ()
    assert call.state == "up"


def test_hold_is_counted_and_shown():
    a, b = channel("PJSIP/a-1", "1.1"), channel("PJSIP/b-1", "1.2", linkedid="1.1")
    events = [event("Newchannel", Timestamp=100.0, **each) for each in (a, b)]
    events += [event("BridgeEnter", Timestamp=101.0, **bridge("x", n), **each) for n, each in enumerate((a, b), 1)]
    events.append(event("Hold", Timestamp=103.0, **a))
    reducer, _ = run(events)
    assert reducer.view().calls["1.1"].state == "hold"
    assert reducer.view().channels["PJSIP/a-1"].hold
    reducer.apply(event("Unhold", Timestamp=105.5, **a))
    assert reducer.view().calls["1.1"].state == "talking"
    for each in (a, b):
        reducer.apply(event("BridgeLeave", Timestamp=111.0, **bridge("x"), **each))
    changes = [
        change for each in (a, b) for change in reducer.apply(event("Hangup", Timestamp=111.0, Cause=16, **each))
    ]
    (record,) = [change.after for change in changes if change.kind is CallRecord]
    assert record.hold_time == 2.5
    assert record.talk_time == 10.0


def test_two_calls_become_one_when_their_linkedids_do():
    a, b = channel("PJSIP/a-1", "1.1"), channel("PJSIP/b-1", "1.2")
    reducer, _ = run([event("Newchannel", **each) for each in (a, b)])
    assert len(reducer.view().calls) == 2
    reducer.apply(event("NewConnectedLine", **channel("PJSIP/b-1", "1.2", linkedid="1.1")))
    (call,) = reducer.view().calls.values()
    assert [leg.uniqueid for leg in call.legs] == ["1.1", "1.2"]
    assert reducer.view().call_of("PJSIP/b-1") is call


def test_a_rename_leads_both_names_to_the_right_channels():
    a, b = channel("PJSIP/a-1", "1.1"), channel("PJSIP/b-1", "1.2")
    reducer, _ = run([event("Newchannel", **each) for each in (a, b)])
    for old, new, uniqueid in (
        ("PJSIP/a-1", "PJSIP/a-1<MASQ>", "1.1"),
        ("PJSIP/b-1", "PJSIP/a-1", "1.2"),
        ("PJSIP/a-1<MASQ>", "PJSIP/b-1", "1.1"),
    ):
        reducer.apply(event("Rename", Channel=old, Newname=new, Uniqueid=uniqueid))
    channels = reducer.view().channels
    assert channels["PJSIP/a-1"].uniqueid == "1.2"
    assert channels["PJSIP/b-1"].uniqueid == "1.1"
    assert len(channels) == 2


def test_a_queues_longest_wait_is_that_of_the_views_moment():
    joined = event("QueueCallerJoin", Timestamp=1000.0, Queue="q", Position=1, Count=1, **channel("PJSIP/a-1", "1.1"))
    reducer, _ = run([joined])
    view = reducer.view()
    assert view.queues["q"].longest_wait == 0.0
    reducer.apply(event("VarSet", Timestamp=1042.5, Variable="x", Value="y", **channel("PJSIP/a-1", "1.1")))
    assert reducer.view().queues["q"].longest_wait == 42.5
    assert view.queues["q"].longest_wait == 0.0


def test_a_queues_longest_wait_in_a_change_is_that_of_the_change():
    joined = [
        event("QueueCallerJoin", Timestamp=at, Queue="q", Position=n, Count=n, **channel(f"PJSIP/{n}-1", f"1.{n}"))
        for n, at in ((1, 1000.0), (2, 1003.0))
    ]
    reducer = Reducer()
    queues = [change.after for each in joined for change in reducer.apply(each) if change.kind is Queue]
    assert [queue.longest_wait for queue in queues] == [0.0, 0.0, 3.0]  # the first: it is new
    assert to_json(queues[-1])["longest_wait"] == 3.0


def test_callers_are_renumbered_and_members_replaced():
    def join(number: int, position: int) -> Event:
        return event("QueueCallerJoin", Queue="q", Position=position, **channel(f"PJSIP/{number}-1", f"1.{number}"))

    reducer, _ = run([join(1, 1), join(2, 2), join(3, 1)])
    assert [each.uniqueid for each in reducer.view().queues["q"].waiting] == ["1.3", "1.1", "1.2"]
    reducer.apply(event("QueueCallerLeave", Queue="q", Position=2, **channel("PJSIP/1-1", "1.1")))
    assert [(each.uniqueid, each.position) for each in reducer.view().queues["q"].waiting] == [("1.3", 1), ("1.2", 2)]
    member = {"Queue": "q", "MemberName": "Ann", "Interface": "PJSIP/9", "Status": 1, "Paused": 1}
    reducer.apply(event("QueueMemberAdded", PausedReason="lunch", **member))
    assert reducer.view().queues["q"].member("PJSIP/9").paused_reason == "lunch"
    changes = reducer.apply(event("QueueMemberPause", **{**member, "Paused": 0}, PausedReason="lunch"))
    assert [change.kind for change in changes] == [Queue]
    assert reducer.view().queues["q"].member("PJSIP/9").paused_reason == ""
    reducer.apply(event("QueueMemberRemoved", **member))
    assert reducer.view().queues["q"].members == ()


def test_tables_begin_empty():
    assert all(len(getattr(Tables(), name)) == 0 for name in Tables.__dataclass_fields__ if name != "when")


def test_a_call_that_only_rang_says_so():
    caller, called = (
        channel("PJSIP/a-1", "1.1", state="Ring"),
        channel("PJSIP/b-1", "1.2", state="Down", linkedid="1.1"),
    )
    dest = {f"Dest{name}": value for name, value in called.items()}
    events = [event("Newchannel", **caller), event("Newchannel", **called)]
    events.append(event("DialBegin", DialString="b", **caller, **dest))
    reducer, _ = run(events)
    assert reducer.view().calls["1.1"].state == "dialing"
    assert reducer.view().calls["1.1"].direction == "in"
    reducer.apply(event("Newstate", **channel("PJSIP/b-1", "1.2", state="Ringing", linkedid="1.1")))
    call: Call = reducer.view().calls["1.1"]
    assert call.state == "ringing"
    assert not call.answered
    reducer.apply(event("DialEnd", DialStatus="NOANSWER", **caller, **dest))
    ends = [event("Hangup", Cause=19, **called), event("Hangup", Cause=16, **caller)]
    changes = [change for each in ends for change in reducer.apply(each)]
    (record,) = [change.after for change in changes if change.kind is CallRecord]
    assert record.answered_by == ()
    assert [leg.disposition for leg in record.legs] == ["NO ANSWER", "NO ANSWER"]


def test_events_of_other_kinds_may_come_before_a_channels_beginning():
    a = channel("PJSIP/a-1", "1.1")
    lot = {"Parkinglot": "default", "ParkingSpace": 701, "ParkingTimeout": 45, "ParkingDuration": 0}
    events = [
        event("ParkedCall", **lot, **channel("PJSIP/a-1", "1.1", prefix="Parkee")),
        event("BridgeEnter", Timestamp=9.0, **bridge("x", 1, "holding_bridge"), **a),
        event("Newchannel", Timestamp=10.0, **a),
    ]
    reducer, _ = run(events)
    call = reducer.view().calls["1.1"]
    assert call.state == "parked"
    assert call.from_start
    assert not call.legs[0].inferred
    assert call.legs[0].started == reducer.view().channels["1.1"].since == events[-1].timestamp
    assert reducer.draft.unknown == {"x"}  # whose beginning has not been told


def test_a_transfer_takes_nothing_back():
    """Its event repeats the channels as they were when the transfer began."""
    reducer, _ = run([event("Newchannel", **channel("PJSIP/a-1", "1.1"))])
    reducer.apply(event("NewCallerid", **{**channel("PJSIP/a-1", "1.1"), "CallerIDNum": "200"}))
    old = channel("PJSIP/a-1", "1.1", prefix="Transferee")
    by = channel("PJSIP/b-1", "1.0", prefix="Transferer")
    reducer.apply(event("BlindTransfer", Result="Success", Context="c", Extension="300", **by, **old))
    assert reducer.view().channels["1.1"].caller_id_num == "200"
    (transfer,) = reducer.view().calls["1.0"].transfers
    assert (transfer.kind, transfer.by, transfer.transferee, transfer.to) == ("blind", "1.0", "1.1", "300@c")
