"""One TCP life, over real sockets: reading, calling, writing to slow peers, every way to end."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time

import pytest

from pyami_sync.connection.transport import make_transport
from pyami_sync.exceptions import (
    ActionError,
    ActionTimeout,
    ConcurrencyError,
    ConnectError,
    ConnectionLost,
    InvalidAction,
    RemoteProtocolError,
)
from pyami_sync.wire.action import Action

from ..support.peer import GREETING, eventually
from ..support.rig import PING, Outcome, Rig


@pytest.fixture(params=["socket", "stream"])
def rig(request):
    made = Rig(request.param)
    yield made
    made.close()


@pytest.fixture
def plain_rig():
    made = Rig("socket")
    yield made
    made.close()


def listing(rig, count=2):
    outcome = rig.begin(Action("CoreShowChannels"))
    action_id = rig.hears()["ActionID"]
    rig.says(f"Response: Success\nActionID: {action_id}\nEventList: start\n\n")
    rig.says(f"Event: CoreShowChannel\nActionID: {action_id}\n\n" * count)
    eventually(lambda: len(rig.owner.events) == count)
    return outcome


class TestGreeting:
    def test_comes(self, rig):
        rig.start(None)
        rig.sock.sendall(GREETING)
        assert rig.wait_greeting().version == (9, 0, 0)
        assert rig.pending.ami_version == (9, 0, 0)

    def test_whoever_waits_otherwise_is_told_once(self, rig):
        told = []
        rig.connection.on_greeted = lambda: (told.append(1), rig.greeted.set())
        rig.start()
        rig.connection.close()
        assert told == [1]

    def test_the_server_closes_before(self, rig):
        rig.start(None)
        rig.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectError, match="authlimit"):
            rig.wait_greeting()

    @pytest.mark.parametrize(
        ("said", "reason"),
        [(b"HTTP/1.1 400 Bad\r\n\r\n", "HTTP"), (b"\x15\x03\x03\0\2", "speaks TLS"), (b"x" * 2000, "no AMI")],
    )
    def test_of_another_server(self, rig, said, reason):
        rig.start(None)
        rig.sock.sendall(said)
        with pytest.raises(ConnectError, match=reason):
            rig.wait_greeting()


class TestReading:
    @pytest.mark.promise(7)
    def test_events_in_wire_order_on_the_engine_thread(self, rig):
        rig.start()
        rig.says("".join(f"Event: E{n}\n\n" for n in range(500)))
        eventually(lambda: len(rig.owner.events) == 500)
        assert rig.owner.events == [b"Event: E%d" % n for n in range(500)]
        assert rig.owner.threads == {"pyami-test-engine"}
        assert rig.connection.events_received == 500
        assert rig.connection.bytes_received == len(GREETING) + sum(len(each) + 4 for each in rig.owner.events)

    def test_byte_by_byte(self, rig):
        rig.start(None)
        for byte in GREETING + b"Event: A\r\n\r\nEvent: B\r\n\r\n":
            rig.sock.sendall(bytes([byte]))
        eventually(lambda: rig.owner.events == [b"Event: A", b"Event: B"])

    def test_much_at_once(self, rig):
        rig.start()
        events = [b"Event: E\r\nN: %d" % n for n in range(100_000)]
        rig.sock.sendall(b"".join(event + b"\r\n\r\n" for event in events))
        eventually(lambda: len(rig.owner.events) == 100_000)
        assert rig.owner.events == events

    def test_publishing_that_raises_ends_nothing(self, rig, caplog):
        rig.start()
        rig.owner.fail = ValueError("bug")
        rig.says("Event: A\n\n")
        eventually(lambda: "publishing events raised" in caplog.text)
        rig.owner.fail = None
        rig.says("Event: B\n\n")
        eventually(lambda: rig.owner.events == [b"Event: B"])

    @pytest.mark.parametrize("kind", ["socket", "stream"])
    @pytest.mark.parametrize(
        ("limits", "said"),
        [
            ({"line": 1000}, b"x" * 2000),
            ({"frame": 1000}, b"A: 1\r\n" * 400),
            ({"headers": 100}, b"A:\r\n" * 200 + b"\r\n"),
        ],
    )
    def test_too_much_ends_it(self, kind, limits, said):
        rig = Rig(kind, **limits)
        try:
            rig.start()
            outcome = rig.begin()
            rig.hears()
            rig.sock.sendall(said)
            exc = outcome.get()
            assert isinstance(exc, ConnectionLost)
            assert isinstance(exc.__cause__, RemoteProtocolError)
            assert isinstance(rig.connection.close_exc, RemoteProtocolError)
            eventually(lambda: rig.owner.ends)
            assert "the server sent" in str(rig.owner.ends[0])
        finally:
            rig.close()

    def test_a_bug_in_serving_it_ends_it_and_nothing_else(self, plain_rig, caplog, monkeypatch):
        rig = plain_rig.start()
        outcome = rig.begin()
        rig.hears()
        monkeypatch.setattr(rig.pending, "feed", lambda *args: 1 / 0)
        rig.says("Event: A\n\n")
        assert isinstance(outcome.get().__cause__, ZeroDivisionError)
        assert "serving a connection raised" in caplog.text
        assert rig.engine._thread.is_alive()


class TestCalling:
    def test_an_answer(self, rig):
        rig.start()
        outcome = rig.begin(Action("Ping", X="1"))
        heard = rig.hears()
        assert heard.to_bytes() == f"Action: Ping\r\nActionID: {heard['ActionID']}\r\nX: 1\r\n\r\n".encode()
        rig.says(f"Response: Success\nActionID: {heard['ActionID']}\nPing: Pong\n\n")
        assert outcome.get()["Ping"] == "Pong"

    def test_one_s_own_action_id(self, rig):
        rig.start()
        outcome = rig.begin(Action("Ping", ActionID="mine"))
        assert rig.hears()["ActionID"] == "mine"
        with pytest.raises(InvalidAction, match="under way"):
            rig.connection.call(Action("Ping", ActionID="mine"), 1)
        rig.says("Response: Success\nActionID: mine\n\n")
        assert outcome.get().ok

    def test_an_error(self, rig):
        rig.start()
        outcome = rig.begin()
        rig.says(f"Response: Error\nActionID: {rig.hears()['ActionID']}\nMessage: no\n\n")
        assert isinstance(outcome.get(), ActionError)

    @pytest.mark.promise(1)
    def test_no_answer_in_time(self, rig):
        rig.start()
        started = time.monotonic()
        with pytest.raises(ActionTimeout) as caught:
            rig.connection.call(PING, 0.05)
        assert time.monotonic() - started >= 0.05
        assert (caught.value.sent, caught.value.timeout) == (True, 0.05)
        assert len(rig.pending) == 0

    @pytest.mark.promise(4)
    def test_a_list_that_is_cut_short_by_time(self, rig):
        rig.start()
        outcome = rig.begin(Action("CoreShowChannels"), 0.3)
        action_id = rig.hears()["ActionID"]
        rig.says(f"Response: Success\nActionID: {action_id}\nEventList: start\n\n")
        rig.says(f"Event: CoreShowChannel\nActionID: {action_id}\n\n" * 3)
        assert isinstance(outcome.get(), ActionTimeout)
        assert len(outcome.value.partial) == 3

    def test_no_limit(self, rig):
        rig.start()
        outcome = rig.begin(timeout=None)
        rig.says(f"Response: Success\nActionID: {rig.hears()['ActionID']}\n\n")
        assert outcome.get().ok

    @pytest.mark.promise(15)
    @pytest.mark.parametrize(
        "action",
        [
            Action.from_bytes(b"Action: X\nAction: Y"),
            Action.from_bytes("Action: Ping\r\nActionID: é".encode()),
            Action.from_bytes(b"Action: Ping\r\nActionID: a b"),
            Action.from_bytes(b"Action: Ping\r\nActionID: " + b"x" * 65),
            Action("X", A=["v"] * 127),
        ],
    )
    def test_what_must_not_be_sent_is_not(self, rig, action):
        rig.start()
        with pytest.raises(InvalidAction):
            rig.connection.call(action, 1)
        assert len(rig.pending) == 0
        outcome = rig.begin()
        assert rig.hears()["Action"] == "Ping"  # the first thing that arrives
        rig.connection.close()
        outcome.get()

    def test_a_fence_goes_right_behind(self, rig):
        rig.start()
        outcome = rig.begin(Action("IAXnetstats"))
        assert rig.hears()["Action"] == "IAXnetstats"
        fence = rig.hears()
        assert fence["Action"] == "Ping"
        rig.says(f"\nResponse: Success\nActionID: {fence['ActionID']}\n\n")
        assert outcome.get().output == []

    @pytest.mark.promise(2)
    def test_many_threads_pipelined(self, plain_rig):
        rig = plain_rig.start()
        outcomes = [rig.begin(Action("Echo", N=n)) for n in range(64)]
        heard = [rig.hears() for _ in outcomes]
        for action in reversed(heard):
            rig.says(f"Response: Success\nActionID: {action['ActionID']}\nN: {action['N']}\n\n")
        assert [outcome.get()["N"] for outcome in outcomes] == [str(n) for n in range(64)]
        assert len({action["ActionID"] for action in heard}) == 64

    def test_ctrl_c_while_waiting(self, plain_rig):
        rig = plain_rig.start()
        main = threading.get_ident()
        interrupter = threading.Thread(target=lambda: (rig.hears(), signal.pthread_kill(main, signal.SIGINT)))
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            rig.connection.call(PING, 15)
        interrupter.join()
        assert len(rig.pending) == 0
        outcome = rig.begin()
        rig.says(f"Response: Success\nActionID: {rig.hears()['ActionID']}\n\n")
        assert outcome.get().ok

    def test_ctrl_c_while_sending(self, plain_rig, monkeypatch):
        rig = plain_rig.start()
        flush = rig.connection.outbox.flush

        def interrupted():
            flush()
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(rig.connection.outbox, "flush", interrupted)
            with pytest.raises(KeyboardInterrupt):
                rig.connection.call(PING, 15)
        assert len(rig.pending) == 0


class TestEnding:
    def test_the_server_closes(self, rig):
        rig.start()
        outcome = rig.begin()
        rig.hears()
        rig.sock.shutdown(socket.SHUT_WR)
        assert isinstance(outcome.get(), ConnectionLost)
        assert "the server closed the connection" in str(outcome.value)
        assert outcome.value.sent
        eventually(lambda: rig.owner.ends)
        with pytest.raises(ConnectionLost) as caught:
            rig.connection.call(PING, 1)
        assert caught.value.sent is False
        assert caught.value is not outcome.value

    def test_in_the_middle_of_a_message(self, rig):
        rig.start()
        outcome = rig.begin()
        rig.hears()
        rig.says("Response: Suc")
        rig.sock.shutdown(socket.SHUT_WR)
        assert "in the middle of a message" in str(outcome.get())

    @pytest.mark.promise(4)
    def test_in_the_middle_of_a_list(self, rig):
        rig.start()
        outcome = listing(rig, 3)
        rig.sock.shutdown(socket.SHUT_WR)
        assert len(outcome.get().partial) == 3
        assert "3 list items had arrived" in str(outcome.value)

    def test_what_came_before_is_published_first(self, rig):
        rig.start()
        order = []
        rig.owner.publish = lambda frames, origin: order.extend(frames)
        rig.owner.ended = lambda connection, exc: order.append("end")
        rig.says("Event: A\n\nEvent: B\n\n")
        rig.sock.shutdown(socket.SHUT_WR)
        eventually(lambda: order and order[-1] == "end")
        assert order == [b"Event: A", b"Event: B", "end"]

    def test_closing(self, rig):
        rig.start()
        outcomes = [rig.begin() for _ in range(3)]
        for _ in outcomes:
            rig.hears()
        rig.connection.close()
        rig.connection.close()
        assert all("closed by this side" in str(outcome.get()) for outcome in outcomes)
        assert len({id(outcome.value) for outcome in outcomes}) == 3
        assert rig.sock.recv(1) == b""
        eventually(lambda: rig.owner.ends)
        assert len(rig.owner.ends) == 1

    def test_closing_from_the_engine_thread(self, rig):
        rig.start()
        rig.owner.publish = lambda *args: rig.connection.close()
        rig.says("Event: A\n\n")
        eventually(lambda: rig.owner.ends)
        assert rig.sock.recv(1) == b""

    def test_a_reset(self, plain_rig):
        with socket.create_server(("127.0.0.1", 0)) as server:
            mine = socket.create_connection(server.getsockname())
            plain_rig.sock.close()
            plain_rig.sock, _ = server.accept()
        plain_rig.connection.transport = plain_rig.connection.outbox._transport = make_transport(mine)
        plain_rig.start()
        outcome = plain_rig.begin()
        plain_rig.sock.settimeout(10)
        plain_rig.hears()
        plain_rig.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        plain_rig.sock.close()
        assert "reset by peer" in str(outcome.get())
        assert isinstance(outcome.value.__cause__, ConnectionResetError)

    @pytest.mark.promise(3)
    def test_everybody_fails_at_once(self, rig):
        rig.start()
        futures = [rig.submit() for _ in range(100)]
        rig.sock.shutdown(socket.SHUT_RDWR)
        for future in futures:
            assert isinstance(future.exception(10), ConnectionLost)
        assert len(rig.pending) == 0

    def test_no_thread_of_a_transport_is_left(self):
        rig = Rig("stream")
        rig.start()
        pumps = list(rig.engine._pumps)
        assert [pump.name for pump in pumps] == ["pyami-test-transport"] * 2  # one reads, one writes
        rig.close()
        assert not any(pump.is_alive() for pump in pumps)

    @pytest.mark.parametrize("error", [RuntimeError("library's own"), OSError("of the system")])
    def test_a_transport_that_fails(self, error):
        rig = Rig("stream")
        try:
            rig.start()

            def fail(data):
                raise error

            rig.connection.transport.sock.sendall = fail
            with pytest.raises(ConnectionLost, match=str(error)):
                rig.connection.call(PING, 5)
        finally:
            rig.close()

    def test_a_transport_that_fails_to_read(self):
        rig = Rig("stream")

        def fail(size):
            raise RuntimeError("library's own")

        rig.connection.transport.sock.recv = fail
        rig.connection.start()
        with pytest.raises(ConnectError, match="library's own"):
            rig.wait_greeting()
        rig.close()

    def test_a_forked_child_lets_go_without_a_word(self, plain_rig):
        copy = plain_rig.mine.dup()
        plain_rig.start()
        held = []
        plain_rig.engine.unregister(plain_rig.connection, lambda: held.append(1))
        eventually(lambda: held)
        plain_rig.connection.abandon()
        assert "fork" in str(plain_rig.connection.close_exc)
        copy.sendall(b"the parent's\r\n\r\n")
        assert plain_rig.hears().get_all("") == ["the parent's"]
        copy.close()


def fill(rig, timeout=15.0):
    """Send until the socket takes no more; the peer does not read."""
    big = Action("UserEvent", {f"H{n}": "x" * 900 for n in range(20)})
    futures = []
    outbox = rig.connection.outbox
    while not outbox.blocked:
        futures.append(rig.submit(big, timeout))
        eventually(lambda: outbox.blocked or not (outbox.pending or outbox.busy))  # the engine keeps what is left
    return futures


class TestSlowPeers:
    def test_what_the_socket_does_not_take_goes_out_later(self, plain_rig):
        rig = plain_rig.start()
        futures = fill(rig)
        for _ in range(50):
            futures.append(rig.submit())
        ids = [rig.hears()["ActionID"] for _ in futures]
        assert len(set(ids)) == len(futures)
        rig.says("".join(f"Response: Success\nActionID: {each}\n\n" for each in ids))
        for future in futures:
            assert future.result(15).ok

    def test_one_who_waits_in_the_queue_too_long_is_told_that_it_was_not_sent(self, plain_rig):
        rig = plain_rig.start()
        futures = fill(rig)
        with pytest.raises(ActionTimeout) as caught:
            rig.connection.call(Action("Marked"), 0.05)
        assert caught.value.sent is False
        assert "the action has not run" in str(caught.value)
        last = rig.submit(Action("Last"))
        heard = [rig.hears()["Action"] for _ in range(len(futures) + 1)]
        assert heard[-1] == "Last"
        assert "Marked" not in heard
        rig.connection.close()
        assert isinstance(last.exception(10), ConnectionLost)

    def test_nothing_is_read_late_because_of_it(self, plain_rig):
        rig = plain_rig.start()
        fill(rig)
        rig.says("Event: A\n\n")
        eventually(lambda: rig.owner.events)

    def test_callers_wait_for_room(self, plain_rig, monkeypatch):
        rig = plain_rig.start()
        rig.connection.outbox.high_water = 5
        futures = fill(rig)
        while not rig.connection.crowded:
            futures.append(rig.submit())
        with pytest.raises(ActionTimeout) as caught:
            rig.connection.call(PING, 0.05)
        assert caught.value.sent is False
        waiting = rig.begin(Action("Waiting"))
        eventually(lambda: len(rig.connection.outbox._space) == 1)
        heard = [rig.hears() for _ in range(len(futures) + 1)]
        assert heard[-1]["Action"] == "Waiting"
        rig.says(f"Response: Success\nActionID: {heard[-1]['ActionID']}\n\n")
        assert waiting.get().ok

    def test_the_end_releases_them(self, plain_rig, monkeypatch):
        rig = plain_rig.start()
        rig.connection.outbox.high_water = 5
        fill(rig)
        while not rig.connection.crowded:
            rig.submit()
        waiting = rig.begin(Action("Waiting"))
        eventually(lambda: len(rig.connection.outbox._space) == 1)
        rig.connection.close()
        assert isinstance(waiting.get(), ConnectionLost)
        assert waiting.value.sent is False

    def test_the_engine_thread_waits_for_no_room(self, plain_rig, monkeypatch):
        rig = plain_rig.start()
        rig.connection.outbox.high_water = 5
        fill(rig)
        while not rig.connection.crowded:
            rig.submit()
        outcome = Outcome()
        rig.engine.call_soon(lambda: outcome.run(rig.connection.call, PING, 5.0))
        assert isinstance(outcome.get(), ConcurrencyError)

    def test_a_peer_that_is_gone_ends_it_when_it_is_read(self, plain_rig):
        rig = plain_rig.start()
        rig.says("Event: Shutdown\n\n")
        rig.sock.close()
        for _ in range(100):
            try:
                rig.submit()
            except ConnectionLost:
                break
        eventually(lambda: rig.owner.ends)
        assert rig.owner.events == [b"Event: Shutdown"]


class TestShowing:
    def test_taps_see_both_directions(self, rig):
        rig.connection.tapping = True
        rig.start()
        outcome = rig.begin()
        heard = rig.hears()
        rig.says(f"Response: Success\nActionID: {heard['ActionID']}\n\nEvent: A\n\n")
        outcome.get()
        eventually(lambda: rig.owner.events)
        assert rig.owner.taps[0] == ("received", GREETING)
        assert rig.owner.taps[1] == ("sent", heard.to_bytes())
        assert [direction for direction, _ in rig.owner.taps[2:]] == ["received", "received"]
        assert rig.owner.taps[-1][1] == b"Event: A\r\n\r\n"

    def test_the_greeting_is_shown_before_anybody_answers_it(self, rig):
        shown = []
        rig.connection.tapping = True
        rig.connection.on_greeted = lambda: (shown.extend(rig.owner.taps), rig.greeted.set())
        rig.start()
        assert shown == [("received", GREETING)]

    @pytest.mark.promise(17)
    def test_the_log_shows_no_secret_and_no_forged_lines(self, rig, caplog):
        caplog.set_level(logging.DEBUG, "pyami_sync")
        rig.start()
        outcome = rig.begin(Action("Login", Username="a", Secret="hunter2"))
        heard = rig.hears()
        rig.says(f"Response: Success\nActionID: {heard['ActionID']}\nChallenge: hunter2\n\n")
        outcome.get()
        rig.sock.sendall("Event: A\r\nX: \n2026-01-01 forged\u2028\x1b[31m\r\n\r\n".encode())
        eventually(lambda: "Event: A" in caplog.text)
        assert "hunter2" not in caplog.text
        assert "[hidden]" in caplog.text
        messages = [record.getMessage() for record in caplog.records]
        assert not any(set(message) & set("\n\r\x1b\u2028") for message in messages)
        assert any(message.startswith("> Action: Login") for message in messages)


def test_ctrl_c_behind_taking_the_right_to_send(plain_rig):
    """It strikes a thread that has just begun to send: others send on."""
    rig = plain_rig

    class Struck(dict):
        def setdefault(self, key, value):
            found = super().setdefault(key, value)
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            return found

    rig.start()
    free, rig.connection.outbox._writer = rig.connection.outbox._writer, Struck()
    with pytest.raises(KeyboardInterrupt):
        rig.connection.call(PING, 15.0)
    assert not rig.connection.outbox._writer
    rig.connection.outbox._writer = free
    outcome = rig.begin()
    rig.says(f"Response: Success\nActionID: {rig.hears()['ActionID']}\n\n")
    assert outcome.get().ok


class FailingSocket:
    """A socket whose next write fails after part of an action; its receive side stays open."""

    def __init__(self, sock, exc):
        self._sock, self._exc, self.armed = sock, exc, False

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def send(self, data):
        if not self.armed:
            return self._sock.send(data)
        self.armed = False
        self._sock.send(data[:10])
        raise self._exc


class TestFailedWrite:
    @pytest.mark.parametrize("exc", [OSError(105, "No buffer space available"), KeyboardInterrupt()])
    def test_ends_the_link_though_the_server_can_still_be_heard(self, plain_rig, exc):
        rig = plain_rig.start()
        rig.connection.transport.sock = failing = FailingSocket(rig.mine, exc)
        failing.armed = True
        with pytest.raises((ConnectionLost, KeyboardInterrupt)):
            rig.connection.call(PING, 10.0)
        eventually(lambda: rig.owner.ends)
        with pytest.raises(ConnectionLost):
            rig.connection.call(PING, 10.0)
        rig.sock.settimeout(10)
        heard = b""
        while chunk := rig.sock.recv(4096):
            heard += chunk
        assert len(heard) == 10  # nothing follows the half of an action


class TestEveryWaitIsBounded:
    @pytest.mark.parametrize("timeout", [10.0, None])
    def test_ctrl_c_inside_closing(self, plain_rig, monkeypatch, timeout):
        rig = plain_rig.start()
        outcome = rig.begin(timeout=timeout)
        rig.hears()
        call_soon, main = rig.engine.call_soon, threading.get_ident()

        def struck(job):
            call_soon(job)
            if threading.get_ident() == main:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(rig.engine, "call_soon", struck)
            with pytest.raises(KeyboardInterrupt):
                rig.connection.close()
        assert isinstance(outcome.get(), ConnectionLost)
        eventually(lambda: rig.owner.ends)
