"""Messages as JSON, and back, with nothing lost."""

from __future__ import annotations

import json
import lzma
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyami_sync import Action, Event, InvalidAction, Message, Response, actions, events
from pyami_sync.vocabulary.jsonform import from_json, to_json
from pyami_sync.vocabulary.model import ListResponse
from pyami_sync.wire.origin import Origin
from tests.support.samples import HANGUP, LIST, TRAFFIC
from tests.support.vocabulary import typed_events


def there_and_back(message: Message) -> Message:
    """Write a message as JSON text and read it again."""
    return from_json(json.loads(json.dumps(to_json(message), ensure_ascii=False).encode()))


def test_attributes_and_all_headers() -> None:
    made = to_json(HANGUP)
    assert made["event"] == "Hangup"
    assert made["cause"] == 16
    assert made["timestamp"] == "2026-11-22T01:45:52.750000+00:00"
    assert made["caller_id_num"] is None
    assert made["chan_variable"] == {"A": "1", "B": "2"}
    assert made["headers"]["ChanVariable"] == ["A=1", "B=2"]
    assert made["headers"]["X-New"] == "1"
    assert "raw" not in made


def test_what_does_not_convert_is_null_and_kept() -> None:
    made = to_json(events.Hangup.from_bytes(b"Event: Hangup\r\nTimestamp: x\r\nCause: sixteen"))
    assert made["cause"] is None
    assert made["timestamp"] is None
    assert made["headers"]["Cause"] == "sixteen"


@pytest.mark.parametrize(
    "message",
    [
        HANGUP,
        LIST,
        Event([("Event", "Unheard"), ("A", "1")]),
        Message([("A", "1"), ("A", "2")]),
        Message.from_bytes(b"Event: QueueRule\r\nRule: 1\r\nRuleList: a\r\nRule: 2"),
        Message.from_bytes(b"Event: X\r\nName:unusual\r\nno colon\r\n:\r\nA :  b "),
        Message.from_bytes(b"Event: X\r\nA: \xff\xfe\r\nB: \xe2\x80\xa8"),
        Message.from_bytes(b"event: x\r\nEvent: y"),
        Message.from_bytes("Event: X\r\nA: \xe9".encode("latin-1"), encoding="latin-1"),
        Message.from_bytes(b"Response: Error\r\nMessage: No such\n"),
        Message.from_bytes(b"Response: Follows\r\nPrivilege: Command\r\nuptime: 1\n\n  text\n--END COMMAND--"),
        Message.from_bytes(b"Response: Success\r\nOutput: a\r\nOutput:   b\r\nOutput: "),
        Message.from_bytes(b"Action: QueueAdd\r\nQueue: a\r\nInterface: b\r\nPenalty: x"),
        Response._text(b"Queue  Members\na  1\n", Origin()),
        Action("Unheard", {"A": ["1", "2"]}),
        actions.Originate(channel="x", variable={"A": "1,2"}, async_=True),
    ],
    ids=lambda message: repr(message)[:60],
)
def test_round_trip(message: Message) -> None:
    found = there_and_back(message)
    assert found == message
    assert found.items() == message.items()
    assert found.encoding == message.encoding
    if isinstance(message, Response):
        assert isinstance(found, Response)
        assert found.output == message.output
        assert found.events == message.events
        assert found.complete == message.complete
        assert [type(event) for event in found.events] == [type(event) for event in message.events]


def test_round_trip_of_recorded_traffic() -> None:
    for event in typed_events(lzma.decompress(TRAFFIC.read_bytes()))[:3000]:
        found = there_and_back(event)
        assert found == event
        assert type(found) is type(event)


@given(st.binary(min_size=1).filter(lambda raw: b"\r\n\r\n" not in raw and not raw.endswith((b"\r", b"\r\n"))))
def test_round_trip_of_any_bytes(raw: bytes) -> None:
    event = events.UserEvent.from_bytes(b"Event: UserEvent\r\n" + raw.lstrip(b"\r\n") + b".")
    assert there_and_back(event) == event


def test_round_trip_through_writers_that_sort() -> None:
    for message in (HANGUP, Message.from_bytes(b"Event: Z\r\nRule: 1\r\nA: 2\r\nRULE: 3")):
        assert from_json(json.loads(json.dumps(to_json(message), sort_keys=True))) == message


def test_headers_alone_are_enough() -> None:
    found = from_json({"headers": {"Cause": "16", "event": "Hangup", "A": ["1", "2"]}})
    assert found == Message([("event", "Hangup"), ("Cause", "16"), ("A", "1"), ("A", "2")])
    assert isinstance(found, events.Hangup)


def test_where_and_when_it_came_from() -> None:
    event = events.Hangup._wire(HANGUP._raw, Origin("utf-8", 1795311952.5, "east"))
    found = there_and_back(event)
    assert isinstance(found, Event)
    assert (found.node, found.received_at) == ("east", event.received_at)


def test_an_error_that_means_empty() -> None:
    answer = ListResponse([("Response", "Error"), ("Message", "No AORs found")])
    answer._empty = True
    found = there_and_back(answer)
    assert isinstance(found, Response)
    assert found.ok


def test_actions_by_their_arguments() -> None:
    made = from_json({"queue": "a", "interface": "b", "penalty": 3, "paused": True}, actions.QueueAdd)
    assert made == actions.QueueAdd(queue="a", interface="b", penalty=3, paused=True)
    assert from_json({"action": "queueadd", "queue": "a", "interface": "b"}, Action).name == "QueueAdd"
    assert from_json({"action": "Ping"}) == actions.Ping()
    assert from_json({"action": "Mine", "A": "1"}) == Action("Mine", A="1")
    charge = actions.AOCMessage(channel="x", msg_type="D", unit_amount=[5, 6])
    arguments = {name: value for name, value in to_json(charge).items() if name not in ("headers", "action_id")}
    assert from_json({name: value for name, value in arguments.items() if value}, Action) == charge


@pytest.mark.parametrize(
    ("data", "cls"),
    [
        ([], Message),
        ({}, Event),
        ({}, Action),
        ({"event": "Hangup"}, events.Hangup),
        ({"headers": {"Event": "Newchannel"}}, events.Hangup),
        ({"headers": {"Response": "Success"}}, Event),
        ({"headers": {"Event": "a\r\n\r\nEvent: b"}}, Event),
        ({"headers": {"Event": "a"}, "order": ["Event", "Event"]}, Event),
        ({"headers": {"Event": "a", "B": "c"}, "order": ["Event"]}, Event),
        ({"headers": {"Event": 7}}, Event),
        ({"raw": "!!"}, Event),
        ({"raw": "RXZlbnQ6IEE=", "received_at": "soon"}, Event),
        ({"queue": "a"}, actions.QueueAdd),
        ({"queue": "a", "interface": "b", "interfce": "c"}, actions.QueueAdd),
        ({"action": 7}, Action),
        ({"action": "Ping"}, actions.QueueAdd),
        ({"queue": "a\r\nAction: Originate", "interface": "b"}, actions.QueueAdd),
        ({"headers": {"Action": "QueueAdd", "Queue": "a\nAction: Originate"}}, Action),
        ({"raw": "QWN0aW9uOiBQaW5nDQpBOiBhCmI="}, Action),
    ],
)
def test_what_is_refused(data: Any, cls: type[Message]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_json(data, cls)


def test_actions_from_outside_are_checked() -> None:
    with pytest.raises(InvalidAction):
        from_json({"headers": {"Action": "Setvar", "Value": "a\nAction: Logoff"}})
