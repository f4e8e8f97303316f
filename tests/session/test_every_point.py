"""An exception, or close(), at each point of a call at which a signal handler can run."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyami_sync import AMIClient, ClusterPool, State, connect
from pyami_sync.exceptions import AMIError
from pyami_sync.session.reconnect import ReconnectPolicy
from pyami_sync.testing import Simulator

from ..support.injection import Injected, Stepper
from ..support.peer import eventually

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

QUICK = ReconnectPolicy(initial=0.001, maximum=0.002)
SOON = 5.0  # seconds in which everything that goes on at all has gone on


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as made:
        connect(made.url).close()
        yield made


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def ping(ami: AMIClient) -> None:
    ami.ping(timeout=SOON)


def send_two(ami: AMIClient) -> None:
    first, second = ami.submit("Ping", timeout=SOON), ami.submit("Ping", timeout=SOON)
    assert first.result(SOON).ok
    assert second.result(SOON).ok


def list_queues(ami: AMIClient) -> None:
    assert ami.send("QueueStatus", timeout=SOON).complete is not None


def read_stream(ami: AMIClient) -> None:
    with ami.events("UserEvent") as stream:
        ami.send("UserEvent", UserEvent="x", timeout=SOON)
        stream.get(SOON)


def expect_event(ami: AMIClient) -> None:
    with ami.expect("UserEvent", timeout=SOON):
        ami.send("UserEvent", UserEvent="x", timeout=SOON)


def call_back(ami: AMIClient) -> None:
    seen = threading.Event()
    with ami.on("UserEvent", lambda event: seen.set()):
        ami.send("UserEvent", UserEvent="x", timeout=SOON)
        assert seen.wait(SOON) or ami.state is State.CLOSED  # close() may come before the callback


CALLS = [ping, send_two, list_queues, read_stream, expect_event, call_back]


def works(ami: AMIClient) -> None:
    """Check that answers come, on this thread and on others, and events: over a new link if the old one was lost."""
    eventually(lambda: ami.state is State.CONNECTED)
    outcomes: list[Any] = []

    def elsewhere() -> None:
        try:
            outcomes.append(ami.ping(timeout=SOON))
        except BaseException as exc:
            outcomes.append(exc)

    other = threading.Thread(target=elsewhere)
    other.start()
    with ami.events("UserEvent") as stream:
        for _ in range(2):  # the first one may still be told that the link is lost
            try:
                ami.send("UserEvent", UserEvent="x", timeout=SOON)
                break
            except AMIError:
                eventually(lambda: ami.state is State.CONNECTED)
        stream.get(SOON)
    other.join(SOON + 1)
    assert not other.is_alive()
    assert ami.ping(timeout=SOON) < SOON
    connection = ami._session.current
    assert connection is not None
    eventually(lambda: not (connection._reading.holder or connection.outbox.busy or connection.outbox.pending))
    assert not connection._reading.left


@pytest.mark.parametrize("call", CALLS)
def test_an_exception(sim: Simulator, call: Callable[[AMIClient], None]) -> None:
    with connect(sim.url, keepalive=None, reconnect=QUICK) as ami:
        call(ami)
        stepper = Stepper(lambda: call(ami), longest=400)
        for place, outcome in stepper:
            assert outcome.error is None or outcome.interrupted or isinstance(outcome.error, Injected), (
                place,
                repr(outcome.error),
            )
            try:
                works(ami)
            except BaseException as exc:
                raise AssertionError(f"after an exception at {place}") from exc
        assert stepper.points > 50


@pytest.mark.parametrize("call", CALLS)
def test_close(sim: Simulator, call: Callable[[AMIClient], None]) -> None:
    ami = connect(sim.url, keepalive=None, reconnect=None)
    call(ami)
    for place, outcome in Stepper(lambda: call(ami), ami.close, longest=150):
        assert outcome.error is None or isinstance(outcome.error, AMIError), (place, repr(outcome.error))
        if not outcome.struck:  # the call went another way this time, and had fewer points
            ami.close()
        assert ami.state is State.CLOSED, place
        started = time.monotonic()
        ami.open()
        assert time.monotonic() - started < SOON, place
    ami.close()


def test_closing_a_cluster_that_opens(sim: Simulator) -> None:
    pools: list[ClusterPool] = []

    def call() -> None:
        pools.append(ClusterPool({"a": sim.url}, keepalive=None))
        pools[-1].open(SOON)
        assert pools[-1].send_to("a", "Ping", timeout=SOON).ok

    call()
    pools.pop().close()
    for place, outcome in Stepper(call, lambda: [pool.close() for pool in pools], longest=150):
        assert outcome.error is None or isinstance(outcome.error, AMIError), (place, repr(outcome.error))
        if pools:
            pools.pop().close()
