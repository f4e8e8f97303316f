"""The callback threads: few, made when needed, gone when idle, never in the way of the end."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest

from pyami_sync.engine.deadline import Deadline
from pyami_sync.engine.workers import Workers


@pytest.fixture
def workers():
    made = Workers("pyami-test", limit=4, idle=10.0)
    yield made
    assert made.close(Deadline(10)) == []


def eventually(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.001)


def run(workers, job):
    """Run a job and wait for its end."""
    done = threading.Event()
    workers.submit(lambda: (job(), done.set()))
    assert done.wait(10)


class Blocker:
    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.go.wait(20)


def test_no_thread_before_the_first_job(workers):
    assert workers.threads == []


def test_one_thread_is_enough_for_jobs_that_end(workers):
    for _ in range(20):
        run(workers, lambda: None)
        eventually(lambda: workers._idle == 1)
    assert len(workers.threads) == 1
    assert workers.threads[0].name == "pyami-test-1"
    assert workers.threads[0].daemon


def test_grows_while_jobs_block_up_to_the_limit(workers):
    blockers = [Blocker() for _ in range(6)]
    for blocker in blockers:
        workers.submit(blocker)
    for blocker in blockers[:4]:
        assert blocker.begun.wait(10)
    assert len(workers.threads) == 4
    assert not blockers[4].begun.is_set()
    blockers[0].go.set()
    assert blockers[4].begun.wait(10)
    for blocker in blockers:
        blocker.go.set()
    assert blockers[5].begun.wait(10)


def test_a_blocked_job_delays_no_other(workers):
    blocker = Blocker()
    workers.submit(blocker)
    assert blocker.begun.wait(10)
    for _ in range(50):
        run(workers, lambda: None)
    blocker.go.set()


def test_a_burst_of_jobs_that_each_wait_for_the_next_one(workers):
    # Each needs a thread of its own at the same time: a wake-up too few would hang here.
    run(workers, lambda: None)
    eventually(lambda: workers._idle == 1)  # which must not be counted on more than once
    barrier = threading.Barrier(4)
    done = []
    for _ in range(4):
        workers.submit(lambda: (barrier.wait(10), done.append(1)))
    eventually(lambda: len(done) == 4)


def test_shrinks_when_idle():
    workers = Workers("pyami-test", limit=4, idle=0.02)
    blockers = [Blocker() for _ in range(3)]
    for blocker in blockers:
        workers.submit(blocker)
        assert blocker.begun.wait(10)
        blocker.go.set()
    eventually(lambda: not workers.threads)
    run(workers, lambda: None)  # and grows again
    assert workers.close(Deadline(5)) == []


@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(3), pytest.fail.Exception("inside")])
def test_a_job_that_raises_costs_no_thread(workers, error, caplog):
    def bad():
        raise error

    for _ in range(10):
        workers.submit(bad)
    run(workers, lambda: None)
    assert 1 <= len(workers.threads) <= 4
    assert all(thread.is_alive() for thread in workers.threads)
    assert "raised" in caplog.text or "sys.exit()" in caplog.text


def test_a_finished_job_is_not_kept_alive(workers):
    class Client:
        def job(self):
            pass

    client = Client()
    gone = weakref.ref(client)
    run(workers, client.job)
    del client
    eventually(lambda: gc.collect() is not None and gone() is None)


def test_a_job_that_submits_itself_again_stays_on_its_thread(workers):
    threads, done = [], threading.Event()

    def again():
        threads.append(threading.current_thread())
        if len(threads) == 100:
            done.set()
        else:
            workers.submit(again)

    workers.submit(again)
    assert done.wait(10)
    assert len(set(threads)) == len(workers.threads) == 1


def test_a_job_that_submits_itself_again_keeps_no_other_waiting(workers):
    blocker, done = Blocker(), threading.Event()
    runs = []

    def again():
        runs.append(None)
        if len(runs) == 1:
            workers.submit(blocker)  # its own thread comes to this first, and is held there
            workers.submit(again)
        else:
            done.set()

    workers.submit(again)
    assert done.wait(10)
    blocker.go.set()


class TestClosing:
    def test_waits_for_what_is_under_way(self, workers):
        blocker = Blocker()
        workers.submit(blocker)
        assert blocker.begun.wait(10)
        closed = threading.Thread(target=workers.close, args=(Deadline(20),))
        closed.start()
        closed.join(0.05)
        assert closed.is_alive()
        blocker.go.set()
        closed.join(10)
        assert not closed.is_alive()
        assert workers.threads == []

    def test_runs_what_was_handed_over_before(self, workers):
        seen = []
        for n in range(100):
            workers.submit(lambda n=n: seen.append(n))
        assert workers.close(Deadline(10)) == []
        assert sorted(seen) == list(range(100))

    def test_takes_nothing_more(self, workers):
        workers.close(Deadline(1))
        workers.submit(lambda: pytest.fail("ran"))
        assert workers.threads == []

    def test_names_those_that_do_not_come_back(self, workers):
        blocker = Blocker()
        seen = []
        workers.submit(blocker)
        assert blocker.begun.wait(10)
        for _ in range(3):
            other = Blocker()
            workers.submit(other)
            assert other.begun.wait(10)
            seen.append(other)
        workers.submit(lambda: pytest.fail("ran though its time was over"))
        stuck = workers.close(Deadline(0.05))
        assert len(stuck) == 4
        for each in [blocker, *seen]:
            each.go.set()
        for thread in stuck:
            thread.join(10)

    def test_from_inside_a_job(self, workers):
        found = []
        done = threading.Event()

        def close():
            found.append(workers.close(Deadline(10)))
            done.set()

        workers.submit(close)
        assert done.wait(10)
        assert found == [[]]
        eventually(lambda: not workers.threads)

    def test_from_two_jobs_at_once(self, workers):
        barrier, found = threading.Barrier(2), []

        def close():
            barrier.wait(10)
            found.append(workers.close(Deadline(None)))

        workers.submit(close)
        workers.submit(close)
        eventually(lambda: found == [[], []])
        assert workers.close(Deadline(10)) == []

    def test_from_two_jobs_that_both_wait_for_a_third(self, workers):
        blocker, found = Blocker(), []
        workers.submit(blocker)
        assert blocker.begun.wait(10)
        barrier = threading.Barrier(2)  # closed workers would take no second job

        def close():
            barrier.wait(10)
            found.append((workers.close(Deadline(None)), blocker.go.is_set()))

        workers.submit(close)
        workers.submit(close)
        eventually(lambda: len(workers._closing) == 2)
        assert found == []
        blocker.go.set()
        eventually(lambda: found == [([], True)] * 2)

    def test_twice(self, workers):
        run(workers, lambda: None)
        assert workers.close(Deadline(5)) == []
        assert workers.close(Deadline(5)) == []


def test_a_thread_that_can_not_start_leaves_its_job_to_another(workers, monkeypatch, caplog):
    def start(self):
        raise RuntimeError("can't start new thread")

    seen = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        workers.submit(lambda: seen.append(1))
    assert "can't start" in caplog.text
    assert workers.threads == []
    run(workers, lambda: None)
    eventually(lambda: seen == [1])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="threads can still start while the interpreter ends")
def test_an_event_that_comes_as_the_program_ends_is_no_complaint() -> None:
    # Exit handlers run when no thread can be started any more.
    program = (
        "import atexit, logging; from pyami_sync.engine.workers import Workers; logging.basicConfig();"
        "atexit.register(Workers('pyami').submit, int)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_thread_about_to_start_can_be_joined() -> None:
    for _ in range(200):
        workers = Workers("pyami-race", 2)
        submitter = threading.Thread(target=workers.submit, args=(lambda: None,))
        submitter.start()
        assert workers.close(Deadline(5)) == []
        submitter.join()
