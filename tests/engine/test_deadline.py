"""One deadline across several steps."""

from __future__ import annotations

import math
import time

import pytest

from pyami_sync.engine.deadline import Deadline


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(time, "monotonic", lambda: Clock.now)
    return Clock


def test_time_runs_down_to_zero_and_stays_there(clock):
    deadline = Deadline(2)
    assert (deadline.remaining(), deadline.expired) == (2, False)
    clock.now += 1.5
    assert (deadline.remaining(), deadline.expired) == (0.5, False)
    clock.now += 0.5
    assert (deadline.remaining(), deadline.expired) == (0, True)
    clock.now += 100
    assert (deadline.remaining(), deadline.expired) == (0, True)
    assert deadline.timeout == 2
    assert deadline.at == 1002


@pytest.mark.parametrize("endless", [None, math.inf])
def test_no_limit(clock, endless):
    deadline = Deadline(endless)
    clock.now += 1e9
    assert (deadline.remaining(), deadline.expired) == (None, False)
    assert deadline.timeout is None


def test_the_first_pauses_are_short(clock):
    forever = Deadline(None)
    assert [forever.pause() for _ in range(20)] == [*(2.0**n for n in range(17)), 86_400, 86_400, 86_400]
    deadline = Deadline(5.5)
    pauses = []
    while not deadline.expired:
        pauses.append(deadline.pause())
        clock.now += pauses[-1]
    assert pauses == [1, 2, 2.5]
    assert deadline.pause() == 0


@pytest.mark.parametrize("timeout", [0, -1, -math.inf])
def test_already_over(clock, timeout):
    assert Deadline(timeout).expired
    assert Deadline(timeout).remaining() == 0


def test_nan_is_refused():
    with pytest.raises(ValueError, match="not NaN"):
        Deadline(math.nan)
