"""Calls, followed to their outcome."""

from __future__ import annotations

import threading

import pytest

from pyami_sync import ActionError, AMIClient, WaitTimeout

from .conftest import Target


@pytest.fixture
def caller(target: Target) -> AMIClient:
    """A session that sees the events of calls; opened by the test."""
    return target.client(event_mask="call")


def test_waits_for_success(caller: AMIClient) -> None:
    with caller as ami:
        event = ami.originate("Local/106@default", wait=True, Application="NoOp")
        assert event.name == "OriginateResponse"
        assert event["Response"] == "Success"
        assert event["Reason"] == "4"


def test_waits_for_failure(caller: AMIClient) -> None:
    with caller as ami:
        event = ami.originate("Local/103@default", wait=True, Application="NoOp", Timeout=5000)
        assert event["Response"] == "Failure"


def test_raises_what_the_server_refuses(caller: AMIClient) -> None:
    with caller as ami:
        with pytest.raises(ActionError):
            ami.originate("Local/100@default", wait=True, Context="default", Exten="no-such", Priority=1)
        with pytest.raises(ActionError):
            ami.originate("nonsense", wait=True, Application="NoOp")


@pytest.mark.promise(2)
def test_many_at_a_time_get_each_its_own(caller: AMIClient) -> None:
    outcomes: dict[int, str] = {}

    def call(number: int) -> None:
        event = caller.originate(
            "Local/106@default", wait=True, Application="NoOp", ChannelId=f"own-{number:02}", CallerID=f"<{number}>"
        )
        outcomes[number] = event["Uniqueid"] + event["CallerIDNum"]

    with caller:
        threads = [threading.Thread(target=call, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert outcomes == {number: f"own-{number:02}{number}" for number in range(24)}


def test_ids_of_channels_that_are_taken(target: Target) -> None:
    """Without regard to case; from 22 also what one in use begins with."""
    with target.client(event_mask="call") as ami:

        def place(unique_id: str, **headers: str) -> str:
            headers |= {"Application": "Wait", "Data": "60", "ChannelId": unique_id}
            event = ami.originate("Local/100@default/n", wait=True, **headers)
            assert event["Uniqueid"] == unique_id
            return event["Response"]

        assert place("taken-10", OtherChannelId="half-10") == "Success"
        listed = {event["Uniqueid"] for event in ami.send("CoreShowChannels").events}
        assert {"taken-10", "half-10"} <= listed
        assert place("Taken-10") == place("half-10") == place("fresh", OtherChannelId="taken-10") == "Failure"
        assert place("taken-1") == ("Success" if target.major == 16 else "Failure")
        assert place("taken-100") == "Success"
        assert place("both", OtherChannelId="Both") == "Failure"
        listed = {event["Uniqueid"] for event in ami.send("CoreShowChannels").events}
        assert {"taken-100", "taken-100;2"} <= listed
        ami.send("Hangup", Channel="/^Local.100@default-.*;1$/")


def test_without_its_events_it_times_out_and_says_why(target: Target) -> None:
    with target.client(event_mask="off") as ami, pytest.raises(WaitTimeout, match="event mask"):
        ami.originate("Local/106@default", wait=True, Application="NoOp", timeout=0.5)


def test_a_synchronous_one_holds_up_only_its_own_session(real: Target) -> None:
    with real.client(event_mask="off") as ami, real.client(event_mask="off") as other:
        slow = ami.submit("Originate", Channel="Local/109@default/n", Application="NoOp", Timeout=800)
        behind = ami.submit("Ping")
        assert other.ping() < 0.7
        assert not behind.done()
        with pytest.raises(ActionError):
            slow.result(20)
        assert behind.result(20)["Ping"] == "Pong"
