"""The injector itself."""

from __future__ import annotations

import threading

import pytest

from .injection import Hang, Injected, Injector


def test_an_exception_in_a_wait():
    injector, lock = Injector(), threading.Lock()
    lock.acquire()
    outcome = injector.strike(lambda: lock.acquire(timeout=20))
    assert isinstance(outcome.error, Injected)
    assert (outcome.struck, outcome.interrupted, injector.strikes) == (True, True, 1)


def test_a_call_that_ends_before():
    outcome = Injector().strike(lambda: 5, delay=60)
    assert (outcome.value, outcome.error, outcome.struck) == (5, None, False)


def test_an_action_that_lets_the_call_go_on():
    lock = threading.Lock()
    lock.acquire()
    outcome = Injector().strike(lambda: lock.acquire(timeout=20), lock.release)
    assert (outcome.value, outcome.error, outcome.struck) == (True, None, True)


def test_a_hang_is_shown_with_all_stacks():
    lock = threading.Lock()
    lock.acquire()
    with pytest.raises(Hang, match="MainThread"):
        Injector(limit=0.05).strike(lambda: lock.acquire(timeout=20), lambda: None)
