"""The thread of a simulator: order, timers that keep their own time, its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from pyami_sync.testing import Simulator
from pyami_sync.testing.flow import Signal, Steps, Task
from pyami_sync.testing.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop("pyami-test")
    yield made
    made.close()


def test_calls_keep_their_order(loop: Loop) -> None:
    seen: list[int] = []
    for number in range(2000):
        loop.call(lambda number=number: seen.append(number))  # type: ignore[misc]
    assert loop.run(lambda: list(seen)) == list(range(2000))


def test_run_gives_results_and_raises(loop: Loop) -> None:
    assert loop.run(lambda: threading.current_thread().name) == "pyami-test"
    assert loop.run(lambda: loop.run(lambda: 5)) == 5
    with pytest.raises(ZeroDivisionError):
        loop.run(lambda: 1 / 0)


def test_timers_count_from_when_they_were_due(loop: Loop) -> None:
    done = threading.Event()
    seen: list[str] = []

    def first() -> None:
        # However late this runs, what it sets comes before what was due later than that.
        loop.call_later(0.01, lambda: seen.append("first's"))

    def begin() -> None:
        loop.call_later(0.01, first)
        loop.call_later(0.021, lambda: seen.append("second"))
        loop.call_later(0.03, done.set)
        threading.Event().wait(0.05)

    loop.run(begin)
    assert done.wait(5)
    assert seen == ["first's", "second"]


def test_cancelled_timer(loop: Loop) -> None:
    seen: list[str] = []
    done = threading.Event()
    loop.run(lambda: loop.call_later(0.001, lambda: seen.append("x")).cancel())
    loop.run(lambda: loop.call_later(0.01, done.set))
    assert done.wait(5)
    assert seen == []


def test_a_callback_that_fails_is_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "pyami_sync.testing"):
        loop.call(lambda: 1 / 0)
        loop.run(lambda: None)
    assert "a callback of pyami-test failed" in caplog.text


def test_run_after_close() -> None:
    loop = Loop()
    loop.close()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run(lambda: None)


def test_shared_loop(loop: Loop) -> None:
    with Simulator(loop=loop) as first, Simulator(loop=loop) as second:
        assert first.loop is second.loop
        assert first.port != second.port
    assert loop.run(lambda: 1) == 1


def test_tasks(loop: Loop) -> None:
    seen: list[object] = []
    signal, done = Signal(), threading.Event()

    def steps() -> Steps[None]:
        try:
            seen.append((yield 0.001))
            seen.append((yield signal))
            seen.append((yield (signal, 0.001)))
            yield signal
        finally:
            seen.append("end")
            done.set()

    task = loop.run(lambda: Task(loop, steps()).start())
    loop.run(lambda: loop.call_later(0.02, signal.fire))
    loop.run(lambda: loop.call_later(0.05, task.stop))
    assert done.wait(5)
    assert seen == [False, True, False, "end"]
    assert task.stopped


def test_a_task_may_stop_itself(loop: Loop) -> None:
    seen: list[str] = []

    def steps() -> Steps[None]:
        try:
            task.stop()
            seen.append("on")
            yield 0.0
            seen.append("never")
        finally:
            seen.append("end")

    task = Task(loop, steps())
    loop.run(task.start)
    assert seen == ["on", "end"]
