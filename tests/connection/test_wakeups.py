"""Callers of one connection, woken one after the other."""

from __future__ import annotations

import threading

import pytest

from pyami_sync.connection import wakeups as wakeups_module
from pyami_sync.connection.request import BlockingRequest
from pyami_sync.connection.wakeups import WakeChain
from pyami_sync.wire.action import Action

from ..support.peer import eventually
from ..support.rig import PING, Rig


class Clock:
    """In place of the engine: runs what is due when it is told to."""

    def __init__(self):
        self.due = []

    def call_at(self, when, callback):
        self.due.append(callback)

    def tick(self):
        due, self.due = self.due, []
        for callback in due:
            callback()


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(wakeups_module, "monotonic", lambda: 100.0)  # however slowly a test runs
    return Clock()


@pytest.fixture
def flushed():
    return []


@pytest.fixture
def relay(clock, flushed):
    return WakeChain(clock, lambda: flushed.append(1))


def batch(count):
    return [BlockingRequest(PING, b"%d" % n, None, None) for n in range(count)]


def woken(calls):
    return [call.wait(False) and (call._done.release() or True) for call in calls]


class TestOrder:
    def test_one_alone_is_woken_at_once(self, relay, clock):
        calls = batch(1)
        relay.start(calls)
        assert woken(calls) == [True]
        assert not relay.waiting
        assert clock.due == []

    def test_who_wakes_up_wakes_the_next(self, relay, flushed):
        calls = batch(3)
        relay.start(calls)
        assert woken(calls) == [True, False, False]
        assert relay.waiting
        relay.pass_on(None)
        assert woken(calls) == [True, True, False]
        relay.pass_on(None)
        assert woken(calls) == [True, True, True]
        assert not relay.waiting
        assert flushed == []
        relay.pass_on(None)  # the last one
        assert flushed == [1]

    def test_who_is_quicker_than_its_waker_counts_as_woken(self, relay, flushed):
        calls = batch(2)
        relay.waiting.extend(calls)
        relay.pass_on(calls[0])
        assert woken(calls) == [False, True]
        assert not relay.waiting
        relay.waiting.append(calls[1])
        relay.pass_on(calls[1])  # the last one: what the first has left is not to wait
        assert flushed == [1]

    def test_those_of_a_later_batch_come_behind(self, relay):
        one, two = batch(2), batch(1)
        relay.start(one)
        relay.start(two)
        relay.pass_on(None)
        assert woken(one + two) == [True, True, False]
        relay.pass_on(None)
        assert woken(two) == [True]


class TestWhoDoesNotWakeUp:
    def test_the_engine_wakes_the_others_and_sends(self, relay, clock, flushed):
        calls = batch(4)
        relay.start(calls)
        relay.pass_on(None)
        clock.tick()
        assert woken(calls) == [True, True, False, False]  # it went on since the engine began to look
        clock.tick()
        assert woken(calls) == [True] * 4
        assert flushed == [1]
        assert clock.due == []

    def test_what_they_left_is_sent(self, relay, clock, flushed):
        relay.start(batch(2))
        relay.pass_on(None)
        clock.tick()
        assert flushed == []
        clock.tick()
        assert flushed == [1]

    def test_then_all_are_woken_at_once_for_a_while(self, relay, clock, monkeypatch):
        monkeypatch.setattr(wakeups_module, "REST", 2)
        relay.start(batch(2))
        clock.tick()
        for _ in range(2):
            calls = batch(3)
            relay.start(calls)
            assert woken(calls) == [True] * 3
        calls = batch(3)
        relay.start(calls)
        assert woken(calls) == [True, False, False]

    def test_those_who_wake_up_late_do_not_go_on_one_by_one(self, relay, clock, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(wakeups_module, "monotonic", lambda: now[0])
        calls = batch(30)
        relay.start(calls)
        for _ in range(10):
            now[0] += 0.0001
            relay.pass_on(None)
        clock.tick()
        assert woken(calls).count(True) == 11
        for _ in range(2):
            now[0] += 0.0006
            relay.pass_on(None)
        for _ in range(3):
            now[0] += 0.001
            relay.pass_on(None)
            clock.tick()
        assert all(woken(calls))

    def test_one_engine_timer_is_enough(self, relay, clock):
        for _ in range(5):
            relay.start(batch(2))
        assert len(clock.due) == 1


class TestEnd:
    def test_ctrl_c_while_another_is_woken(self, relay):
        class Struck(BlockingRequest):
            __slots__ = ()

            def wake(self):
                raise KeyboardInterrupt

        calls = [*batch(1), Struck(PING, b"s", None, None), *batch(1)]
        relay.start(calls)
        with pytest.raises(KeyboardInterrupt):
            relay.pass_on(None)
        assert relay.waiting  # it is still there for the engine to wake
        calls[1].__class__ = BlockingRequest
        relay.stop()
        assert woken(calls) == [True] * 3

    def test_waking_twice_is_no_error(self):
        (call,) = batch(1)
        call.outcome = ValueError()
        call.wake()
        call.wake()
        assert call.wait(False)

    def test_all_are_woken(self, relay):
        calls = batch(3)
        relay.start(calls)
        relay.stop()
        assert woken(calls) == [True] * 3
        later = batch(3)
        relay.start(later)
        assert woken(later) == [True] * 3


def answers(count, rig):
    return "".join(f"Response: Success\nActionID: {rig.hears()['ActionID']}\n\n" for _ in range(count))


@pytest.fixture(params=["socket", "stream"])
def rig(request):
    made = Rig(request.param).start()
    yield made
    made.close()


class TestOnAConnection:
    def test_callers_that_never_come_back(self, rig, monkeypatch):
        monkeypatch.setattr(wakeups_module, "PATIENCE", 3600.0)  # the engine does not help
        for _ in range(3):
            outcomes = [rig.begin() for _ in range(5)]
            rig.says(answers(5, rig))
            assert all(outcome.get().ok for outcome in outcomes)

    def test_what_a_caller_leaves_to_the_next_is_sent(self, rig, monkeypatch):
        """The first comes back while the second waits to be woken, and the second does something else."""
        monkeypatch.setattr(wakeups_module, "PATIENCE", 3600.0)
        done = threading.Event()

        def twice():
            rig.connection.call(PING, 15.0)
            rig.connection.call(Action("Again"), 15.0)
            done.set()

        thread = threading.Thread(target=twice)
        thread.start()
        said = answers(1, rig)
        other = rig.begin()
        rig.says(said + answers(1, rig))
        assert other.get().ok
        again = rig.hears()
        assert again["Action"] == "Again"
        rig.says(f"Response: Success\nActionID: {again['ActionID']}\n\n")
        assert done.wait(15)
        thread.join()

    def test_the_end_of_the_connection_wakes_those_who_have_their_answer(self, rig, monkeypatch):
        monkeypatch.setattr(wakeups_module, "PATIENCE", 3600.0)
        outcomes = [rig.begin() for _ in range(5)]
        rig.says(answers(5, rig))
        eventually(lambda: any(outcome.done.is_set() for outcome in outcomes))
        rig.connection.close()
        assert all(outcome.get().ok for outcome in outcomes)

    def test_whose_time_is_up_before_its_turn_comes(self, rig, monkeypatch):
        """It has its answer, and is the next to be woken."""
        monkeypatch.setattr(wakeups_module, "PATIENCE", 3600.0)
        relay = rig.connection._wakeups
        if relay._flush is None:
            pytest.skip("no relay where sending may block")
        rig.connection._reading._poll = None  # nor reads it the answer itself
        outcome = rig.begin(timeout=0.1)
        action_id = rig.hears()["ActionID"]
        relay.waiting.append(batch(1)[0])
        rig.says(f"Response: Success\nActionID: {action_id}\n\n")
        eventually(lambda: len(relay.waiting) == 2)
        relay.waiting.popleft()
        rig.pool[-1].join(0.5)  # longer than its time
        assert len(relay.waiting) == 1
        relay.pass_on(None)
        assert outcome.get().ok

    def test_a_future_is_sent_at_once(self, rig, monkeypatch):
        monkeypatch.setattr(wakeups_module, "PATIENCE", 3600.0)
        outcomes = [rig.begin() for _ in range(3)]
        rig.says(answers(3, rig))
        eventually(lambda: any(outcome.done.is_set() for outcome in outcomes))
        future = rig.submit()
        rig.says(answers(1, rig))
        assert future.result(15).ok
        rig.connection.close()
