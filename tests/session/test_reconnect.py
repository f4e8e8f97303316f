"""When to try again, and the loop over the attempts."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from pyami_sync.exceptions import ConnectError, ConnectionLost, LoginRejected
from pyami_sync.session.metrics import Metrics
from pyami_sync.session.options import make_options
from pyami_sync.session.reconnect import Reconnect, ReconnectPolicy
from pyami_sync.wire.origin import LOCAL


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
    """A session whose attempts end as told, and whose clock is advanced by hand."""

    def __init__(self, *outcomes, **policy):
        self.outcomes, self.jobs = list(outcomes), []
        self.adopted, self.cancelled, self.told = [], [], 0
        self.address = "pbx:5038"
        self.connected_at = time.monotonic() - 100
        self.last_error = self.ended_by = self.finished_by = None
        self.metrics = Metrics()
        self.options = make_options({"reconnect": ReconnectPolicy(initial=0.5, jitter=0, **policy)})
        self.engine = SimpleNamespace(call_at=self.call_at)
        self.publisher = SimpleNamespace(finish=lambda exc: setattr(self, "finished_by", exc))
        self.loop = Reconnect(self)

    def call_at(self, when, callback):
        self.jobs.append(callback)
        return Cancellable(self, "timer")

    def connect(self, done):
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            self.jobs.append(lambda: done(outcome))
        return Cancellable(self, "attempt")

    def adopt(self, attempt, marker):
        self.adopted.append((attempt, marker))

    def tell(self):
        self.told += 1

    def end(self, reason, *, error):
        self.ended_by = (reason, error)

    def origin(self):
        return LOCAL

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


def success(uptime=None):
    return SimpleNamespace(gate=SimpleNamespace(uptime=uptime))


def test_until_one_succeeds():
    attempt = success()
    rig = Rig(ConnectError("no"), OSError("no"), attempt).run()
    [(adopted, marker)] = rig.adopted
    assert adopted is attempt
    assert (marker.name, marker.attempts, marker.server_restarted) == ("Reconnected", 3, None)
    assert marker.gap == pytest.approx(rig.metrics.outage_last, abs=0.001)
    assert rig.metrics.outage_total == rig.metrics.outage_last
    assert rig.loop.attempts == rig.metrics.attempts == 3
    assert str(rig.last_error) == str(ConnectError("no"))
    assert rig.told == 2


@pytest.mark.parametrize(("uptime", "restarted"), [(None, None), (5, True), (200, False)])
def test_whether_the_server_was_restarted(uptime, restarted):
    [(_, marker)] = Rig(success(uptime)).run().adopted
    assert marker.server_restarted is restarted


def test_a_first_login_has_no_gap_unless_it_took_several_attempts():
    for outcomes, gaps in ([success()], 0), ([OSError("no"), success(5)], 1):
        rig = Rig(*outcomes)
        rig.connected_at = 0.0
        [(_, marker)] = rig.run().adopted
        assert (marker is not None) == bool(gaps)
        assert marker is None or marker.server_restarted is None


@pytest.mark.parametrize(("policy", "attempts"), [({"give_up_after": 0}, 1), ({}, 2), ({"retry_login": True}, 3)])
def test_until_the_policy_gives_up(policy, attempts):
    rig = Rig(ConnectError("no"), LoginRejected("wrong"), None, **policy).run()
    assert rig.loop.attempts == attempts
    assert not rig.adopted
    if policy == {"retry_login": True}:
        assert rig.ended_by is rig.finished_by is None
    else:
        reason, error = rig.ended_by
        assert rig.finished_by is reason
        assert isinstance(reason, ConnectionLost)
        assert "gave up after" in str(reason)
        assert reason.__cause__ is error is rig.last_error


def test_without_a_policy_there_is_one_attempt():
    rig = Rig(OSError("no"))
    rig.options = make_options({"reconnect": None})
    rig.loop = Reconnect(rig)
    rig.run()
    assert rig.loop.attempts == 1
    assert rig.ended_by is not None


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
