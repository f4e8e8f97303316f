"""What may be sent, and what must not leave this process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyami_sync import actions
from pyami_sync.exceptions import InvalidAction
from pyami_sync.wire.action import MAX_HEADERS, MAX_LINE, Action, check_action_id, quote_variable
from pyami_sync.wire.message import Message
from pyami_sync.wire.response import Response


def pairs(*args, **kwargs):
    return Action(*args, **kwargs).items()[1:]


class TestValues:
    @pytest.mark.parametrize(
        ("value", "texts"),
        [
            ("text", ["text"]),
            ("", [""]),
            (" blanks ", [" blanks "]),
            ("a: b", ["a: b"]),
            (5, ["5"]),
            (-1, ["-1"]),
            (2.5, ["2.5"]),
            (True, ["yes"]),
            (False, ["no"]),
            (None, []),
            (["a", "b"], ["a", "b"]),
            (("a", 1, True), ["a", "1", "yes"]),
            ((each for each in "xy"), ["x", "y"]),
            ([], []),
            ({"a": 1, "b": True}, ["a=1", "b=yes"]),
            ({"a": ["1", "2"]}, ["a=1", "a=2"]),
            ({}, []),
        ],
    )
    def test_kinds(self, value, texts):
        assert pairs("X", Header=value) == [("Header", text) for text in texts]

    @pytest.mark.parametrize(
        "value", [b"bytes", bytearray(b"x"), object(), [b"x"], [None], [["a"]], {"a": None}, {"a": b""}]
    )
    def test_other_kinds_are_refused(self, value):
        with pytest.raises(InvalidAction, match="can't") as caught:
            Action("X", Header=value)
        assert caught.value.header == "Header"

    def test_variables_are_quoted(self):
        assert pairs("Originate", Variable={"A": 'say "a,b\\c"', "B": 1, "C": "(x"}) == [
            ("Variable", 'A=say \\"a\\,b\\\\c\\"'),
            ("Variable", "B=1"),
            ("Variable", "C=(x"),
        ]
        assert pairs("Originate", {"VARIABLE": {"A": ","}}) == [("VARIABLE", "A=\\,")]

    def test_other_mappings_are_not(self):
        assert pairs("X", Header={"A": "a,b"}) == [("Header", "A=a,b")]

    def test_text_of_one_s_own_is_not(self):
        assert pairs("Originate", Variable="a=1,b=2") == [("Variable", "a=1,b=2")]

    @given(st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=("Cs",)), max_size=30))
    def test_quoted_variables_are_read_back_as_given(self, value):
        action = actions.Originate(channel="x", variable={"A": value, "B": "2"})
        assert action.variable == {"A": value, "B": "2"}

    def test_quote_variable(self):
        assert quote_variable('a\\"b,c') == 'a\\\\\\"b\\,c'

    def test_headers_in_order_from_all_sources(self):
        assert pairs("X", [("B", "1"), ("A", None), ("B", "2")], C="3") == [("B", "1"), ("B", "2"), ("C", "3")]
        assert pairs("X", {"Named Group": "1"}) == [("Named Group", "1")]

    def test_encodings(self):
        assert b"\xe9" in Action("X", {"A": "é"}, encoding="latin-1").to_bytes()
        assert Action("X", {"A": "é"}, encoding="latin-1")["A"] == "é"
        assert Action("X", A="\udcff").to_bytes() == b"Action: X\r\nA: \xff\r\n\r\n"
        with pytest.raises(InvalidAction, match="latin-1 can't carry") as caught:
            Action("X", {"A": "€"}, encoding="latin-1")
        assert caught.value.__cause__ is caught.value.__context__ is None


INJECTIONS = ["\r\nAction: Originate", "\nAction: Originate", "\r", "\n", "\0", "x\r\n\r\nAction: Y\r\n\r\n", "\r\n"]


@pytest.mark.promise(15)
class TestInjection:
    @pytest.mark.parametrize("bad", INJECTIONS)
    @pytest.mark.parametrize(
        "make",
        [
            lambda bad: Action("X", A=f"v{bad}"),
            lambda bad: Action("X", {f"A{bad}B": "v"}),
            lambda bad: Action(f"X{bad}Y"),
            lambda bad: Action("X", A=["ok", f"v{bad}"]),
            lambda bad: Action("X", Variable={"a": f"v{bad}"}),
            lambda bad: Action("X", Variable={f"a{bad}": "v"}),
            lambda bad: Action("X", A={f"a{bad}": "v"}),
            lambda bad: Action("X", [("A", f"v{bad}")]),
            lambda bad: Action("X", ActionID=f"1{bad}"),
            lambda bad: Action("X", ActionID=[f"1{bad}"]),
            lambda bad: Action("X").with_action_id(f"1{bad}"),
            lambda bad: actions.Originate(channel=f"x{bad}"),
            lambda bad: actions.Originate(channel="x", variable={"a": f"b{bad}"}),
            lambda bad: actions.Originate(channel="x", headers={f"A{bad}": "1"}),
            lambda bad: actions.Ping(action_id=f"1{bad}"),
        ],
    )
    def test_is_refused(self, make, bad):
        with pytest.raises(InvalidAction):
            make(bad)

    @pytest.mark.parametrize("bad", INJECTIONS)
    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-7", "cp1252", "cp037"])
    def test_no_encoding_smuggles_it(self, encoding, bad):
        try:
            raw = Action("X", {"A": f"v{bad}"}, encoding=encoding).to_bytes()
        except InvalidAction:
            return
        # Some encodings spell a line end in harmless bytes.
        assert not set(raw.removesuffix(b"\r\n\r\n").replace(b"\r\n", b"", 1)) & set(b"\r\n\0")

    @pytest.mark.parametrize(
        "raw", [b"Action: X\nAction: Y", b"Action: X\r\nA: \r", b"Action: X\r\nA: b\0", b"Action: X\r\nA: \n"]
    )
    def test_bytes_that_were_parsed_are_checked_before_they_are_sent(self, raw):
        action = Action.from_bytes(raw)
        with pytest.raises(InvalidAction, match="injection"):
            action.encode("1")

    @pytest.mark.parametrize("separator", ["\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
    def test_what_only_python_takes_for_a_line_end_passes(self, separator):
        assert Action("X", A=f"a{separator}b")["A"] == f"a{separator}b"

    @pytest.mark.parametrize("name", ["", " ", " A", "A ", "\tA", "A:B", ":"])
    def test_names_of_headers(self, name):
        with pytest.raises(InvalidAction, match="name"):
            Action("X", {name: "1"})

    @pytest.mark.parametrize("name", [5, None, b"A"])
    def test_names_that_are_no_text(self, name):
        with pytest.raises(InvalidAction):
            Action("X", [(name, "1")])
        with pytest.raises(InvalidAction):
            Action("X", [(name, {"a": 1})])

    @pytest.mark.parametrize("name", ["", "  ", None, 5, b"Ping"])
    def test_names_of_actions(self, name):
        with pytest.raises(InvalidAction, match="needs a name"):
            Action(name)

    def test_no_secret_in_the_message(self):
        with pytest.raises(InvalidAction) as caught:
            Action("Login", Secret="hunter2\r\nX: 1")
        assert "hunter2" not in str(caught.value)
        assert caught.value.header == "Secret"


@pytest.mark.promise(15)
class TestLimits:
    def test_a_line_of_1022_bytes(self):
        assert Action("X", A="v" * (MAX_LINE - 3))
        with pytest.raises(InvalidAction, match="1023 bytes"):
            Action("X", A="v" * (MAX_LINE - 2))

    def test_bytes_are_counted_not_characters(self):
        assert Action("X", {"A": "é" * 600}, encoding="latin-1")
        with pytest.raises(InvalidAction, match="1203 bytes"):
            Action("X", {"A": "é" * 600})

    def test_a_parsed_line_that_is_too_long(self):
        with pytest.raises(InvalidAction, match="1022 bytes"):
            Action.from_bytes(b"Action: X\r\nA: " + b"v" * 1100).encode("1")
        assert Action.from_bytes(b"Action: X\r\nA: " + b"v" * 1000 + b"\r\nB: " + b"v" * 1000).encode("1")

    def test_128_headers(self):
        assert Action("X", A=["v"] * (MAX_HEADERS - 1))
        with pytest.raises(InvalidAction, match="129 lines"):
            Action("X", A=["v"] * MAX_HEADERS)

    def test_the_action_id_counts(self):
        full = Action("X", A=["v"] * (MAX_HEADERS - 1))
        with pytest.raises(InvalidAction, match="ActionID"):
            full.encode("1")
        assert Action("X", A=["v"] * (MAX_HEADERS - 2)).encode("1").count(b"\r\n") == MAX_HEADERS + 1
        assert Action("X", ActionID="1", A=["v"] * (MAX_HEADERS - 2)).encode("2")

    @pytest.mark.parametrize("good", ["1", "x" * 64, "a-b_c.d:e/f", "!~"])
    def test_action_ids(self, good):
        check_action_id(good)
        assert Action("X", ActionID=good).action_id == good
        assert Action("X").with_action_id(good).action_id == good

    @pytest.mark.parametrize("bad", ["", "x" * 65, "a b", " a", "a ", "é", "a\tb", "a\n", "\x7f", 5, None, b"1"])
    def test_bad_action_ids(self, bad):
        with pytest.raises(InvalidAction, match="64 printable"):
            check_action_id(bad)
        with pytest.raises(InvalidAction):
            Action("X").with_action_id(bad)

    @pytest.mark.parametrize("bad", ["x" * 65, "a b", ["é"], {"a": "b c"}])
    def test_bad_action_ids_in_headers(self, bad):
        with pytest.raises(InvalidAction):
            Action("X", {"actionid": bad})

    def test_numbers_as_action_ids(self):
        assert Action("X", ActionID=17).action_id == "17"


class TestEncoding:
    def test_the_action_id_comes_second(self):
        assert Action("Ping", A="1").encode("id-1") == b"Action: Ping\r\nActionID: id-1\r\nA: 1\r\n\r\n"
        assert Action("Ping").encode("id-1") == b"Action: Ping\r\nActionID: id-1\r\n\r\n"

    def test_one_s_own_action_id_stays(self):
        assert Action("Ping", ActionID="mine").encode("id-1") == b"Action: Ping\r\nActionID: mine\r\n\r\n"

    def test_never_a_blank_line_inside(self):
        assert Action("X", A="", B=["", ""]).encode("1").count(b"\r\n\r\n") == 1

    def test_the_session_s_encoding_wins(self):
        assert Action("X", A="é").encode("1", "latin-1") == b"Action: X\r\nActionID: 1\r\nA: \xe9\r\n\r\n"
        assert (
            Action("X", {"A": "é"}, encoding="latin-1").encode("1")
            == "Action: X\r\nActionID: 1\r\nA: é\r\n\r\n".encode()
        )
        with pytest.raises(InvalidAction, match="ascii can't carry"):
            Action("X", A="é").encode("1", "ascii")

    def test_with_action_id_replaces_all_others(self):
        action = Action.from_bytes(b"Action: X\r\nactionid: 1\r\nA: 2\r\nActionID: 3").with_action_id("new")
        assert action.to_bytes() == b"Action: X\r\nActionID: new\r\nA: 2\r\n\r\n"
        typed = actions.Originate(channel="x").with_action_id("new")
        assert (type(typed), typed.action_id, typed.channel) == (actions.Originate, "new", "x")

    def test_reading(self):
        action = Action("QueueAdd", Queue="support")
        assert (action.name, action.action_id, action["queue"]) == ("QueueAdd", None, "support")
        assert action.response_class is Response
        assert Message.from_bytes(action.to_bytes()) == action
        assert Action.from_bytes(b"X: 1").name == ""
