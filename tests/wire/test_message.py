"""One message: lazy, ordered, without case, with repeats; nothing of it is lost."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyami_sync import actions, events
from pyami_sync.vocabulary.jsonform import from_json
from pyami_sync.wire.action import Action
from pyami_sync.wire.lookup import FIRST_LOOK
from pyami_sync.wire.message import Event, Message, kind_of
from pyami_sync.wire.needle import needle, needles
from pyami_sync.wire.origin import Origin
from pyami_sync.wire.response import Response

PADDING = b"".join(b"\r\nPad%d: %s" % (n, b"x" * 50) for n in range(100))  # makes a message a long one


def parse(raw: bytes, **options) -> Message:
    return Message.from_bytes(raw, **options)


@pytest.fixture(params=["short", "long", "long, wanted in front"])
def made(request):
    """Makes messages in the forms that are read in different ways."""

    def make(raw: bytes, **options) -> Message:
        if request.param == "short":
            return parse(raw, **options)
        if request.param == "long":
            first, _, rest = raw.partition(b"\r\n")
            return parse(first + PADDING + b"\r\n" + rest, **options)
        return parse(raw + PADDING, **options)

    return make


class TestReading:
    def test_first_value_of_a_header(self, made):
        event = made(b"Event: Hangup\r\nChannel: SIP/1\r\nCause: 16")
        assert event["Channel"] == "SIP/1"
        assert event["CHANNEL"] == event["channel"] == event.get("cHANNEL") == "SIP/1"
        assert event["Event"] == "Hangup"
        assert event["Cause"] == "16"

    def test_absent_headers(self, made):
        event = made(b"Event: Hangup\r\nChannel: SIP/1")
        assert event.get("Cause") is None
        assert event.get("Cause", "0") == "0"
        assert "Cause" not in event
        assert 5 not in event
        assert event.get_all("Cause") == []
        with pytest.raises(KeyError, match="Cause"):
            event["Cause"]

    def test_no_part_of_a_name_or_value_is_taken_for_a_name(self, made):
        event = made(b"Event: A\r\nDestChannel: x\r\nText: Channel: y\r\nData: \nChannel: z\r\nChan: w")
        assert "Channel" not in event
        assert event["Text"] == "Channel: y"
        assert event["Chan"] == "w"

    def test_repeats(self, made):
        event = made(b"Event: A\r\nVariable: a=1\r\nother: x\r\nVARIABLE: b=2\r\nVariable: c=3")
        assert event["Variable"] == "a=1"
        assert event.get_all("variable") == ["a=1", "b=2", "c=3"]
        assert [pair for pair in event.items() if not pair[0].startswith("Pad")] == [
            ("Event", "A"),
            ("Variable", "a=1"),
            ("other", "x"),
            ("VARIABLE", "b=2"),
            ("Variable", "c=3"),
        ]
        assert event.to_dict()["Variable"] == ["a=1", "b=2", "c=3"]
        assert event.to_dict()["other"] == "x"

    @pytest.mark.parametrize(
        ("line", "name", "value"),
        [
            (b"Key:value", "Key", "value"),
            (b"Key: value", "Key", "value"),
            (b"Key:  value", "Key", " value"),
            (b"Key: value ", "Key", "value "),
            (b"Key:\tvalue", "Key", "\tvalue"),
            (b"Key:", "Key", ""),
            (b"Key: ", "Key", ""),
            (b"Key: a: b", "Key", "a: b"),
            (b"Key: sip:1@x:5060", "Key", "sip:1@x:5060"),
            (b"Named Callgroup: 1", "Named Callgroup", "1"),
            (b"ChanVariable(Local/1@x-01;1): a=1", "ChanVariable(Local/1@x-01;1)", "a=1"),
            (b"Line-000001-000000: a=b", "Line-000001-000000", "a=b"),
            (b"Key : value", "Key ", "value"),
            (b": value", "", "value"),
            (b"No categories found", "", "No categories found"),
            (b"Key: \xff\xfe\xe9", "Key", "\udcff\udcfe\udce9"),
            (b"\xff: x", "\udcff", "x"),
            ("Größe: 1".encode(), "Größe", "1"),
        ],
    )
    def test_lines(self, made, line, name, value):
        message = made(b"Event: A\r\n" + line + b"\r\nEnd: 1")
        assert (name, value) in message.items()
        assert message.get(name) == value
        assert message.get_all(name) == [value]
        assert name in message
        assert message["End"] == "1"
        assert line in message.to_bytes()

    @pytest.mark.parametrize("odd", ["\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\r"])
    def test_only_cr_lf_ends_a_line(self, made, odd):
        message = made(f"Event: A\r\nData: x{odd}Event: Fake{odd}ActionID: 9\r\nEnd: 1".encode())
        assert message["Data"] == f"x{odd}Event: Fake{odd}ActionID: 9"
        assert message.get("ActionID") is None
        assert message.get_all("Event") == ["A"]

    def test_lines_without_a_colon_are_kept(self, made):
        message = made(b"Response: Success\r\nNo categories found\r\nnor this")
        assert message.get_all("") == ["No categories found", "nor this"]
        assert message[""] == "No categories found"

    def test_none_of_them(self, made):
        assert made(b"Response: Success\r\nA: 1").get("") is None

    def test_the_first_header_without_case(self):
        assert parse(b"eVENT: A")["Event"] == "A"
        assert type(parse(b"eVENT: A")) is Event

    def test_another_encoding(self, made):
        message = made("Event: A\r\nName: Jörg\r\nGröße: 5".encode("latin-1"), encoding="latin-1")
        assert message["Name"] == "Jörg"
        assert message["Größe"] == "5"
        assert message.encoding == "latin-1"

    def test_iterating(self):
        message = parse(b"Event: A\r\nB: 1\r\nB: 2")
        assert list(message) == message.keys() == ["Event", "B", "B"]
        assert message.values() == ["A", "1", "2"]
        assert len(message) == 3
        assert dict(message.to_dict()) == {"Event": "A", "B": ["1", "2"]}

    def test_empty(self):
        message = Message()
        assert (len(message), message.items(), message.keys(), message.to_dict()) == (0, [], [], {})
        assert message
        assert message.get("A") is None

    def test_is_read_lazily(self):
        message = parse(b"Event: A" + PADDING + PADDING)
        assert not hasattr(message, "_index")
        assert message["event"] == "A"  # lies within the first look
        assert not hasattr(message, "_index")
        assert message["Pad99"]
        assert hasattr(message, "_index")

    def test_a_long_message_made_of_one_line(self):
        message = parse(b"JSON: " + b"x" * 3 * FIRST_LOOK)
        assert len(message["json"]) == 3 * FIRST_LOOK
        assert message.get("x") is None

    def test_many_headers(self):
        raw = b"Response: Success\r\n" + b"\r\n".join(b"Output: %d" % n for n in range(100_000))
        message = parse(raw)
        assert message.get_all("output")[-1] == "99999"
        assert len(message) == 100_001
        assert message.to_bytes() == raw + b"\r\n\r\n"

    def test_names_from_outside_do_not_pile_up(self):

        for n in range(20_050):
            needle(f"name-{n}")
        assert len(needles) <= 10_001
        assert needle("Channel")[1] == b"\r\nchannel:"


NAMES = st.text(st.characters(blacklist_characters=":\r\n\0", blacklist_categories=("Cs",)), max_size=8)
VALUES = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20).filter(
    lambda text: "\r" not in text  # a value may hold CR, but not at its end, nor before LF
)


class TestMaking:
    @given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=8))
    def test_headers_come_back(self, pairs):
        message = Message(pairs)
        assert message.items() == pairs
        assert Message._wire(message._raw).items() == pairs

    def test_of_a_mapping(self):
        message = Event({"Event": "A", "Variable": ["a", "b"], "X": ""})
        assert message.to_bytes() == b"Event: A\r\nVariable: a\r\nVariable: b\r\nX: \r\n\r\n"

    @pytest.mark.parametrize(
        ("name", "value"),
        [("a:b", "1"), ("a\r", "1"), ("a\n", "1"), ("A", "1\r\nB: 2"), ("A", "1\r"), ("", "1\r\nB: 2")],
    )
    def test_what_would_not_stay_one_header(self, name, value):
        with pytest.raises(ValueError, match="one line"):
            Message([(name, value)])

    def test_lines_without_a_colon_forge_nothing(self):
        assert Message([("", "Event: Fake")]).get("Event") is None
        assert Message([("", "text")]).to_bytes() == b"text\r\n\r\n"
        assert b"\r\n\r\n" not in Message([("A", "1"), ("", ""), ("B", "2")]).to_bytes()[:-4]

    def test_another_encoding(self):
        assert Event({"Event": "é"}, encoding="latin-1").to_bytes() == b"Event: \xe9\r\n\r\n"

    def test_undecodable_bytes_go_back_as_they_came(self):
        value = parse(b"Event: A\r\nX: \xff\xfe")["X"]
        assert Event({"X": value}).to_bytes() == b"X: \xff\xfe\r\n\r\n"


class TestFromBytes:
    @pytest.mark.parametrize(
        ("raw", "cls"),
        [
            (b"Event: A\r\nResponse: Success", Event),
            (b"Response: Success\r\nEvent: A", Response),
            (b"RESPONSE:Success", Response),
            (b"Action: Ping", Action),
            (b"Privilege: x\r\nEvent: A", Message),
            (b"just text", Message),
            (b": x", Message),
        ],
    )
    def test_the_first_header_decides(self, raw, cls):
        assert type(parse(raw)) is cls
        assert kind_of(raw) is cls

    def test_a_class_of_its_own_stays(self):
        assert type(Event.from_bytes(b"Response: x")) is Event
        assert type(events.Hangup.from_bytes(b"Event: Hangup")) is events.Hangup

    @pytest.mark.parametrize("raw", [b"", b"\r\n", b"\r\n\r\n", b"A: 1\r\n\r\nB: 2", b"A: 1\r\n\r\nB: 2\r\n\r\n"])
    def test_not_exactly_one(self, raw):
        with pytest.raises(ValueError, match="not exactly one"):
            parse(raw)

    @pytest.mark.parametrize("encoding", ["typo", "utf-16", "utf-7", "cp037", "rot13", None, 5])
    def test_an_encoding_that_does_not_leave_ascii_as_it_is(self, encoding):
        for make in (
            lambda: parse(b"Event: A", encoding=encoding),
            lambda: events.Hangup.from_bytes(b"Event: Hangup", encoding=encoding),
            lambda: Message({"A": "1"}, encoding=encoding),
            lambda: Action("Ping", encoding=encoding),
            lambda: from_json({"event": "A", "headers": {"Event": "A"}, "encoding": encoding}),
        ):
            with pytest.raises(ValueError, match="leaves ASCII as it is"):
                make()

    def test_other_bytes(self):
        for cls in (Message, Event, Response):
            assert cls.from_bytes(bytearray(b"Response: A\r\nB: 1\r\n\r\n"))["b"] == "1"

    def test_searching_a_long_message_makes_no_other_of_a_user_s_class(self):
        made = []

        class Mine(Event):
            def __del__(self) -> None:
                made.append(self.name)

        message = Mine.from_bytes(b"Event: A" + PADDING)
        assert message.get("pad0") is not None
        assert message.get("absent") is None
        del message
        assert made == ["A"]

    def test_noise_in_front(self):
        assert parse(b"\r\n\r\nEvent: A\r\n\r\n").to_bytes() == b"Event: A\r\n\r\n"

    @example([b"\0\r\0", b"\0\n\0"])
    @given(
        st.lists(
            st.binary(max_size=10).filter(lambda line: line.strip(b"\r\n") == line != b"" and b"\r\n" not in line),
            min_size=1,
        )
    )
    def test_bytes_come_back(self, lines):
        raw = b"\r\n".join(lines)
        assert parse(raw + b"\r\n\r\n").to_bytes() == raw + b"\r\n\r\n"
        assert len(parse(raw).items()) == len(lines)


class TestIdentity:
    MESSAGES = (
        parse(b"Event: A\r\nX: \xff\r\nX: 2"),
        parse("Event: Ä".encode("latin-1"), encoding="latin-1"),
        Event._wire(b"Event: A", Origin("utf-8", 1e9, "node-1")),
        events.Hangup.from_bytes(b"Event: Hangup\r\nCause: 16"),
        Response({"Response": "Success"}, events=[Event({"Event": "B"})], complete=Event({"Event": "C"})),
        parse(b"Response: Follows\r\nPrivilege: Command\r\na\r\n\r\nPrivilege: b--END COMMAND--"),
        Action("Originate", Channel="x", Variable={"a": "1,2"}),
        actions.Originate(channel="Local/1@x", variable={"a": "b"}),
    )

    @pytest.mark.parametrize("message", MESSAGES, ids=repr)
    def test_pickling(self, message):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            clone = pickle.loads(pickle.dumps(message, protocol))
            assert type(clone) is type(message)
            assert clone == message
            assert clone.items() == message.items()
            assert clone.encoding == message.encoding
            assert repr(clone) == repr(message)
            if isinstance(message, Event):
                assert (clone.received_at, clone.node) == (message.received_at, message.node)
            if isinstance(message, Response):
                assert (clone.events, clone.complete, clone.output, clone.ok) == (
                    message.events,
                    message.complete,
                    message.output,
                    message.ok,
                )

    @pytest.mark.parametrize("message", MESSAGES, ids=repr)
    def test_copying(self, message):
        assert copy.copy(message) is message
        assert copy.deepcopy([message])[0] is message

    def test_equality_is_that_of_the_bytes(self):
        assert parse(b"Event: A\r\nB: 1") == Event({"Event": "A", "B": "1"})
        assert parse(b"Event: A\r\nB: 1") != parse(b"Event: A\r\nb: 1")
        assert hash(parse(b"Event: A")) == hash(parse(b"Event: A\r\n\r\n"))
        assert parse(b"Event: A") != "Event: A"

    def test_old_command_answers_with_other_text_differ(self):
        one, two = (parse(b"Response: Follows\r\n" + text + b"--END COMMAND--") for text in (b"a\n", b"b\n"))
        assert one != two

    def test_immutable(self):
        with pytest.raises((AttributeError, TypeError)):
            parse(b"Event: A").new = 1
        with pytest.raises(TypeError):
            parse(b"Event: A")["Event"] = "B"

    def test_repr_is_bounded_and_plain(self):
        assert repr(parse(b"Event: A\r\nno colon\r\nX: \x1b[31m")) == "<Event Event='A' 'no colon' X='\\x1b[31m'>"
        assert len(repr(parse(b"Event: A\r\nX: " + b"y" * 100_000))) < 700

    def test_repr_of_a_response_counts(self):
        response = Response({"Response": "Success"}, events=[Event({"Event": "B"})] * 3)
        assert "events=3" in repr(response)
        assert "output=2 lines" in repr(parse(b"Response: Follows\r\na\nb--END COMMAND--"))


class TestEvent:
    def test_attributes(self):
        event = Event._wire(b"Event: Hangup\r\nActionID: 7", Origin("utf-8", 1_000_000_000.0, "pbx"))
        assert (event.name, event.action_id, event.node) == ("Hangup", "7", "pbx")
        assert event.received_at == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)

    def test_one_made_here(self):
        event = Event({"Event": "A"})
        assert (event.received_at, event.node, event.action_id, event.timestamp) == (None, None, None, None)
        assert Event().name == ""

    def test_timestamp(self):
        assert Event({"Timestamp": "1000000000.5"}).timestamp == datetime(2001, 9, 9, 1, 46, 40, 500_000, UTC)

    @pytest.mark.parametrize("text", ["", "soon", "1e300", "nan"])
    def test_a_timestamp_that_is_none(self, text):
        with pytest.raises(ValueError, match="Timestamp"):
            _ = Event({"Timestamp": text}).timestamp

    def test_variables(self):
        event = Event(
            [
                ("Variable", "a=1"),
                ("ChanVariable", "b=2=3"),
                ("ChanVariable(SIP/1)", "c="),
                ("VARIABLE", "a=9"),
                ("x", "y"),
            ]
        )
        assert event.variables == {"a": "1", "b": "2=3", "c": ""}

    @pytest.mark.parametrize(
        "line",
        [
            b"ChanVariable(SIP/10.0.0.1:5060-00000001): foo=bar",
            b"ChanVariable(IAX2/[::1]:4569-12): foo=bar",
            b"chanvariable(SIP/a-1):foo=bar",
        ],
    )
    def test_the_variables_of_a_channel_with_a_colon_in_its_name(self, line):
        assert Event.from_bytes(b"Event: Dial\r\n" + line).variables == {"foo": "bar"}

    def test_variables_have_their_escapes_undone(self):
        raw = b'Event: Hangup\r\nChanVariable: a=x\\ny\\"\r\nChanVariable(SIP/1:2): b=(c): d\\\\e'
        assert Event.from_bytes(raw).variables == {"a": 'x\ny"', "b": "(c): d\\e"}

    def test_the_variable_that_was_set(self):
        raw = b"Event: VarSet\r\nVariable: A\r\nValue: x\\ty\r\nChanVariable: B=1"
        assert Event.from_bytes(raw).variables == {"B": "1", "A": "x\ty"}
