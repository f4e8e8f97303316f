"""Storms of calls on real servers, hung up at random moments, also over a link that is cut again and again.

Whatever is concluded must be what the server wrote; with cuts it may be UNKNOWN instead, and nothing else.
``PYAMI_CALL_STORM=1000`` is the number of calls, ``PYAMI_SEED`` what they are drawn with.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter

import pytest

from pyami_sync import AMIClient, ConnectionClosed, ReconnectPolicy
from pyami_sync.calls import Call, Outcome
from tests.asterisk.server import AsteriskServer
from tests.faults.proxy import Proxy

from .phones import Phones
from .records import dispositions
from .test_endings import own_channels

pytestmark = pytest.mark.asterisk

CALLS = int(os.environ.get("PYAMI_CALL_STORM", "80"))
SEED = int(os.environ.get("PYAMI_SEED", "0")) or random.randrange(1, 1 << 30)
LONG = 60.0

USERS = ("answer-0.1", "answer-0.3", "busy", "reject", "congestion", "codec", "unallocated", "ring", "forward-106")
WRITTEN = {
    Outcome.BUSY: {"BUSY"},
    Outcome.CONGESTION: {"CONGESTION"},
    Outcome.NO_ANSWER: {"NO ANSWER", "FAILED"},
    Outcome.CANCELLED: {"NO ANSWER", "FAILED"},
    Outcome.REJECTED: {"NO ANSWER", "FAILED"},
    Outcome.UNREACHABLE: {"NO ANSWER", "FAILED"},
    Outcome.FAILED: {"NO ANSWER", "FAILED"},
}


def storm(ami: AMIClient, phones: Phones, rng: random.Random) -> list[Call]:
    """Place all calls and hang up a third of them at some moment; return them when all are over."""
    calls: list[Call] = []
    hang_up: list[tuple[float, Call]] = []
    for _ in range(CALLS):
        user = rng.choice(USERS)
        try:
            if rng.random() < 0.2:
                dialled = {"__FIRST": phones.device(user), "__SECOND": phones.device("answer-0.2")}
                call = ami.call("Local/115@default", to="116@default", ring=2, variables=dialled)
            else:
                call = ami.call(phones.device(user), to="Wait(1)", ring=2)
        except ConnectionClosed:
            continue  # it may have been placed, or not: there is no handle to be wrong
        calls.append(call)
        if rng.random() < 0.33:
            hang_up.append((time.monotonic() + rng.uniform(0, 0.3), call))
        while hang_up and hang_up[0][0] < time.monotonic():
            quietly_hang_up(hang_up.pop(0)[1])
    for at, call in hang_up:
        time.sleep(max(0.0, at - time.monotonic()))  # a moment of its own is what this call is given
        quietly_hang_up(call)
    for call in calls:
        call.wait_answered(LONG)
        call.wait_ended(LONG)
    return calls


def quietly_hang_up(call: Call) -> None:
    try:
        call.hangup()
    except ConnectionClosed:
        pass


def check(server: AsteriskServer, calls: list[Call], *, cut: bool) -> Counter[Outcome | None]:
    """Compare every outcome with the CDR; return how many there were of each."""
    deadline = time.monotonic() + LONG
    while True:
        written = dispositions(server)
        wrong = [each for each in (compare(call, written, cut) for call in calls) if each]
        if not wrong:
            return Counter(call.outcome for call in calls)
        assert time.monotonic() < deadline, f"seed {SEED}: {len(wrong)} of {len(calls)} are wrong, such as {wrong[0]}"
        time.sleep(0.1)


def compare(call: Call, written: dict[str, list[str]], cut: bool) -> str:
    """Return what is wrong with a call's outcome; nothing if it is right, or not written yet."""
    found = {each for uniqueid in own_channels(call) for each in written.get(uniqueid, ())}
    outcome = call.outcome
    right = (
        (outcome is Outcome.UNKNOWN and cut)
        or (outcome is Outcome.ANSWERED and ("ANSWERED" in found or (cut and call.gap and not found)))
        or (outcome in WRITTEN and "ANSWERED" not in found and (not found or bool(found & WRITTEN[outcome])))
    )
    if outcome is Outcome.ANSWERED and cut and call.gap:
        right = right or bool(call.legs and call.legs[0].forwarded)  # whom it was forwarded to is not known then
    return "" if right else f"{call!r} to {call.device}: {outcome}, but {found} was written; {call.legs}"


def test_a_storm(asterisk: AsteriskServer, ami: AMIClient, phones: Phones) -> None:
    calls = storm(ami, phones, random.Random(SEED))
    assert len(calls) == CALLS
    found = check(asterisk, calls, cut=False)
    assert found[Outcome.ANSWERED] > 0
    assert found[Outcome.UNKNOWN] == 0
    assert not any(call.gap for call in calls), f"seed {SEED}"


def test_a_storm_over_a_link_that_is_cut(asterisk: AsteriskServer, phones: Phones) -> None:
    rng = random.Random(SEED)
    done = threading.Event()
    policy = ReconnectPolicy(initial=0.01, maximum=0.05)
    options = {"username": "patient", "secret": "patient-secret", "reconnect": policy}
    with Proxy(asterisk.port) as proxy, AMIClient("127.0.0.1", proxy.port, **options) as ami:

        def cut() -> None:
            while not done.wait(rng.uniform(0.05, 0.4)):
                rng.choice((proxy.drop, proxy.reset))()

        cutter = threading.Thread(target=cut)
        cutter.start()
        try:
            calls = storm(ami, phones, random.Random(SEED))
        finally:
            done.set()
            cutter.join()
        assert len(proxy.pairs) > 2
        found = check(asterisk, calls, cut=True)
    assert sum(found.values()) == len(calls)
    assert found[Outcome.UNKNOWN] < len(calls)
