"""TLS: handshakes, records, trust, and the SSL sockets that users bring."""

from __future__ import annotations

import select
import selectors
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyami_sync import connect
from pyami_sync.connection.tls import TLS, TLSHandshake, TLSTransport, make_context
from pyami_sync.connection.transport import SSLSocketTransport, make_transport
from pyami_sync.engine.deadline import Deadline
from pyami_sync.exceptions import ConnectError

from ..support.peer import Peer, certificates, server_context
from ..support.transports import end, receive


def start_tls(sock, context, server_name, deadline, *, host, port):
    """Shake hands; blocks until the deadline."""
    handshake = TLSHandshake(sock, context, server_name, host=host, port=port)
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        while True:
            transport = handshake.step()
            if transport is not None:
                return transport
            selector.modify(sock, selectors.EVENT_WRITE if handshake.wants_write else selectors.EVENT_READ)
            if not selector.select(deadline.remaining()) and deadline.expired:
                raise handshake.timed_out(deadline.timeout)


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
