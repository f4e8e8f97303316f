"""The form of events on a broker: lossless, and CloudEvents."""

from __future__ import annotations

import json
import random

import pytest

from pyami_sync import Event, events
from pyami_sync.bridge import Position, Record, event_of, make_record
from pyami_sync.bridge.envelope import decode_body, encode_body, routing_key

WIRE = [
    b"Event: Hangup\r\nPrivilege: call,all\r\nChannel: PJSIP/1101-00000001\r\nCause: 16",
    b"Event: X\r\nVariable: a=1\r\nVariable: b=2\r\nvariable: c",
    b"Event: X\r\nKey:no blank\r\nKey:  two blanks\r\nEmpty: \r\nBare:\r\nno colon at all\r\nA: b: c: d",
    "Event: X\r\nName: Zoë \u2028 日本\r\nLF: a\nb".encode(),
    b"Event: X\r\nName: caf\xe9\r\n\xff\xfe: \x80",
    b'Event: X\r\nQuote: "\\\r\nTab: \t\x01',
]


@pytest.mark.parametrize("raw", WIRE)
def test_every_byte_comes_back(raw):
    event = Event.from_bytes(raw + b"\r\n\r\n")
    assert decode_body(encode_body(event)) == raw
    assert event_of(make_record("paris", Position(1, 1), event)).to_bytes() == event.to_bytes()


def test_whatever_an_event_holds_its_body_is_json_and_every_byte_comes_back():
    chance = random.Random(4)
    parts = [
        "a",
        "Key",
        ": ",
        ":",
        " ",
        ",",
        '"',
        "\\",
        "[",
        "]",
        "\r\n",
        "\r",
        "\n",
        "\0",
        "\x7f",
        "ë",
        "\u2028",
        '","',
    ]
    for _ in range(3000):
        raw = "Event: X\r\n" + "".join(chance.choices(parts, k=chance.randrange(12)))
        raw = raw.rstrip("\r\n").replace("\r\n\r\n", "")
        body = encode_body(Event.from_bytes(raw.encode() + b"\r\n\r\n"))
        assert json.loads(body) == {"headers": [line.split(": ", 1) for line in raw.split("\r\n")]}
        assert decode_body(body) == raw.encode()
        assert decode_body(json.dumps(json.loads(body)).encode()) == raw.encode()  # of another writer


def test_the_body_is_json_with_headers_in_order_and_repeated():
    body = encode_body(Event.from_bytes(WIRE[1] + b"\r\n\r\n"))
    assert json.loads(body) == {
        "headers": [["Event", "X"], ["Variable", "a=1"], ["Variable", "b=2"], ["variable", "c"]]
    }


def test_events_come_back_in_their_class():
    event = Event.from_bytes(WIRE[0] + b"\r\n\r\n")
    made = event_of(make_record("paris", Position(1, 1), event))
    assert isinstance(made, events.Hangup)
    assert made.cause == 16


@pytest.mark.parametrize("name", ["__all__", "annotations", "Text", "event_class", "Ünknown"])
def test_names_of_the_module_are_no_classes(name):
    made = event_of(make_record("paris", Position(1, 1), Event([("Event", name)])))
    assert type(made) is Event


def test_attributes_are_those_of_cloudevents():
    made = make_record("paris", Position(7, 3), Event.from_bytes(WIRE[0] + b"\r\n\r\n"), now=1.5)
    assert made.attributes() == {
        "specversion": "1.0",
        "id": "paris/7/3",
        "source": "/ami/paris",
        "type": "org.asterisk.ami.Hangup",
        "subject": "call",
        "time": "1970-01-01T00:00:01.500000+00:00",
        "datacontenttype": "application/json",
    }
    assert Record.from_attributes(made.attributes(), made.body) == made
    assert made.key == "ami.paris.call.Hangup"


def test_a_node_may_have_slashes_and_dots():
    made = make_record("eu/pbx.1", Position(7, 3), Event([("Event", "X")]))
    assert Record.from_attributes(made.attributes(), made.body).node == "eu/pbx.1"
    assert routing_key("pbx.1", "call", "A.B") == "ami.pbx_1.call.A_B"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"raw": "*"}',
        b'{"headers": 1}',
        b'{"headers": []}',
        b'{"headers": [["a", "\\r\\n\\r\\n"]]}',
    ],
)
def test_a_body_that_is_no_event_is_refused(body):
    with pytest.raises(ValueError):
        decode_body(body)


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "a-b", "1-2-3"])
def test_a_position_is_two_numbers(text):
    with pytest.raises(ValueError):
        Position.parse(text)
    assert Position.parse("10-2") > Position.parse("9-30")
