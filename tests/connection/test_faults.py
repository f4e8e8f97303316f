"""What attackers found in a connection: handlers that stand still, ids used twice, peers that send without end."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyami_sync.connection import leader as leader_module
from pyami_sync.connection.leader import Lease
from pyami_sync.connection.outbox import Entry, Write
from pyami_sync.connection.request import Request
from pyami_sync.connection.transport import SSLSocketTransport
from pyami_sync.exceptions import ActionTimeout, ConcurrencyError, ConnectionLost
from pyami_sync.wire.action import Action

from ..support.peer import certificates, eventually, server_context
from ..support.rig import PING, Rig

PONG = "Response: Success\nActionID: {}\nPing: Pong\n\n"


def lone_entry() -> Entry:
    return b"Action: Ping\r\n\r\n", Request(Action("Ping"), b"1", None, None), b"", None


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig("socket").start()
    yield made
    made.close()


@contextlib.contextmanager
def on_signal(handler: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Run a handler on the main thread whenever what is yielded is called."""
    before = signal.signal(signal.SIGUSR1, lambda *_: handler())
    main = threading.main_thread().ident
    assert main is not None
    try:
        yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


class Answering:
    """Hears two actions on a thread of its own, and answers them when it is allowed to."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.allowed = threading.Event()
        self.heard: list[str] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            for _ in range(2):
                self.heard.append(self.rig.hears()["ActionID"])
            assert self.allowed.wait(30)
            for name in reversed(self.heard):
                self.rig.says(PONG.format(name))

    def close(self) -> None:
        self.rig.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)


@pytest.fixture
def answering(rig: Rig) -> Iterator[Answering]:
    made = Answering(rig)
    yield made
    made.allowed.set()
    made.close()


def test_a_handler_that_waits_for_another_thread_while_its_own_thread_leads(
    rig: Rig, answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``stop.set(); worker.join()`` in a SIGTERM handler: the engine takes the connection back from the leader."""
    outcomes: list[Any] = []

    def handler() -> None:
        worker = threading.Thread(target=lambda: outcomes.append(rig.connection.call(Action("Worker"), 10.0)))
        worker.start()
        eventually(lambda: len(answering.heard) == 2)
        answering.allowed.set()
        worker.join(20)

    reading = rig.connection._reading
    read, struck = reading.read, []

    def struck_read(lease: Lease, *rest: Any) -> bool:
        struck.append(reading.holds(lease))
        send()
        return read(lease, *rest)

    monkeypatch.setattr(reading, "read", struck_read)
    with on_signal(handler) as send:
        assert rig.connection.call(PING, 20.0).ok
    assert struck == [True]
    assert [each.ok for each in outcomes] == [True]


def test_events_go_on_while_a_handler_stands_still(rig: Rig) -> None:
    def handler() -> None:
        rig.says("Event: A\n\n")
        eventually(lambda: rig.owner.events)  # published, though the main thread leads and is here
        rig.says(PONG.format(name))

    name = ""

    def strike() -> None:
        nonlocal name
        name = rig.hears()["ActionID"]
        send()

    with on_signal(handler) as send:
        striking = threading.Thread(target=strike)
        striking.start()
        assert rig.connection.call(PING, 20.0).ok
        striking.join(10)


def test_a_handler_between_reading_and_looking_at_what_was_read(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine finds what the leader has read, and the answer reaches the leader all the same."""
    claim_own, entered = rig.pending.claim_own, threading.Event()

    def held_up(*args: Any) -> Any:
        entered.set()
        eventually(lambda: not rig.connection._reading.holder)  # relieved by the engine
        return claim_own(*args)

    monkeypatch.setattr(rig.pending, "claim_own", held_up)
    outcome = rig.begin()
    rig.says(PONG.format(rig.hears()["ActionID"]))
    assert outcome.get().ok
    assert entered.is_set()


def test_a_handler_that_stops_a_read_costs_the_link_at_most(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader_module, "STUCK", 2)
    go_on = threading.Event()

    class Held:
        def recv(self, size: int) -> bytes:
            go_on.wait(20)
            return rig.mine.recv(size)

        def __getattr__(self, name: str) -> Any:
            return getattr(rig.mine, name)

    rig.connection.transport.sock = Held()
    outcome = rig.begin(timeout=None)
    rig.says(PONG.format(rig.hears()["ActionID"]))
    eventually(lambda: rig.owner.ends)
    go_on.set()
    assert outcome.get() is not None
    assert "stopped the thread that was reading" in str(rig.owner.ends[0])


def test_a_handler_that_stands_still_within_a_write(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other threads send must not wait for it."""
    outbox, entered, go_on = rig.connection.outbox, threading.Event(), threading.Event()
    write_once = outbox._write_once
    main = threading.get_ident()

    def held_up(write: Any) -> bool:
        if threading.get_ident() == main:
            entered.set()
            assert go_on.wait(20)
        return write_once(write)

    monkeypatch.setattr(outbox, "_write_once", held_up)
    heard: list[str] = []

    def others() -> None:
        assert entered.wait(20)
        other = rig.begin(Action("Other"))
        for _ in range(2):
            message = rig.hears()
            heard.append(message["Action"])
            rig.says(PONG.format(message["ActionID"]))
        assert other.get().ok
        go_on.set()

    thread = threading.Thread(target=others)
    thread.start()
    assert rig.connection.call(PING, 20.0).ok
    thread.join(10)
    assert sorted(heard) == ["Other", "Ping"]  # each once


def test_a_call_in_a_handler_within_a_write(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It relieves the write that it has interrupted, which is sent once."""
    outbox, inner = rig.connection.outbox, []
    write_once = outbox._write_once

    def interrupted(write: Any) -> bool:
        if not inner:
            inner.append(None)
            inner[0] = rig.submit(Action("Inner"))
        return write_once(write)

    monkeypatch.setattr(outbox, "_write_once", interrupted)
    heard: list[str] = []

    def serve() -> None:
        for _ in range(2):
            message = rig.hears()
            heard.append(message["Action"])
            rig.says(PONG.format(message["ActionID"]))

    thread = threading.Thread(target=serve)
    thread.start()
    assert rig.connection.call(PING, 20.0).ok
    thread.join(10)
    assert inner[0].result(10).ok
    assert sorted(heard) == ["Inner", "Ping"]


def test_waiting_for_one_s_own_write_is_an_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalizer that calls within the library's own write, on another than the main thread."""
    following, errors = rig.connection.outbox._next, []

    def interrupted() -> bytes:
        if not errors:
            errors.append(None)
            try:
                rig.connection.call(Action("Inner"), 5.0)
            except ConcurrencyError as exc:
                errors[0] = exc
        return following()

    monkeypatch.setattr(rig.connection.outbox, "_next", interrupted)
    outcome = rig.begin()
    rig.says(PONG.format(rig.hears()["ActionID"]))
    assert outcome.get().ok
    assert isinstance(errors[0], ConcurrencyError)


@pytest.mark.promise(2)
class TestLateAnswers:
    def test_of_the_same_action_id(self, rig: Rig) -> None:
        """The answer to the first, which has given up, is not taken for that of the second."""
        with pytest.raises(ActionTimeout):
            rig.connection.call(Action("First", ActionID="mine"), 0.05)
        outcome = rig.begin(Action("Second", ActionID="mine"))
        assert [rig.hears()["Action"], rig.hears()["Action"]] == ["First", "Second"]
        rig.says("Response: Success\nActionID: mine\nFor: first\n\nResponse: Success\nActionID: mine\nFor: second\n\n")
        assert outcome.get()["For"] == "second"

    def test_that_never_came(self, rig: Rig) -> None:
        """The answer to a later action shows that the server has passed over the first one."""
        with pytest.raises(ActionTimeout):
            rig.connection.call(Action("First", ActionID="mine"), 0.05)
        rig.hears()
        between = rig.begin()
        rig.says(PONG.format(rig.hears()["ActionID"]))
        assert between.get().ok
        outcome = rig.begin(Action("Second", ActionID="mine"))
        rig.hears()
        rig.says("Response: Success\nActionID: mine\nFor: second\n\n")
        assert outcome.get()["For"] == "second"

    def test_without_an_action_id(self, rig: Rig) -> None:
        with pytest.raises(ActionTimeout):
            rig.connection.call(Action("Forgetful"), 0.05)
        rig.hears()
        outcome = rig.begin(Action("Other"))
        name = rig.hears()["ActionID"]
        rig.says("Response: Success\nFor: events\n\n")
        rig.says(f"Response: Success\nActionID: {name}\nFor: other\n\n")
        assert outcome.get()["For"] == "other"

    def test_of_a_cancelled_future(self, rig: Rig) -> None:
        future = rig.submit(Action("First", ActionID="mine"))
        rig.hears()
        (request,) = rig.pending.requests()
        assert rig.pending.give_up(request)
        outcome = rig.begin(Action("Second", ActionID="mine"))
        rig.hears()
        rig.says("Response: Success\nActionID: mine\nFor: first\n\nResponse: Success\nActionID: mine\nFor: second\n\n")
        assert outcome.get()["For"] == "second"
        assert not future.done()


class TestTransports:
    def test_a_blocking_transport_that_accepts_nothing_keeps_to_the_time_limit(self) -> None:
        rig = Rig("stream").start()
        go_on = threading.Event()
        rig.connection.transport.sock.sendall = lambda data: go_on.wait(20)
        try:
            started = time.monotonic()
            with pytest.raises(ActionTimeout):
                rig.connection.call(PING, 0.1)
            assert time.monotonic() - started < 5
            # Nor does the engine thread wait for it.
            done = threading.Event()
            rig.engine.call_soon(lambda: (rig.submit(), done.set()))
            assert done.wait(10)
        finally:
            go_on.set()
            rig.close()

    def test_an_ssl_socket_is_read_within_measure(self) -> None:
        """A peer that sends without end must not be collected in memory before it is looked at."""
        server_side, client_side = socket.socketpair()
        context = ssl.create_default_context(cafile=certificates()["ca"])
        context.check_hostname = False
        made: list[ssl.SSLSocket] = []
        thread = threading.Thread(
            target=lambda: made.append(server_context().wrap_socket(server_side, server_side=True))
        )
        thread.start()
        client = context.wrap_socket(client_side)
        thread.join(10)
        (server,) = made
        stop = threading.Event()

        def flood() -> None:
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    server.sendall(b"Event: A\r\n\r\n" * 1000)

        flooding = threading.Thread(target=flood)
        flooding.start()
        transport = SSLSocketTransport(client)
        try:
            chunks: list[bytes] = []
            while sum(map(len, chunks)) < 4_000_000:
                chunk = transport.receive()
                if chunk is not None:
                    chunks.append(chunk)
            assert max(map(len, chunks)) < 1_000_000
        finally:
            stop.set()
            transport.close()
            flooding.join(10)
            server.close()

    def test_the_descriptor_is_closed_when_nobody_can_be_using_it(self, rig: Rig) -> None:
        lease = Lease(rig.connection._reading.number)
        lease.permit.clear()  # as a thread that is within recv()
        assert rig.connection._reading.try_acquire(lease)
        rig.connection.close()
        eventually(lambda: rig.owner.ends)
        assert rig.mine.fileno() >= 0
        assert rig.sock.recv(1) == b""  # but shut down at once
        rig.connection._reading.release(lease)
        eventually(lambda: rig.mine.fileno() < 0)

    @pytest.mark.parametrize("user", ["writer", "reader"])
    def test_the_engine_closes_the_descriptor_before_its_end(self, rig: Rig, user: str) -> None:
        """A thread that is within send() or recv() when the link ends keeps the descriptor only until it has left."""
        if user == "writer":
            write = Write(lone_entry())
            write.permit.clear()  # it has begun
            assert rig.connection.outbox._writer.setdefault(None, write) is write
        else:
            lease = Lease(rig.connection._reading.number)
            lease.permit.clear()
            assert rig.connection._reading.try_acquire(lease)
        rig.connection.close()
        eventually(lambda: rig.engine._unfinished)  # the engine has found that it can't be closed yet
        closing = threading.Thread(target=rig.engine.close)
        closing.start()
        if user == "writer":
            write.sent.append(1)
        else:
            lease.read = True
        closing.join(10)
        assert rig.mine.fileno() < 0

    def test_a_thread_that_is_held_up_for_long_does_not_keep_the_engine_from_ending(self, rig: Rig) -> None:
        write = Write(lone_entry())
        write.permit.clear()
        assert rig.connection.outbox._writer.setdefault(None, write) is write
        rig.connection.close()
        rig.engine.close()
        assert rig.mine.fileno() < 0


@pytest.mark.promise(1)
def test_nobody_waits_for_ever_for_an_ended_connection(rig: Rig) -> None:
    outcome = rig.begin(timeout=None)
    rig.hears()
    rig.sock.close()
    assert isinstance(outcome.get(), ConnectionLost)
