"""Bytes in and out: plain sockets, TLS and its records, sockets that users bring, objects that only block."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyami_sync import connect
from pyami_sync.connection.transport import (
    TLS,
    SSLSocketTransport,
    StreamTransport,
    TLSTransport,
    Transport,
    connect_socket,
    make_context,
    make_transport,
    start_tls,
)
from pyami_sync.engine.deadline import Deadline
from pyami_sync.exceptions import ConnectError

from ..support.peer import Peer, certificates, server_context


def readable(channel):
    assert select.select([channel], [], [], 10)[0]


def receive(channel, size):
    """Read until so many bytes are there."""
    found = b""
    while len(found) < size:
        chunk = channel.receive()
        if chunk is None:
            readable(channel)
        else:
            assert chunk, "ended early"
            found += chunk
    return found


def end(channel):
    """Read up to the end of the stream."""
    while (chunk := channel.receive()) != b"":
        if chunk is None:
            readable(channel)


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
    def test_to_a_listener(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            sock = connect_socket("127.0.0.1", server.getsockname()[1], Deadline(10))
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            sock.close()

    def test_refused(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(ConnectError, match="nothing listens there") as caught:
            connect_socket("127.0.0.1", port, Deadline(10))
        assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    def test_without_any_time(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            with pytest.raises(ConnectError, match="no answer within 0 s"):
                connect_socket("127.0.0.1", server.getsockname()[1], Deadline(0))

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (socket.gaierror(-2, "Name or service not known"), "does not resolve"),
            (TimeoutError(), "no answer within 2 s: check host, route and firewall"),
            (OSError(113, "No route to host"), "No route to host"),
            (OSError("odd"), "odd"),
        ],
    )
    def test_what_else_may_happen(self, monkeypatch, error, text):
        def fail(*args):
            raise error

        monkeypatch.setattr(socket, "create_connection", fail)
        with pytest.raises(ConnectError, match=text):
            connect_socket("pbx", 5038, Deadline(2))


class Server:
    """One TLS connection's other end."""

    def __init__(self, context=None, greeting=b""):
        self.context = context or server_context()
        self.greeting = greeting
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.mine = socket.create_connection(listener.getsockname())
            self.sock, _ = listener.accept()
        self.pool = ThreadPoolExecutor(1)
        self.future = self.pool.submit(self._accept)
        self.channel = None

    def _accept(self):
        self.sock.settimeout(20)
        try:
            tls = self.context.wrap_socket(self.sock, server_side=True)
            tls.sendall(self.greeting)
            return tls
        except OSError as exc:
            self.sock.close()
            return exc

    def connect(self, name="localhost", **options) -> TLSTransport:
        context = make_context(TLS(**{"ca_file": certificates()["ca"], **options}))
        self.channel = start_tls(self.mine, context, name, Deadline(20), host="pbx", port=5039)
        return self.channel

    @property
    def tls(self):
        return self.future.result(20)

    def close(self):
        self.mine.close()
        found = self.future.result(20)
        if not isinstance(found, OSError):
            found.close()
        self.pool.shutdown()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


class TestTLS:
    def test_both_ways(self, server):
        channel = server.connect()
        assert channel.cipher
        assert not channel.owes
        assert channel.receive() is None  # nothing came along with the handshake but tickets
        server.tls.sendall(b"hello")
        assert receive(channel, 5) == b"hello"
        channel.send(channel.encode(b"there"))
        assert server.tls.recv(100) == b"there"

    def test_a_record_for_every_line_as_servers_write_them(self, server):
        channel = server.connect()
        for n in range(200):
            server.tls.sendall(b"%04d" % n)
        assert receive(channel, 800) == b"".join(b"%04d" % n for n in range(200))

    def test_bytes_that_came_along_with_the_handshake(self):
        server = Server(greeting=b"greeting")
        try:
            assert receive(server.connect(), 8) == b"greeting"
        finally:
            server.close()

    @pytest.mark.promise(13)
    def test_no_record_is_longer_than_a_server_reads(self, server):
        channel = server.connect()
        data = b"".join(b"Variable: %060d\r\n" % n for n in range(60)) + b"A: " + b"x" * 1010 + b"\r\n\r\n"
        assert channel.send(channel.encode(data)) > len(data)
        records, got = [], b""
        while len(got) < len(data):
            records.append(server.tls.recv(65536))  # gives one record at a time
            got += records[-1]
        assert got == data
        assert max(map(len, records)) <= 1024
        assert all(record.endswith(b"\n") for record in records)
        assert len(records) <= 8

    @pytest.mark.parametrize("tidy", [True, False])
    def test_the_end(self, server, tidy):
        channel = server.connect()
        server.tls.sendall(b"last words")
        if tidy:
            server.tls.settimeout(0.01)
            try:
                server.tls.unwrap()
            except OSError:
                pass
        server.tls.close()
        assert receive(channel, 10) == b"last words"
        end(channel)

    def test_much_both_ways(self, server):
        channel = server.connect()
        data = b"Action: Ping\r\n\r\n" * 10_000

        def echo():
            got = 0
            while got < len(data):
                chunk = server.tls.recv(65536)
                server.tls.sendall(chunk)
                got += len(chunk)

        with ThreadPoolExecutor(1) as pool:
            echoing = pool.submit(echo)
            rest, found = channel.encode(data), b""
            while len(found) < len(data):
                ready, writable, _ = select.select([channel], [channel] if rest else [], [], 10)
                assert ready or writable
                rest = rest[channel.send(rest) :] if writable else rest
                found += (channel.receive() or b"") if ready else b""
            echoing.result(10)
        assert found == data

    @pytest.mark.promise(13)
    def test_only_the_engine_thread_uses_it(self, monkeypatch):
        used = set()

        def noting(method):
            def call(transport, *args):
                used.add((method.__name__, threading.current_thread().name))
                return method(transport, *args)

            return call

        for method in (TLSTransport.receive, TLSTransport.encode):
            monkeypatch.setattr(TLSTransport, method.__name__, noting(method))
        pings = 25
        with Peer(context=server_context()) as peer:
            tls = TLS(ca_file=certificates()["ca"], server_name="localhost")
            with connect(**peer.options(tls=tls, name="pyami-tls")) as ami:
                with ThreadPoolExecutor(8) as pool:  # which OpenSSL's object would not survive
                    list(pool.map(lambda _: [ami.ping() for _ in range(pings)], range(8)))
                [future.result(10) for future in [ami.submit("Ping") for _ in range(100)]]
        assert used == {("receive", "pyami-tls-engine"), ("encode", "pyami-tls-engine")}


class TestTrust:
    @pytest.mark.promise(13)
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"ca_file": None}, "not trusted"),
            ({"ca_file": "other"}, "not trusted"),
            ({"name": "elsewhere.example"}, "not trusted.*not valid for 'elsewhere.example'"),
        ],
    )
    def test_refused(self, server, options, reason):
        options = {key: certificates().get(value, value) for key, value in options.items()}
        with pytest.raises(ConnectError, match=reason) as caught:
            server.connect(**options)
        assert (caught.value.host, caught.value.port) == ("pbx", 5039)
        assert "ca_file" in str(caught.value)
        assert isinstance(server.tls, ssl.SSLError)  # the server is told

    def test_the_certificate_itself_will_do(self, server):
        # OpenSSL takes a leaf as its own anchor only if told so; a self-made one is its own authority.
        context = make_context(TLS(ca_file=certificates()["ca"]))
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        server.connect()

    def test_not_verifying(self, server):
        assert server.connect(ca_file=None, verify=False, name="elsewhere.example")

    def test_by_address(self, server):
        assert server.connect(name="127.0.0.1")

    @pytest.mark.promise(13)
    def test_the_name_is_sent(self):
        names = []
        context = server_context()
        context.sni_callback = lambda sock, name, context: names.append(name)
        server = Server(context)
        server.connect()
        _ = server.tls
        server.close()
        assert names == ["localhost"]

    def test_client_certificates(self):
        made = certificates()
        server = Server(server_context(ask_client=True))
        channel = server.connect(cert_file=made["client"], key_file=made["client_key"])
        server.tls.sendall(b"welcome")
        assert receive(channel, 7) == b"welcome"
        assert server.tls.getpeercert()
        server.close()

    def test_without_the_client_certificate_that_is_asked_for(self):
        server = Server(server_context(ask_client=True))
        try:
            channel = server.connect()  # TLS 1.3 tells only afterwards
            with pytest.raises(OSError, match=r"(?i)certificate|alert"):
                end(channel)
        finally:
            server.close()

    @pytest.mark.parametrize("name", ["ca_file", "cert_file"])
    @pytest.mark.parametrize("path", ["missing.pem", __file__])
    def test_files_that_can_not_be_used(self, name, path):
        with pytest.raises(ConnectError, match=r"TLS file can't be used.*ca_file, cert_file, key_file"):
            make_context(TLS(**{name: path}))


class TestOtherEnds:
    def handshake(self, said=b"", seconds=20.0, close=False):
        mine, other = socket.socketpair()
        try:
            other.sendall(said)
            if close:
                other.shutdown(socket.SHUT_WR)
            context = make_context(TLS(verify=False))
            start_tls(mine, context, "localhost", Deadline(seconds), host="pbx", port=5039)
        finally:
            mine.close()
            other.close()

    def test_a_plain_server(self):
        with pytest.raises(ConnectError, match="does not speak TLS on this port"):
            self.handshake(b"Asterisk Call Manager/9.0.0\r\n")

    def test_one_that_closes(self):
        with pytest.raises(ConnectError, match="closed during the TLS handshake"):
            self.handshake(close=True)

    def test_one_that_says_nothing(self):
        with pytest.raises(ConnectError, match=r"no TLS handshake within 0.05 s"):
            self.handshake(seconds=0.05)

    def test_one_that_resets(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            mine = socket.create_connection(server.getsockname())
            other, _ = server.accept()
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            other.close()
            with pytest.raises(ConnectError, match="handshake broke off"):
                start_tls(mine, make_context(TLS()), "localhost", Deadline(5), host="pbx", port=5039)
            mine.close()

    def test_another_protocol_s_fault(self):
        with pytest.raises(ConnectError, match="TLS failed"):
            self.handshake(b"\x15\x03\x03\x00\x02\x02\x28")  # a fatal alert: handshake failure


class TestSSLSockets:
    def test_that_a_user_brought(self):
        server = Server()
        context = make_context(TLS(ca_file=certificates()["ca"]))
        channel = make_transport(context.wrap_socket(server.mine, server_hostname="localhost"))
        try:
            assert type(channel) is SSLSocketTransport
            assert channel.receive() is None
            server.tls.sendall(b"hello")
            assert receive(channel, 5) == b"hello"
            data = b"Variable: %0100d\r\n" * 30 % tuple(range(30))
            assert channel.send(data) == len(data)
            records = []
            while sum(map(len, records)) < len(data):
                records.append(server.tls.recv(65536))
            assert b"".join(records) == data
            assert max(map(len, records)) <= 1024
            server.tls.sendall(b"bye")
            server.tls.close()
            assert receive(channel, 3) == b"bye"
            end(channel)
        finally:
            channel.close()
            server.close()

    def test_what_the_socket_does_not_take_is_sent_later(self):
        server = Server()
        context = make_context(TLS(ca_file=certificates()["ca"]))
        channel = make_transport(context.wrap_socket(server.mine, server_hostname="localhost"))
        try:
            data = b"x" * 98 + b"\r\n"
            rest = unsent = data * 50_000
            while sent := channel.send(rest):
                rest = rest[sent:]
            assert rest
            pool = ThreadPoolExecutor(1)

            def read():
                got = 0
                while got < len(unsent):
                    got += len(server.tls.recv(65536))
                return got

            reading = pool.submit(read)
            while rest:
                select.select([], [channel], [], 10)
                rest = rest[channel.send(rest) :]
            assert reading.result(20) == len(unsent)
            pool.shutdown()
        finally:
            channel.close()
            server.close()
