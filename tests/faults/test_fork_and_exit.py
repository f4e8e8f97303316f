"""Forks at bad moments, and processes that end: at once, whatever is under way."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from pyami_sync.testing import Simulator
from tests.asterisk.plugin import AsteriskFactory

from .processes import running, sessions, url

WITHIN = 1.0
SLACK = 1.0  # what starting to end takes on a busy machine


@pytest.mark.asterisk
def test_forks_while_other_threads_hold_the_locks(killable: AsteriskFactory) -> None:
    server = killable(22)
    with running("-m", "tests.faults.apps.forks", "40", env={"AMI_URL": url(server)}, pipe=True) as process:
        out, err = process.communicate(timeout=120)
    assert out.decode().strip() == "ok", err.decode()[-4000:]
    assert process.returncode == 0
    assert not sessions(server, "patient")


@pytest.mark.promise(10)
def test_forks_on_the_simulator() -> None:
    with Simulator() as sim:
        with running("-m", "tests.faults.apps.forks", "15", env={"AMI_URL": sim.url}, pipe=True) as process:
            out, err = process.communicate(timeout=120)
        assert out.decode().strip() == "ok", err.decode()[-4000:]
        sim.wait_for_sessions(0)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A server for the process that ends."""
    with Simulator() as simulator:
        yield simulator


def end(sim: Simulator, way: str, number: int | None) -> tuple[int, float, str]:
    """Let a process end so; its exit code, the seconds that it took from then on, and what it complained of."""
    with running("-m", "tests.faults.apps.exits", way, env={"AMI_URL": sim.url}, pipe=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        started = time.monotonic()
        if number is not None:
            # It has to be where it waits: the session is idle then.
            sim.wait_until(lambda: len(sim.sessions) == 1)
            time.sleep(0.1)
            started = time.monotonic()
            process.send_signal(number)
        try:
            _, err = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{way} never ends")
        return process.returncode, time.monotonic() - started, err.decode()


@pytest.mark.parametrize(
    "way", ["wait", "wait-closing", "wait-on-events", "waits-for-an-answer", "callback-blocks-wait"]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "ctrl-c"])
def test_a_signal_ends_it(sim: Simulator, way: str, number: int) -> None:
    code, took, err = end(sim, way, number)
    assert took < WITHIN + SLACK
    if number == signal.SIGTERM:
        assert code == -signal.SIGTERM
    else:
        assert code == -signal.SIGINT
        assert "KeyboardInterrupt" in err


@pytest.mark.promise(9)
@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("falls-off-the-end", 0),
        ("closes", 0),
        ("sys-exit", 0),
        ("raises", 1),
        ("callback-blocks", 0),
        ("callback-blocks-closes", 0),
        ("callback-exits", 7),
    ],
)
def test_the_end_of_the_interpreter(sim: Simulator, way: str, expected: int) -> None:
    code, took, err = end(sim, way, None)
    assert code == expected, err
    assert took < WITHIN + SLACK
    assert "Fatal" not in err
    if way not in ("raises",):
        assert "Traceback" not in err, err
    sim.wait_for_sessions(0)


HALF_IMPORTED = """
import os, sys, threading, time
sys.setswitchinterval(1e-6)
from pyami_sync import AMIClient
from pyami_sync.vocabulary.model import event_class, load_events

for _ in range({rounds}):
    began = threading.Event()
    loader = threading.Thread(target=lambda: (began.set(), event_class(b"Hangup")))
    loader.start()
    began.wait()
    time.sleep(0.002)
    pid = os.fork()
    if not pid:
        import faulthandler
        faulthandler.dump_traceback_later(20, exit=True)
        os._exit(0 if event_class(b"Hangup").__name__ == "Hangup" else 2)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    loader.join()
    assert code == 0, code
    for name in ("pyami_sync.events",):
        del sys.modules[name]
    import pyami_sync, pyami_sync.vocabulary.model as model
    del pyami_sync.events
    model._known.clear()
    model._classes.clear()
print("ok")
"""


def test_a_fork_while_the_events_are_loaded_leaves_no_lock_behind() -> None:
    with running("-W", "ignore", "-c", HALF_IMPORTED.format(rounds=8), env={}, pipe=True) as process:
        out, err = process.communicate(timeout=120)
    assert out.decode().strip() == "ok", err.decode()[-3000:]
