"""What a session counts."""

from __future__ import annotations

import sys
import threading

import pytest

from pyami_sync.session.metrics import KEPT, Metrics, Quantiles, Stats, SubscriptionStats


def test_outcomes():
    metrics = Metrics()
    metrics.count("ok", 0.1)
    metrics.count("ok", 0.2)
    metrics.count("timeout")
    assert metrics.actions() == {"ok": 2, "timeout": 1}


def test_no_round_trips():
    assert Metrics().round_trip() == Quantiles(0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_quantiles():
    metrics = Metrics()
    for n in range(101):
        metrics.count("ok", n / 100)
    trips = metrics.round_trip()
    assert (trips.count, trips.p50, trips.p90, trips.p99, trips.maximum) == (101, 0.5, 0.9, 0.99, 1.0)
    assert trips.total == pytest.approx(50.5)


def test_one_round_trip():
    metrics = Metrics()
    metrics.count("error", 0.3)
    assert metrics.round_trip() == Quantiles(1, 0.3, 0.3, 0.3, 0.3, 0.3)


def test_quantiles_are_of_the_latest_only_and_memory_stays_bounded():
    metrics = Metrics()
    for _ in range(KEPT):
        metrics.count("ok", 100.0)
    for _ in range(KEPT):
        metrics.count("ok", 1.0)
    assert metrics.round_trip().maximum == 1.0
    assert metrics.round_trip().count == 2 * KEPT
    assert len(metrics._sums[2]) == KEPT
    assert len(metrics._noted) < KEPT


def test_the_latest_are_the_latest_of_all_outcomes():
    metrics = Metrics()
    for _ in range(KEPT - 1):
        metrics.count("error", 5.0)
    for _ in range(KEPT):
        metrics.count("ok", 0.001)
    trips = metrics.round_trip()
    assert (trips.p50, trips.maximum, trips.count) == (0.001, 0.001, 2 * KEPT - 1)


def test_ctrl_c_while_adding_up_loses_and_doubles_nothing():
    """At each call in it and behind it, which is where a signal's handler can run."""
    for step in range(1, 40):
        metrics = Metrics()
        for _ in range(10):
            metrics.count("ok", 1.0)
        left = step

        def strike(frame, kind, arg):
            nonlocal left
            if frame.f_code is Metrics._add_up.__code__:
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt

        before = sys.getprofile()
        sys.setprofile(strike)
        try:
            metrics.actions()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(before)
        assert metrics.actions() == {"ok": 10}
        assert metrics.round_trip().total == 10.0


def test_a_count_waits_for_nobody():
    """A thread that adds up may run a signal handler for as long as it likes; the engine thread counts meanwhile."""
    metrics = Metrics()
    ended = threading.Event()

    def count() -> None:
        for _ in range(2 * KEPT):
            metrics.count("ok", 0.1)
        ended.set()

    thread = threading.Thread(target=count)
    with metrics._lock:  # white box: as a handler that interrupts stats() finds it
        thread.start()
        assert ended.wait(10)
    thread.join()
    assert metrics.actions() == {"ok": 2 * KEPT}


def test_from_many_threads():
    metrics = Metrics()
    threads = [threading.Thread(target=lambda: [metrics.count("ok", 1.0) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.actions() == {"ok": 8000}
    assert metrics.round_trip().total == 8000


def test_events_lost_by_all():
    each = SubscriptionStats("EventStream", "any event", 10, 3, 0, 100)
    assert Stats(subscriptions=(each, each)).events_lost == 6
    assert Stats().events_lost == 0
