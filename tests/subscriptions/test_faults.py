"""What signal handlers, finalizers, shortages of threads and of memory do to those who take events."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, as_completed, wait

import pytest

from pyami_sync import EventsLost
from pyami_sync.engine.deadline import Deadline
from pyami_sync.engine.engine import Engine
from pyami_sync.engine.futures import DetachedFuture
from pyami_sync.exceptions import ConnectionLost
from pyami_sync.subscriptions import dispatch, subscribers
from pyami_sync.subscriptions.dispatch import Subscriptions
from pyami_sync.subscriptions.listener import Listener
from pyami_sync.wire.message import Event
from pyami_sync.wire.origin import Origin

from ..support.injection import Injected, Injector, injections


class Station(Listener):
    """A listener with an engine; the test publishes on the engine thread, as a connection does."""

    def __init__(self, callback_threads=32):
        self.engine = Engine("pyami-test", callback_threads)
        self.engine.start()
        self.over = False
        self.errors = []
        self.subscriptions = Subscriptions(
            self.engine.submit,
            lambda name: Event,
            lambda *args: self.errors.append(args),
            self.engine.check_thread,
        )

    def _default_timeout(self):
        return 10.0

    def _over(self):
        return self.over

    def publish(self, *numbers):
        frames = [b"Event: Tick\r\nN: %d" % n for n in numbers]
        self.engine.call_soon(lambda: self.subscriptions.publish(frames, Origin()))

    @contextlib.contextmanager
    def ticking(self):
        """Publish an event every 0.2 ms: who subscribes late gets the next."""
        on = threading.Event()

        def tick():
            if not on.is_set():
                self.publish(1)
                self.engine.call_at(time.monotonic() + 2e-4, tick)

        self.engine.call_soon(tick)
        try:
            yield
        finally:
            on.set()

    def close(self):
        self.over = True
        self.subscriptions.finish(None)
        self.engine.close()


@pytest.fixture
def station():
    made = Station()
    yield made
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pyami-test")]


def eventually(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.001)


def alive(station):
    """Check that events, timers and callbacks get through."""
    done = threading.Event()
    station.engine.call_at(time.monotonic(), done.set)
    assert done.wait(10), "timers stand still"
    seen = threading.Event()
    with station.on("Tick", lambda event: seen.set()), station.events("Tick") as stream:
        station.publish(1)
        assert stream.get(10)["N"] == "1"
        assert seen.wait(10), "callbacks stand still"


# An exception that a signal handler raises while the collector closes a generator is only reported, by Python itself.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestSignals:
    def strike(self, station, call, act=None, usual=300, check=alive):
        injector = Injector(seed=7, latest=1e-3)
        for n in range(injections(usual)):
            outcome = injector.strike(call, act)
            assert outcome.error is None or outcome.interrupted, repr(outcome.error)
            if n % 50 == 0:
                check(station)
        check(station)
        assert injector.strikes

    def test_stream(self, station):
        def call():
            with station.events("Tick") as stream:
                station.publish(1, 2)
                assert stream.get(10)["N"] in "12"
                stream.get(10)

        self.strike(station, call)

    def test_wait_for(self, station):
        with station.ticking():
            self.strike(station, lambda: station.wait_for("Tick", timeout=10))

    @pytest.mark.parametrize("where", [None, {"N": "2"}, lambda event: event["N"] == "2"])
    def test_expect(self, station, where):
        def call():
            with station.expect("Tick", where=where) as expected:
                station.publish(1, 2)
            return expected.result(0)

        self.strike(station, call)

    def test_callbacks(self, station):
        def call():
            seen = threading.Event()
            with station.on("Tick", lambda event: seen.set()):
                station.publish(1)
                assert seen.wait(10)

        self.strike(station, call)

    def test_futures(self, station):
        def call():
            futures = [DetachedFuture(station.engine.submit) for _ in range(3)]
            for each in futures:
                station.engine.call_soon(lambda each=each: each.resolve(1))
            assert futures[0].result(10) == 1
            assert len(wait(futures, 10).done) == 3
            futures[1].cancel()

        self.strike(station, call)

    def test_timers(self, station):
        def call():
            for _ in range(20):
                station.engine.call_at(time.monotonic() + 5, lambda: None).cancel()

        self.strike(station, call)

    def test_the_end_in_a_handler_ends_a_stream(self):
        injector = Injector(seed=3, latest=2e-3)
        for _ in range(injections(100)):
            station = Station()

            def call(station=station):
                with station.events() as stream:
                    return list(stream)

            outcome = injector.strike(call, station.close)
            if not outcome.struck:
                station.close()
            assert outcome.error is None
            assert outcome.value == []


def test_a_generator_that_the_collector_closes():
    station = Station()

    def listen():
        with station.events() as stream:
            yield from stream

    def churn():
        for _ in range(200):
            generator = listen()
            holder = [generator]
            holder.append(holder)
            next(generator)
            del generator, holder
            with station.events("Tock"), station.expect("Tock") as expected:
                expected.cancel()

    threshold = gc.get_threshold()
    thread = threading.Thread(target=churn, daemon=True)
    gc.set_threshold(1, 1, 1)
    try:
        with station.ticking():
            thread.start()
            thread.join(60)
        assert not thread.is_alive(), "a finalizer waits for its own thread"
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert len(station.subscriptions) == 0
    station.close()


def test_the_end_of_a_shortage_of_threads(station, monkeypatch):
    seen = []
    station.on("Tick", lambda event: seen.append(event["N"]))
    refused = threading.Event()
    start = threading.Thread.start

    def refuse(thread):
        if "callback" in thread.name:
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        station.publish(1)
        assert refused.wait(10)
    eventually(lambda: seen == ["1"])  # without another event
    station.publish(2)
    eventually(lambda: seen == ["1", "2"])


def test_memory_that_runs_out_at_any_step_of_publishing():
    jobs, errors = [], []
    files = (dispatch.__file__, subscribers.__file__)

    for step in range(400):
        subscriptions = Subscriptions(jobs.append, lambda name: Event, lambda *args: errors.append(args), str)
        station = Listener()
        station.subscriptions = subscriptions
        station._over = lambda: False
        seen = []
        station.on("Tick", lambda event, seen=seen: seen.append(event["N"]))
        streams = [station.events("Tick"), station.events(), station.events(where={"N": "1"})]
        left = [step]

        def trace(frame, kind, arg, left=left):
            if frame.f_code.co_filename not in files:
                return None
            if kind == "line":
                left[0] -= 1
                if left[0] == -1:
                    raise MemoryError
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            subscriptions.publish([b"Event: Tick\r\nN: 1"], Origin())
        except MemoryError:
            pass  # in the line that reports another one, or before anything was begun
        finally:
            sys.settrace(before)
        subscriptions.publish([b"Event: Tick\r\nN: 1"], Origin())
        while jobs:
            jobs.pop(0)()
        for stream in streams:
            got = []
            while stream.pending:
                try:
                    got.append(stream.get(0)["N"])
                except EventsLost:
                    got.append("lost")
            assert got[-1:] == ["1"], f"deaf after a MemoryError at line {step}"
        assert seen[-1:] == ["1"], f"a callback is deaf after a MemoryError at line {step}"
        if left[0] >= 0:
            break
    else:
        pytest.fail("publishing takes more lines than were tried")
    assert step > 30


def test_every_callback_thread_waits_for_a_predicate():
    station = Station(callback_threads=2)
    results = []
    both = threading.Barrier(2)

    def callback(event):
        with station.expect("Tick", where=lambda event: event["N"] == "7") as expected:
            both.wait(10)
            results.append(expected.result(10)["N"])

    subscriptions = [station.on("Tick", callback, where={"N": "1"}) for _ in range(2)]
    station.publish(1)
    eventually(lambda: len(station.subscriptions) == 4 and both.n_waiting == 0)
    station.publish(3, 7)
    eventually(lambda: results == ["7", "7"])
    for each in subscriptions:
        each.cancel()
    station.close()


class TestFutures:
    def test_resolving_does_not_wait_for_the_standard_condition(self):
        jobs = []
        future = DetachedFuture(jobs.append)
        with future._condition:  # as an interrupted wait() can leave it
            thread = threading.Thread(target=future.resolve, args=(5,), daemon=True)
            thread.start()
            thread.join(10)
            assert not thread.is_alive()
            assert future.result(0) == 5
            assert future.done()
        (settle,) = jobs
        settle()
        assert wait([future], 0).done == {future}

    def test_a_finalizer_that_cancels_while_a_result_is_waited_for(self):
        future = DetachedFuture(lambda job: job())
        with future._condition:
            assert future.cancel()
            assert future.cancelled()

    @pytest.mark.parametrize("end", ["resolve", "fail", "cancel"])
    def test_the_standard_functions(self, station, end):
        futures = [DetachedFuture(station.engine.submit) for _ in range(4)]

        def finish():
            for each in futures:
                if end == "resolve":
                    each.resolve(1)
                elif end == "fail":
                    each.fail(ConnectionLost("reset"))
                else:
                    each.cancel()

        station.engine.call_at(time.monotonic() + 0.02, finish)
        assert wait(futures, 10, FIRST_COMPLETED).done
        assert len(wait(futures, 10).done) == 4
        assert set(as_completed(futures, 10)) == set(futures)

    def test_a_timeout_of_centuries(self, station):
        future = DetachedFuture(station.engine.submit)
        station.engine.call_at(time.monotonic() + 0.01, lambda: future.resolve(1))
        assert future.result(1e10) == 1
        with station.ticking():
            assert station.wait_for("Tick", timeout=1e10)["N"] == "1"


def test_a_deadline_is_bounded():
    assert Deadline(1e10).remaining() < threading.TIMEOUT_MAX
    assert issubclass(Injected, Exception)
