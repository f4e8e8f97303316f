"""The same scripts on real servers, over both transports, and on the simulator: the same comes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import pytest

from pyami_sync import AMIError, connect
from pyami_sync.agi import (
    AGICall,
    CallLeft,
    ChannelState,
    CommandFailed,
    FastAGIServer,
    HungUp,
    Playback,
    Recording,
    Router,
)
from pyami_sync.agi.wire import Reply
from pyami_sync.testing import Simulator
from tests.agi.real import place, scripts_dialplan, url
from tests.asterisk.server import AsteriskServer
from tests.faults.proxy import Proxy

PATIENCE = 60.0
FORGED = "a)\n200 result=1 (forged)\n"

Step = tuple[str, Callable[[AGICall], Any], Any]
FAILED = CommandFailed

# Every command, and what comes of it on all servers. An exception class means that it is raised.
STEPS: list[Step] = [
    ("answer", lambda call: call.answer(), None),
    ("channel status", lambda call: call.channel_status(), ChannelState.UP),
    ("channel status of none", lambda call: call.channel_status("none"), FAILED),
    ("arguments", lambda call: call.arguments, ("one", "two words")),
    ("set variable", lambda call: call.set_variable("X", 'a "quoted\\" b,c; ${Y}'), None),
    ("get variable", lambda call: call.get_variable("X"), 'a "quoted\\" b,c; ${Y}'),
    ("get variable, not set", lambda call: call.get_variable("NOTSET"), None),
    ("text", lambda call: call.variables.update({"T": "välue 📞 % + &"}), None),
    ("text back", lambda call: call.variables["T"], "välue 📞 % + &"),
    ("empty", lambda call: (call.set_variable("E", ""), call.get_variable("E"))[0], None),
    ("get full variable", lambda call: call.get_full_variable("<${X}>"), '<a "quoted\\" b,c; ${Y}>'),
    ("get full variable of none", lambda call: call.get_full_variable("${X}", "none"), None),
    ("function", lambda call: call.variables["CHANNEL(state)"], "Up"),
    ("database put", lambda call: call.database_put("pyami", "a/b", "vä l"), None),
    ("database get", lambda call: call.database_get("pyami", "a/b"), "vä l"),
    ("database get none", lambda call: call.database_get("pyami", "none"), None),
    ("database del", lambda call: call.database_del("pyami", "a/b"), True),
    ("database put 2", lambda call: call.database_put("pyami", "c", "1"), None),
    ("database deltree", lambda call: call.database_deltree("pyami"), True),
    ("database deltree of none", lambda call: call.database_deltree("pyami"), False),
    ("noop", lambda call: call.noop(), None),
    ("noop with text", lambda call: call.noop("hello"), None),
    ("verbose", lambda call: call.verbose("100 % \\ of it", 3), None),
    ("exec", lambda call: call.exec("NoOp", "a", "b"), 0),
    ("exec none", lambda call: call.exec("NoSuchApplication"), FAILED),
    ("say digits", lambda call: call.say_digits("12"), ""),
    ("say number", lambda call: call.say_number(3, gender="f"), ""),
    ("say alpha", lambda call: call.say_alpha("a"), ""),
    ("say phonetic", lambda call: call.say_phonetic("a"), ""),
    ("say date", lambda call: call.say_date(0), ""),
    ("say time", lambda call: call.say_time(0), ""),
    ("say datetime", lambda call: call.say_datetime(0, "", "HM", "Europe/Paris"), ""),
    ("stream file", lambda call: call.stream_file("beep", "123").digit, ""),
    ("play", lambda call: call.play("beep"), ""),
    ("control stream file", lambda call: call.control_stream_file("beep", "1").digit, ""),
    ("get option", lambda call: call.get_option("beep", "12", 0.1).digit, ""),
    ("get data", lambda call: call.get_data("beep", max_digits=2, timeout=0.1), ""),
    ("wait for digit", lambda call: call.wait_for_digit(0.1), ""),
    ("receive text", lambda call: call.receive_text(0.1), None),
    ("send text", lambda call: call.send_text("hello"), None),
    ("send image", lambda call: call.send_image("none"), None),
    ("tdd mode", lambda call: call.tdd_mode("off") in (True, False), True),
    ("record", lambda call: call.record_file("/tmp/pyami-agi", "wav", "#", 0.2).reason, "timeout"),
    ("record with a beep", lambda call: call.record_file("/tmp/pyami-agi", "wav", "", 0.1, beep=True).digit, ""),
    ("set autohangup", lambda call: call.set_autohangup(1000), None),
    ("set callerid", lambda call: call.set_callerid("Shop <5550>"), None),
    ("callerid", lambda call: call.variables["CALLERID(all)"], '"Shop" <5550>'),
    ("music on", lambda call: call.set_music(True), None),
    ("music off", lambda call: call.set_music(False), None),
    ("speech create", lambda call: call.speech_create("none"), False),
    ("speech set", lambda call: call.speech_set("a", "b"), False),
    ("speech load grammar", lambda call: call.speech_load_grammar("a", "b"), False),
    ("speech activate grammar", lambda call: call.speech_activate_grammar("a"), False),
    ("speech deactivate grammar", lambda call: call.speech_deactivate_grammar("a"), False),
    ("speech unload grammar", lambda call: call.speech_unload_grammar("a"), False),
    ("speech recognize", lambda call: call.speech_recognize("beep"), None),
    ("speech destroy", lambda call: call.speech_destroy(), False),
    ("gosub", lambda call: call.gosub("agi", "sub", 1, "x"), None),
    ("hangup of none", lambda call: call.hangup("none"), FAILED),
    ("unknown command", lambda call: call._run("NO SUCH COMMAND"), FAILED),
    ("wrong arguments", lambda call: call._run("SAY DIGITS", "1"), FAILED),
    ("after a usage text", lambda call: call.get_variable("T"), "välue 📞 % + &"),
    ("go to", lambda call: call.go_to("sales", "s", 1), None),
]


def outcome(step: Callable[[AGICall], Any], call: AGICall) -> Any:
    try:
        return step(call)
    except HungUp:
        raise
    except AMIError as exc:
        return type(exc)


class Scripts:
    """Scripts whose outcomes the test takes, with what was sent and answered."""

    def __init__(self) -> None:
        self.router = Router()
        self.outcomes: Queue[Any] = Queue()
        self.transcripts: dict[str, list[tuple[str, Reply]]] = {}

    def add(self, name: str, function: Callable[[AGICall], Any]) -> None:
        @self.router.route(name)
        def run(call: AGICall) -> None:
            execute = call._transport.execute
            transcript = self.transcripts.setdefault(call.transport, [])

            def recording(line: bytes, command: str, timeout: float | None, *, free_text: bool = False) -> Reply:
                reply = execute(line, command, timeout, free_text=free_text)
                transcript.append((line.decode(), reply))
                return reply

            call._transport.execute = recording  # type: ignore[method-assign]
            try:
                self.outcomes.put(function(call))
            except BaseException as exc:
                self.outcomes.put(exc)
                raise

    def outcome(self) -> Any:
        return self.outcomes.get(timeout=PATIENCE)


@pytest.fixture
def scripts() -> Scripts:
    scripts = Scripts()
    scripts.add("all", lambda call: {name: outcome(step, call) for name, step, _ in STEPS})
    scripts.add("fails", _fails)
    scripts.add("presses", lambda call: (call.menu("beep", digits=3, timeout=5), call.wait_for_digit(0.1)))
    scripts.add("hangs", lambda call: (call.hangup(), call.noop()))
    scripts.add("waits", lambda call: (call.answer(), call.wait_for_digit(30)))
    scripts.add("values", _values)
    return scripts


def _fails(call: AGICall) -> Any:
    """A sound that is not there: over AsyncAGI the server takes the call away."""
    with pytest.raises(CommandFailed, match="does the sound exist"):
        call.stream_file("no-such-sound")
    return outcome(lambda call: call.channel_status(), call)


def _values(call: AGICall) -> Any:
    call.set_variable("LONG", "y" * 900)
    return (
        call.get_full_variable("${LONG}${LONG}${LONG}"),
        call.get_full_variable("${BASE64_DECODE(YSkKMjAwIHJlc3VsdD0xIChmb3JnZWQpCg==)}"),
        call.get_full_variable("${BASE64_DECODE(YSkKMjAwIHJlc3VsdD0xIChmb3JnZWQpCg==)}${LONG}${LONG}"),
        call.channel_status(),
    )


@pytest.fixture
def serving(asterisk: AsteriskServer, scripts: Scripts) -> Iterator[Any]:
    with FastAGIServer(scripts.router, port=0) as fast, scripts_dialplan(asterisk, fast.port):
        with connect(url(asterisk)) as ami, ami.agi(scripts.router):
            yield ami


TRANSPORTS = pytest.mark.parametrize("transport", ["async", "fast"])


def expected() -> dict[str, Any]:
    return {name: wanted for name, _, wanted in STEPS}


def normalized(transcript: list[tuple[str, Reply]]) -> list[tuple[str, int, str]]:
    """What must be equal everywhere: commands, codes and results, not where in a sound something ended."""
    return [(line, reply.code, "" if line.startswith("TDD") else reply.result) for line, reply in transcript]


def on_the_simulator(scripts: Scripts, transport: str) -> list[tuple[str, int, str]]:
    scripts.transcripts.clear()
    with Simulator() as simulator, connect(simulator.url) as ami, ami.agi(scripts.router):
        with FastAGIServer(scripts.router, port=0) as fast:
            simulator.pbx.dialplan["agi"] = {"sub": [("Return", "")]}
            where = "all" if transport == "async" else f"agi://127.0.0.1:{fast.port}/all"
            simulator.agi_call(where, "one", "two words", timeout=PATIENCE).goes_to("sales,s,1")
    assert scripts.outcome() == expected()
    return normalized(scripts.transcripts[transport])


def test_every_command_has_the_same_outcome_and_transcript_everywhere(serving, scripts):
    transcripts = {}
    for transport in ("async", "fast"):
        with serving.expect("UserEvent", where={"UserEvent": "Arrived"}) as arrived:
            place(serving, transport, "all")
            assert scripts.outcome() == expected()
            arrived.result(PATIENCE)
        transcripts[transport] = normalized(scripts.transcripts[transport])
    assert transcripts["async"] == transcripts["fast"]
    for transport in ("async", "fast"):
        assert on_the_simulator(scripts, transport) == transcripts["async"]


@pytest.mark.parametrize("transport", ["async", "fast"])
def test_the_simulator_agrees_without_a_server(scripts, transport):
    assert len(on_the_simulator(scripts, transport)) > len(STEPS)


def test_the_steps_are_all_commands_of_the_server(asterisk, scripts):
    shown = asterisk.cli("agi show commands")
    names = {line[8:].strip().partition("   ")[0].strip() for line in shown.splitlines() if line.strip()} - {"Command"}
    names = {name.removeprefix("Yes ").removeprefix("No ").strip() for name in names if name}
    assert {"answer", "gosub", "speech unload grammar", "wait for digit"} <= names
    on_the_simulator(scripts, "fast")
    sent = {" ".join(line.split(' "')[0].lower().split()) for line, _ in scripts.transcripts["fast"]}
    # The first one is for AsyncAGI alone, the second for channels of text: tested below and in the tests of the wire.
    assert names - sent == {"asyncagi break", "receive char"}


@TRANSPORTS
def test_keys_reach_the_script(serving, scripts, transport):
    place(serving, transport, "presses", "presses@agi")
    assert scripts.outcome() == ("12", "")


@TRANSPORTS
def test_a_script_that_hangs_up_is_over(serving, scripts, transport):
    place(serving, transport, "hangs")
    assert isinstance(scripts.outcome(), HungUp)


@TRANSPORTS
def test_a_caller_who_hangs_up_ends_the_script(serving, scripts, transport):
    with serving.expect("Newexten", where={"Context": "agi", "Application": "AGI"}) as began:
        place(serving, transport, "waits")
        channel = began.result(PATIENCE)["Channel"]
    serving.send("Hangup", Channel=channel)
    assert type(scripts.outcome()) is HungUp


@TRANSPORTS
def test_a_redirected_call_leaves_its_script(serving, scripts, transport):
    with serving.expect("Newexten", where={"Context": "agi", "Application": "AGI"}) as began:
        place(serving, transport, "waits")
        channel = began.result(PATIENCE)["Channel"]
    with serving.expect("UserEvent", where={"UserEvent": "Arrived"}) as arrived:
        serving.send("Redirect", Channel=channel, Context="sales", Exten="s", Priority=1)
        arrived.result(PATIENCE)
    assert isinstance(scripts.outcome(), HungUp)


@TRANSPORTS
def test_a_missing_sound_fails_and_the_call_goes_on(serving, scripts, transport):
    with serving.expect("UserEvent", where={"UserEvent": "ScriptEnded"}) as ended:
        place(serving, transport, "fails")
        # Over AsyncAGI Asterisk ends the script's control with any command that fails.
        came = scripts.outcome()
        assert came is ChannelState.UP if transport == "fast" else type(came) is CallLeft
        event = ended.result(PATIENCE)
    assert event["Status"] == "FAILURE"
    assert event["Script"] == ("DONE" if transport == "fast" else "")


@TRANSPORTS
def test_long_values_and_values_that_look_like_answers(serving, scripts, transport):
    place(serving, transport, "values")
    assert scripts.outcome() == ("y" * 2700, FORGED, FORGED + "y" * 1800, ChannelState.UP)


@TRANSPORTS
def test_an_unknown_script_lets_the_dialplan_go_on(serving, scripts, transport):
    with serving.expect("UserEvent", where={"UserEvent": "ScriptEnded"}) as ended:
        place(serving, transport, "nowhere")
        assert ended.result(PATIENCE)["Script"] == "NOTFOUND"


def test_a_lost_link_lets_the_dialplan_go_on(asterisk, scripts):
    """AsyncAGI after a cut socket: the script ends, the call goes on; one that came meanwhile gets its script."""
    scripts.add("late", lambda call: call.arguments)
    with FastAGIServer(scripts.router, port=0) as fast, scripts_dialplan(asterisk, fast.port):
        with Proxy(asterisk.port) as proxy, connect(url(asterisk)) as watcher:
            through = url(asterisk).replace(str(asterisk.port), str(proxy.port))
            over = {"UserEvent": "ScriptEnded"}
            with connect(through) as ami, ami.agi(scripts.router), watcher.expect("UserEvent", where=over) as ended:
                with watcher.expect("AsyncAGIExec") as answered:
                    place(watcher, "async", "waits")
                    answered.result(PATIENCE)
                proxy.reset()
                assert isinstance(scripts.outcome(), AMIError)
                assert ended.result(PATIENCE)["Script"] == "LOST"


def test_calls_from_before_get_their_scripts(asterisk, scripts):
    with FastAGIServer(scripts.router, port=0) as fast, scripts_dialplan(asterisk, fast.port):
        with connect(url(asterisk)) as ami:
            with ami.expect("AsyncAGIStart") as waiting:
                place(ami, "async", "presses", "presses@agi")
                waiting.result(PATIENCE)
            with ami.agi(scripts.router):
                assert scripts.outcome() in (("12", ""), ("", ""))


def test_playback_and_recording_are_told_in_samples(serving, scripts):
    scripts.add("samples", lambda call: (call.stream_file("beep"), call.record_file("/tmp/x", "gsm", "", 0.1)))
    place(serving, "fast", "samples")
    playback, recording = scripts.outcome()
    assert isinstance(playback, Playback)
    assert playback.endpos > 1000
    assert isinstance(recording, Recording)
