"""Callbacks for what is no event: in order, one at a time, never on the calling thread."""

from __future__ import annotations

import logging
import threading

import pytest

from pyami_sync.engine import hooks
from pyami_sync.engine.hooks import ActionHook, Hook


class Jobs(list):
    """Jobs that were handed over, to be run by hand."""

    def run(self):
        while self:
            self.pop(0)()


@pytest.fixture
def jobs():
    return Jobs()


@pytest.fixture
def hook(jobs):
    return Hook("tests", jobs.append)


def test_nobody_listens(hook, jobs):
    assert not hook
    hook("x")
    assert jobs == []


def test_runs_where_jobs_run_in_order(hook, jobs):
    seen = []
    hook.add(lambda *args: seen.append(("a", args)))
    hook.add(lambda *args: seen.append(("b", args)))
    assert hook
    hook(1)
    hook(2, 3)
    assert seen == []
    assert len(jobs) == 1  # one job for all: never two at a time
    jobs.run()
    assert seen == [("a", (1,)), ("b", (1,)), ("a", (2, 3)), ("b", (2, 3))]
    hook(4)
    jobs.run()
    assert seen[-1] == ("b", (4,))


def test_removing(hook, jobs):
    seen = []
    remove = hook.add(seen.append)
    hook(1)
    remove()
    remove()
    jobs.run()
    hook(2)
    jobs.run()
    assert seen == []
    assert not hook


def test_one_that_calls_the_hook_again(hook, jobs):
    seen = []

    def callback(n):
        seen.append(n)
        if n < 3:
            hook(n + 1)

    hook.add(callback)
    hook(1)
    jobs.run()
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(1), pytest.fail.Exception("inside")])
def test_one_that_raises_changes_nothing(hook, jobs, caplog, error):
    seen = []

    def bad(n):
        raise error

    hook.add(bad)
    hook.add(seen.append)
    hook(1)
    jobs.run()
    hook(2)
    jobs.run()
    assert seen == [1, 2]
    assert "a callback for tests raised" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


def test_thousands_that_wait_are_counted_not_kept(hook, jobs, monkeypatch):
    monkeypatch.setattr(hooks, "MOST_WAITING", 10)
    seen = []
    hook.add(seen.append)
    for n in range(25):
        hook(n)
    assert hook.lost == 15
    jobs.run()
    assert seen == list(range(10))


def test_a_forked_child_begins_anew(hook, jobs):
    seen = []
    hook.add(seen.append)
    hook(1)
    hook._idle.clear()  # as if a thread of the parent's were calling
    hook.after_fork()
    jobs.clear()
    hook(2)
    jobs.run()
    assert seen == [2]


def test_many_threads(hook):
    seen, done = [], threading.Event()
    queue: list = []
    signal = threading.Condition()

    def submit(job):
        with signal:
            queue.append(job)
            signal.notify()

    hook = Hook("tests", submit)
    running = []

    def callback(n):
        running.append(1)
        assert len(running) == 1
        seen.append(n)
        running.pop()
        if len(seen) == 800:
            done.set()

    hook.add(callback)

    def work():
        while not done.is_set():
            with signal:
                while not queue and not done.is_set():
                    signal.wait(0.05)
                job = queue.pop() if queue else None
            if job:
                job()

    workers = [threading.Thread(target=work) for _ in range(3)]
    callers = [threading.Thread(target=lambda k=k: [hook(k * 200 + n) for n in range(200)]) for k in range(4)]
    for thread in workers + callers:
        thread.start()
    assert done.wait(30)
    for thread in workers + callers:
        thread.join()
    assert sorted(seen) == list(range(800))
    for k in range(4):  # each caller's in its order
        own = [n for n in seen if n // 200 == k]
        assert own == sorted(own)


class TestActionHook:
    def test_begins_and_ends(self):
        hook, seen = ActionHook(), []
        assert not hook.observers

        def observer(name):
            def observe(action):
                seen.append((name, action))
                return lambda response, exc: seen.append((name, response, exc))

            return observe

        hook.add(observer("a"))
        remove = hook.add(observer("b"))
        hook.add(lambda action: None)  # wants no end
        assert hook.observers
        end = hook.begin("ping")
        assert seen == [("a", "ping"), ("b", "ping")]
        end("pong", None)
        assert seen[2:] == [("b", "pong", None), ("a", "pong", None)]
        remove()
        hook.begin("again")
        assert seen[4:] == [("a", "again")]

    def test_one_that_raises_changes_nothing(self, caplog):
        hook, seen = ActionHook(), []
        hook.add(lambda action: 1 / 0)
        hook.add(lambda action: lambda response, exc: 1 / 0)
        hook.add(lambda action: lambda response, exc: seen.append(response))
        hook.begin("ping")("pong", None)
        assert seen == ["pong"]
        assert caplog.text.count("an observer of actions raised") == 2

    def test_a_forked_child(self):
        hook = ActionHook()
        hook.add(lambda action: None)
        hook.after_fork()
        hook.add(lambda action: None)
        assert hook
