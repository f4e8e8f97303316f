"""One FastAGI call's commands: their calls of the socket and time limits."""

from __future__ import annotations

import socket
import time
from threading import Thread
from time import monotonic

import pytest

from pyami_sync import ConnectionLost
from pyami_sync.agi import CommandTimeout, fast
from pyami_sync.agi.fast import FastTransport
from pyami_sync.agi.wire import Reply


class Counted:
    """A socket that notes what is called."""

    def __init__(self, sock: socket.socket) -> None:
        self.calls: list[str] = []
        self._sock = sock

    def __getattr__(self, name: str) -> object:
        self.calls.append(name)
        return getattr(self._sock, name)

    def limit(self) -> float:
        """Return the socket's time limit, in seconds; 0 for none."""
        return self._sock.gettimeout() or 0.0


@pytest.fixture
def line(monkeypatch):
    """A transport on a counted socket, and the peer's socket."""
    monkeypatch.setattr(fast, "FRESH", float("inf"))
    own, other = socket.socketpair()
    with own, other:
        counted = Counted(own)
        transport = FastTransport(counted, "peer")
        transport._read_at = monotonic()
        yield transport, counted, other


def test_a_command_takes_one_call_to_send_and_one_to_read(line):
    transport, counted, other = line
    other.send(b"200 result=1\n")  # ahead of the command: nobody looks
    transport.execute(b"NOOP", "NOOP", 10.0)
    counted.calls.clear()
    other.send(b"200 result=2\n")
    assert transport.execute(b"NOOP", "NOOP", 10.0) == Reply(200, "2")
    assert counted.calls == ["sendall", "recv"]


def test_a_script_that_paused_looks_first(line, monkeypatch):
    transport, counted, other = line
    monkeypatch.setattr(fast, "FRESH", 0.0)
    Thread(target=lambda: (other.recv(100), other.send(b"200 result=1\n"))).start()
    transport.execute(b"NOOP", "NOOP", None)
    assert counted.calls == ["settimeout", "settimeout", "recv", "settimeout", "sendall", "recv"]


def test_the_socket_keeps_the_time_limit_of_each_command(line):
    transport, counted, other = line
    for timeout in (10.0, 20.0, 20.0, None, 10.0):
        other.send(b"200 result=1\n")
        transport.execute(b"NOOP", "NOOP", timeout)
        assert counted.limit() == pytest.approx(timeout or 0.0, abs=0.5)
    assert counted.calls.count("settimeout") == 5  # the first when the transport was made


def test_an_answer_in_pieces_does_not_stretch_the_time_limit(line):
    transport, counted, other = line
    received = counted._sock.recv
    now = 1000.0

    def recv(*args):
        nonlocal now
        other.send(b"2")
        now += 4.0
        return received(*args)

    counted.recv = recv
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        with pytest.raises(CommandTimeout, match="NOOP within 10 s"):
            transport.execute(b"NOOP", "NOOP", 10.0)
    assert counted.limit() == pytest.approx(2.0, abs=0.5)  # what was left for the last piece


def test_a_peer_that_does_not_read_is_given_up(line):
    transport, counted, _ = line
    with pytest.raises(BlockingIOError):
        while True:
            counted._sock.send(b"x" * 65536, socket.MSG_DONTWAIT)
    with pytest.raises(ConnectionLost, match="does not read"):
        transport.execute(b"NOOP", "NOOP", 0.05)
