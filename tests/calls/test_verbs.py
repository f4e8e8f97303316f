"""What one can do with a call on real servers, seen by the server's lists and in the CEL which it wrote."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyami_sync import AMIClient
from pyami_sync.calls import Call, Leg, Outcome
from tests.asterisk.scenario import wait_until
from tests.asterisk.server import AsteriskServer

from .phones import Phones
from .records import events

pytestmark = pytest.mark.asterisk

LONG = 20.0


@pytest.fixture
def talk(ami: AMIClient, phones: Phones) -> Callable[[str, str], Call]:
    """Places a call between two telephones; either may transfer the other."""

    def place(first: str = "answer.first", second: str = "answer.second") -> Call:
        call = ami.call(phones.device(first), to="116@default", variables={"__SECOND": phones.device(second)})
        assert call.wait_connected(LONG) is Outcome.ANSWERED
        return call

    return place


Talk = Callable[..., Call]


def party(call: Call) -> Leg:
    """Return the leg that was dialled."""
    (leg,) = (each for each in call.legs if each.uniqueid != call.id)
    return leg


def bridged(ami: AMIClient) -> set[frozenset[str]]:
    """Return who is joined with whom, as the server lists it."""
    found: dict[str, set[str]] = {}
    for event in ami.send("CoreShowChannels").events:
        if event["BridgeId"]:
            found.setdefault(event["BridgeId"], set()).add(event["Channel"])
    return {frozenset(each) for each in found.values()}


def extensions(ami: AMIClient) -> dict[str, str]:
    return {event["Channel"]: event["Exten"] for event in ami.send("CoreShowChannels").events}


def wait_cel(server: AsteriskServer, uniqueid: str, *types: str) -> None:
    wait_until(lambda: set(types) <= set(events(server, uniqueid)), f"{types} of {uniqueid} in the CEL")


def test_blind_transfer(asterisk: AsteriskServer, ami: AMIClient, talk: Talk) -> None:
    call = talk()
    other = party(call)
    call.transfer("100@default")
    assert call.wait_ended(LONG) is Outcome.ANSWERED
    wait_until(lambda: extensions(ami) == {other.channel: "100"}, "the party is at 100")
    wait_cel(asterisk, call.id, "BLINDTRANSFER", "HANGUP")


def test_attended_transfer(asterisk: AsteriskServer, ami: AMIClient, talk: Talk) -> None:
    call = talk()
    other = party(call)
    call.attended_transfer("100@default")
    wait_until(lambda: consults(ami, call, other), "it consults")
    call.complete_transfer()
    assert call.wait_ended(LONG) is Outcome.ANSWERED
    wait_until(lambda: extensions(ami).get(other.channel) is not None, "the party stays")
    wait_cel(asterisk, call.id, "ATTENDEDTRANSFER", "HANGUP")


def consults(ami: AMIClient, call: Call, other: Leg) -> bool:
    """Return True while the transferring telephone is joined with the target."""
    return any(call.channel in each and other.channel not in each for each in bridged(ami))


def test_blonde_transfer(asterisk: AsteriskServer, ami: AMIClient, talk: Talk) -> None:
    call = talk()
    other = party(call)
    call.attended_transfer("109@default")  # rings for ever
    wait_until(lambda: consults(ami, call, other), "the target rings")
    with ami.expect("AttendedTransfer") as transferred:
        call.complete_transfer()
        assert transferred.result(LONG)["Result"] == "Success"
    assert other.channel in extensions(ami)
    assert call.wait_ended(LONG) is Outcome.ANSWERED
    wait_cel(asterisk, call.id, "ATTENDEDTRANSFER")


def test_a_transfer_given_up(ami: AMIClient, talk: Talk) -> None:
    call = talk()
    other = party(call)
    call.attended_transfer("109@default")
    wait_until(lambda: any(name.startswith("Local/109@default") for name in extensions(ami)), "the target rings")
    call.cancel_transfer()
    wait_until(lambda: talking(call, other) in bridged(ami), "they talk again")
    wait_until(lambda: call.talking_to == (other.channel,), "the call knows")
    call.hangup()
    assert call.wait_ended(LONG) is Outcome.ANSWERED


def talking(call: Call, other: Leg) -> frozenset[str]:
    return frozenset({call.channel, other.channel})


def test_park_and_retrieve(asterisk: AsteriskServer, ami: AMIClient, phones: Phones, talk: Talk) -> None:
    call = talk()
    space = call.park()
    assert 701 <= int(space) <= 720
    wait_until(lambda: call.legs[0].parking_space == space, "the call knows where it is parked")
    with ami.call(phones.device("answer.retriever"), to=f"ParkedCall(default,{space})") as retriever:
        assert retriever.wait_connected(LONG) is Outcome.ANSWERED
        assert retriever.talking_to == (call.channel,)
        assert talking(call, retriever.legs[0]) in bridged(ami)
    assert call.wait_ended(LONG) is Outcome.ANSWERED
    wait_cel(asterisk, call.id, "PARK_START", "PARK_END")


def test_pickup(asterisk: AsteriskServer, ami: AMIClient, phones: Phones) -> None:
    second = {"__SECOND": phones.device("ring")}
    with ami.call(phones.device("answer.caller"), to="116@default", variables=second) as call:
        with call.events(timeout=LONG) as stream:
            ringing = next(e for e in stream if e.name == "DialState" and e["DestUniqueid"] != call.id)
        with ami.channel(ringing["DestChannel"]).pickup(phones.device("answer.taker")) as taker:
            assert taker.wait_connected(LONG) is Outcome.ANSWERED
            assert taker.talking_to == (call.channel,)
            assert call.wait_connected(LONG) is Outcome.ANSWERED
            wait_until(lambda: "PICKUP" in events(asterisk), "the pick-up in the CEL")


def test_bridge_with(ami: AMIClient, phones: Phones) -> None:
    with (
        ami.call(phones.device("answer.one"), to="Wait(60)") as one,
        ami.call(phones.device("answer.two"), to="Wait(60)") as two,
    ):
        assert one.wait_answered(LONG) is two.wait_answered(LONG) is Outcome.ANSWERED
        one.bridge_with(two)
        assert one.wait_connected(LONG) is two.wait_connected(LONG) is Outcome.ANSWERED
        assert (one.talking_to, two.talking_to) == ((two.channel,), (one.channel,))
        assert bridged(ami) == {frozenset({one.channel, two.channel})}


def test_what_the_hold_key_of_a_telephone_does(ami: AMIClient, phones: Phones, talk: Talk) -> None:
    call = talk()
    for hold in (True, False):
        phones.hold("answer.first", hold)
        wait_until(lambda hold=hold: call.legs[0].on_hold is hold, "the hold key")  # type: ignore[misc]
    call.hangup()
    assert call.wait_ended(LONG) is Outcome.ANSWERED


def test_hold_keeps_the_bridge_and_plays_music(asterisk: AsteriskServer, ami: AMIClient, talk: Talk) -> None:
    call = talk()
    pair = talking(call, party(call))
    with ami.expect("MusicOnHoldStart") as music:
        call.hold()
        assert music.result(LONG)["Channel"].startswith("Local/whisper@pyami-sync")
    assert pair in bridged(ami)
    with ami.expect("MusicOnHoldStop") as silence:
        call.unhold()
        silence.result(LONG)
    assert pair in bridged(ami)
    call.hangup()
    assert call.wait_ended(LONG) is Outcome.ANSWERED
    if asterisk.version > 16:
        assert "STREAM_BEGIN" in events(asterisk)


def test_sound(asterisk: AsteriskServer, ami: AMIClient, phones: Phones, talk: Talk) -> None:
    call = talk()
    call.mute()
    call.unmute()
    assert call.play("beep").wait_ended(LONG) is Outcome.ANSWERED
    recording = call.record("pyami-test.wav")
    assert recording
    assert "pyami-test" in asterisk.cli(f"mixmonitor list {call.channel}")
    call.stop_recording(recording)
    wait_until(lambda: "pyami-test" not in asterisk.cli(f"mixmonitor list {call.channel}"), "recording has stopped")
    with call.spy(phones.device("answer.boss"), whisper=True) as boss:
        assert boss.wait_answered(LONG) is Outcome.ANSWERED
        wait_until(lambda: runs(ami, boss) == "ChanSpy", "the boss listens")
    assert talking(call, party(call)) in bridged(ami)
    call.hangup()
    assert call.wait_ended(LONG) is Outcome.ANSWERED


def test_digits_arrive_behind_the_channel(ami: AMIClient) -> None:
    with ami.call("Local/100@default/n", to="Wait(60)") as call:
        assert call.wait_answered(LONG) is Outcome.ANSWERED
        half = call.legs[0].other_half
        with ami.events("DTMFEnd", where={"Uniqueid": half}, timeout=LONG) as digits:
            call.send_dtmf("1#", duration=0.1)
            assert [next(digits)["Digit"], next(digits)["Digit"]] == ["1", "#"]


def runs(ami: AMIClient, call: Call) -> str | None:
    """Return the application that a call's channel runs."""
    running = {event["Uniqueid"]: event["Application"] for event in ami.send("CoreShowChannels").events}
    return running.get(call.id)


def test_variables(ami: AMIClient, talk: Talk) -> None:
    call = talk()
    call["ORDER"] = "7"
    assert call["ORDER"] == "7"
    call["CDR(accountcode)"] = "sales"
    assert call["CDR(accountcode)"] == "sales"
    assert "ORDER" in set(call.variables)
    assert call["NONSENSE"] == ""
    call.redirect("106@default")
    assert call.wait_ended(LONG) is Outcome.ANSWERED
