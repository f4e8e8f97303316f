"""Fields: every kind of value, its absence, its spellings, and what does not convert."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyami_sync import Event, events
from pyami_sync.vocabulary.fields import (
    Assignments,
    Bool,
    Environment,
    Field,
    Float,
    Int,
    IsoTime,
    LocalTime,
    Numbered,
    Party,
    PartyName,
    Percent,
    Second,
    Text,
    Texts,
    Time,
    Unescaped,
    Variables,
    unescape,
)


def read(field: Field[Any], *lines: str) -> Any:
    """Read a field of a message with these lines."""
    raw = "\r\n".join(("Event: Test", *lines)).encode("utf-8", "surrogateescape")
    return field.__get__(Event.from_bytes(raw))


NUMBERS: list[Field[Any]] = [Int("X"), Float("X"), Bool("X"), Time("X"), IsoTime("X"), LocalTime("X")]


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: type(field).__name__)
def test_none_where_there_is_no_value(field: Field[Any]) -> None:
    assert read(field) is None
    for text in ("", " ", "<unknown>", "<none>", "(null)", "(None)", "N/A", "none", "unknown"):
        assert read(field, f"X: {text}") is None


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: type(field).__name__)
def test_error_names_the_header(field: Field[Any]) -> None:
    with pytest.raises(ValueError, match=r"header 'X' holds no .*'soon'"):
        read(field, "X: soon")


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        (Text("X"), "<unknown>", "<unknown>"),
        (Text("X"), "", ""),
        (Text("X"), "a\nb ", "a\nb "),
        (Party("X"), "5551234", "5551234"),
        (Party("X"), "<unknown>", None),
        (Party("X"), "", ""),
        (PartyName("X"), r"O\'Brien \"Bo\" \\ \n", 'O\'Brien "Bo" \\ \n'),
        (PartyName("X"), "<unknown>", None),
        (Unescaped("X"), r"a\tb", "a\tb"),
        (Unescaped("X"), "<unknown>", "<unknown>"),
        (Percent("X"), "200%20result%3D1%0A", "200 result=1\n"),
        (Int("X"), "16", 16),
        (Int("X"), " -1", -1),
        (Float("X"), "99.5", 99.5),
        (Time("X"), "1795311952.75", datetime(2026, 11, 22, 1, 45, 52, 750000, UTC)),
        (Time("X"), "0", None),
        (
            IsoTime("X"),
            "2026-11-22T01:45:52.751+0000",
            datetime(2026, 11, 22, 1, 45, 52, 751000, UTC),
        ),
        (LocalTime("X"), "2026-11-22 01:45:52", datetime(2026, 11, 22, 1, 45, 52)),
    ],
)
def test_values(field: Field[Any], text: str, value: object) -> None:
    assert read(field, f"X: {text}") == value


@pytest.mark.parametrize("text", ["yes", "Yes", "Y", "true", "True", "1", "on", "On", "enabled", "Enabled"])
def test_truth(text: str) -> None:
    assert read(Bool("X"), f"X: {text}") is True


@pytest.mark.parametrize("text", ["no", "No", "N", "false", "False", "0", "off", "Off", "disabled", "Disabled"])
def test_untruth(text: str) -> None:
    assert read(Bool("X"), f"X: {text}") is False


def test_zone_of_times() -> None:
    assert read(IsoTime("X"), "X: 2026-11-22T01:45:52.751+0100").utcoffset() == timedelta(hours=1)
    assert read(LocalTime("X"), "X: 2026-11-22 01:45:52").tzinfo is None


def test_repeated_headers() -> None:
    assert read(Texts("X"), "X: a", "Y: b", "x: c") == ["a", "c"]
    assert read(Texts("X")) == []
    assert read(Second("X"), "X: a") is None
    assert read(Second("X"), "X: a", "X: b") == "b"


def test_variables() -> None:
    assert read(Variables("ChanVariable"), "ChanVariable: A=1", r"ChanVariable: B=it\'s=2") == {"A": "1", "B": "it's=2"}
    assert read(Variables("ChanVariable")) == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a=1,b=2", {"a": "1", "b": "2"}),
        (r"a=x\,y\"z\\", {"a": 'x,y"z\\'}),
        ('a="x,y",b=', {"a": "x,y", "b": ""}),
        ("a", {"a": ""}),
        ('a="x', {"a": "x"}),
    ],
)
def test_assignments_as_the_server_reads_them(line: str, found: dict[str, str]) -> None:
    assert read(Assignments("Variable"), f"Variable: {line}") == found


def test_agi_environment() -> None:
    text = "agi_request%3A%20async%0Aagi_channel%3A%20Local%2F1%40x-1%3B2%0A%0A"
    assert read(Environment("Env"), f"Env: {text}") == {"agi_request": "async", "agi_channel": "Local/1@x-1;2"}
    assert read(Environment("Env")) == {}


def test_numbered() -> None:
    lines = ("Report0IAJitter: 7", "Report10IAJitter: 8", "ReportCount: 2", "XReport0IAJitter: 9")
    assert read(Numbered("Report(n)IAJitter"), *lines) == {0: "7", 10: "8"}
    units = ("Charge/Units(0)/NumberOf: 3", "charge/units(1)/numberof: 4")
    assert read(Numbered("Charge/Units(n)/NumberOf"), *units) == {0: "3", 1: "4"}


def test_is_a_data_descriptor() -> None:
    event = events.Hangup.from_bytes(b"Event: Hangup\r\nCause: 16")
    assert isinstance(events.Hangup.cause, Int)
    assert repr(events.Hangup.cause) == "<Int 'cause' of header 'Cause'>"
    with pytest.raises(AttributeError, match="immutable"):
        event.cause = 17  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        event.nonsense = 1  # type: ignore[attr-defined]


def test_one_without_a_conversion_gives_the_text() -> None:
    assert read(Field("X"), "x: 1") == "1"
    assert read(Field("X")) is None


@given(st.text())
def test_unescape_never_fails(text: str) -> None:
    assert unescape(text.replace("\\", "\\\\")) == text
    unescape(text)


@given(st.binary().filter(lambda raw: b"\r\n" not in raw and not raw.endswith(b"\r")))
def test_bytes_give_a_value_or_a_value_error(raw: bytes) -> None:
    event = Event.from_bytes(b"Event: Test\r\nX: " + raw)
    told: list[str] = []
    for field in (
        *NUMBERS,
        Text("X"),
        PartyName("X"),
        Percent("X"),
        Variables("X"),
        Assignments("X"),
        Environment("X"),
    ):
        try:
            field.__get__(event)
        except ValueError as exc:
            told.append(str(exc))
    assert all("'X'" in text for text in told)
