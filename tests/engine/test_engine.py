"""The thread that serves connections: sockets, jobs, timers; what breaks there breaks nothing else."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from unittest.mock import Mock

import pytest

from pyami_sync.engine import launch as launch_module
from pyami_sync.engine.engine import Engine, _after_fork, _at_exit, engines
from pyami_sync.engine.poller import READ, WRITE, make_poller
from pyami_sync.exceptions import ConcurrencyError, ConnectionClosed

from ..support.peer import eventually


@pytest.fixture
def engine():
    made = Engine("pyami-test", callback_threads=4)
    made.start()
    yield made
    made.close(10)


def on_thread(engine, job):
    """Run a job on the engine thread and give what it gave."""
    done, found = threading.Event(), []

    def run():
        try:
            found.append(job())
        except BaseException as exc:
            found.append(exc)
        done.set()

    engine.call_soon(run)
    assert done.wait(10)
    return found[0]


class Link:
    """Something to serve."""

    interest = READ

    def __init__(self):
        self.mine, self.other = socket.socketpair()
        self.mine.setblocking(False)
        self.read, self.written, self.breaks = b"", 0, []
        self.fail = None
        self.threads = set()

    def fileno(self):
        return self.mine.fileno()

    def readable(self):
        self.threads.add(threading.current_thread().name)
        if self.fail is not None:
            raise self.fail
        try:
            self.read += self.mine.recv(100)
        except BlockingIOError:
            pass

    def writable(self):
        self.written += 1

    def broken(self, exc):
        self.breaks.append(exc)

    def close(self):
        self.mine.close()
        self.other.close()


@pytest.fixture
def link():
    made = Link()
    yield made
    made.close()


@pytest.mark.promise(9)
class TestLife:
    def test_threads_start_with_use_and_end_with_close(self):
        engine = Engine("pyami-test")
        assert engine._thread is None
        engine.start()
        engine.start()
        thread = engine._thread
        assert thread.name == "pyami-test-engine"
        assert thread.daemon
        engine.close()
        engine.close()
        assert not thread.is_alive()
        assert engine.closed
        with pytest.raises(ConnectionClosed):
            engine.start()

    def test_closing_one_that_never_ran(self):
        engine = Engine("pyami-test")
        engine.close()
        assert engine.closed

    def test_closing_while_an_interrupted_thread_has_begun_it(self, monkeypatch):
        """An exception of a signal handler right behind the start of the thread that starts the engine thread."""
        engine, go_on, closed = Engine("pyami-test"), threading.Event(), threading.Event()
        start_new_thread, make_poller = launch_module.start_new_thread, launch_module.make_poller

        def interrupted(*args):
            start_new_thread(*args)
            raise OverflowError

        def held_up():
            assert go_on.wait(10)
            return make_poller()

        monkeypatch.setattr(launch_module, "start_new_thread", interrupted)
        monkeypatch.setattr(launch_module, "make_poller", held_up)
        with pytest.raises(OverflowError):
            engine.start()
        eventually(lambda: engine._launches[None]._begun)
        closing = threading.Thread(target=lambda: (engine.close(), closed.set()))
        closing.start()
        eventually(lambda: engine.closed)
        go_on.set()
        assert closed.wait(10)
        closing.join()
        assert engine._poller._epoll.closed
        assert not engine._thread.is_alive()

    def test_closing_before_it_has_begun(self):
        engine = Engine("pyami-test")
        launch = engine._launches.setdefault(None, launch_module.Launch(engine))
        engine.close()
        launch.begin()
        with pytest.raises(ConnectionClosed):
            launch.check()
        assert engine._thread is None

    def test_no_descriptor_is_left(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            engine = Engine("pyami-test")
            engine.start()
            held = engine._wakeup._in, engine._wakeup._out
            engine.close()
            assert [each.fileno() for each in held] == [-1, -1]
            del engine
            gc.collect()

    def test_closing_from_the_engine_thread(self, engine):
        assert on_thread(engine, lambda: engine.close(5)) is None
        eventually(lambda: not engine._thread.is_alive())
        engine.close()

    def test_closing_from_a_callback_thread(self, engine):
        done = threading.Event()
        engine.workers.submit(lambda: (engine.close(5), done.set()))
        assert done.wait(10)
        assert not engine._thread.is_alive()

    def test_closing_while_it_is_still_being_started(self, monkeypatch):
        """The descriptors of a thread that starts late on a busy machine must not be closed before it ends."""
        going_on, made = threading.Event(), threading.Event()

        def make_late(*args):
            poller = make_poller(*args)
            made.set()
            assert going_on.wait(10)
            return poller

        monkeypatch.setattr("pyami_sync.engine.launch.make_poller", make_late)
        before = len(os.listdir("/proc/self/fd"))
        engine = Engine("pyami-late")
        starting = threading.Thread(target=engine.start)
        starting.start()
        assert made.wait(10)
        engine.close(timeout=0.01)
        going_on.set()
        starting.join(10)
        thread = engine._thread
        assert thread is not None
        thread.join(10)
        assert not thread.is_alive()
        eventually(lambda: len(os.listdir("/proc/self/fd")) == before)

    def test_closing_from_many_threads_at_once(self, engine):
        threads = [threading.Thread(target=engine.close) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        assert not engine._thread.is_alive()

    def test_a_callback_that_does_not_return_is_named(self, engine, caplog):
        go, begun = threading.Event(), threading.Event()
        engine.workers.submit(lambda: (begun.set(), go.wait(20)))
        assert begun.wait(10)
        busy = engine.workers.threads
        engine.close(0.05)
        assert "pyami-test-callback-1 is still busy" in caplog.text
        go.set()
        for thread in busy:
            thread.join(10)

    def test_jobs_after_the_end_run_at_once(self, engine):
        engine.close()
        ran = []
        engine.call_soon(lambda: ran.append(1))
        assert ran == [1]

    def test_what_its_last_jobs_submit_still_runs(self, engine):
        inside, closing, ran = threading.Event(), threading.Event(), []

        def first():
            inside.set()
            closing.wait(10)

        engine.call_soon(first)
        assert inside.wait(10)
        engine.signal_stop()
        engine.call_soon(lambda: engine.submit(lambda: ran.append(True)))
        closing.set()
        engine.close(10)
        assert ran == [True]

    def test_a_link_that_is_let_go_after_the_end(self, engine, link, caplog):
        engine.register(link)
        on_thread(engine, lambda: None)
        engine.close(10)
        gone = []
        engine.unregister(link, lambda: gone.append(True))
        assert gone == [True]
        assert caplog.text == ""

    def test_jobs_of_one_that_was_closed_before_it_was_started(self):
        engine, ran = Engine("pyami-test"), []
        engine.call_soon(lambda: ran.append("before"))
        engine.close()
        engine.unregister(Link.__new__(Link), lambda: ran.append("behind"))
        assert ran == ["before", "behind"]

    def test_another_thread_may_get_the_identity_of_its_own(self, engine):
        engine.close()
        assert engine.ident is None
        engine.check_thread("waiting for the end")


class TestThreads:
    def test_blocking_calls_are_refused_on_the_engine_thread(self, engine):
        exc = on_thread(engine, lambda: engine.check_thread("Ping"))
        assert isinstance(exc, ConcurrencyError)
        assert "Ping would block thread pyami-test-engine" in str(exc)
        engine.check_thread("Ping")

    def test_from_a_del_that_runs_there(self, engine):
        # The collector runs finalizers on whatever thread allocates.
        caught = []

        class Careless:
            def __del__(self):
                try:
                    engine.check_thread("close")
                except ConcurrencyError as exc:
                    caught.append(exc)

        holder = []  # filled there, too: a free-threaded build runs a finalizer on the thread that made the object
        on_thread(engine, lambda: holder.append(Careless()))
        on_thread(engine, holder.clear)
        assert len(caught) == 1

    def test_jobs_run_in_order(self, engine):
        ran = []
        for n in range(100):
            engine.call_soon(lambda n=n: ran.append(n))
        on_thread(engine, lambda: None)
        assert ran == list(range(100))

    def test_on_thread_runs_at_once_there(self, engine):
        def job():
            ran = []
            engine.on_thread(lambda: ran.append(1))
            return ran

        assert on_thread(engine, job) == [1]

    def test_a_job_that_raises_is_logged(self, engine, caplog):
        engine.call_soon(lambda: 1 / 0)
        on_thread(engine, lambda: None)
        assert "a job of the engine raised" in caplog.text

    def test_jobs_that_ask_for_more_jobs_do_not_starve_the_sockets(self, engine, link):
        over = threading.Event()

        def again():
            if not over.is_set():
                engine.call_soon(again)

        engine.call_soon(again)
        engine.register(link)
        link.other.send(b"hello")
        eventually(lambda: link.read == b"hello")
        over.set()


class TestLinks:
    def test_reading(self, engine, link):
        link.other.send(b"before")
        engine.register(link)
        eventually(lambda: link.read == b"before")
        link.other.send(b" after")
        eventually(lambda: link.read == b"before after")
        assert link.threads == {"pyami-test-engine"}

    def test_writing_only_while_it_is_wanted(self, engine, link):
        engine.register(link)
        on_thread(engine, lambda: None)
        assert link.written == 0
        link.interest = READ | WRITE
        on_thread(engine, lambda: engine.rearm(link))
        eventually(lambda: link.written > 0)
        link.interest = READ
        on_thread(engine, lambda: engine.rearm(link))
        on_thread(engine, lambda: None)
        count = link.written
        link.other.send(b"x")
        eventually(lambda: link.read)
        assert link.written == count

    def test_watching(self, engine, link):
        link.interest = WRITE
        on_thread(engine, lambda: engine.watch(link))
        eventually(lambda: link.written > 0)
        assert link.threads == set()

    def test_unregistering(self, engine, link):
        engine.register(link)
        out = threading.Event()
        engine.unregister(link, out.set)
        assert out.wait(10)
        link.other.send(b"x")
        on_thread(engine, lambda: None)
        assert link.read == b""
        out.clear()
        engine.unregister(link, out.set)  # again: no error
        assert out.wait(10)
        on_thread(engine, lambda: engine.rearm(link))
        on_thread(engine, lambda: None)

    @pytest.mark.parametrize("error", [ValueError("bug"), SystemExit(1), KeyboardInterrupt()])
    def test_one_that_breaks_takes_nothing_with_it(self, engine, link, error, caplog):
        other = Link()
        try:
            engine.register(other)
            engine.register(link)
            link.fail = error
            link.other.send(b"x")
            eventually(lambda: error in link.breaks)
            engine.unregister(link, lambda: None)
            other.other.send(b"fine")
            eventually(lambda: other.read == b"fine")
            assert "serving a connection raised" in caplog.text
        finally:
            other.close()


class TestTimers:
    def test_in_the_order_of_their_time(self, engine):
        ran, done = [], threading.Event()
        now = time.monotonic()
        engine.call_at(now + 0.03, lambda: (ran.append(3), done.set()))
        engine.call_at(now + 0.01, lambda: ran.append(1))
        engine.call_at(now + 0.02, lambda: ran.append(2))
        engine.call_at(now - 1, lambda: ran.append(0))
        assert done.wait(10)
        assert ran == [0, 1, 2, 3]

    def test_never_too_early(self, engine):
        done = threading.Event()
        until = time.monotonic() + 0.05
        late = []
        engine.call_at(until, lambda: (late.append(time.monotonic() - until), done.set()))
        assert done.wait(10)
        assert late[0] >= 0

    def test_a_sooner_one_wakes_the_thread(self, engine):
        engine.call_at(time.monotonic() + 3600, lambda: pytest.fail("too early"))
        on_thread(engine, lambda: None)
        done = threading.Event()
        engine.call_at(time.monotonic() + 0.01, done.set)
        assert done.wait(10)

    @pytest.mark.parametrize("seconds", [1e7, 1e12, float("inf")])
    def test_one_in_the_far_future_ends_nothing(self, engine, seconds):
        engine.call_at(time.monotonic() + seconds, lambda: pytest.fail("too early"))
        on_thread(engine, lambda: None)
        done = threading.Event()
        engine.call_at(time.monotonic() + 0.01, done.set)
        assert done.wait(10)

    def test_one_made_by_a_timer(self, engine):
        done = threading.Event()
        engine.call_at(0, lambda: engine.call_at(time.monotonic() + 0.001, done.set))
        assert done.wait(10)

    def test_cancelling(self, engine):
        ran, done = [], threading.Event()
        timer = engine.call_at(time.monotonic() + 0.02, lambda: ran.append(1))
        timer.cancel()
        timer.cancel()
        engine.call_at(time.monotonic() + 0.03, done.set)
        assert done.wait(10)
        assert ran == []

    def test_a_later_one_wakes_nobody_though_the_earlier_one_was_cancelled(self, engine, monkeypatch):
        """As those of actions do, which are cancelled when they are answered."""
        engine.call_at(time.monotonic() + 3600, lambda: None).cancel()
        for _ in range(2):  # by the second job it has looked at its timers
            on_thread(engine, lambda: None)
        wakes = []
        genuine = engine._timers._wake
        monkeypatch.setattr(engine._timers, "_wake", lambda first: (wakes.append(1), genuine(first)))
        engine.call_at(time.monotonic() + 3601, lambda: None)
        assert not wakes
        done = threading.Event()
        engine.call_at(time.monotonic() + 0.01, done.set)
        assert wakes
        assert done.wait(10)

    def test_cancelled_ones_do_not_pile_up(self, engine):
        keep = [engine.call_at(time.monotonic() + 3600, lambda: None) for _ in range(10)]
        for _ in range(5000):
            engine.call_at(time.monotonic() + 3600, lambda: None).cancel()
        # Late timers wake nobody: the first job ends the engine's wait, and before the second it has sorted them in.
        on_thread(engine, lambda: None)
        timers = on_thread(engine, lambda: list(engine._timers._heap))
        assert len(timers) < 500
        assert sum(entry[2] in keep for entry in timers) == 10

    def test_one_that_raises_is_logged(self, engine, caplog):
        done = threading.Event()
        engine.call_at(0, lambda: 1 / 0)
        engine.call_at(0, done.set)
        assert done.wait(10)
        eventually(lambda: "a timer raised" in caplog.text)

    def test_many_from_many_threads(self, engine):
        ran = []
        threads = [
            threading.Thread(
                target=lambda: [engine.call_at(time.monotonic(), lambda: ran.append(1)) for _ in range(200)]
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        eventually(lambda: len(ran) == 800)


class TestProcesses:
    def test_after_a_fork_the_child_begins_anew(self, engine):
        # What the hook does in a child; the real thing is tested with processes.
        other = Engine("pyami-other")
        other.start()
        thread = other._thread
        others = [each for each in engines if each is not other]
        for each in others:
            engines.discard(each)
        try:
            stopped = threading.Event()
            other.call_soon(stopped.set)
            assert stopped.wait(10)
            other.signal_stop()
            thread.join(10)
            _after_fork()
        finally:
            for each in others:
                engines.add(each)
        assert not other.closed
        assert other._thread is None
        other.start()
        on_thread(other, lambda: None)
        other.close()

    def test_at_exit_all_are_closed(self):
        living = [each for each in engines if not each.closed]
        for each in living:
            engines.discard(each)
        try:
            two = [Engine(f"pyami-exit-{n}") for n in range(2)]
            for each in two:
                each.start()
            _at_exit()
            assert all(each.closed for each in two)
            eventually(lambda: not any(each._thread.is_alive() for each in two))
        finally:
            for each in living:
                engines.add(each)

    @pytest.mark.parametrize("stuck", [False, True])
    def test_the_interpreter_always_ends(self, stuck):
        code = f"""
            import threading, time
            from pyami_sync.engine.engine import Engine
            engine = Engine()
            engine.start()
            begun = threading.Event()
            if {stuck}:
                engine.workers.submit(lambda: (begun.set(), time.sleep(3600)))
                begun.wait()
            print("end")
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        assert (done.returncode, done.stdout) == (0, "end\n")


def test_a_close_that_is_interrupted_can_be_repeated(monkeypatch):
    """An exception of a signal handler right behind the closing of the poller leaves no descriptor open."""
    engine = Engine("test")
    engine.start()
    wakeup = engine._wakeup
    assert wakeup is not None
    with monkeypatch.context() as patched:
        patched.setattr(wakeup, "close", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            engine.close()
    engine.close()
    assert wakeup.fileno() == -1
