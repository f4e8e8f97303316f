"""Bytes in and out: plain sockets, and objects that only block."""

from __future__ import annotations

import socket

import pytest

from pyami_sync.connection.transport import StreamTransport, Transport, connect_error, make_transport, set_options

from ..support.transports import receive


@pytest.fixture
def pair():
    mine, other = socket.socketpair()
    yield mine, other
    mine.close()
    other.close()


class TestTransport:
    def test_both_ways(self, pair):
        mine, other = pair
        channel = make_transport(mine)
        assert type(channel) is Transport
        assert not channel.blocking
        assert not channel.owes
        assert channel.fileno() == mine.fileno()
        assert channel.receive() is None
        other.send(b"hello")
        assert receive(channel, 5) == b"hello"
        assert channel.send(channel.encode(b"there")) == 5
        assert other.recv(100) == b"there"

    def test_the_end(self, pair):
        channel = make_transport(pair[0])
        pair[1].close()
        assert channel.receive() == b""

    def test_what_the_socket_does_not_take(self, pair):
        channel = make_transport(pair[0])
        while channel.send(b"x" * 100_000):
            pass
        assert channel.send(b"x") == 0

    def test_reads_do_not_overwrite_each_other(self, pair):
        channel = make_transport(pair[0])
        pair[1].send(b"one")
        first = receive(channel, 3)
        pair[1].send(b"two")
        assert receive(channel, 3) == b"two"
        assert first == b"one"

    def test_closing_tells_the_other_side(self, pair):
        channel = make_transport(pair[0])
        channel.close()
        channel.close()
        assert pair[1].recv(1) == b""
        assert pair[0].fileno() == -1

    def test_abandoning_does_not(self, pair):
        copy = pair[0].dup()
        make_transport(pair[0]).abandon()
        copy.send(b"still there")
        assert pair[1].recv(100) == b"still there"
        copy.close()


class Stream:
    """An object with the methods of a socket, as SSH libraries have them, and no descriptor."""

    def __init__(self, sock):
        self._sock = sock

    def recv(self, size):
        return bytearray(self._sock.recv(size))

    def sendall(self, data):
        self._sock.sendall(data)

    def close(self):
        self._sock.close()


class TestStreamTransport:
    def test_both_ways(self, pair):
        channel = make_transport(Stream(pair[0]))
        assert type(channel) is StreamTransport
        assert channel.blocking
        assert channel.fileno() == -1
        pair[1].send(b"hello")
        assert channel.receive() == b"hello"
        assert channel.send(b"there") == 5
        assert pair[1].recv(100) == b"there"
        channel.close()
        assert pair[1].recv(1) == b""

    def test_whatever_a_library_raises_is_an_os_error(self):
        class Broken(Stream):
            def sendall(self, data):
                raise RuntimeError("channel closed")

        with pytest.raises(OSError, match="channel closed"):
            make_transport(Broken(None)).send(b"x")

    @pytest.mark.parametrize("missing", ["recv", "sendall", "close"])
    def test_what_it_needs(self, missing):
        class Poor:
            pass

        for method in {"recv", "sendall", "close"} - {missing}:
            setattr(Poor, method, lambda self: None)
        with pytest.raises(TypeError, match=f"Poor has no {missing}"):
            make_transport(Poor())


class TestConnecting:
    def test_options(self):
        with socket.socket() as sock:
            set_options(sock)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (ConnectionRefusedError(111, "Connection refused"), "nothing listens there"),
            (socket.gaierror(-2, "Name or service not known"), "does not resolve"),
            (TimeoutError(), "no answer within 2 s: check host, route and firewall"),
            (BlockingIOError(115, "Operation now in progress"), "no answer within 2 s"),
            (OSError(113, "No route to host"), "No route to host"),
            (OSError("odd"), "odd"),
        ],
    )
    def test_errors(self, error, text):
        found = connect_error(error, "pbx", 5038, 2)
        assert text in str(found)
        assert (found.host, found.port) == ("pbx", 5038)
