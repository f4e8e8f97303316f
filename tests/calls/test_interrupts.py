"""Signal handlers at each point of placing a call and waiting for it: they may use calls, too, close, or raise."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pyami_sync import AMIClient, AMIError, State, connect
from pyami_sync.calls import Call, Outcome
from pyami_sync.exceptions import ConcurrencyError
from pyami_sync.testing import Simulator

from ..support.injection import Injected, Stepper, run_elsewhere
from ..support.peer import eventually

pytestmark = [
    pytest.mark.promise(9),
    # Tracing each instruction of these corrupts the interpreter of 3.11.7: "'list' object is not callable", or a crash.
    pytest.mark.skipif(sys.version_info < (3, 12), reason="CPython 3.11 fails when these are traced"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # raised within a finalizer
]

SOON = 5.0  # seconds in which everything that goes on at all has gone on
PROMPT = 2.0  # seconds: what waits for its own thread takes longer


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as made:
        made.pbx.add_endpoint("1101")
        made.pbx.add_endpoint("1102", outcome="busy")
        yield made


def answered(ami: AMIClient) -> None:
    with ami.call("PJSIP/1101", to="100@default") as call:
        assert call.wait_answered(SOON) is Outcome.ANSWERED
        assert call.outcome is Outcome.ANSWERED
    assert call.wait_ended(SOON) is Outcome.ANSWERED


def busy(ami: AMIClient) -> None:
    call = ami.call("PJSIP/1102", to="100@default")
    assert call.ended_future.result(SOON) is Outcome.BUSY


def events(ami: AMIClient) -> None:
    with ami.call("PJSIP/1102", to="100@default") as call:
        names = [event.name for event in call.events(timeout=SOON)]
    assert names.count("Newchannel") == 1
    assert names.count("Hangup") == 1


USES = [answered, busy, events]


def elsewhere(ami: AMIClient) -> None:
    """Place calls on another thread, and wait for that."""
    run_elsewhere(lambda: [each(ami) for each in USES], 2 * SOON)


def followers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "pyami-calls"]


class Session:
    """A client that is made again when it was closed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.renew()

    def renew(self) -> None:
        self.ami = connect(self.url, keepalive=None, reconnect=None)


@pytest.fixture
def session(sim: Simulator) -> Iterator[Session]:
    made = Session(sim.url)
    yield made
    made.ami.close()
    assert not followers()


@pytest.mark.parametrize("inner", [busy, events, elsewhere])
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("use", USES)
def test_a_handler_that_places_a_call(
    session: Session, use: Callable[[AMIClient], None], inner: Callable[[AMIClient], None], fresh: bool
) -> None:
    def before() -> None:
        if fresh:  # so that the thread that follows calls begins within the call
            session.ami.close()
            session.renew()

    for place, outcome in Stepper(lambda: use(session.ami), lambda: inner(session.ami), longest=25, before=before):
        assert outcome.error is None, (place, repr(outcome.error))
        assert len(followers()) == 1


@pytest.mark.parametrize("use", [answered, events])
def test_a_handler_that_hangs_up(session: Session, use: Callable[[AMIClient], None]) -> None:
    def act() -> None:
        for call in list(session.ami._calls._calls if session.ami._calls else ()):
            call.hangup()

    for place, outcome in Stepper(lambda: use(session.ami), act, longest=40):
        # A call that is hung up before it is answered is not answered.
        assert outcome.error is None or isinstance(outcome.error, AMIError | AssertionError), (place, outcome.error)
        assert outcome.error is None or not isinstance(outcome.error, TimeoutError), place
        eventually(lambda: len(session.ami._calls or ()) == 0)


@pytest.mark.parametrize("use", USES)
def test_a_handler_that_closes(session: Session, use: Callable[[AMIClient], None]) -> None:
    def before() -> None:
        session.ami.close()
        session.renew()

    taken: list[float] = [0.0]

    def act() -> None:
        began = time.monotonic()
        session.ami.close()
        taken.append(time.monotonic() - began)

    for place, outcome in Stepper(lambda: use(session.ami), act, longest=40, before=before):
        assert outcome.error is None or isinstance(outcome.error, AMIError | AssertionError), (place, outcome.error)
        assert session.ami.state is State.CLOSED or not outcome.struck  # it went a shorter way this time
        began = time.monotonic()
        session.ami.close()
        assert time.monotonic() - began < PROMPT, place
        assert max(taken) < PROMPT, place
        assert not followers(), place


def test_a_handler_that_closes_what_is_closing(session: Session) -> None:
    def before() -> None:
        session.ami.close()
        session.renew()
        busy(session.ami)

    for place, outcome in Stepper(lambda: session.ami.close(), lambda: session.ami.close(), longest=60, before=before):
        assert outcome.error is None, (place, repr(outcome.error))
        session.ami.close()
        assert not followers(), place


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("use", USES)
def test_a_handler_that_raises(session: Session, use: Callable[[AMIClient], None], fresh: bool) -> None:
    def before() -> None:
        if fresh or session.ami.state is not State.CONNECTED:
            session.ami.close()
            session.renew()

    for place, outcome in Stepper(lambda: use(session.ami), longest=40, before=before):
        assert outcome.error is None or outcome.interrupted or isinstance(outcome.error, Injected), (
            place,
            repr(outcome.error),
        )
        try:
            session.ami.ping(timeout=SOON)
        except AMIError:  # it was raised within a read or write, which costs the link
            session.ami.close()
            session.renew()
        elsewhere(session.ami)
        assert len(followers()) == 1, place


def test_a_finalizer_on_the_thread_that_follows_calls(session: Session) -> None:
    call = session.ami.call("PJSIP/1101", to="100@default")
    assert call.wait_answered(SOON) is Outcome.ANSWERED
    hub, done = session.ami._calls, threading.Event()
    waiting: list[Callable[[], object]] = [call.wait_ended, call.wait_answered, call.events().get]
    outcomes: list[object] = []
    others: list[Call] = []

    def finalize() -> None:
        hub._patience = patience
        with pytest.raises(ConcurrencyError):
            call.wait_connected()
        for each in waiting:
            try:
                outcomes.append(each())
            except ConcurrencyError as exc:
                outcomes.append(exc)
        others.append(session.ami.call("PJSIP/1102", to="100@default"))
        call.hangup()
        done.set()

    patience = hub._patience
    hub._patience = lambda: finalize() or 0.0
    session.ami.send("UserEvent", UserEvent="x")
    assert done.wait(SOON)
    assert [type(each) for each in outcomes] == [ConcurrencyError] * 3
    assert others[0].wait_ended(SOON) is Outcome.BUSY
    assert call.wait_ended(SOON) is Outcome.ANSWERED
