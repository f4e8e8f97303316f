"""The way back, try by try; what it does to a session is tested with one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pyami_sync.exceptions import ConnectError, ConnectionLost, LoginRejected
from pyami_sync.options import make_options
from pyami_sync.reconnect import ReconnectPolicy
from pyami_sync.returning import Return


class Session:
    """Notes what it is told."""

    def __init__(self, *outcomes, **policy):
        self.options = make_options({"reconnect": ReconnectPolicy(initial=0.5, jitter=0, **policy)})
        self.metrics = SimpleNamespace(attempts=0, outage=lambda seconds: None)
        self.engine = SimpleNamespace(call_at=lambda at, job: self.jobs.append(job), call_soon=lambda job: None)
        self.publisher = SimpleNamespace(finish=lambda exc: self.ends.append(exc))
        self.connector = None
        self.connected_at = 0.0
        self.jobs, self.failures, self.ends, self.adopted = [], [], [], []
        self.outcomes = list(outcomes)
        self.wanted = True

    def connect(self, generation, deadline):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, SimpleNamespace(uptime=None, release=None)

    def adopt(self, generation, connection, link):
        self.adopted.append((generation, connection))
        return True

    def try_failed(self, generation, exc, end):
        self.failures.append(exc)
        return self.wanted

    def back(self, dialer=None):
        return Return(self, 7, self.jobs.append, dialer)

    def go_on(self):
        while self.jobs:
            self.jobs.pop(0)()


def test_until_one_succeeds():
    session = Session(ConnectError("no"), OSError("no"), "connection")
    session.back().begin()
    session.go_on()
    assert session.adopted == [(7, "connection")]
    assert [type(each) for each in session.failures] == [ConnectError, OSError]
    assert session.metrics.attempts == 3
    assert session.ends == []


@pytest.mark.parametrize(("policy", "tries"), [({"give_up_after": 0}, 1), ({}, 2)])
def test_until_the_policy_gives_up(policy, tries):
    session = Session(ConnectError("no"), LoginRejected("wrong"), **policy)
    session.back().begin()
    session.go_on()
    assert len(session.failures) == tries
    (end,) = session.ends
    assert isinstance(end, ConnectionLost)
    assert end.__cause__ is session.failures[-1]
    assert f"and {tries} tries" in end.reason


def test_until_nobody_wants_it():
    session = Session(ConnectError("no"))
    session.wanted = False
    session.back().begin()
    session.go_on()
    assert (len(session.failures), session.ends) == (1, [])


def test_a_cancelled_one_makes_no_try():
    session = Session()
    back = session.back()
    back.begin()
    back.cancel()
    session.go_on()
    assert session.metrics.attempts == 0


def test_a_connection_that_comes_too_late_is_closed():
    closed = []
    session = Session(SimpleNamespace(close=lambda: closed.append(1)))
    back = session.back()
    connect = session.connect

    def slow(generation, deadline):
        back.cancel()
        return connect(generation, deadline)

    session.connect = slow
    back.begin()
    session.go_on()
    assert closed == [1]
    assert session.adopted == []


@pytest.mark.parametrize("when", ["before it is there", "later"])
def test_cancelling_a_dial(when):
    cancelled = []
    session = Session()

    class Dialer:
        def dial(self, options, *, make, steps, done):
            if when == "before it is there":
                back.cancel()
            return SimpleNamespace(cancel=lambda: cancelled.append(1))

    back = session.back(Dialer())
    back.begin()
    session.go_on()
    back.cancel()
    assert cancelled
