"""Signal handlers at each point of using a live model: they may use it, too, close it, or raise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pyami_sync import AMIError, connect
from pyami_sync.exceptions import ConcurrencyError
from pyami_sync.live import Live, Queue
from pyami_sync.testing import Simulator

from ..support.injection import Injected, Stepper, run_elsewhere

pytestmark = [
    pytest.mark.promise(9),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # raised within a finalizer
]

SOON = 5.0  # seconds in which everything that goes on at all has gone on
PROMPT = 2.0  # seconds: what waits for its own thread takes longer
MEMBER = "Local/801@members/n"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as made:
        yield made


def look(live: Live) -> None:
    view = live.view()
    assert view.node is None
    assert set(live.queues) == {"empty", "support"}
    assert len(live.channels) == len(live.calls) == 0
    assert live.health in (view.health, "closed")


def wait(live: Live) -> None:
    assert live.wait(lambda view: view.queues, SOON).queues


def listen(live: Live) -> None:
    with live.on(Queue, lambda change: None), live.changes(Queue) as changes:
        live._source.send("QueuePause", Interface=MEMBER, Paused=str(not paused(live)), timeout=SOON)
        assert isinstance(changes.get(SOON).after, Queue)


def explain(live: Live) -> None:
    assert live.explain("nothing") == ""
    assert live.records == []


def paused(live: Live) -> bool:
    return bool(live.queues["support"].member(MEMBER).paused)


USES = [look, wait, listen, explain]


class Model:
    """A session and its model, made again when they were closed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.renew()

    def renew(self) -> None:
        self.ami = connect(self.url, keepalive=None, reconnect=None)
        self.live = self.ami.live("calls", "queues")

    def close(self) -> None:
        self.live.close()
        self.ami.close()

    def elsewhere(self) -> None:
        """Use the model on another thread, and wait for that."""
        run_elsewhere(lambda: [each(self.live) for each in (look, wait, listen)], 2 * SOON)


@pytest.fixture
def model(sim: Simulator) -> Iterator[Model]:
    made = Model(sim.url)
    yield made
    made.close()


@pytest.mark.parametrize("inner", [*USES, "elsewhere"])
@pytest.mark.parametrize("use", USES)
def test_a_handler_that_uses_the_model(model: Model, use: Callable[[Live], None], inner: object) -> None:
    def act() -> None:
        if callable(inner):
            inner(model.live)
        else:
            model.elsewhere()

    began = time.monotonic()
    for place, outcome in Stepper(lambda: use(model.live), act, longest=40):
        assert outcome.error is None or isinstance(outcome.error, AMIError), (place, repr(outcome.error))
        assert time.monotonic() - began < PROMPT, place
        began = time.monotonic()


@pytest.mark.parametrize("closing", ["live", "client"])
@pytest.mark.parametrize("use", [*USES, "close"])
def test_a_handler_that_closes(model: Model, use: Callable[[Live], None] | str, closing: str) -> None:
    def act() -> None:
        if closing == "live":
            model.live.close()
            assert not [each for each in threading.enumerate() if each.name.startswith("pyami-live")]
        else:
            model.ami.close()

    def call() -> None:
        if callable(use):
            use(model.live)
        else:
            model.live.close()

    def before() -> None:
        model.close()
        model.renew()

    for place, outcome in Stepper(call, act, longest=30, before=before):
        assert outcome.error is None or isinstance(outcome.error, AMIError), (place, repr(outcome.error))
        began = time.monotonic()
        model.close()
        assert model.live.health == "closed"
        assert time.monotonic() - began < PROMPT, place


@pytest.mark.parametrize("thread", ["model", "lists", "engine"])
def test_a_finalizer_on_a_thread_that_the_model_needs(model: Model, thread: str) -> None:
    """A garbage collection runs finalizers on any thread, also where that holds the tracker's lock."""
    live, done = model.live, threading.Event()
    outcomes: list[object] = []

    def finalize() -> None:
        outcomes.append(live.view().health)
        for waiting in (lambda: live.wait(lambda view: False, SOON), lambda: live.changes(Queue).get(SOON)):
            with pytest.raises(ConcurrencyError):
                waiting()
        began = time.monotonic()
        live.close()
        outcomes.append(time.monotonic() - began < PROMPT)
        done.set()

    tracker = live._one
    if thread == "engine":
        model.ami.engine.call_soon(finalize)
    elif thread == "lists":
        tracker._read_clock = finalize
        with tracker.lock:
            tracker.load()
    else:
        tracker.feed = lambda event: finalize()
        model.ami.send("QueuePause", Interface=MEMBER, Paused="true")
    assert done.wait(SOON)
    assert outcomes[1:] == [True]
    began = time.monotonic()
    live.close()
    assert time.monotonic() - began < PROMPT
    assert not [each for each in threading.enumerate() if each.name.startswith("pyami-live")]


@pytest.mark.parametrize("use", USES)
def test_a_handler_that_raises(model: Model, use: Callable[[Live], None]) -> None:
    for place, outcome in Stepper(lambda: use(model.live), longest=60):
        assert outcome.error is None or outcome.interrupted or isinstance(outcome.error, Injected), (
            place,
            repr(outcome.error),
        )
        try:
            model.ami.ping(timeout=SOON)
        except AMIError:  # it was raised within a read or write, which costs the link
            model.close()
            model.renew()
        model.elsewhere()
