"""The test kit: a call into a script, told by the test, over both transports."""

from __future__ import annotations

import pytest

from pyami_sync.agi import AGICall, CommandFailed, Router


@pytest.fixture
def scripts() -> Router:
    router = Router()

    @router.route("ivr/{language}")
    def ivr(call: AGICall, language: str) -> None:
        call.answer()
        call.variables["LANGUAGE"] = language
        match call.menu("welcome", digits=1, timeout=5, tries=3, choices="12", invalid="invalid"):
            case "1":
                return call.go_to("sales", "s", 1)
            case "2":
                number = call.get_data(["enter", "number"], max_digits=4)
                call.say_digits(number)
        call.play("goodbye")
        call.hangup()

    return router


def test_a_choice_leads_on_in_the_dialplan(place):
    call = place("ivr/en").hears("welcome").presses("1").goes_to("sales,s,1").ends("DONE")
    assert call.channel.variables["LANGUAGE"] == "en"
    assert call.heard == ["welcome"]


def test_a_menu_is_played_again_until_its_tries_are_used_up(place):
    call = place("ivr/fr").hears("welcome", "welcome", "welcome", "goodbye").is_hung_up()
    assert call.heard == ["welcome", "welcome", "welcome", "goodbye"]


def test_a_wrong_choice_is_told(place):
    place("ivr/fr").hears("welcome").presses("7").hears("invalid", "welcome").presses("1").goes_to("sales,s,1")


def test_keys_pressed_ahead_are_kept(place):
    call = place("ivr/en").presses("2471#").hears("number", "digits:471", "goodbye").is_hung_up()
    assert "welcome" in call.heard


def test_silence_can_be_told_outright(place):
    place("ivr/en").hears("welcome").stays_silent().stays_silent().stays_silent().hears("goodbye").is_hung_up()


def test_the_caller_may_hang_up(place, scripts):
    cleaned = []

    @scripts.route("cleans")
    def cleans(call):
        try:
            call.get_data("welcome")
            call.play("never")
        finally:
            cleaned.append(call.uniqueid)

    call = place("cleans").hears("welcome").hangs_up().is_hung_up()
    for thread in [each for each in __import__("threading").enumerate() if each.name.startswith("pyami-agi-")]:
        if thread.name.endswith(call.channel.uniqueid):
            thread.join(5)
    assert cleaned == [call.channel.uniqueid]
    assert call.heard == ["welcome"]


def test_a_failed_expectation_tells_all_that_happened(place):
    call = place("ivr/en", timeout=3).hears("welcome").presses("1")
    with pytest.raises(AssertionError) as raised:
        call.hears("something else")
    text = str(raised.value)
    assert "expected that the caller hears 'something else'; the script is over" in text
    assert "heard: welcome" in text
    assert 'SET CONTEXT "sales"' in text
    with pytest.raises(AssertionError, match="it goes on at sales,s,1"):
        call.is_hung_up()
    with pytest.raises(AssertionError, match="goes on at sales,s,1"):
        call.goes_to("support,s,1")
    with pytest.raises(AssertionError, match="ended with DONE"):
        call.ends("ERROR")
    with pytest.raises(AssertionError, match="LANGUAGE"):
        call.has_set(LANGUAGE="fr")


def test_arguments_variables_caller_and_applications(place, scripts):
    seen = {}

    @scripts.route("details")
    def details(call):
        seen.update(
            arguments=call.arguments,
            params=call.params,
            caller=(call.caller_id, call.caller_name),
            order=call.variables["ORDER"],
            dial=call.exec("Dial", "PJSIP/alice", "30"),
            path=call.path,
        )
        call.variables.update({"DONE": 1, "TEXT": 'a "b" \\ c,d'})
        with pytest.raises(CommandFailed, match="no application"):
            call.exec("Nonsense")

    dialled = []

    def dial(data):
        dialled.append(data)
        return 0

    call = place(
        "details?shop=7",
        "one",
        "two words",
        caller_id="1234",
        caller_name="Ann",
        variables={"ORDER": "42"},
        apps={"Dial": dial},
    )
    call.ends("DONE").has_set(DONE="1", TEXT='a "b" \\ c,d')
    assert dialled == ["PJSIP/alice,30"]
    assert seen == {
        "arguments": ("one", "two words"),
        "params": {"shop": "7"},
        "caller": ("1234", "Ann"),
        "order": "42",
        "dial": 0,
        "path": "details",
    }


def test_a_script_that_raises_lets_the_dialplan_go_on(place, scripts, caplog):
    @scripts.route("broken")
    def broken(call):
        raise ZeroDivisionError("a planted defect")

    call = place("broken").ends("ERROR")
    record = next(each for each in caplog.records if "raised" in each.getMessage())
    assert call.channel.uniqueid in record.getMessage()
    assert record.uniqueid == call.channel.uniqueid
    assert record.exc_info[0] is ZeroDivisionError


def test_an_unknown_path_lets_the_dialplan_go_on(place):
    place("nowhere").ends("NOTFOUND")


def test_a_command_that_fails_ends_the_control_of_asyncagi_alone(place, scripts, request):
    ends = []

    @scripts.route("fails")
    def fails(call):
        with pytest.raises(CommandFailed, match="no such subroutine"):
            call.gosub("nowhere", "s")
        ends.append(call.transport)
        call.noop()

    call = place("fails")
    call.has_set(AGISTATUS="FAILURE")
    if "[fast]" in request.node.name:
        call.ends("DONE")
    assert call.heard == []
