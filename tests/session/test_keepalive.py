"""Finding a peer that is gone without a word."""

from __future__ import annotations

import threading
import time

import pytest

from pyami_sync.exceptions import ConnectionLost
from pyami_sync.session.keepalive import Keepalive
from pyami_sync.wire.action import Action

from ..connection.test_connection import Rig, fill
from ..support.peer import eventually


@pytest.fixture
def rig():
    made = Rig("socket").start()
    yield made
    made.close()


def watch(rig, interval=0.05, timeout=0.1):
    keepalive = Keepalive(rig.connection, interval, timeout)
    keepalive.start()
    return keepalive


def answer(rig, action):
    rig.says(f"Response: Success\nActionID: {action['ActionID']}\nPing: Pong\n\n")


def lost(rig):
    return eventually(lambda: rig.connection.close_exc)


def test_a_quiet_peer_is_asked_and_may_answer(rig):
    keepalive = watch(rig)
    for _ in range(3):
        ping = rig.hears()
        assert ping["Action"] == "Ping"
        answer(rig, ping)
    assert rig.connection.close_exc is None
    keepalive.stop()


def test_a_peer_that_does_not_answer_is_lost_in_interval_plus_timeout(rig):
    started = rig.connection.pending.answered_at  # the interval begins here, not when the watch does
    watch(rig)
    assert rig.hears()["Action"] == "Ping"
    exc = lost(rig)
    assert isinstance(exc, ConnectionLost)
    assert "a Ping was not answered" in str(exc)
    assert 0.15 <= time.monotonic() - started < 5
    eventually(lambda: rig.owner.ends)


def test_pending_calls_learn_of_it(rig):
    future = rig.submit(timeout=0.12)
    rig.hears()
    watch(rig)
    assert isinstance(future.exception(10), ConnectionLost)


def test_bytes_that_arrive_buy_time_for_the_answer(rig):
    """The answer may wait behind a flood of events; bytes alone are no sign that the server still serves."""
    watch(rig, interval=0.1, timeout=0.2)
    ping = rig.hears()
    started = time.monotonic()
    while time.monotonic() < started + 0.3:  # longer than the timeout
        rig.says("Event: A\n\n")
        time.sleep(0.01)
    assert rig.connection.close_exc is None
    answer(rig, ping)
    assert rig.hears()["Action"] == "Ping"  # asked again, later: it was not lost


def test_bytes_without_an_answer_are_no_sign_of_life(rig):
    """``Response: Follows`` without its end marker swallows every later message."""
    watch(rig, interval=0.1, timeout=0.1)
    rig.says("Response: Follows\nPrivilege: Command\nno end\n\n")
    stop = threading.Event()

    def go_on() -> None:
        try:
            while not stop.wait(0.01):
                rig.says("Event: A\n\n")
        except OSError:
            pass  # the connection has been ended meanwhile, as it should be

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        assert "bytes arrive, but a Ping was not answered" in str(lost(rig))
    finally:
        stop.set()
        thread.join()


def test_a_peer_that_answers_is_not_asked(rig):
    keepalive = watch(rig, interval=0.2)
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        future = rig.submit(Action("Busy"))
        answer(rig, rig.hears())
        assert future.result(10).ok
    keepalive.stop()
    rig.submit(Action("Mark"))
    assert rig.hears()["Action"] == "Mark"


def test_an_action_with_more_time_holds_the_verdict_back(rig):
    # A synchronous Originate keeps the Ping behind it waiting for as long as it rings.
    started = time.monotonic()
    future = rig.submit(Action("Originate"), timeout=0.6)
    originate = rig.hears()
    watch(rig, interval=0.05, timeout=0.05)
    assert rig.hears()["Action"] == "Ping"
    time.sleep(0.2)
    assert rig.connection.close_exc is None
    answer(rig, originate)
    assert future.result(10).ok
    exc = lost(rig)  # but then nothing more came, the answer to the next Ping included
    assert isinstance(exc, ConnectionLost)
    assert time.monotonic() - started >= 0.25


def test_but_not_for_ever(rig):
    rig.submit(Action("Originate"), timeout=0.3)
    started = time.monotonic()
    watch(rig, interval=0.05, timeout=0.05)
    lost(rig)
    assert time.monotonic() - started >= 0.25


def test_an_action_without_a_limit_holds_it_back_without_a_limit(rig):
    future = rig.submit(Action("Originate"), timeout=None)
    originate = rig.hears()
    watch(rig, interval=0.02, timeout=0.02)
    assert rig.hears()["Action"] == "Ping"
    time.sleep(0.2)
    assert rig.connection.close_exc is None
    answer(rig, originate)
    assert future.result(10).ok
    lost(rig)


def test_a_peer_that_takes_nothing_more_is_found_too(rig, monkeypatch):
    # Thousands of frames wait already, so that the Ping itself would have to wait for room.
    rig.connection.outbox.high_water = 5
    fill(rig, timeout=0.1)
    while not rig.connection.crowded:
        rig.submit(timeout=0.1)
    watch(rig)
    assert "a Ping was not answered" in str(lost(rig))


def test_stopping(rig):
    keepalive = watch(rig, interval=60)
    eventually(lambda: [entry for entry in rig.engine._timers._heap if entry[2].callback])
    keepalive.stop()
    keepalive.stop()
    assert not [entry for entry in rig.engine._timers._heap if entry[2].callback]
    rig.submit(Action("Mark"))
    assert rig.hears()["Action"] == "Mark"


def test_stopping_after_the_question(rig):
    keepalive = watch(rig, interval=0.02, timeout=0.02)
    rig.hears()
    keepalive.stop()
    time.sleep(0.1)
    assert rig.connection.close_exc is None


def test_a_connection_that_is_over_is_left_alone(rig):
    watch(rig, interval=0.02)
    rig.connection.close()
    eventually(lambda: rig.owner.ends)
    found: list[list[object]] = []

    def look() -> None:  # on the engine thread, where no timer is half run
        found.append([entry for entry in rig.engine._timers._heap if entry[2].callback])

    rig.engine.call_at(time.monotonic() + 0.05, look)  # after two intervals
    eventually(lambda: found)
    assert found == [[]]
