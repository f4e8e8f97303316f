"""Peers that are no AMI server, or a broken one: a clear error or survival, never a hang and never unbounded memory."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator

import pytest

from pyami_sync import AMIClient, AMIError, ConnectError, ConnectionLost
from pyami_sync.testing import Simulator

ROOT = pathlib.Path(__file__).parents[2]
GREETING = b"Asterisk Call Manager/11.0.0\r\n"
CHALLENGE = b"Response: Success\r\nActionID: %s\r\nChallenge: 123456789\r\n\r\n"
WELCOME = b"Response: Success\r\nActionID: %s\r\nMessage: Authentication accepted\r\n\r\n"
Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def peer(serve: Serve) -> Iterator[int]:
    """Serve one connection in a way of the test's own; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        held: list[socket.socket] = []

        def run() -> None:
            with contextlib.suppress(OSError):
                held.append(listener.accept()[0])
                serve(held[0])

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            for sock in held:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            thread.join(20)
            for sock in held:
                sock.close()


def client(port: int, **options: object) -> AMIClient:
    """Make a client that gives up soon."""
    given: dict[str, object] = {"username": "admin", "secret": "s", "reconnect": None, "connect_timeout": 1.0}
    return AMIClient("127.0.0.1", port, **{**given, "timeout": 5.0, **options})  # type: ignore[arg-type]


def let_in(sock: socket.socket) -> None:
    """Be an AMI server until the login is done."""
    sock.sendall(GREETING)
    for answer in (CHALLENGE, WELCOME):
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += sock.recv(4096)
        sock.sendall(answer % action_id(request))


def action_id(request: bytes) -> bytes:
    """Read the ActionID of an action."""
    return request.partition(b"ActionID: ")[2].partition(b"\r\n")[0]


def says(text: bytes, *, close: bool = False) -> Serve:
    """Make a peer that says one thing and then waits, or goes."""

    def serve(sock: socket.socket) -> None:
        sock.sendall(text)
        if close:
            sock.shutdown(socket.SHUT_RDWR)
        while sock.recv(4096):
            pass

    return serve


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        (says(b""), "no greeting"),
        (says(b"", close=True), "closed the connection before its greeting"),
        (says(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), "HTTP server"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "SSH server"),
        (says(b"\x15\x03\x01\x00\x02\x02\x46"), "TLS"),
        (says(b"x" * 5000), "no AMI server"),
        (says(b"Asterisk Call"), "no greeting"),
        (says(GREETING), "no answer to Challenge"),
        (says(GREETING, close=True), "ended during Challenge"),
        (says(GREETING + b"\r\n" * 100, close=True), "ended during Challenge"),
    ],
    ids="silence eof http ssh tls garbage half mute leaves blank-lines".split(),
)
def test_no_ami_server_says_what_it_is(serve: Serve, message: str) -> None:
    with peer(serve) as port, pytest.raises(ConnectError, match=message) as info:
        client(port).open()
    assert info.value.port == port


@pytest.mark.parametrize(
    "text",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", GREETING, b"\x15\x03\x01\x00\x02\x02\x46"],
    ids="silence http ami alert".split(),
)
def test_no_tls_server_says_so(text: bytes) -> None:
    with peer(says(text)) as port, pytest.raises(ConnectError, match="TLS"):
        client(port, tls=True).open()


@pytest.mark.promise(16)
def test_an_unknown_greeting_is_survived() -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(b"Some Call Manager from elsewhere\r\n")
        for answer in (CHALLENGE, WELCOME, b"Response: Success\r\nActionID: %s\r\nPing: Pong\r\n\r\n"):
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += sock.recv(4096)
            sock.sendall(answer % action_id(request))
        sock.recv(1)

    with peer(serve) as port, client(port) as ami:
        assert ami.ping() > 0
        assert ami.ami_version is None


@pytest.mark.promise(16)
@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\xfe\xe9\x80 no colon at all\r\n\r\n",
        b"\r\n\r\n\r\n\r\n",
        b"Key:without blank\r\nX\r\n: no name\r\n\r\n",
        b"Response: Success\r\nActionID: nobody-1\r\nMessage: unasked\r\n\r\n",
        b"Response: Error\r\nMessage: Missing action in request\r\n\r\n",
        b"Event: Broken\xff\r\nActionID: nobody\r\nEventList: Complete\r\n\r\n",
        b"Event:\r\n\r\n",
        b"Event: Dict\r\n" + b"A: 1\r\n" * 5000 + b"\r\n",
        b"\0\0\0\r\n\r\n",
        "Event: Grüße\u2028\r\nN\u00e4me: \u0085\r\n\r\n".encode(),
    ],
    ids="invalid-utf8 blanks colons unasked errors broken-event empty-event repeated nul unicode".split(),
)
def test_junk_between_messages_is_survived(junk: bytes) -> None:
    with Simulator() as sim, AMIClient.from_url(sim.url, reconnect=None, timeout=10, event_mask="off") as ami:
        with ami.events() as stream:
            for _ in range(20):
                sim.send_bytes(junk)
                assert ami.ping() > 0
            events = junk.startswith(b"Event:") * 20
            got = [stream.get(10).to_bytes() for _ in range(events)]
        assert got == [junk] * events
        assert ami.stats().losses == 0


@pytest.mark.promise(16)
def test_invalid_text_comes_back_as_the_bytes_it_was() -> None:
    raw = b"Event: Odd\r\nValue: caf\xe9 \xff\xfe\r\nno colon \x80\r\n\r\n"
    with Simulator() as sim, AMIClient.from_url(sim.url) as ami, ami.events("Odd") as stream:
        sim.send_bytes(raw)
        event = stream.get(10)
    assert event.to_bytes() == raw
    assert event["Value"].encode("utf-8", "surrogateescape") == b"caf\xe9 \xff\xfe"


EATER = """
    import resource, socket, sys, threading
    sys.path.insert(0, {root!r})
    from pyami_sync import AMIClient, AMIError, ConnectionClosed
    from tests.faults import test_bad_peers as peers

    def serve(sock):
        peers.let_in(sock)
        piece = {piece!r} * {times}
        try:
            sock.sendall({before!r})
            for _ in range({pieces}):
                sock.sendall(piece)
            sock.sendall({after!r})
        except OSError:
            pass
        try:
            while sock.recv(65536):
                pass
        except OSError:
            pass

    with peers.peer(serve) as port:
        with peers.client(port, timeout=60, connect_timeout=20) as ami, ami.events("Big") as stream:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                event = stream.get(60)
                print("event", len(event.to_bytes()))
            except ConnectionClosed as exc:
                print(type(exc).__name__, exc)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print("kilobytes", grown)
            print("threads", sum(thread.name.startswith("pyami") for thread in threading.enumerate()) > 0)
"""


def feed(
    *, piece: bytes, times: int, pieces: int, before: bytes = b"Event: Big\r\n", after: bytes = b"\r\n"
) -> list[str]:
    """Let a client of its own process eat this; return what it says: the outcome, the memory, its threads."""
    program = EATER.format(root=str(ROOT), piece=piece, times=times, pieces=pieces, before=before, after=after)
    command = (sys.executable, "-c", textwrap.dedent(program))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.promise(16)
def test_a_hundred_megabytes_without_a_line_end() -> None:
    outcome, memory, threads = feed(piece=b"x" * 1000, times=1000, pieces=100, before=b"Event: Big\r\nValue: ")
    assert outcome.startswith("ConnectionLost")
    assert "line of more than" in outcome
    assert int(memory.split()[1]) < 80_000
    assert threads == "threads True"


def test_a_million_headers_are_taken() -> None:
    outcome, memory, _ = feed(piece=b"A: b\r\n", times=1000, pieces=1000)
    assert outcome == f"event {12 + 6_000_000 + 2}"
    assert int(memory.split()[1]) < 80_000


@pytest.mark.promise(16)
def test_three_million_headers_are_too_many() -> None:
    outcome, memory, _ = feed(piece=b"A: b\r\n", times=1000, pieces=3000)
    assert outcome.startswith("ConnectionLost")
    assert "headers" in outcome
    assert int(memory.split()[1]) < 160_000


@pytest.mark.parametrize("held", [b"", b"Event: Half\r\nUnique", b"Response: Success\r\nAct"])
def test_a_message_cut_by_the_end_is_no_message(held: bytes) -> None:
    with Simulator() as sim, AMIClient.from_url(sim.url, reconnect=None) as ami, ami.events() as stream:
        ami.ping()
        whole = b"Event: Whole\r\nNumber: 1\r\n\r\n"
        sim.silence("Ping")
        pending = ami.submit("Ping")
        sim.send_bytes(whole + held)
        sim.close_sessions()
        exc = pending.exception(10)
        assert isinstance(exc, ConnectionLost)
        assert ("in the middle of a message" in str(exc)) is bool(held)
        names = []
        with contextlib.suppress(AMIError):
            names = [event.name for event in iter(lambda: stream.get(5), None)]
        assert "Half" not in names


@pytest.mark.promise(1)
@pytest.mark.parametrize("share", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_eof_at_every_byte_of_a_session(share: int) -> None:
    """Every place where a connection may end: the greeting, the login, an answer, a list, an event."""
    with Simulator() as sim:
        outcome, length = short_life(sim, None)
        assert outcome == "whole"
        cuts = range(1, length - 60, share)
        outcomes = {cut: short_life(sim, cut)[0] for cut in cuts}
    assert set(outcomes.values()) == {"ConnectError", "ConnectionLost"}
    assert outcomes[1] == "ConnectError"
    assert len(cuts) > 1000 / share


def short_life(sim: Simulator, cut: int | None) -> tuple[str, int]:
    """Hold a short session whose connection ends after so many bytes; how it went, and how many there were."""
    passed = 0

    def serve(sock: socket.socket) -> None:
        nonlocal passed
        with socket.create_connection(("127.0.0.1", sim.port), 10) as upstream:
            relay = threading.Thread(target=copy, args=(sock, upstream), daemon=True)
            relay.start()
            with contextlib.suppress(OSError):
                while passed != cut and (piece := upstream.recv(65536)):
                    piece = piece if cut is None else piece[: cut - passed]
                    sock.sendall(piece)
                    passed += len(piece)
            for each in (sock, upstream):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            relay.join(10)

    with peer(serve) as port:
        url = sim.url.replace(f":{sim.port}", f":{port}")
        try:
            with AMIClient.from_url(url, reconnect=None, timeout=10, connect_timeout=10) as ami:
                ami.ping()
                ami.send("QueueStatus")
                ami.command("core show version")
        except (ConnectError, ConnectionLost) as exc:
            return type(exc).__name__, passed
    return "whole", passed


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until either side ends."""
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
