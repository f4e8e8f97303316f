"""Threads that wait for a condition, and those that notify them."""

from __future__ import annotations

import signal
import threading
import time

from pyami_sync.engine.waiting import Waiters


def test_returns_at_once_when_ready() -> None:
    waiters = Waiters()
    assert waiters.wait(lambda: True, 0)
    assert len(waiters) == 0


def test_times_out_and_leaves_nothing_behind() -> None:
    waiters = Waiters()
    assert not waiters.wait(lambda: False, 0.01)
    assert len(waiters) == 0


def test_accepts_a_timeout_longer_than_a_lock_can_wait() -> None:
    waiters = Waiters()
    state: list[int] = []
    thread = threading.Thread(target=lambda: waiters.wait(lambda: state, 1e10))
    thread.start()
    state.append(1)
    while thread.is_alive():
        waiters.notify_all()
        thread.join(0.001)


def test_every_waiter_sees_every_change() -> None:
    waiters = Waiters()
    numbers = [0]
    seen: list[int] = []

    def follow() -> None:
        for wanted in range(1, 101):
            assert waiters.wait(lambda wanted=wanted: numbers[0] >= wanted, 30)
        seen.append(numbers[0])

    threads = [threading.Thread(target=follow) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(1, 101):
        numbers[0] = number
        waiters.notify_all()
    for thread in threads:
        thread.join(30)
    assert seen == [100] * 8
    assert len(waiters) == 0


def test_an_interrupted_waiter_does_not_block_who_notifies() -> None:
    waiters = Waiters()

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    def wait(seconds: float) -> None:
        # A function of its own: CPython 3.13 does not count the jump at a loop's end to the try block around the loop.
        end = time.monotonic() + 5
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while time.monotonic() < end:
            waiters.wait(lambda: False, 0.0001)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for n in range(300):
            try:
                wait(0.0005 + n * 1e-6)
            except Interrupted:
                pass
            waiters.notify_all()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert waiters.wait(lambda: True)
