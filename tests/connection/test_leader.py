"""Callers that read their own answer, and what they leave to the engine."""

from __future__ import annotations

import gc
import logging
import random
import signal
import socket
import threading
import weakref

import pytest

from pyami_sync import AMIClient, ReconnectPolicy
from pyami_sync.connection import leader as leader_module
from pyami_sync.connection.request import BlockingRequest
from pyami_sync.exceptions import ActionError, ActionTimeout, ConnectionLost
from pyami_sync.wire.action import Action

from ..support.peer import Peer, eventually
from ..support.rig import PING, Rig

EVENT = "Event: Tick\nN: {}\n\n"
PONG = "Response: Success\nActionID: {id}\nPing: Pong\n\n"


@pytest.fixture
def rig(monkeypatch):
    monkeypatch.setattr(leader_module, "TICK", 10.0)
    monkeypatch.setattr(leader_module, "PATIENCE", 10.0)  # so that only what is said decides who reads
    made = Rig("socket").start()
    made.readers = []
    respond, claim_own = made.pending._response, made.pending.claim_own

    def read_by_engine(*args):
        made.readers.append(threading.current_thread().name)
        respond(*args)

    def read_by_caller(*args):
        answer = claim_own(*args)
        if answer is not None:
            made.readers.append(threading.current_thread().name)
        return answer

    made.pending._response, made.pending.claim_own = read_by_engine, read_by_caller
    yield made
    made.close()


def by_engine(rig):
    return ["engine" in name for name in rig.readers]


def settled(rig):
    """Nobody reads but the engine, and it waits for bytes again."""
    turn = rig.connection._reading
    return not turn.left and not turn.holder


class TestReading:
    def test_a_lone_caller_reads_its_answer(self, rig):
        for _ in range(3):
            outcome = rig.begin()
            rig.says(PONG.format(id=rig.hears()["ActionID"]))
            assert outcome.get()["Ping"] == "Pong"
        assert by_engine(rig) == [False] * 3
        assert rig.connection.bytes_received > 100
        eventually(lambda: settled(rig))

    def test_the_engine_goes_on_reading_behind_it(self, rig):
        outcome = rig.begin()
        rig.says(PONG.format(id=rig.hears()["ActionID"]))
        outcome.get()
        rig.says(EVENT.format(1))
        eventually(lambda: rig.owner.events == [b"Event: Tick\r\nN: 1"])

    def test_a_leader_that_is_held_up_before_the_engine_is_told(self, rig, monkeypatch):
        """Such as by a signal handler that waits for another thread's answer: the engine reads on."""
        monkeypatch.setattr(leader_module, "TICK", 0.01)
        reading, held, go = rig.connection._reading, threading.Event(), threading.Event()
        mute = reading.mute

        def held_up(lease):
            held.set()
            assert go.wait(10)
            mute(lease)

        with monkeypatch.context() as patched:
            patched.setattr(reading, "mute", held_up)
            outcome = rig.begin()
            assert held.wait(10)
        rig.says(EVENT.format(1))
        eventually(lambda: rig.owner.events == [b"Event: Tick\r\nN: 1"])
        go.set()
        rig.says(PONG.format(id=rig.hears()["ActionID"]))
        assert outcome.get().ok
        eventually(lambda: settled(rig))

    @pytest.mark.parametrize(
        "said",
        [EVENT.format(1) + PONG + EVENT.format(2), PONG + EVENT.format(1) + EVENT.format(2), "\n" + PONG],
        ids=["around", "behind", "noise"],
    )
    def test_what_else_comes_with_it_is_the_engines(self, rig, said):
        outcome = rig.begin()
        rig.says(said.format(id=rig.hears()["ActionID"]))
        assert outcome.get().ok
        assert by_engine(rig) == [True]
        eventually(lambda: len(rig.owner.events) == said.count("Event"))
        eventually(lambda: settled(rig))

    def test_cut_anywhere(self, rig, monkeypatch):
        monkeypatch.setattr(leader_module, "PAUSE", 0)
        for cut in range(1, len(PONG.format(id="p-1")) + PONG.count("\n")):
            outcome = rig.begin()
            said = PONG.format(id=rig.hears()["ActionID"]).replace("\n", "\r\n").encode()
            rig.sock.sendall(said[:cut])
            eventually(lambda: rig.connection._receiver.protocol.framer.pending)
            rig.sock.sendall(said[cut:])
            assert outcome.get()["Ping"] == "Pong"
        eventually(lambda: settled(rig))

    def test_an_answer_longer_than_expected(self, rig):
        outcome = rig.begin()
        rig.says(f"Response: Success\nActionID: {rig.hears()['ActionID']}\nText: {'x' * 50_000}\n\n")
        assert len(outcome.get()["Text"]) == 50_000
        assert by_engine(rig) == [True]

    def test_limits_hold_for_it_too(self, monkeypatch):
        monkeypatch.setattr(leader_module, "PATIENCE", 10.0)
        rig = Rig("socket", line=100).start()
        try:
            outcome = rig.begin()
            rig.says(f"Response: Success\nActionID: {rig.hears()['ActionID']}\nText: {'x' * 200}\n\n")
            assert "a line of more than 100 bytes" in str(outcome.get())
        finally:
            rig.close()

    def test_an_error(self, rig):
        outcome = rig.begin()
        rig.says(f"Response: Error\nActionID: {rig.hears()['ActionID']}\nMessage: no\n\n")
        assert isinstance(outcome.get(), ActionError)

    def test_a_list_that_nobody_expected(self, rig):
        outcome = rig.begin(Action("Unheard"))
        name = rig.hears()["ActionID"]
        rig.says(f"Response: Success\nActionID: {name}\nEventList: start\n\n")
        rig.says(f"Event: Thing\nActionID: {name}\n\nEvent: ThingsComplete\nActionID: {name}\nEventList: Complete\n\n")
        assert [event.name for event in outcome.get().events] == ["Thing"]

    def test_another_callers_answer(self, rig):
        one = rig.begin()
        first = rig.hears()["ActionID"]
        two = rig.begin()
        second = rig.hears()["ActionID"]
        rig.says(PONG.format(id=second))
        assert two.get()["ActionID"] == second
        rig.says(PONG.format(id=first))
        assert one.get()["ActionID"] == first

    def test_a_late_answer_to_somebody_who_has_given_up(self, rig):
        with pytest.raises(ActionTimeout):
            rig.connection.call(PING, 0.01)
        late = rig.hears()["ActionID"]
        rig.connection._reading._pause = 0
        outcome = rig.begin()
        rig.says(PONG.format(id=late) + PONG.format(id=rig.hears()["ActionID"]))
        assert outcome.get()["ActionID"] != late

    def test_not_while_the_wire_is_tapped(self, rig):
        rig.connection.tapping = True
        outcome = rig.begin()
        rig.says(PONG.format(id=rig.hears()["ActionID"]))
        outcome.get()
        assert by_engine(rig) == [True]
        assert [direction for direction, _ in rig.owner.taps] == ["sent", "received"]

    def test_the_log_shows_it(self, rig, caplog):
        with caplog.at_level(logging.DEBUG, "pyami_sync"):
            outcome = rig.begin()
            rig.says(PONG.format(id=rig.hears()["ActionID"]))
            outcome.get()
        assert by_engine(rig) == [False]
        assert [record.getMessage()[:2] for record in caplog.records] == ["> ", "< "]

    def test_not_while_a_relay_begins(self, rig):
        """Its frame would wait for callers behind it."""
        rig.connection._wakeups.waiting.append(BlockingRequest(PING, b"before", None, None))
        outcome = rig.begin()
        eventually(lambda: rig.connection.outbox.queue)
        assert settled(rig)
        rig.connection._wakeups.pass_on(outcome)  # wakes the one before,
        rig.connection._wakeups.pass_on(outcome)  # who is the last
        rig.says(PONG.format(id=rig.hears()["ActionID"]))
        assert outcome.get().ok

    def test_not_behind_half_a_message(self, rig):
        rig.says("Event: Ti")
        eventually(lambda: rig.connection._receiver.protocol.framer.pending)
        outcome = rig.begin()
        rig.says("ck\n\n" + PONG.format(id=rig.hears()["ActionID"]))
        assert outcome.get().ok
        eventually(lambda: rig.owner.events)  # answers are handed over before events are published
        assert rig.owner.events == [b"Event: Tick"]


class TestPatience:
    def test_a_slow_answer_is_left_to_the_engine(self, rig, monkeypatch):
        monkeypatch.setattr(leader_module, "PATIENCE", 0.0)
        outcome = rig.begin()
        name = rig.hears()["ActionID"]
        eventually(lambda: settled(rig))
        rig.says(PONG.format(id=name))
        outcome.get()
        assert by_engine(rig) == [True]

    def test_after_reading_in_vain_others_leave_it_to_the_engine(self, rig, monkeypatch):
        monkeypatch.setattr(leader_module, "PAUSE", 3)
        for _ in range(6):
            outcome = rig.begin()
            around = EVENT.format(1) if not rig.readers else ""
            rig.says(around + PONG.format(id=rig.hears()["ActionID"]))
            outcome.get()
        assert by_engine(rig) == [True, True, True, True, False, False]


class TestEnds:
    def test_the_server_closes(self, rig):
        outcome = rig.begin()
        rig.hears()
        rig.sock.shutdown(socket.SHUT_WR)
        assert isinstance(outcome.get(), ConnectionLost)
        eventually(lambda: rig.owner.ends)

    def test_this_side_closes(self, rig, monkeypatch):
        monkeypatch.setattr(leader_module, "PATIENCE", 0.05)
        outcome = rig.begin()
        rig.hears()
        rig.connection.close()
        assert isinstance(outcome.get(), ConnectionLost)
        eventually(lambda: rig.owner.ends)

    @pytest.mark.parametrize("place", ["read", "claim_own", "mute", "stop", "release"])
    def test_ctrl_c(self, rig, monkeypatch, place):
        """Wherever it strikes, the engine reads on, and nothing that was read is lost."""
        turn, pending = rig.connection._reading, rig.pending
        owner = pending if place == "claim_own" else turn
        function = getattr(owner, place)
        struck = []

        def strike(*args):
            result = function(*args)
            if not struck and "engine" not in threading.current_thread().name:
                struck.append(place)
                raise KeyboardInterrupt
            return result

        with monkeypatch.context() as patched:
            patched.setattr(owner, place, strike)
            outcome = rig.begin()
            if place != "mute":
                rig.says(EVENT.format(1) + PONG.format(id=rig.hears()["ActionID"]) + EVENT.format(2))
                eventually(lambda: len(rig.owner.events) == 2)
            assert isinstance(outcome.get(), KeyboardInterrupt)
        assert struck
        assert len(rig.pending) == 0
        eventually(lambda: settled(rig))
        rig.says(EVENT.format(3))
        eventually(lambda: rig.owner.events[-1:] == [b"Event: Tick\r\nN: 3"])
        outcome = rig.begin()
        rig.says(PONG.format(id=rig.hears()["ActionID"]))
        assert outcome.get().ok

    def test_ctrl_c_before_the_engine_hears_of_it(self, rig, monkeypatch):
        stop, struck = rig.connection._reading.stop, []

        def strike(lease):
            struck.append(lease)
            if len(struck) == 1:
                raise KeyboardInterrupt
            stop(lease)

        monkeypatch.setattr(rig.connection._reading, "stop", strike)
        outcome = rig.begin()
        rig.says(PONG.format(id=rig.hears()["ActionID"]))
        assert isinstance(outcome.get(), KeyboardInterrupt)
        rig.says(EVENT.format(1))
        eventually(lambda: rig.owner.events == [b"Event: Tick\r\nN: 1"])


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this platform can't signal a thread")
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_a_call_in_a_signals_handler(rig, behind, monkeypatch):
    """The call that it interrupts reads, on the same thread: it would wait for itself."""
    monkeypatch.setattr(leader_module, "PATIENCE", 0.5)
    inner = []
    before = signal.signal(signal.SIGUSR1, lambda *args: inner.append(rig.connection.call(PING, 4.0)))

    def serve():
        first = rig.hears()["ActionID"]
        eventually(lambda: not rig.connection.outbox._writer)  # behind that it reads
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        answers = [PONG.format(id=rig.hears()["ActionID"]), PONG.format(id=first)]
        rig.says("".join(reversed(answers) if behind else answers) + EVENT.format(1))

    server = threading.Thread(target=serve)
    server.start()
    try:
        assert rig.connection.call(PING, 5.0).ok
    finally:
        signal.signal(signal.SIGUSR1, before)
        server.join(15)
    assert inner[0].ok
    eventually(lambda: rig.owner.events == [b"Event: Tick\r\nN: 1"])
    eventually(lambda: settled(rig))


def test_callers_and_events_all_at_once(rig, monkeypatch):
    """Who reads changes all the time; nothing is lost, doubled or given to another."""
    monkeypatch.setattr(leader_module, "PAUSE", 1)
    monkeypatch.setattr(leader_module, "PATIENCE", 0.001)
    random.seed(7)
    wrong, sent = [], 0

    def calls():
        for _ in range(300):
            name = rig.connection.pending.new_id()
            answer = rig.connection.call(Action("Ping", ActionID=name), 15.0)
            if answer["ActionID"] != name:
                wrong.append(name)

    for crowd in (3, 1):
        threads = [threading.Thread(target=calls) for _ in range(crowd)]
        for thread in threads:
            thread.start()
        for _ in range(300 * crowd):
            said = PONG.format(id=rig.hears()["ActionID"])
            for _ in range(random.choice((0, 0, 0, 1, 3))):
                sent += 1
                event = EVENT.format(sent)
                said = event + said if random.random() < 0.5 else said + event
            rig.says(said)
        for thread in threads:
            thread.join(30)
    assert wrong == []
    eventually(lambda: len(rig.owner.events) == sent)
    numbers = sorted(int(event.split(b"N: ")[1]) for event in rig.owner.events)
    assert numbers == list(range(1, sent + 1))
    assert len(rig.pending) == 0
    assert {True, False} == set(by_engine(rig))


def test_one_who_still_polls(rig):
    """A signal's handler took the turn from a thread that is still within poll(): the next reader leaves it alone."""

    class Busy:
        def poll(self, milliseconds):
            raise RuntimeError("concurrent poll() invocation")

    rig.connection._reading._poll = Busy()
    outcome = rig.begin()
    rig.says(PONG.format(id=rig.hears()["ActionID"]))
    assert outcome.get().ok
    eventually(lambda: settled(rig))  # the engine, which read the answer, lets go after it has woken the caller


def test_nothing_holds_a_connection_that_has_ended() -> None:
    with Peer() as peer, AMIClient(**peer.options(reconnect=ReconnectPolicy(initial=0.001))) as ami:
        ami.ping()  # read by its caller: the engine looks from time to time whether that still leads
        connection = ami._session.current
        assert connection is not None
        lost = weakref.ref(connection)
        del connection
        with ami.expect("Reconnected"):
            peer.link.close()
        ami.ping()
        eventually(lambda: gc.collect() is not None and lost() is None)
