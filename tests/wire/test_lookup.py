"""One header found in a message's bytes, in Python and in C: both give the same."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyami_sync.wire import lookup
from pyami_sync.wire.lookup import FIRST_LOOK, IN_PYTHON, RareLookup
from pyami_sync.wire.message import Message
from pyami_sync.wire.needle import needle
from pyami_sync.wire.origin import LOCAL, Origin

CHECKOUT = Path(__file__).parent.parent.parent


class Implementation(NamedTuple):
    lookup: type[Any]
    any_spelling: type[Any]
    header_field: type[Any]
    make_event: Callable[..., Any]
    make_events: Callable[..., Any]


IMPLEMENTATIONS = {"python": Implementation(*IN_PYTHON)}
if lookup.make_event is not IMPLEMENTATIONS["python"].make_event:
    IMPLEMENTATIONS["c"] = Implementation(
        lookup.Lookup,
        type("AnySpelling", (lookup.AnySpelling, lookup.Lookup), {"__slots__": ()}),
        lookup.HeaderField,
        lookup.make_event,
        lookup.make_events,
    )


@pytest.fixture(params=["python", "c"])
def implementation(request: pytest.FixtureRequest) -> Implementation:
    if request.param not in IMPLEMENTATIONS:
        if os.environ.get("PYAMI_REQUIRE_EXTENSION"):
            pytest.fail("pyami_sync.wire._speedups was not built")
        pytest.skip("pyami_sync.wire._speedups was not built: python setup.py build_ext --inplace")
    return IMPLEMENTATIONS[request.param]


def made(cls: type[Any], raw: bytes, origin: Origin = LOCAL) -> Any:
    message = cls.__new__(cls)
    message._raw = raw
    message._origin = origin
    return message


PADDING = b"".join(b"\r\nPad%d: %s" % (n, b"x" * 50) for n in range(100))
LONG = b"Event: Long\r\nName: early" + PADDING + b"\r\nLate: late\r\nname: other\r\nlate: again"

FOUND = [
    # raw, name, exact spelling first, first in any spelling
    (b"Event: A\r\nName: 1\r\nName: 2", "Name", "1", "1"),
    (b"Event: A\r\nname: 1\r\nName: 2", "Name", "2", "1"),
    (b"Event: A\r\nname: 1\r\nName:2", "Name", "1", "1"),
    (b"Event: A\r\nNAME: 1\r\nname: 2", "Name", "1", "1"),
    (b"Event: A\r\nName:1\r\nName: 2", "Name", "2", "1"),
    (b"Event: A\r\nName:  1 ", "Name", " 1 ", " 1 "),
    (b"Event: A\r\nName:", "Name", "", ""),
    (b"Event: A\r\nName: ", "Name", "", ""),
    (b"Event: A\r\nName", "Name", None, None),
    (b"Event: A\r\nOther: Name: 1", "Name", None, None),
    (b"Event: A\r\nMyName: 1", "Name", None, None),
    (b"Event: A\r\nNames: 1", "Name", None, None),
    (b"Event: A\nName: 1", "Name", None, None),
    (b"Event: A\rName: 1", "Name", None, None),
    (b"Event: A\r\r\nName: 1", "Name", "1", "1"),
    (b"Event: A\r\nName: a\rb\nc\x0bd\r\nX: 1", "Name", "a\rb\nc\x0bd", "a\rb\nc\x0bd"),
    (b"Event: A\r\nName: 1\r", "Name", "1\r", "1\r"),
    (b"Name: 1\r\nName: 2", "Name", "1", "1"),
    (b"Name:1\r\nName: 2", "Name", "1", "1"),
    (b"name: 1\r\nName: 2", "Name", "2", "1"),
    (b"name:1\r\nname: 2", "Name", "1", "1"),
    (b"", "Name", None, None),
    (b":", "Name", None, None),
    (b": 1\r\n: 2", "", "1", "1"),
    (b"a line\r\nName: 1", "", "a line", "a line"),
    (b"Event: A\r\nName: \xc3\xa4", "Name", "ä", "ä"),
    (b"Event: A\r\nName: \xff", "Name", "\udcff", "\udcff"),
    (b"Event: A\r\nN\xc3\xa4me: 1", "Näme", "1", "1"),
    (b"Event: A\r\nn\xc3\xa4ME: 1", "Näme", "1", "1"),
    (b"Event: A\r\nN\xc3\x84me: 1", "Näme", None, None),
    (b"Event: A\r\nName\0: 1\r\nName: \0", "Name", "\0", "\0"),
    (LONG, "Name", "early", "early"),
    (LONG, "Event", "Long", "Long"),
    (LONG, "Late", "late", "late"),
    (LONG, "late", "late", "late"),
    (LONG, "absent", None, None),
    (b"X: 1\r\nName: " + b"v" * FIRST_LOOK + b"\r\nY: 2", "Name", "v" * FIRST_LOOK, "v" * FIRST_LOOK),
]


@pytest.mark.parametrize(("raw", "name", "exact", "first"), FOUND)
def test_which_header_is_found(implementation, raw, name, exact, first):
    for cls, expected in ((implementation.lookup, exact), (implementation.any_spelling, first)):
        message = made(cls, raw)
        for _ in range(2):  # a long message has an index the second time
            assert message.get(name) == expected
            assert message.get(name, "none") == ("none" if expected is None else expected)
            assert message._find(needle(name)) == expected
            assert (name in message) == (expected is not None)
            if expected is None:
                with pytest.raises(KeyError) as caught:
                    _ = message[name]
                assert caught.value.args == (name,)
            else:
                assert message[name] == expected


PAIRS = [
    # raw, items, a plain dict or None
    (b"", [], None),
    (b"Event: A\r\nX: 1", [("Event", "A"), ("X", "1")], {"Event": "A", "X": "1"}),
    (b"A: 1\r\nA: 2", [("A", "1"), ("A", "2")], None),
    (b"A: 1\r\na: 2", [("A", "1"), ("a", "2")], {"A": "1", "a": "2"}),
    (b"A:1\r\nB:  2 ", [("A", "1"), ("B", " 2 ")], None),
    (b"A: \r\nB:", [("A", ""), ("B", "")], None),
    (b"A: ", [("A", "")], {"A": ""}),
    (b"a line\r\nA: 1", [("", "a line"), ("A", "1")], None),
    (b"A: 1\r\n\r\nB: 2", [("A", "1"), ("", ""), ("B", "2")], None),
    (b": 1\r\n:", [("", "1"), ("", "")], None),
    (b"A:b: c", [("A", "b: c")], {"A:b": "c"}),
    (b"A: b: c\r\r\nB: \n\r", [("A", "b: c\r"), ("B", "\n\r")], {"A": "b: c\r", "B": "\n\r"}),
    (b"\xc3\xa4: \xff\xe2\x82", [("ä", "\udcff\udce2\udc82")], {"ä": "\udcff\udce2\udc82"}),
]


@pytest.mark.parametrize(("raw", "items", "plain"), PAIRS)
def test_all_headers(implementation, raw, items, plain):
    for cls in (implementation.lookup, implementation.any_spelling):
        message = made(cls, raw)
        assert message.items() == items
        told = message._plain_dict()
        # Which odd lines are left to items() may differ; what is told may not.
        assert told == plain or (":" in "".join(plain or ()) and told is None)


def test_all_headers_in_another_encoding(implementation):
    message = made(implementation.lookup, b"\xe4: \xff", Origin("latin-1"))
    assert message.items() == [("ä", "ÿ")]
    assert message._plain_dict() in (None, {"ä": "ÿ"})
    message = implementation.lookup.__new__(implementation.lookup)
    for ask in (message.items, message.get_all):
        with pytest.raises((AttributeError, TypeError)):
            ask()


def test_the_encoding_of_its_origin(implementation):
    message = made(implementation.lookup, b"Event: A\r\nName: \xe4\r\nN\xe4: 1", Origin("latin-1"))
    assert message["Name"] == message["name"] == "ä"
    assert message["Nä"] == "1"
    message._origin = Origin("no-such-encoding")
    with pytest.raises(LookupError, match="no-such-encoding"):
        _ = message["Name"]


def test_the_arguments_of_get(implementation):
    message = made(implementation.lookup, b"Event: A")
    assert message.get(name="Event", default="x") == message.get("Event", default="x") == "A"
    assert message.get("B", default="x") == message.get(default="x", name="B") == message.get("B", "x") == "x"
    for arguments, keywords in (
        ((), {}),
        (("B", "x", "y"), {}),
        ((), {"default": "x"}),
        (("B",), {"name": "B"}),
        (("B",), {"wrong": "x"}),
        (("B", "x"), {"default": "x"}),
    ):
        with pytest.raises(TypeError):
            message.get(*arguments, **keywords)


class Named(str):
    __slots__ = ()


def test_other_names(implementation):
    message = made(implementation.lookup, b"Event: A\r\n1: 2")
    assert message[Named("Event")] == message.get(Named("event")) == "A"
    assert 1 not in message
    assert None not in message
    assert b"Event" not in message
    for name in (1, None, b"Event", []):
        with pytest.raises((TypeError, AttributeError)):
            _ = message[name]
        with pytest.raises((TypeError, AttributeError)):
            message.get(name)


def test_what_is_not_there_raises_and_does_not_crash(implementation):
    for cls in (implementation.lookup, implementation.any_spelling):
        empty = cls.__new__(cls)
        for attribute in ("_raw", "_origin", "_index", "_event_name"):
            with pytest.raises(AttributeError):
                getattr(empty, attribute)
        for look in (lambda m: m["A"], lambda m: m.get("A"), lambda m: "A" in m, lambda m: m._find(needle("A"))):
            with pytest.raises(AttributeError):
                look(empty)
        empty._raw = b"A: \xff"
        with pytest.raises(AttributeError):
            _ = empty["A"]
        empty._raw = "A: 1"
        with pytest.raises(TypeError):
            _ = empty["A"]
        for key in (None, (), ("a",) * 6, (b"",) * 6, b"\r\nA:"):
            with pytest.raises((TypeError, IndexError, ValueError)):
                made(cls, b"A: 1")._find(key)


def fields(implementation: Implementation) -> tuple[type[Any], type[Any]]:
    """Make classes of both kinds that read the header Name as text and as a number."""

    class Number(implementation.header_field):
        def _unusable(self, text: str) -> str:
            if text == "bad":
                raise RuntimeError(text)
            return f"no number: {text}"

    def made_field(cls: type[Any], convert: Any) -> Any:
        field = cls()
        field._key, field._convert = needle("Name"), convert
        return field

    def odd(text: str) -> Any:
        raise KeyError(text)

    attributes = {
        "text": made_field(implementation.header_field, None),
        "number": made_field(Number, int),
        "odd": made_field(Number, odd),
    }
    return tuple(type("Typed", (cls,), attributes) for cls in (implementation.lookup, implementation.any_spelling))


@pytest.mark.parametrize(("raw", "name", "exact", "first"), [each for each in FOUND if each[1] == "Name"])
def test_a_field_gives_the_header(implementation, raw, name, exact, first):
    for cls, expected in zip(fields(implementation), (exact, first), strict=True):
        assert made(cls, raw).text == expected


def test_a_field_converts(implementation):
    for cls in fields(implementation):
        assert made(cls, b"Event: A\r\nName: 17").number == 17
        assert made(cls, b"Event: A").number is None
        assert made(cls, b"Event: A").odd is None
        assert made(cls, b"Event: A\r\nName: x").number == "no number: x"
        with pytest.raises(RuntimeError, match="bad"):
            _ = made(cls, b"Event: A\r\nName: bad").number
        with pytest.raises(KeyError, match="x"):
            _ = made(cls, b"Event: A\r\nName: x").odd
        assert type(cls.text) is implementation.header_field
        assert cls.number._convert is int
        with pytest.raises(AttributeError):
            _ = cls.__new__(cls).text


def test_a_field_of_a_class_that_looks_for_headers_in_another_way(implementation):
    for cls in fields(implementation):

        class Other(cls):
            def __getitem__(self, name: str) -> str:
                return "other"

            def _find(self, key: Any) -> str:
                return "7"

        assert made(Other, b"Name: 1").number == 7

    class NoMessage:
        text = vars(fields(implementation)[0])["text"]

    with pytest.raises(AttributeError, match="_find"):
        _ = NoMessage().text
    unfinished = implementation.header_field()
    with pytest.raises(AttributeError):
        unfinished.__get__(made(implementation.lookup, b"Name: 1"))


def test_make_event(implementation):
    class Known(implementation.lookup):
        __slots__ = ("more",)

    origin = Origin("latin-1")
    event = implementation.make_event(Known, b"Event: A\r\nX: \xe4", origin, "A")
    assert type(event) is Known
    assert (event._raw, event._origin, event._event_name) == (b"Event: A\r\nX: \xe4", origin, "A")
    assert event["X"] == "ä"
    assert not hasattr(event, "more")
    assert not hasattr(event, "_index")
    frames = [b"Event: A\r\nX: %d" % n for n in range(1000)]
    many = implementation.make_events(Known, frames, LOCAL, "A")
    assert [each["X"] for each in many] == [str(n) for n in range(1000)]
    assert {(type(each), each._origin, each._event_name) for each in many} == {(Known, LOCAL, "A")}
    assert implementation.make_events(Known, [], LOCAL, "A") == []


def test_make_event_refuses_what_is_no_class_of_events(implementation):
    for cls in (int, object, 3, None, RareLookup):
        with pytest.raises((TypeError, AttributeError)):
            implementation.make_event(cls, b"Event: A", LOCAL, "A")
        with pytest.raises((TypeError, AttributeError)):
            implementation.make_events(cls, [b"Event: A"], LOCAL, "A")
    with pytest.raises(TypeError):
        implementation.make_event(implementation.lookup, b"Event: A", LOCAL)
    with pytest.raises(TypeError):
        implementation.make_events(implementation.lookup, 3, LOCAL, "A")


def test_it_keeps_no_reference_and_loses_none(implementation):
    raw, origin, name = (
        b"Event: A\r\nName: \xff\r\nX: %d" % id(implementation),
        Origin("utf-8", 1.0),
        "A name " + "x" * 9,
    )
    absent, fallback, key = "Absent " + name, "fallback " + name, needle("Name")
    typed = fields(implementation)[0]
    field = typed.text
    watched = (raw, origin, name, absent, fallback, key, implementation.lookup, typed, field, field._key)

    def work() -> None:
        for event in (
            implementation.make_event(implementation.lookup, raw, origin, name),
            *implementation.make_events(implementation.lookup, [raw] * 3, origin, name),
            implementation.make_event(implementation.any_spelling, raw, origin, name),
        ):
            assert event["Name"] == event.get("name") == event._find(key) == "\udcff"
            assert event.get(absent, fallback) is fallback
            assert event.items()[1] == ("Name", "\udcff")
            assert (event._plain_dict() or {})["Event"] == "A"
            assert absent not in event
            with pytest.raises(KeyError):
                _ = event[absent]
            with pytest.raises(TypeError):
                event.get(absent, fallback, wrong=name)
        event = made(typed, raw, origin)
        assert event.text == "\udcff"
        assert event.number == "no number: \udcff"
        with pytest.raises(KeyError):
            _ = event.odd

    work()
    gc.collect()
    before = [sys.getrefcount(each) for each in watched]
    for _ in range(20):
        work()
    gc.collect()
    assert [sys.getrefcount(each) for each in watched] == before


NAMES = st.sampled_from(["A", "a", "Ab", "aB", "AB", "B", "É", "é", "A:", "", " ", "\udcff"])
BITS = (b"A", b"a", b"Ab", b"AB", b"aB", b"B", b":", b": ", b" ", b"\r", b"\n", b"\r\n", b"\xc3\xa9", b"\xff", b"x")
PARTS = (b"\r\n", b"\r\nAb: ", b"\r\nab: 1\r\n", b"y" * 700, b"\r\n" + b"z" * 2040)
PIECES = st.sampled_from(BITS + PARTS)


@pytest.mark.skipif("c" not in IMPLEMENTATIONS, reason="pyami_sync.wire._speedups was not built")
@example([b"y" * 2040, b"\r\nAb: "], "Ab", "utf-8")
@example([b"y" * 2041, b"\r\nAb: "], "Ab", "utf-8")
@example([b"y" * 2042, b"\r\nAb: ", b"x"], "Ab", "utf-8")
@example([b"y" * 2043, b"\r\nAb: ", b"x"], "Ab", "utf-8")
@example([b"y" * 2047, b"\r\nAb: ", b"x"], "Ab", "utf-8")
@given(st.lists(PIECES, max_size=12), NAMES, st.sampled_from(["utf-8", "latin-1"]))
def test_both_find_the_same(pieces, name, encoding):
    raw = b"".join(pieces)
    answers = []
    for implementation in IMPLEMENTATIONS.values():
        for cls in (implementation.lookup, implementation.any_spelling):
            message = made(cls, raw, Origin(encoding))
            found = message.get(name), name in message, message._find(needle(name)), message.get(name)
            if found[0] is not None:
                assert message[name] == found[0]
            answers.append((found, message.items(), Message.to_dict(message)))
    assert answers[:2] == answers[2:]


@pytest.mark.skipif("c" not in IMPLEMENTATIONS, reason="pyami_sync.wire._speedups was not built")
def test_both_find_the_same_in_a_message_cut_anywhere():
    whole = b"Event: Newexten\r\nchannel: SIP/1\r\nChannel: SIP/2\r\n Odd\r\nCallerID:  \xc3\xa4\r\nActionID:5\r\nX: "
    for raw in (whole, whole + PADDING[: FIRST_LOOK - len(whole) + 30]):
        for end in range(len(raw) + 1):
            for name in ("Event", "Channel", "CallerID", "ActionID", "X", "Pad1", "odd"):
                one, other = (made(each.lookup, raw[:end]).get(name) for each in IMPLEMENTATIONS.values())
                assert one == other, (raw[:end], name)


def test_the_package_works_without_it():
    code = (
        "import sys; sys.modules['pyami_sync.wire._speedups'] = None; from pyami_sync import Event; "
        "event = Event({'Event': 'Hangup', 'Cause': '16'}); print(event.name, event['cause'], event.get('X'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["Hangup", "16", "None"], "")
