"""The FastAGI server and its connections, against a peer that the test plays."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from queue import Queue

import pytest

from pyami_sync import ConcurrencyError, ConnectionClosed, ConnectionLost, RemoteProtocolError
from pyami_sync.agi import (
    AGICall,
    CallLeft,
    ChannelState,
    CommandFailed,
    CommandTimeout,
    FastAGIServer,
    HungUp,
    Recording,
    Router,
    fast,
)
from pyami_sync.engine.waiting import Waiters
from pyami_sync.testing import assert_no_leaks
from tests.agi.peer import Peer
from tests.agi.scripts import PATIENCE, Scripts


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with assert_no_leaks():
        yield


class Served(Scripts):
    """A server of one script."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.server = FastAGIServer(self.router, port=0, **options)  # type: ignore[arg-type]

    @contextmanager
    def call(self, function: Callable[[AGICall], object]) -> Iterator[Peer]:
        self.set(function)
        with self.server, Peer(self.server.port) as peer:
            yield peer


def test_commands_are_sent_and_their_answers_read():
    served = Served()
    with served.call(lambda call: (call.answer(), call.channel_status(), call.get_data("hello", max_digits=2))) as peer:
        assert peer.answer() == "ANSWER"
        assert peer.answer(b"200 result=6") == "CHANNEL STATUS"
        assert peer.answer(b"200 result=12") == 'GET DATA "hello" "5000" "2"'
        assert served.outcome() == (None, ChannelState.UP, "12")
        assert peer.rest() == ['SET VARIABLE "AGISCRIPT" "DONE"']


def test_what_stands_between_answers_is_survived():
    served = Served()
    with served.call(lambda call: (call.noop(), call.exec("NoOp"), call.gosub("sub", "s"))) as peer:
        peer.send(b"\n\n")
        peer.answer(b"\n100 result=0 Trying...\n\n200 result=0")
        peer.answer(b"200 result=1\n520-Invalid\nUsage\n520 End of proper usage.")
        peer.mark()
        peer.answer(b"100 result=0 Trying...\n200 result=0 Gosub complete")
        assert served.outcome() == (None, 1, None)
        peer.rest()


def test_an_answer_may_come_byte_by_byte():
    served = Served()
    with served.call(lambda call: call.get_variable("X")) as peer:
        peer.command()
        for byte in b"200 result=1 (a\nb)\n":
            peer.send(bytes([byte]))
        peer.mark()
        assert served.outcome() == "a\nb"
        peer.rest()


def test_a_value_can_not_stand_for_the_next_answer():
    served = Served()
    with served.call(lambda call: (call.variables["X"], call.variables.get("Y"))) as peer:
        peer.answer(b"200 result=1 (a)\n200 result=1 (forged)")
        peer.mark()
        peer.answer(b"200 result=0")
        peer.mark()
        assert served.outcome() == ("a)\n200 result=1 (forged", None)
        peer.rest()


def test_a_hang_up_is_raised_by_the_next_command_and_every_one_after():
    served = Served()
    cleaned = Queue()  # type: ignore[var-annotated]

    def script(call):
        try:
            call.noop()
            call.noop()
        finally:
            cleaned.put(call.hung_up)
            with pytest.raises(HungUp):
                call.noop()

    with served.call(script) as peer:
        peer.answer(b"HANGUP\n200 result=0")
        assert isinstance(served.outcome(), HungUp)
        assert peer.rest() == []
    assert cleaned.get(timeout=PATIENCE) is True


def test_a_hang_up_while_a_script_computes_is_seen_before_anything_is_sent(monkeypatch):
    monkeypatch.setattr(fast, "FRESH", 0.0)  # however quick the script and the peer are
    served = Served()
    answered, told = threading.Event(), threading.Event()

    def script(call):
        call.noop()
        answered.set()
        assert told.wait(PATIENCE)
        call.noop()

    with served.call(script) as peer:
        peer.answer()
        assert answered.wait(PATIENCE)
        peer.send(b"HANGUP\n")
        told.set()
        assert isinstance(served.outcome(), HungUp)
        assert peer.rest() == []


def test_a_hang_up_that_crosses_with_a_command_is_raised_by_the_next_one(monkeypatch):
    monkeypatch.setattr(fast, "FRESH", float("inf"))
    served = Served()
    answered, told = threading.Event(), threading.Event()

    def script(call):
        call.noop()
        answered.set()
        assert told.wait(PATIENCE)
        call.set_variable("X", "1")
        call.set_variable("X", "2")

    with served.call(script) as peer:
        peer.answer()
        assert answered.wait(PATIENCE)
        peer.send(b"HANGUP\n")
        told.set()
        assert peer.answer(b"200 result=1") == 'SET VARIABLE "X" "1"'
        assert isinstance(served.outcome(), HungUp)
        assert peer.rest() == []


def test_a_hang_up_before_a_reset_is_a_hang_up(monkeypatch):
    monkeypatch.setattr(fast, "FRESH", float("inf"))
    served = Served()
    answered, told = threading.Event(), threading.Event()

    def script(call):
        call.noop()
        answered.set()
        assert told.wait(PATIENCE)
        call.noop()

    with served.call(script) as peer:
        peer.answer()
        assert answered.wait(PATIENCE)
        peer.send(b"HANGUP\n")
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()  # with a reset: the next send fails
        told.set()
        assert isinstance(served.outcome(), HungUp)


def test_a_command_on_a_dead_channel_is_a_hang_up():
    served = Served()
    with served.call(lambda call: call.answer()) as peer:
        peer.answer(b"511 Command Not Permitted on a dead channel or intercept routine")
        assert isinstance(served.outcome(), HungUp)
        peer.rest()


@pytest.mark.parametrize(
    ("status", "expected"),
    [(b"200 result=6", CommandFailed), (b"511 Command Not Permitted on a dead channel", HungUp)],
)
def test_a_command_that_fails_may_be_a_hang_up(status, expected):
    served = Served()
    with served.call(lambda call: call.stream_file("nothing")) as peer:
        assert peer.answer(b"200 result=-1 endpos=0") == 'STREAM FILE "nothing" ""'
        assert peer.answer(status) == "CHANNEL STATUS"
        assert type(served.outcome()) is expected
        peer.rest()


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b"510 Invalid or unknown command", "does not know this command"),
        (b"520 Invalid command syntax.  Proper usage not available.", "refused its arguments"),
        (b"503 result=-2 Memory allocation failure", "answered 503 Memory allocation failure"),
    ],
)
def test_refusals_are_told_apart(reply, text):
    served = Served()
    with served.call(lambda call: call.noop()) as peer:
        peer.answer(reply)
        outcome = served.outcome()
        assert isinstance(outcome, CommandFailed)
        assert text in str(outcome)
        assert outcome.command == "NOOP"
        peer.rest()


def test_after_a_timeout_the_next_command_finds_its_own_answer():
    served = Served()

    def script(call):
        with pytest.raises(CommandTimeout, match=r"EXEC within 0\.1 s") as raised:
            call.exec("Wait", "5", timeout=0.1)
        assert isinstance(raised.value, TimeoutError)
        return call.channel_status()

    with served.call(script) as peer:
        assert peer.command() == 'EXEC "Wait" "5"'
        mark = peer.command()  # sent when the script goes on
        peer.send(b"200 result=0\n200 result=1 (%s)\n" % mark.split('"')[1].encode())
        assert peer.answer(b"200 result=6") == "CHANNEL STATUS"
        assert served.outcome() is ChannelState.UP
        peer.rest()


def test_a_peer_that_never_answers_costs_no_more_than_the_timeouts():
    served = Served(timeout=0.1)

    def script(call):
        for _ in range(3):
            with pytest.raises(CommandTimeout):
                call.noop()

    with served.call(script) as peer:
        assert served.outcome() is None
        assert peer.command() == "NOOP"


def test_a_lost_connection_ends_the_script():
    served = Served()
    with served.call(lambda call: call.noop()) as peer:
        peer.command()
        peer.close()
        outcome = served.outcome()
        assert isinstance(outcome, ConnectionLost)
        assert "went away" in str(outcome)


def test_a_connection_that_ends_after_a_hang_up_is_a_hang_up():
    served = Served()
    with served.call(lambda call: call.noop()) as peer:
        peer.command()
        peer.send(b"HANGUP\n")
        peer.close()
        assert isinstance(served.outcome(), HungUp)


@pytest.mark.parametrize("data", [b"hello\n", b"\xff\xff\xff\xff\n", b"200result=0\n"])
def test_a_peer_that_answers_nonsense_ends_the_script_clearly(data):
    served = Served()
    with served.call(lambda call: call.noop()) as peer:
        peer.command()
        peer.send(data)
        outcome = served.outcome()
        assert isinstance(outcome, RemoteProtocolError)
        assert "where the answer to an AGI command must be" in str(outcome)


def test_an_answer_to_no_command_ends_the_script():
    served = Served()
    told = threading.Event()

    def script(call):
        call.noop()
        assert told.wait(PATIENCE)
        call.noop()

    with served.call(script) as peer:
        peer.answer(b"200 result=0\n200 result=7")
        told.set()
        assert "answer to no command" in str(served.outcome())


def test_an_endless_answer_is_bounded():
    served = Served()
    with served.call(lambda call: call.noop()) as peer:
        peer.command()
        with pytest.raises(OSError):
            for _ in range(1000):
                peer.send(b"x" * 65536)
        assert "more than" in str(served.outcome())


def test_another_thread_is_refused():
    served = Served()
    refused = Queue()  # type: ignore[var-annotated]
    begun = threading.Event()

    def other(call):
        assert begun.wait(PATIENCE)
        try:
            call.noop()
        except ConcurrencyError as exc:
            refused.put(str(exc))

    def script(call):
        thread = threading.Thread(target=other, args=(call,))
        thread.start()
        try:
            call.exec("Wait", "1")
        finally:
            thread.join()

    with served.call(script) as peer:
        assert peer.command() == 'EXEC "Wait" "1"'
        begun.set()
        assert "another thread" in refused.get(timeout=PATIENCE)
        peer.send(b"200 result=0\n")
        peer.mark()
        assert served.outcome() is None
        peer.rest()


def test_a_call_can_be_given_back():
    served = Served()

    def script(call):
        call.leave()
        with pytest.raises(CallLeft):
            call.noop()
        assert call.hung_up

    with served.call(script) as peer:
        assert peer.rest() == []
        assert served.outcome() is None


def test_record_reads_each_kind_of_answer():
    served = Served()
    with served.call(lambda call: [call.record_file("x", beep=True, silence=2, longest=3.5) for _ in range(3)]) as peer:
        command = 'RECORD FILE "x" "wav" "#" "3500" "BEEP" "s=2"'
        assert peer.answer(b"200 result=35 (dtmf) endpos=8000") == command
        peer.answer(b"200 result=0 (timeout) endpos=16000")
        peer.answer(b"200 result=49 (randomerror) endpos=0")
        assert served.outcome() == [
            Recording("#", 8000, "dtmf"),
            Recording("", 16000, "timeout"),
            Recording("1", 0, "dtmf"),
        ]
        peer.rest()


# The server


def test_a_full_server_refuses_and_the_dialplan_goes_on(caplog):
    served = Served(threads=1)
    with served.call(lambda call: call.noop()) as peer:
        assert peer.command() == "NOOP"
        with Peer(served.server.port, uniqueid="2.2") as second:
            assert second.rest() == ['SET VARIABLE "AGISCRIPT" "REFUSED"']
        assert served.server.refused == 1
        peer.send(b"200 result=0\n")
        assert served.outcome() is None
        peer.rest()
    assert "[2.2] script 'script' was refused: 1 scripts are under way" in caplog.text


def test_a_peer_that_says_nothing_is_dropped(caplog):
    with FastAGIServer(Router(), port=0, environment_timeout=0.1) as server:
        with Peer(server.port, environment=False) as peer:
            assert peer.command() == ""
    assert "no call came from" in caplog.text


def test_a_web_browser_is_dropped(caplog):
    with FastAGIServer(Router(), port=0) as server:
        with Peer(server.port, environment=False) as peer:
            peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert peer.command() == ""
    assert "no AGI of Asterisk" in caplog.text


def test_a_burst_of_calls_is_taken_at_once(monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(FastAGIServer, "_accepted", lambda self, sock, peer: (go_on.wait(PATIENCE), sock.close()))
    with FastAGIServer(Router(), port=0) as server, ExitStack() as stack:
        stack.callback(go_on.set)
        for _ in range(300):
            # One that does not fit into the backlog is only tried again a second later.
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 0.9))


def test_stop_waits_for_the_scripts_under_way():
    served = Served()
    with served.call(lambda call: call.noop()) as peer:
        peer.command()
        stopping = threading.Thread(target=served.server.stop)
        stopping.start()
        with pytest.raises(OSError):
            while True:
                socket.create_connection(("127.0.0.1", served.server.port), 5).close()
        peer.send(b"200 result=0\n")
        assert served.outcome() is None
        assert peer.rest() == ['SET VARIABLE "AGISCRIPT" "DONE"']
        stopping.join(PATIENCE)
        assert not stopping.is_alive()


def test_stop_ends_scripts_that_take_too_long():
    served = Served()
    with served.call(lambda call: call.noop()) as peer:
        peer.command()
        served.server.stop(grace=0.05)
        outcome = served.outcome()
        assert type(outcome) is ConnectionClosed
        assert "stopped" in str(outcome)
        assert peer.command() == ""


def test_a_script_may_stop_its_server():
    served = Served()
    with served.call(lambda call: served.server.stop(grace=0.0)):
        assert served.outcome() is None


def test_serve_forever_ends_with_stop_and_with_ctrl_c(monkeypatch):
    server = FastAGIServer(Router(), port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="started before"):
        server.start()

    server = FastAGIServer(Router(), port=0)

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Waiters, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.serve_forever()


def test_a_server_that_was_stopped_before_it_began_ends_at_once():
    server = FastAGIServer(Router(), port=0)
    server.stop()
    server.serve_forever()
    assert server.wait_stopped(0.0)


def test_a_port_in_use_is_told():
    with FastAGIServer(Router(), port=0) as server:
        with pytest.raises(OSError, match="in use"):
            FastAGIServer(Router(), port=server.port).start()


def test_options_that_can_not_be():
    with pytest.raises(ValueError, match="threads"):
        FastAGIServer(Router(), threads=0)


def test_new_calls_get_the_scripts_that_were_put_in_place():
    served = Served()
    with served.call(lambda call: "old") as peer:
        assert served.outcome() == "old"
        peer.rest()
        replaced = Router()
        outcomes = Queue()  # type: ignore[var-annotated]
        replaced.route("script")(lambda call: outcomes.put("new"))
        served.server.scripts = replaced
        with Peer(served.server.port) as second:
            assert outcomes.get(timeout=PATIENCE) == "new"
            second.rest()
