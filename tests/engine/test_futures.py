"""Futures that run no user code on the thread that resolves them."""

from __future__ import annotations

import concurrent.futures
import threading

import pytest

from pyami_sync.engine.futures import DetachedFuture, ExpectedEvent
from pyami_sync.exceptions import ConnectionClosed, WaitTimeout


@pytest.fixture
def jobs():
    return []


@pytest.fixture
def future(jobs):
    return DetachedFuture(jobs.append)


def test_result(future):
    assert future.resolve(5)
    assert future.result(0) == 5


def test_exception(future):
    exc = ValueError()
    assert future.fail(exc)
    assert future.exception(0) is exc


def test_done_callbacks_run_where_jobs_run(future, jobs):
    seen = []
    future.add_done_callback(seen.append)
    future.resolve(5)
    assert seen == []
    jobs.pop()()
    assert seen == [future]


def test_a_done_callback_on_one_that_is_done_runs_here(future, jobs):
    future.resolve(5)
    seen = []
    future.add_done_callback(seen.append)
    assert seen == [future]
    assert jobs == []


def test_a_done_callback_that_raises_is_logged(future, jobs, caplog):
    future.add_done_callback(lambda _: 1 / 0)
    future.resolve(5)
    jobs.pop()()
    assert "ZeroDivisionError" in caplog.text


def test_observers_run_at_once(future, jobs):
    seen = []
    future.observe(lambda: seen.append(future.result(0)))
    future.resolve(5)
    assert (seen, jobs) == ([5], [])


class TestCancelling:
    def test_tells(self, jobs):
        told = []
        future = DetachedFuture(jobs.append, lambda: told.append(1))
        assert future.cancel()
        assert told == [1]
        assert future.cancelled()
        assert not future.resolve(5)
        assert not future.fail(ValueError())
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(0)

    def test_too_late(self, jobs):
        told = []
        future = DetachedFuture(jobs.append, lambda: told.append(1))
        future.resolve(5)
        assert not future.cancel()
        assert told == []

    def test_twice(self, future, caplog):
        assert future.cancel()
        assert future.cancel()
        assert not future.resolve(1)
        assert not future.resolve(1)
        assert caplog.text == ""

    def test_runs_done_callbacks_where_jobs_run(self, future, jobs):
        seen = []
        future.add_done_callback(seen.append)
        future.cancel()
        assert seen == []
        jobs.pop()()
        assert seen == [future]

    def test_wakes_who_waits_for_several(self, future):
        started = threading.Event()
        found = []

        def wait():
            started.set()
            found.append(concurrent.futures.wait([future], timeout=20))

        waiter = threading.Thread(target=wait)
        waiter.start()
        started.wait()
        while not future._waiters:  # until it has looked
            pass
        future.cancel()
        waiter.join(10)
        assert not waiter.is_alive()
        assert found[0].done == {future}

    def test_as_completed(self, future):
        future.cancel()
        assert list(concurrent.futures.as_completed([future], timeout=0)) == [future]

    def test_racing_with_the_answer(self, jobs):
        for _ in range(300):
            future = DetachedFuture(jobs.append)
            barrier = threading.Barrier(2)
            outcome = {}

            def cancel(future=future, barrier=barrier, outcome=outcome):
                barrier.wait()
                outcome["cancelled"] = future.cancel()

            thread = threading.Thread(target=cancel)
            thread.start()
            barrier.wait()
            outcome["resolved"] = future.resolve(5)
            thread.join()
            assert outcome["cancelled"] is not outcome["resolved"]
            assert future.done()


class TestExpectedEvent:
    def test_the_event(self, jobs):
        future = ExpectedEvent(jobs.append, "Hangup")
        future.resolve("event")
        assert future.result(timeout=0) == "event"

    @pytest.mark.parametrize("timeout", [0, 0.01])
    def test_too_long(self, jobs, timeout):
        future = ExpectedEvent(jobs.append, "Hangup")
        with pytest.raises(WaitTimeout, match="matching Hangup") as caught:
            future.result(timeout)
        assert caught.value.timeout == timeout
        assert caught.value.__cause__ is None

    def test_the_end_of_the_session(self, jobs):
        future = ExpectedEvent(jobs.append, "Hangup")
        future.fail(ConnectionClosed())
        with pytest.raises(ConnectionClosed):
            future.result(0)

    def test_a_timeout_error_that_is_its_outcome(self, jobs):
        future = ExpectedEvent(jobs.append, "Hangup")
        future.fail(TimeoutError("of the network"))
        with pytest.raises(TimeoutError, match="of the network"):
            future.result(0)
