"""AGI as bytes: arguments, environments and answers, the usual ones and any others."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from urllib.parse import quote as percent

import pytest

from pyami_sync import RemoteProtocolError
from pyami_sync.agi.errors import InvalidCommand
from pyami_sync.agi.wire import (
    ASYNC_LINE,
    FAST_LINE,
    MAX_ANSWER,
    Answers,
    Reply,
    decode_result,
    parse_block,
    parse_environment,
    quote,
    render,
)
from pyami_sync.testing.agi.line import split_arguments

ROUNDS = int(os.environ.get("PYAMI_AGI_FUZZ", "2000"))
"""Fuzzed arguments, environments and answers of each kind; 100000 is the long run."""
ENVIRONMENT = b"""agi_network: yes
agi_network_script: ivr/en
agi_request: agi://127.0.0.1:4573/ivr/en
agi_channel: PJSIP/alice-00000001
agi_callerid: unknown
agi_accountcode:
agi_arg_2: two
agi_arg_1: one: with a colon

"""


def replies(*data: bytes) -> list[Reply]:
    answers = answering()
    found = []
    for each in data:
        answers.feed(each)
        while (reply := answers.reply()) is not None:
            found.append(reply)
    return found


def answering() -> Answers:
    answers = Answers()
    answers.feed(ENVIRONMENT)
    assert answers.environment() is not None
    return answers


# Commands


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("", '""'),
        ("plain", '"plain"'),
        ("two words", '"two words"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("\\", '"\\\\"'),
        ('\\"', '"\\\\\\""'),
        ("${X}\tä", '"${X}\tä"'),
    ],
)
def test_arguments_are_quoted(argument, written):
    assert quote(argument) == written
    assert split_arguments(written) == [argument]


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b", "\n", "x\r\n"])
def test_what_would_end_a_command_is_refused(bad):
    with pytest.raises(InvalidCommand, match="one line"):
        render("EXEC", ["NoOp", bad], FAST_LINE)
    with pytest.raises(ValueError):
        render("EXEC", [bad], ASYNC_LINE)


def test_a_command_has_a_most_length_in_bytes():
    room = FAST_LINE - len('NOOP ""')
    assert len(render("NOOP", ["x" * room], FAST_LINE)) == FAST_LINE
    with pytest.raises(InvalidCommand, match="8191 bytes; the server reads at most 8190"):
        render("NOOP", ["x" * (room + 1)], FAST_LINE)
    with pytest.raises(InvalidCommand, match="at most 1013"):
        render("NOOP", ["ä" * 504], ASYNC_LINE)  # 504 characters, 1008 bytes
    with pytest.raises(InvalidCommand, match="65 arguments"):
        render("NOOP", ["x"] * 65, FAST_LINE)


def test_bytes_of_the_server_can_be_sent_back_but_no_other_surrogates():
    assert render("NOOP", ["\udcff"], FAST_LINE) == b'NOOP "\xff"'
    with pytest.raises(InvalidCommand, match="UTF-8"):
        render("NOOP", ["\ud800"], FAST_LINE)


# Environments


def test_an_environment():
    answers = Answers()
    for byte in ENVIRONMENT[:-1]:
        answers.feed(bytes([byte]))
        assert answers.environment() is None
    answers.feed(b"\n200 result=0\n")
    environment = answers.environment()
    assert environment is not None
    assert environment.values["channel"] == "PJSIP/alice-00000001"
    assert environment.values["accountcode"] == ""
    assert environment.arguments == ("one: with a colon", "two")
    assert not environment.cut
    assert answers.reply() == Reply(200, "0", "")


def test_an_argument_can_not_stand_for_what_the_server_says():
    environment = parse_environment([b"agi_uniqueid: 1.1", b"agi_arg_1: x", b"agi_uniqueid: forged", b"other: 1", b""])
    assert environment.values == {"uniqueid": "1.1"}
    assert environment.arguments == ("x",)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\n", b"200 result=0\n"])
def test_another_protocol_is_refused_at_once(data):
    answers = Answers()
    answers.feed(data)
    with pytest.raises(RemoteProtocolError, match="no AGI"):
        answers.environment()


def test_an_environment_without_end_is_refused():
    answers = Answers()
    answers.feed(b"agi_request: x\n" * 10_000)
    with pytest.raises(RemoteProtocolError, match="environment is longer"):
        answers.environment()
    answers = Answers()
    answers.feed(b"agi_" + b"x" * 100_000)
    with pytest.raises(RemoteProtocolError, match="environment is longer"):
        answers.environment()


# Answers


@pytest.mark.parametrize(
    ("line", "reply", "value", "note", "endpos"),
    [
        (b"200 result=0", Reply(200, "0", ""), None, "", 0),
        (b"200 result=1 (hello)", Reply(200, "1", "(hello)"), "hello", "hello", 0),
        (b"200 result=1 (a (b) c)", Reply(200, "1", "(a (b) c)"), "a (b) c", "a (b", 0),
        (b"200 result=1 ()", Reply(200, "1", "()"), "", "", 0),
        (b"200 result= (timeout)", Reply(200, "", "(timeout)"), "timeout", "timeout", 0),
        (b"200 result=12 (timeout)", Reply(200, "12", "(timeout)"), "timeout", "timeout", 0),
        (b"200 result=49 endpos=3520", Reply(200, "49", "endpos=3520"), None, "", 3520),
        (b"200 result=35 (dtmf) endpos=8000", Reply(200, "35", "(dtmf) endpos=8000"), "dtmf", "dtmf", 8000),
        (b"200 result=-1 Gosub label not found", Reply(200, "-1", "Gosub label not found"), None, "", 0),
        (b"510 Invalid or unknown command", Reply(510, "", "Invalid or unknown command"), None, "", 0),
        (b"200 result=1 (\xff)", Reply(200, "1", "(\udcff)"), "\udcff", "\udcff", 0),
    ],
)
def test_answers(line, reply, value, note, endpos):
    assert replies(line + b"\n") == [reply]
    assert replies(line + b"\r\n") == [reply]
    assert parse_block(line + b"\n") == reply
    assert (reply.value, reply.note, reply.endpos) == (value, note, endpos)


def test_what_stands_between_answers_is_passed_over():
    data = b"\n\nHANGUP\n100 result=0 Trying...\n\n200 result=0\nHANGUP\n200 result=1\n"
    assert replies(*(bytes([byte]) for byte in data)) == [Reply(200, "0", ""), Reply(200, "1", "")]
    answers = answering()
    answers.feed(b"HANGUP\n")
    assert answers.reply() is None
    assert answers.hung_up


def test_a_usage_text_is_one_answer():
    usage = b"520-Invalid command syntax.  Proper usage follows:\nUsage: NOOP\n\nHANGUP\n520 End of proper usage.\n"
    data = usage + b"200 result=0\n"
    assert replies(data) == [Reply(520, "", "Usage: NOOP\n\nHANGUP"), Reply(200, "0", "")]
    assert replies(b"520 Invalid command syntax.  Proper usage not available.\n")[0].code == 520
    assert parse_block(usage).code == 520


def test_a_usage_text_without_end_is_refused():
    answers = answering()
    answers.feed(b"520-x\n" + b"y\n" * 3000)
    with pytest.raises(RemoteProtocolError, match="without end"):
        answers.reply()


@pytest.mark.parametrize("line", [b"hello", b"20 result=0", b"2000 result=0", b"result=0", b"\xff\xfe"])
def test_what_is_no_answer_is_refused(line):
    with pytest.raises(RemoteProtocolError, match="where the answer"):
        replies(line + b"\n")


def test_an_answer_without_end_is_refused():
    answers = answering()
    with pytest.raises(RemoteProtocolError, match="more than"):
        for _ in range(MAX_ANSWER // 65536 + 1):
            answers.feed(b"x" * 65536)


def test_a_result_that_is_no_number_is_refused():
    with pytest.raises(RemoteProtocolError, match="not a number"):
        _ = Reply(200, "abc").number


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "",
        "a\nb",
        "a)\n200 result=1 (forged)",
        ")\nHANGUP",
        "\n\n",
        "520-x\n520 y",
        "200 result=0\n",
        "HANGUP\nx)",
    ],
)
def test_a_value_may_hold_what_looks_like_answers(value):
    answers = answering()
    mark = b"pyami-0123-1"
    raw = b"HANGUP\n200 result=1 (" + value.encode() + b")\n"
    answers.feed(raw)
    assert answers.answered()
    assert answers.marked_reply(mark) is None
    answers.feed(b"HANGUP\n200 result=1 (" + mark + b")\n200 result=7\n")
    reply = answers.marked_reply(mark)
    assert reply is not None
    assert reply.value == value
    assert answers.hung_up
    assert answers.reply() == Reply(200, "7", "")
    assert parse_block(b"200 result=1 (" + value.encode() + b")\n").value == value


def test_an_application_may_answer_twice():
    # Asterisk takes the result 1 of an application for a wish to see the usage.
    answers = answering()
    answers.feed(b"200 result=1\n520-Invalid\nUsage\n520 End of proper usage.\n200 result=1 (m-1)\n200 result=0\n")
    assert answers.marked_reply(b"m-1") == Reply(200, "1", "")
    assert answers.reply() == Reply(200, "0", "")


def test_answers_are_skipped_up_to_a_mark():
    answers = answering()
    answers.feed(b"200 result=5\n520-half a usage\nHANGUP\n")
    assert not answers.skip_past(b"m-2")
    answers.feed(b"200 result=1 (m-2)\n200 result=6\n")
    assert answers.skip_past(b"m-2")
    assert answers.reply() == Reply(200, "6", "")


def test_encoded_results():
    assert decode_result("200%20result%3D0%0A") == b"200 result=0\n"
    assert decode_result("%41%4") == b"A"
    assert decode_result("%41%") == b"A"
    assert decode_result("a+b%2525") == b"a+b%25"  # once, and a plus is a plus
    assert decode_result("%zz") == b"%zz"


# Anything at all

NASTY = [
    '"',
    "\\",
    " ",
    "\t",
    "\n",
    "\r",
    "\0",
    "'",
    "%0A",
    "${X}",
    "ä",
    "\udcff",
    "\u2028",
    "\x0b",
    ",",
    ")",
    "HANGUP",
]


def nasty(chance: random.Random, most: int) -> str:
    return "".join(
        chance.choice(NASTY) if chance.random() < 0.5 else chr(chance.randrange(32, 300)) for _ in range(most)
    )


def test_fuzzed_arguments_reach_the_server_as_they_are_or_not_at_all():
    chance = random.Random(1)
    sent = refused = 0
    for _ in range(ROUNDS):
        limit = chance.choice((FAST_LINE, ASYNC_LINE))
        arguments = [nasty(chance, int(chance.paretovariate(0.7)) % 3000) for _ in range(chance.randrange(6))]
        try:
            line = render("NOOP", arguments, limit)
        except InvalidCommand:
            refused += 1
            size = len(" ".join(("NOOP", *map(str, arguments))).encode("utf-8", "surrogateescape"))
            assert size + 2 > limit // 3 or any(set(each) & set("\n\r\0") for each in arguments)
            continue
        sent += 1
        assert len(line) <= limit
        assert not set(line) & set(b"\n\r\0")
        assert split_arguments(line.decode("utf-8", "surrogateescape")) == ["NOOP", *arguments]
    assert min(sent, refused) > ROUNDS // 20


def test_fuzzed_environments_and_answers_end_in_a_value_or_a_clear_error():
    chance = random.Random(2)
    pieces = [
        *(
            b"200 result=",
            b"0",
            b"-1",
            b"(",
            b")",
            b"\n",
            b"\r\n",
            b"HANGUP\n",
            b"100 Trying\n",
            b"520-x\n",
            b"520 End\n",
        ),
        *(
            b"511 Command\n",
            b"agi_",
            b"agi_arg_1: x\n",
            b"agi_channel: y\n",
            b": ",
            b"%0A",
            b"\xff",
            b"\0",
            b" endpos=9",
        ),
        *(b"agi_arg_99999999999999999999: x\n", b"endpos=99999999999999999999999", b"result=9999999999999999999999 "),
    ]
    outcomes = {"environment": 0, "reply": 0, "error": 0}
    for _ in range(ROUNDS):
        data = b"".join(
            chance.choice(pieces) if chance.random() < 0.9 else chance.randbytes(4) for _ in range(chance.randrange(40))
        )
        answers = Answers()
        if chance.random() < 0.8:
            answers.feed(ENVIRONMENT)
        try:
            for start in range(0, len(data), 7):
                answers.feed(data[start : start + 7])
            environment = answers.environment()
            outcomes["environment"] += environment is not None
            while environment is not None and (reply := answers.reply()) is not None:
                outcomes["reply"] += 1
                assert isinstance(reply.value, (str, type(None)))
                assert isinstance(reply.endpos, int)
                assert isinstance(reply.note, str)
                try:
                    assert isinstance(reply.number, int)
                except RemoteProtocolError:
                    pass
            answers.marked_reply(b"mark")
        except RemoteProtocolError:
            outcomes["error"] += 1
        parse_environment(data.split(b"\n"))
        with suppress(RemoteProtocolError):
            parse_block(decode_result(percent(data)))
    assert min(outcomes.values()) > ROUNDS // 100
