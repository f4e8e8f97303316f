"""A calling thread that is held up at any point, for longer than its call may take: the call ends nevertheless."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

import pytest

from pyami_sync import AMIClient
from pyami_sync.exceptions import ActionTimeout, WaitTimeout

from ..support.injection import Stepper
from ..support.peer import Peer, eventually

LIMIT = 0.02  # seconds that a call may take
HELD_UP = 2 * LIMIT
numbers = count()


def submit(ami: AMIClient) -> object:
    return ami.submit("Slow", timeout=LIMIT).result(5)


def send(ami: AMIClient) -> object:
    return ami.send("Slow", timeout=LIMIT)


def originate(ami: AMIClient) -> object:
    return ami.originate("Local/1@a", wait=True, timeout=LIMIT, Application="Wait")


def expect(ami: AMIClient) -> object:
    with ami.expect("Nothing", timeout=LIMIT) as expected:
        pass
    return expected.result()


def wait_for(ami: AMIClient) -> object:
    return ami.wait_for("Nothing", timeout=LIMIT)


@pytest.mark.promise(1)
@pytest.mark.parametrize("call", [submit, send, originate, expect, wait_for])
def test_a_call_whose_answer_never_comes(call: Callable[[AMIClient], object]) -> None:
    with Peer(slow=None, originate=None) as peer, AMIClient(**peer.options()) as ami:
        for place, outcome in Stepper(lambda: call(ami), lambda: time.sleep(HELD_UP), longest=60):
            assert isinstance(outcome.error, ActionTimeout | WaitTimeout), (place, outcome.value, repr(outcome.error))
            eventually(lambda: ami.stats().pending == 0)


@pytest.mark.promise(1)
def test_a_subscription_whose_filter_is_never_confirmed() -> None:
    def listen() -> None:
        ami.events(f"Other{next(numbers)}").close()

    with Peer() as peer, AMIClient(**peer.options(event_filter="auto", timeout=LIMIT)) as ami:
        peer.answers["filter"] = None  # after the login, which has filters of its own
        for place, outcome in Stepper(listen, lambda: time.sleep(HELD_UP), longest=60):
            assert outcome.error is None, (place, repr(outcome.error))
            eventually(lambda: ami.stats().pending == 0)
