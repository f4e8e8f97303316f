"""When to try again, and the loop over the attempts."""

from __future__ import annotations

import pytest

from pyami_sync.exceptions import ConnectError, LoginRejected
from pyami_sync.session.reconnect import Reconnect, ReconnectPolicy


def delays(policy, chance, count=8):
    return [policy.delay(attempt, chance) for attempt in range(count)]


def test_the_first_try_is_immediate_then_delays_grow_up_to_a_cap():
    policy = ReconnectPolicy(initial=1, factor=2, maximum=10)
    assert delays(policy, chance=0) == [0, 1, 2, 4, 8, 10, 10, 10]


def test_jitter_shortens_at_most_by_its_share():
    policy = ReconnectPolicy(initial=1, factor=2, maximum=10, jitter=0.5)
    assert delays(policy, chance=1) == [0, 0.5, 1, 2, 4, 5, 5, 5]
    drawn = [policy.delay(3) for _ in range(200)]
    assert all(2 <= each <= 4 for each in drawn)
    assert len(set(drawn)) > 100


def test_without_jitter_nothing_is_left_to_chance():
    policy = ReconnectPolicy(jitter=0)
    assert {policy.delay(5) for _ in range(20)} == {4.0}


def test_a_link_that_is_down_for_a_year():
    assert ReconnectPolicy(maximum=30, jitter=0).delay(10**9) == 30
    assert ReconnectPolicy(factor=1e10, jitter=0).delay(10**9) == 30


def test_constant_delays():
    assert delays(ReconnectPolicy(initial=3, factor=1, jitter=0), None, 4) == [0, 3, 3, 3]


def test_giving_up():
    assert not ReconnectPolicy().gives_up(1e9)
    policy = ReconnectPolicy(give_up_after=5)
    assert [policy.gives_up(seconds) for seconds in (0, 4.9, 5, 6)] == [False, False, True, True]
    assert ReconnectPolicy(give_up_after=0).gives_up(0)


@pytest.mark.parametrize(
    "bad",
    [{"initial": -1}, {"maximum": -1}, {"factor": 0.5}, {"jitter": -0.1}, {"jitter": 1.1}, {"give_up_after": -1}],
)
def test_values_that_make_no_sense(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ReconnectPolicy(**bad)


def test_is_a_value():
    assert ReconnectPolicy() == ReconnectPolicy()
    assert hash(ReconnectPolicy()) == hash(ReconnectPolicy())
    with pytest.raises(AttributeError):
        ReconnectPolicy().initial = 5


class Rig:
    """A loop whose attempts end as told, and whose clock is advanced by hand."""

    def __init__(self, *outcomes, **policy):
        self.outcomes, self.jobs = list(outcomes), []
        self.results, self.failures, self.cancelled = [], [], []
        self.loop = Reconnect(
            ReconnectPolicy(initial=0.5, jitter=0, **policy),
            self,
            attempt=self.attempt,
            succeeded=self.results.append,
            failed=lambda exc, last: self.failures.append((type(exc), last)),
        )

    def call_at(self, when, callback):
        self.jobs.append(callback)
        return Cancellable(self, "timer")

    def attempt(self, done):
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            self.jobs.append(lambda: done(outcome))
        return Cancellable(self, "attempt")

    def run(self):
        self.loop.begin()
        while self.jobs:
            self.jobs.pop(0)()
        return self


class Cancellable:
    def __init__(self, rig, name):
        self.rig, self.name = rig, name

    def cancel(self):
        self.rig.cancelled.append(self.name)


def test_until_one_succeeds():
    rig = Rig(ConnectError("no"), OSError("no"), "connection").run()
    assert rig.results == ["connection"]
    assert rig.failures == [(ConnectError, False), (OSError, False)]
    assert rig.loop.attempts == 3


@pytest.mark.parametrize(
    ("policy", "failures"),
    [
        ({"give_up_after": 0}, [(ConnectError, True)]),
        ({}, [(ConnectError, False), (LoginRejected, True)]),
        ({"retry_login": True}, [(ConnectError, False), (LoginRejected, False)]),
    ],
)
def test_until_the_policy_gives_up(policy, failures):
    rig = Rig(ConnectError("no"), LoginRejected("wrong"), None, **policy).run()
    assert rig.failures == failures
    assert rig.results == []


def test_cancelling_an_attempt():
    rig = Rig(None).run()
    rig.loop.cancel()
    assert rig.cancelled == ["attempt"]


def test_cancelling_between_attempts():
    rig = Rig(ConnectError("no"))
    rig.loop.begin()
    rig.jobs.pop()()
    rig.loop.cancel()
    assert rig.cancelled == ["timer"]
    rig.jobs.pop()()
    assert rig.loop.attempts == 1
