"""Commands as methods: what they send, what they refuse to send, and what they make of answers."""

from __future__ import annotations

import inspect
import os
import random
import typing
from typing import Any

import pytest

from pyami_sync import RemoteProtocolError
from pyami_sync.agi import (
    AGICall,
    AGIError,
    ChannelState,
    CommandFailed,
    Environment,
    HungUp,
    InvalidCommand,
    Playback,
    Speech,
    SpeechMatch,
)
from pyami_sync.agi.commands import Commands
from pyami_sync.agi.wire import FAST_LINE, Reply
from pyami_sync.testing.agi.line import split_arguments

ROUNDS = int(os.environ.get("PYAMI_AGI_FUZZ", "2000"))


class Transport:
    """Answers each command as told, and keeps what was sent."""

    kind = "fast"
    limit = FAST_LINE
    hung_up = False

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.sent: list[str] = []
        self.timeouts: list[float | None] = []

    def execute(self, line: bytes, command: str, timeout: float | None, *, free_text: bool = False) -> Reply:
        self.sent.append(line.decode("utf-8", "surrogateescape"))
        self.timeouts.append(timeout)
        return self.replies.pop(0) if self.replies else Reply(200, "0")

    def leave(self, timeout: float) -> None:
        self.hung_up = True


def call_with(*replies: Reply) -> tuple[AGICall, Transport]:
    transport = Transport(*replies)
    return AGICall(transport, Environment({"uniqueid": "1.1"}), "path"), transport


@pytest.mark.parametrize(
    ("use", "sent"),
    [
        (lambda call: call.say_alpha("abc", "#", "upper"), 'SAY ALPHA "abc" "#" "u"'),
        (lambda call: call.say_datetime(5, "", "HM", "UTC"), 'SAY DATETIME "5" "" "HM" "UTC"'),
        (lambda call: call.say_number(-5, gender="f"), 'SAY NUMBER "-5" "" "f"'),
        (lambda call: call.stream_file("a", "1", 80), 'STREAM FILE "a" "1" "80"'),
        (
            lambda call: call.control_stream_file("a", "1", 2.5, "6", "4", "5", 1),
            'CONTROL STREAM FILE "a" "1" "2500" "6" "4" "5" "1000"',
        ),
        (lambda call: call.get_option("a", "12", 1.5), 'GET OPTION "a" "12" "1500"'),
        (lambda call: call.get_data(["a", "b"], max_digits=3, timeout=2), 'GET DATA "a&b" "2000" "3"'),
        (lambda call: call.record_file("a", "gsm", offset=8, silence=2), 'RECORD FILE "a" "gsm" "#" "-1" "8" "s=2"'),
        (lambda call: call.wait_for_digit(None), 'WAIT FOR DIGIT "-1"'),
        (lambda call: call.set_autohangup(1.5), 'SET AUTOHANGUP "1.500000"'),
        (lambda call: call.set_music(True, "jazz"), 'SET MUSIC "on" "jazz"'),
        (lambda call: call.set_music(False), 'SET MUSIC "off"'),
        (lambda call: call.gosub("c", "e", "label", "x", "y"), 'GOSUB "c" "e" "label" "x,y"'),
        (lambda call: call.exec("Dial", "PJSIP/1", "30"), 'EXEC "Dial" "PJSIP/1,30"'),
        (lambda call: call.exec("Answer"), 'EXEC "Answer"'),
        (lambda call: call.hangup("PJSIP/1-1"), 'HANGUP "PJSIP/1-1"'),
        (lambda call: call.set_variable("N", 5), 'SET VARIABLE "N" "5"'),
        (lambda call: call.variables.__delitem__("N"), 'SET VARIABLE "N" ""'),
        (lambda call: call.speech_recognize("a", 5, 8), 'SPEECH RECOGNIZE "a" "5" "8"'),
        (lambda call: call.set_priority("label"), 'SET PRIORITY "label"'),
        (lambda call: call.database_deltree("f", "k"), 'DATABASE DELTREE "f" "k"'),
        (lambda call: call.receive_text(1), 'RECEIVE TEXT "1000"'),
    ],
)
def test_what_is_sent(use, sent):
    call, transport = call_with()
    use(call)
    assert transport.sent == [sent]


@pytest.mark.parametrize(
    "use",
    [
        lambda call: call.stream_file(""),
        lambda call: call.stream_file("x" * 513),
        lambda call: call.stream_file("x", "12x"),
        lambda call: call.stream_file("x", "1" * 17),
        lambda call: call.stream_file("x", offset=-1),
        lambda call: call.stream_file("x\n"),
        lambda call: call.say_digits("abc"),
        lambda call: call.say_digits(""),
        lambda call: call.say_digits("1" * 256),
        lambda call: call.say_number(2**31),
        lambda call: call.say_number(True),
        lambda call: call.say_number("1"),
        lambda call: call.say_datetime(1, zone="UTC"),
        lambda call: call.get_data("x", max_digits=0),
        lambda call: call.get_data("x", max_digits=256),
        lambda call: call.get_data("x", timeout=-1),
        lambda call: call.get_data("x", timeout=float("nan")),
        lambda call: call.wait_for_digit(float("inf")),
        lambda call: call.set_autohangup(float("nan")),
        lambda call: call.set_context("x" * 80),
        lambda call: call.set_extension(""),
        lambda call: call.set_priority(0),
        lambda call: call.set_priority(1.5),
        lambda call: call.set_callerid("x" * 256),
        lambda call: call.set_variable("", "x"),
        lambda call: call.set_variable("X", "a\r\nHANGUP"),
        lambda call: call.exec("NoOp", "a\0b"),
        lambda call: call.tdd_mode("perhaps"),
        lambda call: call.record_file("x", silence=0),
        lambda call: call.verbose("x", -1),
    ],
)
def test_what_is_refused_before_it_is_sent(use):
    call, transport = call_with()
    with pytest.raises(InvalidCommand):
        use(call)
    assert transport.sent == []


def test_what_is_refused_is_not_shown_where_it_may_be_a_secret():
    call, _ = call_with()
    with pytest.raises(InvalidCommand) as raised:
        call.set_variable("PIN", "1234\n")
    assert str(raised.value) == "an argument of an AGI command must be one line; this one holds a line feed at 4"


@pytest.mark.parametrize(
    ("use", "reply", "result"),
    [
        (lambda call: call.stream_file("x", "1"), Reply(200, "49", "endpos=80"), Playback("1", 80)),
        (lambda call: call.say_digits("1", "#"), Reply(200, "35"), "#"),
        (lambda call: call.receive_char(1), Reply(200, "0", "(timeout)"), ""),
        (lambda call: call.receive_text(1), Reply(200, "1", "(hello)"), "hello"),
        (lambda call: call.channel_status(), Reply(200, "5"), ChannelState.RINGING),
        (
            lambda call: call.speech_recognize("x"),
            Reply(
                200,
                "1",
                '(speech) endpos=8 results=2 score0=900 text0="a (b)" grammar0=g score1=-1 text1="" grammar1=h',
            ),
            Speech("speech", "", 8, (SpeechMatch(900, "a (b)", "g"), SpeechMatch(-1, "", "h"))),
        ),
        (
            lambda call: call.speech_recognize("x"),
            Reply(200, "1", "(digit) digit=5 endpos=8"),
            Speech("digit", "5", 8, ()),
        ),
        (lambda call: call.record("x", beep=False), Reply(200, "0", "(timeout) endpos=12000"), 1.5),
        (lambda call: call.database_del("f", "k"), Reply(200, "0"), False),
    ],
)
def test_what_comes_of_answers(use, reply, result):
    call, _ = call_with(reply)
    assert use(call) == result


@pytest.mark.parametrize(
    ("use", "reply"),
    [
        (lambda call: call.channel_status(), Reply(200, "17")),
        (lambda call: call.channel_status(), Reply(200, "")),
        (lambda call: call.stream_file("x"), Reply(200, "99999999999")),
        (lambda call: call.wait_for_digit(), Reply(200, "-7")),
        (lambda call: call.say_digits("1"), Reply(200, "x")),
        (lambda call: call.exec("NoOp"), Reply(200, "x")),
    ],
)
def test_an_answer_that_can_not_be_is_an_error(use, reply):
    call, _ = call_with(reply)
    with pytest.raises(RemoteProtocolError):
        use(call)


def test_a_hang_up_while_it_listens_for_speech():
    call, _ = call_with(Reply(200, "1", "(hangup) endpos=0"))
    with pytest.raises(HungUp):
        call.speech_recognize("x")


def test_how_long_commands_may_take():
    call, transport = call_with()
    call.noop()
    call.noop(timeout=1)
    call.stream_file("x")
    call.wait_for_digit(7)
    call.wait_for_digit(None)
    call.get_data("x", max_digits=4, timeout=2)
    call.record_file("x", longest=60)
    call.record_file("x")
    call.timeout = call.media_timeout = None
    call.noop()
    call.get_data("x")
    assert transport.timeouts == [10, 1, 300, 307, None, 308, 360, None, None, None]


def test_variables_are_a_mapping():
    call, transport = call_with(Reply(200, "1", "(v)"), Reply(200, "0"), Reply(200, "0"), Reply(200, "1", "()"))
    assert call.variables["A"] == "v"
    with pytest.raises(KeyError):
        _ = call.variables["B"]
    assert call.variables.get("C", "default") == "default"
    assert "D" in call.variables
    assert 5 not in call.variables
    with pytest.raises(TypeError, match="can't list"):
        list(call.variables)
    assert len(transport.sent) == 4


def test_the_end_is_told_once():
    call, transport = call_with()
    call.finish("DONE")
    call.finish("DONE")
    assert transport.sent == ['SET VARIABLE "AGISCRIPT" "DONE"']


def test_a_call_tells_who_it_is():
    environment = Environment({"channel": "PJSIP/1-1", "uniqueid": "1.1", "callerid": "unknown", "dnid": "100"})
    call = AGICall(Transport(), environment, "ivr/en")
    assert repr(call) == "<AGICall 'ivr/en' on PJSIP/1-1 (1.1)>"
    assert (call.caller_id, call.caller_name, call.dialed, call.language, call.context) == ("", "", "100", "", "")


def test_errors_say_what_happened():
    assert str(CommandFailed("EXEC", "there is no application X")) == "EXEC failed: there is no application X"
    assert issubclass(HungUp, AGIError)


# Anything at all, for every method


def fuzzed(chance: random.Random, annotation: Any) -> Any:
    """Return a value of that type, or of another."""
    text = "".join(chance.choice('"\\ \t\n\r\0ab1#*%${}(),äé\udcff📞') for _ in range(chance.choice((0, 1, 3, 9, 300))))
    numbers = (0, 1, -1, 5, 2**31, -(2**40), 1.5, float("nan"), float("inf"), True)
    kinds = str(annotation)
    if "str" in kinds and chance.random() < 0.9:
        return chance.choice((text, text, "1", "abc", "#", "beep"))
    if ("int" in kinds or "float" in kinds) and chance.random() < 0.9:
        return chance.choice((*numbers, *range(10)))
    return chance.choice((None, True, text, *numbers))


METHODS = sorted(name for name, method in inspect.getmembers(Commands, inspect.isfunction) if not name.startswith("_"))


def test_every_command_has_a_method():
    assert len(METHODS) == 46  # ASYNCAGI BREAK is leave()


def test_fuzzed_methods_send_one_whole_line_or_refuse():
    chance = random.Random(4)
    sent = refused = 0
    hints = {name: typing.get_type_hints(getattr(Commands, name)) for name in METHODS}
    for _ in range(ROUNDS):
        name = chance.choice(METHODS)
        call, transport = call_with(Reply(200, "1"), Reply(200, "1"))
        parameters = list(inspect.signature(getattr(Commands, name)).parameters.values())[1:]
        arguments: list[Any] = []
        keywords = {}
        for each in parameters:
            if each.kind is each.KEYWORD_ONLY:
                if (each.name != "timeout" or name == "get_data") and chance.random() < 0.5:
                    keywords[each.name] = fuzzed(chance, hints[name][each.name])
            elif each.default is each.empty or chance.random() < 0.5:
                arguments.append(fuzzed(chance, hints[name][each.name]))
            else:
                break
        try:
            getattr(call, name)(*arguments, **keywords)
        except (InvalidCommand, TypeError, AttributeError, ValueError):
            refused += not transport.sent
        except AGIError:
            pass
        for line in transport.sent:
            sent += 1
            assert not set(line) & set("\n\r\0")
            assert len(line.encode("utf-8", "surrogateescape")) <= FAST_LINE
            words = split_arguments(line)
            command = line.partition(' "')[0]
            assert command.replace(" ", "").isalpha()
            assert len(words) <= 12
    assert min(sent, refused) > ROUNDS // 10
