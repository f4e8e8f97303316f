"""The model as JSON and back, and with pydantic."""

from __future__ import annotations

import json

import pytest
from pydantic import TypeAdapter

from pyami_sync.live import CallRecord, Queue, Reducer, View
from pyami_sync.live.jsonform import KINDS, from_json, to_json, view_from_json
from tests.live.support import bridge, channel, event, recorded


def busy() -> Reducer:
    """A model with something of everything."""
    reducer = Reducer()
    for each in recorded()[:900]:
        reducer.apply(each)
    a, b = channel("PJSIP/a-1", "1.1"), channel("PJSIP/b-1", "1.2", linkedid="1.1")
    lot = {"Parkinglot": "default", "ParkingSpace": 701, "ParkingTimeout": 45, "ParkingDuration": 0}
    for each in (
        event("Newchannel", Timestamp=1000.5, **a),
        event("Newchannel", Timestamp=1000.5, **b),
        event("BridgeEnter", Timestamp=1001.0, **bridge("x"), **a),
        event("BridgeEnter", Timestamp=1001.0, **bridge("x"), **b),
        event("QueueMemberAdded", Queue="q", MemberName="Ann", Interface="PJSIP/9", Status=1, LastCall=900),
        event("QueueCallerJoin", Timestamp=1002.0, Queue="q", Position=1, **a),
        event("ConfbridgeJoin", Timestamp=1003.0, Conference="c", **b),
        event("ParkedCall", Timestamp=1003.0, **lot, **channel("PJSIP/b-1", "1.2", linkedid="1.1", prefix="Parkee")),
        event("DeviceStateChange", Device="PJSIP/a", State="INUSE"),
        event("ExtensionStatus", Exten="100", Context="default", Hint="PJSIP/a", Status=1, StatusText="InUse"),
        event("Registry", ChannelType="PJSIP", Username="u", Domain="d", Status="Registered"),
        event("MessageWaiting", Mailbox="100@default", Waiting=1, New=2, Old=3),
    ):
        reducer.apply(each)
    return reducer


def test_a_view_comes_back_the_same_and_goes_on():
    reducer = busy()
    view = reducer.view()
    filled = [name for name in KINDS if getattr(view, name)]
    assert set(KINDS) - set(filled) == {"parking_lots", "endpoints"}
    again = view_from_json(json.loads(json.dumps(to_json(view))))
    for name in KINDS:
        assert dict(getattr(again, name)) == dict(getattr(view, name)), name
    assert again.tables.call_of == view.tables.call_of
    assert again.tables.queue_of == view.tables.queue_of
    second = Reducer(view=again)
    for each in recorded()[900:]:
        second.apply(each)
        reducer.apply(each)
    for name in KINDS:
        assert dict(getattr(second.view(), name)) == dict(getattr(reducer.view(), name)), name


def test_pydantic_takes_the_entities_as_they_are():
    view = busy().view()
    for name in KINDS:
        for entity in getattr(view, name).values():
            adapter = TypeAdapter(type(entity))
            assert adapter.validate_python(to_json(entity)) == entity
            assert adapter.validate_json(adapter.dump_json(entity)) == entity
    assert "waiting" in TypeAdapter(Queue).json_schema()["properties"]


def test_changes_and_records_have_a_form():
    reducer = Reducer()
    changes = [change for each in recorded() for change in reducer.apply(each)]
    forms = [json.loads(json.dumps(to_json(change))) for change in changes[:2000]]
    assert {form["kind"] for form in forms} >= {"Channel", "Call"}
    assert all(form["event"] for form in forms)
    record = next(change.after for change in changes if change.kind is CallRecord)
    assert from_json(json.loads(json.dumps(to_json(record))), CallRecord) == record


@pytest.mark.parametrize("data", [{}, {"uniqueid": 1, "legs": 3}, []])
def test_what_is_no_form_is_refused(data):
    with pytest.raises(ValueError, match="no JSON of a"):
        from_json(data, CallRecord)
    with pytest.raises(ValueError, match="no JSON of a view"):
        view_from_json(data)


def test_what_is_no_entity_is_refused():
    with pytest.raises(TypeError, match="int"):
        to_json(3)
    assert to_json(View())["queues"] == {}
