"""Reaching servers without a thread that waits: what goes wrong, and that it delays nobody."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from pyami_sync import TLS, ClusterPool, ConnectError, LoginRejected, ReconnectPolicy, State, connect
from pyami_sync.engine.deadline import Deadline
from pyami_sync.engine.engine import Engine
from pyami_sync.session import attempt as attempt_module
from pyami_sync.session.attempt import ConnectAttempt, interleave
from pyami_sync.session.connector import Connector
from pyami_sync.session.gate import EventGate
from pyami_sync.session.login import LoginPlan
from pyami_sync.session.options import make_options
from pyami_sync.testing import Simulator
from tests.cluster.waiting import until

NEVER_AGAIN = ReconnectPolicy(initial=60, maximum=60)
T = TypeVar("T")


def on_thread(engine: Engine, job: Callable[[], T]) -> T:
    """Run something on the engine thread and return what it returns."""
    done: Future[T] = Future()
    engine.call_soon(lambda: done.set_result(job()))
    return done.result(10)


@contextmanager
def listener(backlog: int = 8) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as made:
        yield made


@contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """A port whose connections are never established: its queue is full, so that the kernel drops all more."""
    with listener(backlog=0) as server, ExitStack() as stack:
        address = server.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


def url(address: Any, scheme: str = "ami") -> str:
    return f"{scheme}://admin:secret@{address[0]}:{address[1]}"


def failure(target: Any, **options: Any) -> ConnectError:
    """What a node says that can't be reached."""
    with ClusterPool({"n": target}, reconnect=NEVER_AGAIN, **options) as pool:
        error = pool.health()["n"].last_error
        assert isinstance(error, ConnectError), error
        assert error.host
        assert error.port
        return error


def open_sockets() -> int:
    found = 0
    for each in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{each}").startswith("socket:")
        except OSError:
            pass
    return found


class TestFailures:
    def test_nothing_listens(self) -> None:
        with listener() as server:
            address = server.getsockname()
        assert "refused" in str(failure(url(address)))

    def test_nothing_answers(self) -> None:
        with black_hole() as address:
            started = time.monotonic()
            assert "no answer within 0.3 s" in str(failure(url(address), connect_timeout=0.3))
            assert time.monotonic() - started < 5

    def test_no_greeting(self) -> None:
        with listener() as server:
            assert "no greeting within 0.3 s" in str(failure(url(server.getsockname()), connect_timeout=0.3))

    def test_no_answer_to_the_login(self) -> None:
        with Simulator() as sim:
            sim.silence("Login")
            assert "no answer to Login within 0.3 s" in str(failure(sim.url, connect_timeout=0.3))

    def test_the_link_ends_meanwhile(self) -> None:
        with Simulator() as sim:
            sim.on("Login", lambda action, session: session.reset())
            assert "ended during Login" in str(failure(sim.url))

    def test_the_login_is_refused(self) -> None:
        with Simulator() as sim:
            sim.refuse_logins()
            assert isinstance(failure(sim.url), LoginRejected)

    def test_it_is_no_ami_server(self) -> None:
        with Simulator(banner="HTTP/1.1 400 Bad Request") as sim:
            assert isinstance(failure(sim.url), ConnectError)

    def test_the_certificate_is_not_trusted(self) -> None:
        with Simulator(tls=True) as sim:
            assert "not trusted" in str(failure(sim.url))

    def test_the_port_does_not_speak_tls(self) -> None:
        with Simulator() as sim:
            assert "does not speak TLS" in str(failure(sim.url, tls=True))

    def test_tls_is_never_finished(self) -> None:
        with listener() as server:
            assert "no TLS handshake within 1.5 s" in str(
                failure(url(server.getsockname(), "amis"), connect_timeout=1.5)
            )

    def test_a_file_of_tls_is_missing(self) -> None:
        with Simulator(tls=True) as sim:
            assert "ca_file" in str(failure(sim.url, tls=TLS(ca_file="/not/there.pem")))

    def test_the_name_does_not_resolve(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_names(monkeypatch, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        assert "does not resolve" in str(failure("ami://admin:secret@pbx.example"))

    def test_a_name_that_is_none(self) -> None:
        assert "not a valid host name" in str(failure({"host": "x" * 100 + ".example", "port": 5038}))


def fake_names(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    genuine = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **more: Any) -> Any:
        if not host.endswith(".example") or more.get("flags"):
            return genuine(host, port, *args, **more)
        if isinstance(found, Exception):
            raise found
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


class TestSuccess:
    def test_each_address_of_a_name_is_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with listener() as server:
            refused = server.getsockname()
        with Simulator() as sim, black_hole() as hole:
            fake_names(monkeypatch, [hole, refused, ("127.0.0.1", sim.port)])
            target = {"host": "pbx.example", "username": "admin", "secret": "secret"}
            with ClusterPool({"n": target}, connect_timeout=1.5) as pool:
                assert pool["n"].ping() < 5
                assert pool.health()["n"].reconnects == 0

    def test_two_addresses_that_answer_at_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The one that loses is closed, though the engine has been told that it is ready, too."""
        monkeypatch.setattr(attempt_module, "STAGGER", 0.0)
        with Simulator() as sim, listener() as other:
            fake_names(monkeypatch, [("127.0.0.1", sim.port), other.getsockname()])
            with connect("ami://admin:secret@pbx.example") as ami:
                assert ami.ping() < 5
        assert "raised" not in caplog.text

    @pytest.mark.parametrize("auth", ["md5", "plain"])
    def test_both_logins(self, auth: str) -> None:
        with Simulator() as sim, ClusterPool({"n": sim.url}, auth=auth) as pool:
            assert pool["n"].ping() < 5

    def test_tls_in_small_pieces(self) -> None:
        with Simulator(tls=True, fragment=50) as sim:
            with ClusterPool({"n": sim.url}, tls=TLS(verify=False)) as pool:
                assert pool["n"].ping() < 5

    def test_filters_and_mask_are_restored(self) -> None:
        with Simulator() as sim, ClusterPool({"n": sim.url}, event_mask="user") as pool:
            sim.assert_sent("Login", Events="user")
            pool["n"].send("Filter", Operation="Add", Filter="Event: UserEvent")
            sim.drop()
            until(lambda: sim.accepted == 2 and pool.nodes["n"].connected)
            assert sim.actions.names().count("Filter") == 2
            sim.assert_sent("Login", Events="off")
            sim.assert_sent("Events", EventMask="user")


class TestOthers:
    def test_the_dead_delay_nobody(self) -> None:
        """More dead nodes than tries at once, of every kind, and each of them for a long time."""
        with Simulator() as sim, black_hole() as hole, listener(512) as mute, ExitStack() as stack:
            dead = [url(hole), url(mute.getsockname()), url(mute.getsockname(), "amis")]
            nodes = {f"dead{number}": dead[number % 3] for number in range(150)}
            nodes |= {f"live{number}": sim.url for number in range(10)}
            pool = ClusterPool(nodes, connect_timeout=60)
            stack.callback(pool.close)
            started = time.monotonic()
            assert pool.send_any("Ping", timeout=20).ok
            until(lambda: sum(node.connected for node in pool.nodes.values()) == 10)
            assert time.monotonic() - started < 15  # four times half a second for the dead before them
            with Simulator() as late:
                started = time.monotonic()
                assert pool.add_node("late", late.url).connected
                assert time.monotonic() - started < 5
                pool.remove_node("late")
            names = [each.name for each in threading.enumerate() if each.name.startswith("pyami-cluster")]
            assert len(names) <= 21

    def test_tries_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pyami_sync.session.connector.MOST_AT_ONCE", 2)
        monkeypatch.setattr("pyami_sync.session.connector.SLOW", 60.0)
        greeting = b"Asterisk Call Manager/11.0.0\r\n"
        with listener() as server, ExitStack() as stack:
            server.settimeout(0.3)
            pool = ClusterPool({str(number): url(server.getsockname()) for number in range(5)}, reconnect=NEVER_AGAIN)
            stack.callback(pool.close)
            assert not pool.probe()
            first = [server.accept()[0] for _ in range(2)]
            with pytest.raises(TimeoutError):
                server.accept()
            first[0].sendall(greeting)
            first[0].close()  # its try is over: the next one's turn
            third = server.accept()[0]
            with pytest.raises(TimeoutError):
                server.accept()
            first[1].close()
            third.close()

    def test_slow_tries_make_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pyami_sync.session.connector.MOST_AT_ONCE", 2)
        monkeypatch.setattr("pyami_sync.session.connector.SLOW", 0.05)
        with listener() as server, ExitStack() as stack:
            server.settimeout(5)
            pool = ClusterPool({str(number): url(server.getsockname()) for number in range(6)}, connect_timeout=60)
            stack.callback(pool.close)
            assert not pool.probe()
            for _ in range(6):
                stack.enter_context(server.accept()[0])


class TestReporting:
    """Attempts that fail on the spot."""

    @pytest.fixture
    def connector(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connector]:
        def getaddrinfo(*args: Any, **more: Any) -> Any:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr("pyami_sync.session.connector.SPREAD", 0.0)
        engine = Engine("pyami-test")
        engine.start()
        made = Connector(engine)
        yield made
        engine.close(10)
        made.close(Deadline(10))

    @staticmethod
    def start(connector: Connector, done: Callable[[Any], None], transport: Any = None) -> ConnectAttempt:
        plan = LoginPlan(make_options({"host": "127.0.0.1", "secret": "x"}))
        owner: Any = SimpleNamespace(tap=None, link_ended=lambda *args: None)
        return connector.attempt(plan, EventGate(owner), done, again=False, transport=transport)

    def test_not_before_it_has_been_started(self, connector: Connector) -> None:
        done: list[Any] = []

        def job() -> int:
            self.start(connector, done.append)
            return len(done)

        assert on_thread(connector.engine, job) == 0
        on_thread(connector.engine, lambda: None)
        assert isinstance(done[0], ConnectError)
        assert len(done) == 1

    def test_not_when_it_was_cancelled_meanwhile(self, connector: Connector) -> None:
        on_thread(connector.engine, lambda: self.start(connector, pytest.fail).cancel())
        on_thread(connector.engine, lambda: None)

    def test_many_that_waited_for_their_turn(
        self, connector: Connector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The end of one begins the next, which must not run within it: thousands of calls deep is too deep."""
        monkeypatch.setattr("pyami_sync.session.connector.MOST_AT_ONCE", 1)
        done: list[Any] = []
        mute, other = socket.socketpair()
        with other:
            first = on_thread(connector.engine, lambda: self.start(connector, pytest.fail, mute))
            on_thread(connector.engine, lambda: [self.start(connector, done.append) for _ in range(2000)])
            assert not done
            on_thread(connector.engine, first.cancel)
            until(lambda: len(done) == 2000)
        assert "raised" not in caplog.text


class TestGivingUp:
    @pytest.mark.parametrize("kind", ["hole", "mute", "tls", "login"])
    def test_closing_ends_a_try(self, kind: str) -> None:
        before = open_sockets()
        with black_hole() as hole, listener() as server, Simulator() as sim:
            sim.silence("Login")
            inside = open_sockets()
            reached: dict[str, tuple[str, Callable[[], object]]] = {
                "hole": (url(hole), lambda: open_sockets() > inside + 2),
                "mute": (url(server.getsockname()), lambda: open_sockets() > inside + 2),
                "tls": (url(server.getsockname(), "amis"), lambda: open_sockets() > inside + 2),
                "login": (sim.url, lambda: sim.actions.find("Login")),
            }
            target, condition = reached[kind]
            pool = ClusterPool({"n": target}, connect_timeout=60)
            pool.probe()  # begins to connect
            until(condition)
            started = time.monotonic()
            pool.close()
            assert time.monotonic() - started < 5
        until(lambda: open_sockets() == before)

    def test_removing_a_node_ends_its_try(self) -> None:
        with listener() as server, ClusterPool(connect_timeout=60) as pool:
            pool.add_node("n", url(server.getsockname()), wait=False)
            sock = server.accept()[0]
            with sock:
                sock.settimeout(10)
                node = pool.nodes["n"]
                pool.remove_node("n")
                assert sock.recv(1) == b""
                assert node.state is State.CLOSED


class TestOneClient:
    """connect_timeout holds for everything together, and dead addresses do not hide a good one."""

    TARGET = {"host": "pbx.example", "username": "admin", "secret": "secret"}

    def test_dead_addresses_before_a_good_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Simulator() as sim, black_hole() as hole:
            fake_names(monkeypatch, [hole, hole, hole, ("127.0.0.1", sim.port)])
            began = time.monotonic()
            with connect(**self.TARGET, connect_timeout=10) as ami:
                assert ami.ping() < 5
            assert time.monotonic() - began < 5

    def test_dead_addresses_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with black_hole() as hole:
            fake_names(monkeypatch, [hole, hole, hole])
            began = time.monotonic()
            with pytest.raises(ConnectError, match=r"no answer within 0\.5 s"):
                connect(**self.TARGET, connect_timeout=0.5)
            assert time.monotonic() - began < 1.4

    def test_a_slow_resolver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        go = threading.Event()
        genuine = socket.getaddrinfo

        def slow(host: str, port: int, *args: Any, **more: Any) -> Any:
            if host.endswith(".example") and not more.get("flags"):
                go.wait(20)
            return genuine(host, port, *args, **more)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        began = time.monotonic()
        with pytest.raises(ConnectError, match=r"no answer within 0\.3 s"):
            connect(**self.TARGET, connect_timeout=0.3)
        assert time.monotonic() - began < 2
        go.set()


def test_families_take_turns() -> None:
    six, four = (socket.AF_INET6, 1), (socket.AF_INET, 1)
    assert interleave([six, six, six, four]) == [six, four, six, six]  # type: ignore[list-item]
    assert interleave([]) == []
