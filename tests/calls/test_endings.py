"""The endings of calls on real servers, held against the CDR and CEL which these wrote.

``PYAMI_CALL_ROUNDS=20`` makes each of them so often; twenty other calls are up all the time.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from pyami_sync import AMIClient, ReconnectPolicy
from pyami_sync.calls import Call, Outcome
from tests.asterisk import scenario
from tests.asterisk.plugin import AsteriskFactory
from tests.asterisk.server import AsteriskServer

from .phones import Phones
from .records import causes, dispositions, wait_written

pytestmark = pytest.mark.asterisk

ROUNDS = int(os.environ.get("PYAMI_CALL_ROUNDS", "1"))
OTHERS = 20
LONG = 30.0

Place = Callable[[AMIClient, Phones], Call]


def device(user: str, **options: float) -> Place:
    return lambda ami, phones: ami.call(phones.device(user), to="Wait(3)", ring=options.get("ring", 10.0))


def local(end: str, first: str, second: str) -> Place:
    """A Local channel whose two sides each dial telephones."""

    def place(ami: AMIClient, phones: Phones) -> Call:
        dialled = {
            f"__{name}": "&".join(phones.device(user) for user in users.split("&"))
            for name, users in (("FIRST", first), ("SECOND", second))
        }
        return ami.call(f"Local/115@default{end}", to="116@default", variables=dialled)

    return place


ENDINGS: dict[str, tuple[Place, Outcome, set[str]]] = {
    "answer": (device("answer-0.3"), Outcome.ANSWERED, {"ANSWERED"}),
    "busy": (device("busy"), Outcome.BUSY, {"BUSY"}),
    "rejected": (device("reject"), Outcome.REJECTED, {"NO ANSWER"}),
    "congestion": (device("congestion"), Outcome.CONGESTION, {"CONGESTION"}),
    "unallocated": (device("unallocated"), Outcome.UNREACHABLE, {"NO ANSWER"}),
    "codec": (device("codec"), Outcome.FAILED, {"NO ANSWER"}),
    # Asterisk 16 gives its own time limit no cause, and then calls the call failed.
    "no answer": (device("ring", ring=1.0), Outcome.NO_ANSWER, {"NO ANSWER", "FAILED"}),
    "cancelled": (device("ring.cancel"), Outcome.CANCELLED, {"NO ANSWER", "FAILED"}),
    "forwarded": (device("forward-106"), Outcome.ANSWERED, {"ANSWERED"}),
    "forwarded to a busy one": (device("forward-103"), Outcome.BUSY, {"BUSY"}),
    "Local, optimised away": (local("", "answer", "answer-0.5"), Outcome.ANSWERED, {"ANSWERED"}),
    "Local, staying": (local("/n", "answer-0.5", "answer"), Outcome.ANSWERED, {"ANSWERED"}),
    "Local to a busy one": (local("", "busy", "answer"), Outcome.BUSY, {"BUSY"}),
    "elsewhere in a group": (local("/n", "ring&answer-0.5", "answer"), Outcome.ANSWERED, {"ANSWERED"}),
    "unregistered": (
        lambda ami, phones: ami.call("PJSIP/unregistered", to="Wait(3)"),
        Outcome.UNREACHABLE,
        set(),
    ),
}


def test_every_ending_is_what_the_server_wrote(asterisk: AsteriskServer, ami: AMIClient, phones: Phones) -> None:
    scenario.channels_up(asterisk, OTHERS)
    for number in range(ROUNDS):
        calls = {name: place(ami, phones) for name, (place, _, _) in ENDINGS.items()}
        cancel(calls["cancelled"])
        for name, call in calls.items():
            assert call.wait_answered(LONG) is ENDINGS[name][1], (number, name, call.legs)
            assert call.wait_ended(LONG) is ENDINGS[name][1], (number, name, call.legs)
            assert (call.talk_time is not None) == (call.outcome is Outcome.ANSWERED), (number, name)
        check_records(asterisk, calls)
        legs = calls["elsewhere in a group"].legs
        assert sorted(leg.outcome for leg in legs if leg.device) == ["answered", "answered", "answered", "cancelled"]
        (elsewhere,) = (leg for leg in legs if leg.outcome is Outcome.CANCELLED)
        assert elsewhere.cause == 26


def cancel(call: Call) -> None:
    """Hang up when it rings."""
    with call.events(timeout=LONG) as events:
        next(event for event in events if event.name == "DialState")
    call.hangup()


def check_records(server: AsteriskServer, calls: dict[str, Call]) -> None:
    own = {name: own_channels(call) for name, call in calls.items()}
    wait_written(server, [call.id for name, call in calls.items() if name != "unregistered"])
    written, caused = dispositions(server), causes(server)
    for name, call in calls.items():
        allowed = ENDINGS[name][2]
        found = {each for uniqueid in own[name] for each in written.get(uniqueid, ())}
        assert bool(found) == bool(allowed), (name, found)
        assert not allowed or found & allowed, (name, found)
        assert ("ANSWERED" in found) == (call.outcome is Outcome.ANSWERED), (name, found)
        if allowed:
            assert call.cause in {caused[uniqueid] for uniqueid in own[name] if uniqueid in caused}, (name, call.cause)
        else:
            assert (call.cause, found) == (None, set())


def own_channels(call: Call) -> set[str]:
    """Return the unique ids of the called channel, of those that took its place, and of their other halves."""
    own = set(call._state.own)
    return own | {leg.other_half for leg in call.legs if leg.uniqueid in own and leg.other_half}


@pytest.mark.parametrize("version", [16, 22])
def test_a_killed_server(asterisk_factory: AsteriskFactory, phones: Phones, version: int) -> None:
    server = asterisk_factory(version)
    policy = ReconnectPolicy(initial=0.05, maximum=0.2)
    with AMIClient("127.0.0.1", server.port, username="patient", secret="patient-secret", reconnect=policy) as ami:
        rings, talks = (
            ami.call(phones.device(user), to="Wait(60)", hangup_on_exit=False) for user in ("ring", "answer")
        )
        assert talks.wait_answered(LONG) is Outcome.ANSWERED
        with rings.events(timeout=LONG) as events:
            next(event for event in events if event.name == "DialState")
        server.kill()
        server.start()
        assert rings.wait_answered(LONG) is rings.wait_ended(LONG) is Outcome.UNKNOWN
        assert talks.wait_ended(LONG) is Outcome.UNKNOWN
        assert talks.outcome is Outcome.ANSWERED  # never taken back
        assert (rings.cause, talks.cause, talks.talk_time) == (None, None, None)
        with ami.call(phones.device("busy"), to="Wait(1)") as call:
            assert call.wait_ended(LONG) is Outcome.BUSY
