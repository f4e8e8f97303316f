"""Faults of the network and of the server, on demand."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import closing

import pytest

from pyami_sync.testing import Simulator, assert_no_leaks
from pyami_sync.testing.certificate import CERTIFICATE, client_context
from tests.asterisk.raw import RawError, RawSession

from .conftest import Dial


def test_drop_resets(sim: Simulator, dial: Dial) -> None:
    dial(sim)
    with socket.create_connection((sim.host, sim.port), 5) as sock:
        sock.recv(100)
        sim.drop()
        with pytest.raises(ConnectionResetError):
            sock.recv(100)
    assert sim.wait_for_sessions(0) == []


def test_close_sessions_is_an_end_of_file(sim: Simulator) -> None:
    with socket.create_connection((sim.host, sim.port), 5) as sock:
        sock.recv(100)
        sim.close_sessions()
        assert sock.recv(100) == b""


def test_only_one_session(sim: Simulator, dial: Dial) -> None:
    first, second = dial(sim), dial(sim)
    sim.close_sessions(sim.wait_for_sessions(2)[0])
    assert first.read_to_end() == b""
    assert b"Pong" in second.ask("Ping")


def test_stall_and_resume(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    sim.stall()
    raw.action("Ping", action_id="1")
    with socket.create_connection((sim.host, sim.port), 5) as late:
        late.settimeout(0.1)
        with pytest.raises(TimeoutError):
            late.recv(100)
        assert raw.read_silence(0.05) == b""
        sim.resume()
        late.settimeout(5)
        assert late.recv(100).startswith(b"Asterisk")
    assert b"ActionID: 1\r\nPing: Pong" in raw.read_until(b"\r\n\r\n")


def test_silence(sim: Simulator, dial: Dial) -> None:
    sim.silence("Ping", "Status")
    raw = dial(sim)
    raw.action("ping")
    assert raw.read_silence(0.05) == b""
    raw.action("Logoff")
    assert b"Goodbye" in raw.read_to_end()


def test_delay_in_order(sim: Simulator, dial: Dial) -> None:
    sim.delay("CoreStatus", 0.1)
    raw = dial(sim)
    began = time.monotonic()
    assert b"CoreStartupDate" in raw.ask("CoreStatus")
    assert time.monotonic() - began >= 0.1


def test_delay_that_is_overtaken(sim: Simulator, dial: Dial) -> None:
    sim.delay("CoreStatus", 0.05, in_order=False)
    raw = dial(sim)
    assert raw.ask("CoreStatus") == b""
    assert b"CoreStartupDate" in raw.read_until(b"\r\n\r\n")
    sim.clear_faults()
    assert b"CoreStartupDate" in raw.ask("CoreStatus")


def test_refuse_logins(sim: Simulator, dial: Dial) -> None:
    sim.refuse_logins()
    with RawSession(sim.port) as raw:
        assert b"Authentication failed" in raw.login(secret="secret")
        assert raw.read_to_end() == b""
    sim.refuse_logins(False)
    dial(sim)


def test_login_pause() -> None:
    with Simulator(login_pause=0.1) as simulator, RawSession(simulator.port) as raw:
        began = time.monotonic()
        assert b"Authentication failed" in raw.login(secret="x")
        assert time.monotonic() - began >= 0.1


def test_cut_after(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    sim.cut_after(30)
    raw.action("Ping", action_id="123456789")
    assert raw.read_to_end() == b"Response: Success\r\nActionID: 1"


def test_shutting_down(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    sim.shutting_down = True
    raw.action("Ping")
    assert b"Message: Asterisk is shutting down\r\n" in raw.read_until(b"\r\n\r\n")
    with RawSession(sim.port) as late:
        assert b"Message: Asterisk is shutting down\r\n" in late.login()


def test_stop_listening_and_again(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    port = sim.port
    sim.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((sim.host, port), 5).close()
    assert b"Pong" in raw.ask("Ping")
    sim.drop()
    sim.listen_again()
    assert sim.port == port
    assert b"Pong" in dial(sim).ask("Ping")


@pytest.mark.parametrize(
    ("banner", "wire"),
    [("Hello/1.0", b"Hello/1.0\r\n"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n")],
)
def test_banner(banner: str | bytes, wire: bytes) -> None:
    with Simulator(banner=banner) as simulator, socket.create_connection((simulator.host, simulator.port), 5) as sock:
        assert sock.recv(100) == wire


def test_no_banner() -> None:
    with (
        Simulator(banner=b"") as simulator,
        socket.create_connection((simulator.host, simulator.port), 5) as sock,
    ):
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(100)


@pytest.mark.parametrize("size", [1, 3])
def test_fragments(size: int, dial: Dial) -> None:
    with Simulator(fragment=size) as simulator:
        raw = dial(simulator)
        assert raw.ask("QueueStatus").endswith(b"ListItems: 4\r\n\r\n")
        simulator.fragment = None
        assert b"Pong" in raw.ask("Ping")


def test_send_bytes(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    sim.send_bytes(b"\xff\0garbage")
    assert raw.read_until(b"garbage") == b"\xff\0garbage"


def test_auth_timeout() -> None:
    with (
        Simulator(auth_timeout=0.05) as simulator,
        socket.create_connection((simulator.host, simulator.port), 5) as sock,
    ):
        assert sock.recv(100).startswith(b"Asterisk")
        assert sock.recv(100) == b""


def test_auth_limit() -> None:
    with Simulator(auth_limit=1) as simulator, RawSession(simulator.port) as first:
        with closing(socket.create_connection((simulator.host, simulator.port), 5)) as second:
            assert second.recv(100) == b""
        first.login(secret="secret")
        with RawSession(simulator.port) as third:
            assert third.greeting


def test_slow_reader_is_dropped() -> None:
    with Simulator(write_timeout=0.1) as simulator, RawSession(simulator.port) as raw:
        raw.login(secret="secret", events="on")
        text = "x" * 100_000
        for _ in range(400):
            simulator.emit("Hangup", Text=text)
        simulator.wait_for_sessions(0)


class TLSSession(RawSession):
    """A raw session over TLS on the certificate for tests."""

    def __init__(self, sim: Simulator, tmp_path: object) -> None:
        super().__init__(sim.port, ca_file=tmp_path)  # type: ignore[arg-type]


def test_tls(tmp_path: object) -> None:
    path = tmp_path / "ca.pem"  # type: ignore[operator]
    path.write_text(CERTIFICATE)
    with assert_no_leaks(), Simulator(tls=True) as simulator, TLSSession(simulator, path) as raw:
        assert simulator.url.startswith("amis://")
        raw.login(secret="secret")
        assert b"Pong" in raw.ask("Ping")
        assert len(raw.ask("Command", ("Command", "dialplan show"))) > 1000


def test_a_long_tls_record_is_left_half_read(tmp_path: object) -> None:
    path = tmp_path / "ca.pem"  # type: ignore[operator]
    path.write_text(CERTIFICATE)
    with Simulator(tls=True) as simulator, TLSSession(simulator, path) as raw:
        raw.login(secret="secret")
        raw.action("Ping", *[("Filler", "x" * 500)] * 4, action_id="long")
        with pytest.raises(RawError):
            raw.read_until(b"ActionID: long", timeout=0.1)
        raw.send(b"Action: Ping\r\nActionID: more\r\n\r\n")
        assert b"ActionID: long" in raw.read_until(b"Pong")


def test_tls_against_a_plain_client() -> None:
    with Simulator(tls=True) as simulator, socket.create_connection((simulator.host, simulator.port), 5) as sock:
        sock.sendall(b"Action: Ping\r\n\r\n")
        try:
            assert not sock.recv(100).startswith(b"Asterisk")
        except ConnectionResetError:
            pass
        simulator.wait_until(lambda: simulator.connections == 0)


def test_certificate_is_for_this_machine_only() -> None:
    with Simulator(tls=True) as simulator, socket.create_connection((simulator.host, simulator.port), 5) as sock:
        with pytest.raises(ssl.SSLCertVerificationError):
            client_context().wrap_socket(sock, server_hostname="example.org").close()


def test_close_while_stalled_leaves_nothing() -> None:
    with assert_no_leaks():
        with Simulator() as simulator:
            sock = socket.create_connection((simulator.host, simulator.port), 5)
            simulator.stall()
        sock.close()
