"""Signals that arrive while the main thread opens, waits for a link or for the end: an exception, or close()."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from pyami_sync import AMIClient, State, connect
from pyami_sync.exceptions import AMIError, ConnectionClosed
from pyami_sync.session.reconnect import ReconnectPolicy
from pyami_sync.testing import Simulator

from ..support.injection import Injected, Injector, injections
from ..support.peer import Peer, eventually

# An exception raised in a weak reference's callback is only reported, by the interpreter.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

QUICK = ReconnectPolicy(initial=0.001, maximum=0.002)


@pytest.fixture(scope="module")
def sim():
    with Simulator() as made:
        connect(made.url).close()  # imports are not what is tested here
        yield made


@pytest.fixture(autouse=True)
def no_collection():
    """Collect no garbage: the interpreter swallows an exception raised in a finalizer, and with it the finalizer."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def library_threads():
    return [each for each in threading.enumerate() if each.name.startswith("pyami") and "simulator" not in each.name]


def test_an_exception_in_connect(sim):
    injector = Injector(seed=1, latest=4e-3)
    for number in range(injections(600)):
        if number % 20 == 0:
            gc.collect()
        outcome = injector.strike(lambda: connect(sim.url, keepalive=None))
        if outcome.value is not None:
            outcome.value.close()
        else:
            assert isinstance(outcome.error, Injected), outcome.error
        del outcome
    assert injector.strikes > injections(600) / 20
    gc.collect()
    eventually(lambda: not library_threads())


@pytest.mark.parametrize("closing", [False, True])
def test_open(sim, closing):
    injector = Injector(seed=2 + closing, latest=3e-3)
    ami = AMIClient.from_url(sim.url, keepalive=None)
    for _ in range(injections(400)):
        outcome = injector.strike(ami.open, ami.close if closing else None)
        if closing and outcome.struck:
            if ami.state is State.CONNECTED:  # closed before it began to open
                assert ami.ping(timeout=5) < 5
            assert outcome.error is None or isinstance(outcome.error, AMIError), outcome.error
        elif outcome.error is not None:
            assert isinstance(outcome.error, Injected)
        ami.close()
        assert ami.state is State.CLOSED
    with ami:
        assert ami.ping(timeout=5) < 5


@pytest.mark.parametrize("closing", [False, True])
def test_wait_closed(sim, closing):
    injector = Injector(seed=4 + closing, latest=1e-3)
    with connect(sim.url, keepalive=None) as ami:
        for _ in range(injections(400)):
            outcome = injector.strike(lambda: ami.wait_closed(10), ami.close if closing else None)
            assert outcome.struck
            if closing:
                assert outcome.value is True
                ami.open()
            else:
                assert isinstance(outcome.error, Injected)
        assert ami.ping(timeout=5) < 5


def test_an_exception_in_a_call_that_waits_for_the_link(sim):
    injector = Injector(seed=6, latest=4e-3)
    with connect(sim.url, keepalive=None, reconnect=QUICK) as ami:
        for _ in range(injections(400)):
            before = ami.stats()
            sim.drop()
            eventually(lambda before=before: ami.stats().losses > before.losses)
            outcome = injector.strike(lambda: ami._session.connection(_ten_seconds()))
            assert outcome.error is None or isinstance(outcome.error, Injected), outcome.error
            eventually(lambda before=before: ami.stats().connects > before.connects and ami.state is State.CONNECTED)
        assert ami.ping(timeout=5) < 5


def _ten_seconds():
    from pyami_sync.engine.deadline import Deadline

    return Deadline(10)


def test_close_in_a_call_that_waits_for_the_link():
    injector = Injector(seed=7, latest=2e-3)
    with Peer(login=lambda link, action: "Response: Success\n\n") as peer:
        ami = AMIClient(**peer.options(reconnect=QUICK))
        for _ in range(injections(60)):
            peer.answers.pop("challenge", None)
            ami.open()
            peer.answers["challenge"] = None
            losses = ami.stats().losses
            peer.link.close()
            eventually(lambda losses=losses: ami.stats().losses > losses)
            outcome = injector.strike(lambda: ami.ping(timeout=20), ami.close)
            assert outcome.struck
            assert isinstance(outcome.error, ConnectionClosed), outcome.error
            assert ami.state is State.CLOSED


def test_close_at_any_moment_of_close(sim):
    injector = Injector(seed=8, latest=1e-3)
    for _ in range(injections(200)):
        ami = connect(sim.url, keepalive=None)
        outcome = injector.strike(ami.close, ami.close)
        assert outcome.error is None
        assert ami.state is State.CLOSED
    eventually(lambda: not library_threads())


def test_calls_go_on_in_other_threads(sim):
    """While the main thread is interrupted in open() and wait_closed(), no other thread's call is hurt."""
    injector, failures, stop = Injector(seed=9, latest=1e-3), [], threading.Event()
    with connect(sim.url, keepalive=None) as ami:

        def work():
            while not stop.is_set():
                try:
                    ami.ping(timeout=5)
                except Exception as exc:
                    failures.append(exc)

        workers = [threading.Thread(target=work) for _ in range(3)]
        for each in workers:
            each.start()
        until = time.monotonic() + 60
        for number in range(injections(300)):
            outcome = injector.strike(ami.open if number % 2 else lambda: ami.wait_closed(10))
            assert outcome.error is None or isinstance(outcome.error, Injected)
            assert time.monotonic() < until
        stop.set()
        for each in workers:
            each.join(10)
            assert not each.is_alive()
        assert failures == []
