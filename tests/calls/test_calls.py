"""Calls on the simulator: outcomes, times, waiting, ends, gaps."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Callable

import pytest

from pyami_sync import ActionError, AMIClient, ClusterPool, ReconnectPolicy, WaitTimeout, connect
from pyami_sync.calls import Call, Outcome
from pyami_sync.calls import hub as hub_module
from pyami_sync.testing import Simulator

LONG = 20.0  # seconds: a test that waits so long has failed

ENDINGS = {
    "answered": (Outcome.ANSWERED, 16, None),
    "busy": (Outcome.BUSY, 17, "486"),
    "rejected": (Outcome.REJECTED, 21, "603"),
    "congestion": (Outcome.CONGESTION, 34, "503"),
    "failed": (Outcome.FAILED, 58, "488"),
    "unreachable": (Outcome.UNREACHABLE, 1, "404"),
    "unregistered": (Outcome.UNREACHABLE, None, None),
    "no answer": (Outcome.NO_ANSWER, 19, None),
}


@pytest.mark.parametrize("scripted", ENDINGS)
def test_every_outcome(ami_simulator: Simulator, ami_client: AMIClient, scripted: str) -> None:
    ami_simulator.pbx.add_endpoint("1101", outcome=scripted, talks=0.05)
    ring = 0.2 if scripted == "no answer" else 10.0
    with ami_client.call("PJSIP/1101", to="100@default", ring=ring) as call:
        outcome, cause, tech_cause = ENDINGS[scripted]
        assert call.wait_answered(LONG) is outcome
        assert call.wait_ended(LONG) is outcome
        assert (call.outcome, call.ending, call.cause, call.tech_cause) == (outcome, outcome, cause, tech_cause)
        assert call.answered_future.result(LONG) is call.ended_future.result(LONG) is outcome
    assert (call.answered_at is not None) == (outcome is Outcome.ANSWERED)
    assert (call.talk_time is not None) == (outcome is Outcome.ANSWERED)


def test_an_older_server_tells_no_sip_status() -> None:
    with Simulator(asterisk=16) as simulator, connect(simulator.url) as ami:
        simulator.pbx.add_endpoint("1101", outcome="rejected")
        with ami.call("PJSIP/1101", to="100@default") as call:
            assert call.wait_ended(LONG) is Outcome.REJECTED
            assert (call.cause, call.cause_text, call.tech_cause) == (21, "call rejected", None)


def test_times_and_legs(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    ami_simulator.pbx.add_endpoint("1101", rings=0.01, answers=0.05)
    ami_simulator.pbx.add_endpoint("1102", answers=0.05, talks=0.2)
    ami_simulator.pbx.add_extension("300", "Dial(PJSIP/1102,10)")
    with ami_client.call("PJSIP/1101", to="300@default") as call:
        assert call.wait_connected(LONG) is Outcome.ANSWERED
        (party,) = call.talking_to
        assert party.startswith("PJSIP/1102-")
        assert call.wait_ended(LONG) is Outcome.ANSWERED
    assert call.talking_to == ()
    agent, customer = call.legs
    assert agent.channel.startswith("PJSIP/1101-")
    assert agent.uniqueid == call.id
    assert customer.device == "1102"
    assert customer.outcome is Outcome.ANSWERED
    assert call.ring_time is not None
    assert 0.02 < call.ring_time < 5
    assert call.talk_time is not None
    assert customer.talk_time is not None
    assert call.talk_time >= customer.talk_time > 0.1


def test_the_party_is_busy_though_the_phone_answered(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    ami_simulator.pbx.add_endpoint("1101")
    ami_simulator.pbx.add_endpoint("1102", outcome="busy")
    ami_simulator.pbx.add_extension("300", "Dial(PJSIP/1102,10)")
    ami_simulator.pbx.add_extension("301", "Dial(PJSIP/nobody,10)")
    with ami_client.call("PJSIP/1101", to="300@default") as call:
        assert call.wait_answered(LONG) is Outcome.ANSWERED
        assert call.wait_connected(LONG) is Outcome.BUSY
    with ami_client.call("PJSIP/1101", to="301@default") as call:
        assert call.wait_connected(LONG) is Outcome.UNREACHABLE  # a Dial without any leg


def test_cancelled(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    ami_simulator.pbx.add_endpoint("1101", outcome="no answer")
    with ami_client.call("PJSIP/1101", to="100@default") as call, call.events(timeout=LONG) as events:
        next(event for event in events if event.name == "DialState")
        call.hangup()
        assert call.wait_answered(LONG) is Outcome.CANCELLED
        assert call.wait_ended(LONG) is Outcome.CANCELLED
        call.hangup()  # once more does nothing


def test_leaving_the_block_hangs_up_unless_told_otherwise(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    ami_simulator.pbx.add_endpoint("1101")
    with ami_client.call("PJSIP/1101", to="100@default") as call:
        call.wait_answered(LONG)
    assert call.wait_ended(LONG) is Outcome.ANSWERED
    with ami_client.call("PJSIP/1101", to="100@default", hangup_on_exit=False) as call:
        call.wait_answered(LONG)
    assert not call.ended
    ami_simulator.assert_sent("Hangup", times=1)
    call.hangup()
    call.wait_ended(LONG)


def test_what_the_server_refuses_is_an_exception(ami_client: AMIClient) -> None:
    with pytest.raises(ActionError, match="does not exist"):
        ami_client.call("PJSIP/alice", to="nonsense@default")
    assert len(ami_client._calls or ()) == 0


@pytest.mark.parametrize("to", ["200", "200@", "@default", ""])
def test_a_place_that_is_none(ami_client: AMIClient, to: str) -> None:
    with pytest.raises(ValueError, match="no place in the dialplan"):
        ami_client.call("PJSIP/alice", to=to)


@pytest.mark.parametrize("ring", [0, -1.0, float("nan")])
def test_a_ring_that_is_none(ami_client: AMIClient, ring: float) -> None:
    with pytest.raises(ValueError, match="ring must be"):
        ami_client.call("PJSIP/alice", to="100@default", ring=ring)


@pytest.mark.parametrize(
    ("to", "sent"),
    [
        ("200@internal,3", {"Exten": "200", "Context": "internal", "Priority": "3"}),
        ("Playback(hello&world,skip)", {"Application": "Playback", "Data": "hello&world,skip"}),
        ("Echo()", {"Application": "Echo"}),
        ("agi:async", {"Application": "AGI", "Data": "agi:async"}),
        ("agi://127.0.0.1/ivr", {"Application": "AGI", "Data": "agi://127.0.0.1/ivr"}),
    ],
)
def test_what_is_sent(ami_simulator: Simulator, ami_client: AMIClient, to: str, sent: dict[str, str]) -> None:
    ami_simulator.on("Originate", b"Response: Success\r\nMessage: Originate successfully queued\r\n\r\n")
    call = ami_client.call(
        "PJSIP/1101", to=to, ring=1.5, caller_id="Shop <5550>", variables={"ORDER": "7"}, account="sales", Codecs="ulaw"
    )
    sent |= {"Channel": "PJSIP/1101", "Timeout": "1500", "Async": "true", "CallerID": "Shop <5550>", "Account": "sales"}
    ami_simulator.assert_sent("Originate", ChannelId=call.id, Variable="ORDER=7", Codecs="ulaw", **sent)


def test_ids_have_one_length_and_a_local_channel_has_two(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    first = ami_client.call("Local/100@default/n", to="Wait(5)")
    second = ami_client.call("Local/100@default/n", to="Wait(5)")
    assert first.wait_answered(LONG) is second.wait_answered(LONG) is Outcome.ANSWERED
    ids = {leg.uniqueid for call in (first, second) for leg in call.legs}
    assert len(ids) == 4
    assert {len(each) for each in ids} == {len(first.id)}
    first.hangup()
    second.hangup()
    assert first.wait_ended(LONG) is second.wait_ended(LONG) is Outcome.ANSWERED


def test_waiting_too_long_leaves_the_call_alone(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    ami_simulator.pbx.add_endpoint("1101", outcome="no answer")
    with ami_client.call("PJSIP/1101", to="100@default") as call:
        with pytest.raises(WaitTimeout, match=r"the answer of the call within 0\.01 s"):
            call.wait_answered(0.01)
        with pytest.raises(WaitTimeout, match="the end of the call"):
            call.wait_ended(0.01)
        assert call.outcome is None


def test_every_callback_thread_may_wait(ami_simulator: Simulator) -> None:
    """All callback threads wait for the end of a call, each of its own; none is needed to see the ends."""
    ami_simulator.pbx.add_endpoint("1101", talks=0.05)
    outcomes: list[Outcome] = []
    waiting = threading.Barrier(3)  # all are on their threads before any call is placed
    done = threading.Event()
    with connect(ami_simulator.url, callback_threads=3) as ami:

        def place(event: object) -> None:
            waiting.wait(LONG)
            outcomes.append(ami.call("PJSIP/1101", to="100@default").wait_ended(LONG))
            if len(outcomes) == 3:
                done.set()

        for _ in range(3):
            ami.on("UserEvent", place)
        ami.send("UserEvent", UserEvent="Go")
        assert done.wait(LONG)
    assert outcomes == [Outcome.ANSWERED] * 3


def test_many_at_once_with_futures(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    names = [name for name in ENDINGS if name != "no answer"]
    for name in names:
        ami_simulator.pbx.add_endpoint(name.replace(" ", ""), outcome=name, talks=0.05)
    calls = [(name, ami_client.call(f"PJSIP/{name}", to="100@default", hangup_on_exit=False)) for name in names * 20]
    _, left = concurrent.futures.wait([call.ended_future for _, call in calls], LONG)
    assert not left
    assert [call.outcome for _, call in calls] == [ENDINGS[name][0] for name, _ in calls]
    assert len(ami_client._calls or ()) == 0


def test_callbacks_of_futures_may_use_the_client(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    ami_simulator.pbx.add_endpoint("1101", talks=0.02)
    seen: list[tuple[Outcome, float]] = []
    done = threading.Event()

    def callback(future: concurrent.futures.Future[Outcome]) -> None:
        seen.append((future.result(), ami_client.ping()))
        done.set()

    ami_client.call("PJSIP/1101", to="100@default").ended_future.add_done_callback(callback)
    assert done.wait(LONG)
    assert seen[0][0] is Outcome.ANSWERED


def test_events_of_one_call_from_its_beginning(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    for name in ("1101", "1102"):
        ami_simulator.pbx.add_endpoint(name, talks=0.1)
    call, other = (ami_client.call(f"PJSIP/{name}", to="100@default") for name in ("1101", "1102"))
    names = [event.name for event in call.events(timeout=LONG)]
    assert names[0] == "Newchannel"
    assert names[-1] == "Hangup"
    assert "OriginateResponse" in names
    other.wait_ended(LONG)
    late = [event.get("Uniqueid") or event.get("DestUniqueid") for event in other.events(timeout=LONG)]
    assert set(late) == {other.id}


def test_the_same_verbs_on_any_channel(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    with ami_client.call("Local/100@default/n", to="Wait(60)", variables={"ORDER": "7"}) as call:
        call.wait_answered(LONG)
        channel = ami_client.channel(call.channel)
        assert channel["ORDER"] == call["ORDER"] == "7"
        channel["ORDER"] = "8"
        assert call.variables["ORDER"] == "8"
        assert "ORDER" in call.variables
        assert "NONSENSE" not in call.variables
        del call.variables["ORDER"]
        assert call["ORDER"] == ""
        channel.send_dtmf("1#")
        for digit in "1#":
            ami_simulator.assert_sent("PlayDTMF", Channel=call.channel, Digit=digit)
        with pytest.raises(ValueError, match="DTMF digits"):
            channel.send_dtmf("1x")
        channel.redirect("106@default")
        assert call.wait_ended(LONG) is Outcome.ANSWERED
    channel.hangup()  # gone already: nothing happens
    with pytest.raises(ActionError):
        channel.redirect("106@default")


def test_on_a_node_of_a_cluster(ami_simulator: Simulator) -> None:
    with Simulator() as other, ClusterPool({"paris": ami_simulator.url, "tokyo": other.url}) as pool:
        for simulator in (ami_simulator, other):
            simulator.pbx.add_endpoint("1101", talks=0.05)
        calls = [pool.call("PJSIP/1101", to="100@default", node=node) for node in ("paris", "tokyo", "paris")]
        assert [call.wait_ended(LONG) for call in calls] == [Outcome.ANSWERED] * 3
        assert [call.node for call in calls] == ["paris", "tokyo", "paris"]
        ami_simulator.assert_sent("Originate", times=2)
        call = pool["tokyo"].call("PJSIP/1101", to="100@default")
        assert call.wait_ended(LONG) is Outcome.ANSWERED
        assert pool.channel("PJSIP/1101-1", node="paris").channel == "PJSIP/1101-1"


# Gaps


def reconnecting(simulator: Simulator) -> AMIClient:
    return connect(simulator.url, reconnect=ReconnectPolicy(initial=0.02, maximum=0.02, retry_login=True))


def ringing(call: Call) -> None:
    """Wait until it rings."""
    with call.events(timeout=LONG) as events:
        next(event for event in events if event.name == "DialState")


def test_a_call_goes_on_over_a_lost_link(ami_simulator: Simulator) -> None:
    ami_simulator.pbx.add_endpoint("1101")
    with reconnecting(ami_simulator) as ami:
        call = ami.call("PJSIP/1101", to="100@default")
        assert call.wait_answered(LONG) is Outcome.ANSWERED
        with ami.expect("Reconnected") as back:
            ami_simulator.drop()
            back.result(LONG)
        call.hangup()
        assert call.wait_ended(LONG) is Outcome.ANSWERED
        assert call.gap
        assert call.cause is not None


def away(simulator: Simulator, ami: AMIClient, happens: Callable[[], object]) -> None:
    """Have something happen on the server while the link is down."""
    with ami.expect("Reconnected") as back:
        simulator.refuse_logins()
        with ami.expect("ConnectionLost") as gone:
            simulator.drop()
            gone.result(LONG)
        simulator._on_loop(happens)
        simulator.refuse_logins(False)
        back.result(LONG)


def test_an_answer_in_a_gap_is_seen_because_the_channel_is_up(ami_simulator: Simulator) -> None:
    ami_simulator.pbx.add_endpoint("1101", outcome="no answer")
    with reconnecting(ami_simulator) as ami, ami.call("PJSIP/1101", to="100@default") as call:
        ringing(call)
        channel = ami_simulator.pbx.find(call.id)
        assert channel is not None
        away(ami_simulator, ami, lambda: ami_simulator.pbx.set_state(channel, 6))
        assert call.wait_answered(LONG) is Outcome.ANSWERED
        assert call.answered_at is None  # nobody saw the moment
        assert not call.ended


def test_an_end_in_a_gap_is_unknown(ami_simulator: Simulator) -> None:
    ami_simulator.pbx.add_endpoint("1101", outcome="no answer")
    ami_simulator.pbx.add_endpoint("1102")
    with reconnecting(ami_simulator) as ami:
        rings = ami.call("PJSIP/1101", to="100@default")
        talks = ami.call("PJSIP/1102", to="100@default")
        ringing(rings)
        talks.wait_answered(LONG)
        pbx = ami_simulator.pbx
        away(ami_simulator, ami, lambda: [pbx.hangup(channel, 17) for channel in list(pbx.channels.values())])
        assert rings.wait_answered(LONG) is rings.wait_ended(LONG) is Outcome.UNKNOWN
        assert talks.wait_ended(LONG) is Outcome.UNKNOWN
        assert talks.outcome is Outcome.ANSWERED  # this much is known
        assert (rings.cause, talks.cause, talks.talk_time) == (None, None, None)


def test_a_server_that_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PATIENCE", 0.2)
    with Simulator() as simulator:
        simulator.pbx.add_endpoint("1101", outcome="no answer")
        ami = reconnecting(simulator)
        call = ami.call("PJSIP/1101", to="100@default")
        ringing(call)
    with ami:
        assert call.wait_answered(LONG) is Outcome.UNKNOWN
        assert call.ended


def test_closing_the_client_ends_the_waiting(ami_simulator: Simulator) -> None:
    ami_simulator.pbx.add_endpoint("1101", outcome="no answer")
    with connect(ami_simulator.url) as ami:
        call = ami.call("PJSIP/1101", to="100@default")
        waits = threading.Thread(target=call.wait_ended, args=(LONG,))
        waits.start()
        ringing(call)
    waits.join(LONG)
    assert not waits.is_alive()
    assert call.outcome is Outcome.UNKNOWN
    assert call.ended_future.result(0) is Outcome.UNKNOWN


def test_a_server_that_never_says_how_it_went(
    ami_simulator: Simulator, ami_client: AMIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "LATE_RESPONSE", 0.1)
    ami_simulator.on("Originate", b"Response: Success\r\nMessage: Originate successfully queued\r\n\r\n")
    call = ami_client.call("PJSIP/1101", to="100@default", ring=0.1)
    assert call.wait_answered(LONG) is Outcome.UNKNOWN


def test_events_of_a_failure_in_any_order(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    """The OriginateResponse of a busy telephone may come before its channel's first event, and says nothing."""
    ami_simulator.on("Originate", b"Response: Success\r\nMessage: Originate successfully queued\r\n\r\n")
    call = ami_client.call("PJSIP/1101", to="100@default")
    channel = {"Channel": "PJSIP/1101-00000001", "Uniqueid": call.id, "Linkedid": call.id}
    dest = {f"Dest{name}": value for name, value in channel.items()}
    emit = ami_simulator.emit
    emit("OriginateResponse", ActionID=call.id, Response="Failure", Reason="0", Channel="PJSIP/1101", Uniqueid=call.id)
    emit("Newchannel", **channel, ChannelState="0")
    emit("DialBegin", **dest, DialString="1101")
    emit("DialEnd", **dest, DialStatus="BUSY")
    emit("Hangup", **channel, Cause="17")
    assert call.wait_answered(LONG) is Outcome.BUSY
    assert call.cause == 17


def test_a_channel_that_comes_after_its_hangup(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    ami_simulator.on("Originate", b"Response: Success\r\nMessage: Originate successfully queued\r\n\r\n")
    call = ami_client.call("PJSIP/1101", to="100@default")
    call.hangup()  # "No such channel", so far
    channel = {"Channel": "PJSIP/1101-00000001", "Uniqueid": call.id, "Linkedid": call.id}
    again = threading.Event()

    @ami_simulator.on("Hangup")
    def hangup(action: object, session: object) -> bytes:
        again.set()
        return b"Response: Success\r\nMessage: Channel Hungup\r\n\r\n"

    ami_simulator.emit("Newchannel", **channel, ChannelState="0")
    assert again.wait(LONG)
    ami_simulator.emit("Hangup", **channel, Cause="16")
    ami_simulator.emit("OriginateResponse", Response="Failure", Reason="0", Uniqueid=call.id)
    assert call.wait_answered(LONG) is Outcome.CANCELLED


def test_another_ones_leg_is_never_ours(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    """Linkedids spread over bridges: a channel that has ours but was not dialled by us is none of our legs."""
    ami_simulator.pbx.add_endpoint("1101")
    with ami_client.call("PJSIP/1101", to="100@default") as call:
        call.wait_answered(LONG)
        foreign = {"Channel": "PJSIP/9999-00000009", "Uniqueid": "1700000000.99", "Linkedid": call.id}
        ami_simulator.emit("Newchannel", **foreign, ChannelState="0")
        ami_simulator.emit("Hangup", **foreign, Cause="17")
        call.hangup()
        call.wait_ended(LONG)
        assert [leg.uniqueid for leg in call.legs] == [call.id]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_places_its_own(ami_simulator: Simulator, ami_client: AMIClient) -> None:
    ami_simulator.pbx.add_endpoint("1101")
    call = ami_client.call("PJSIP/1101", to="100@default")
    assert call.wait_answered(LONG) is Outcome.ANSWERED
    child = os.fork()
    if not child:
        status = 1
        try:
            with ami_client.call("PJSIP/1101", to="100@default") as own:
                status = 0 if own.wait_answered(LONG) == "answered" and own.id != call.id and call.ended else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert not call.ended
    call.hangup()
    assert call.wait_ended(LONG) is Outcome.ANSWERED


def test_the_thread_ends_some_time_after_the_last_call(
    ami_simulator: Simulator, ami_client: AMIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "LINGER", 0.05)
    ami_simulator.pbx.add_endpoint("1101", talks=0.01)
    for _ in range(3):
        assert ami_client.call("PJSIP/1101", to="100@default").wait_ended(LONG) is Outcome.ANSWERED
        (thread,) = (each for each in threading.enumerate() if each.name == "pyami-calls")
        thread.join(LONG)
        assert not thread.is_alive()
