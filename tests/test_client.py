"""What users hold, against a server that says exactly what it is told to."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import ssl
import threading
import time
import weakref

import pytest

from pyami_sync import TLS, AMIClient, ReconnectPolicy, State, connect, events
from pyami_sync.exceptions import (
    ActionTimeout,
    ConcurrencyError,
    ConnectError,
    ConnectionClosed,
    ConnectionLost,
    EventsLost,
    LoginRejected,
    WaitTimeout,
)
from pyami_sync.testing import Simulator

from .support.peer import SECRET, Peer, certificates, eventually, server_context

LIST = (
    "Response: Success\nActionID: {id}\nEventList: start\n\n"
    "Event: CoreShowChannel\nActionID: {id}\nChannel: a\n\nEvent: CoreShowChannel\nActionID: {id}\nChannel: b\n\n"
)
COMPLETE = "Event: CoreShowChannelsComplete\nActionID: {id}\nEventList: Complete\nListItems: 2\n\n"
QUICK = ReconnectPolicy(initial=0.01, maximum=0.05)


@pytest.fixture
def peer():
    with Peer() as made:
        yield made


@pytest.fixture
def ami(peer):
    with AMIClient(**peer.options()) as client:
        yield client


class TestOpening:
    def test_connect_and_close(self, peer):
        client = connect(f"ami://admin:{SECRET}@{peer.host}:{peer.port}", keepalive=None)
        assert client.state is State.CONNECTED
        assert client.ami_version == (9, 0, 0)
        assert client.open() is client  # again: nothing
        client.close()
        client.close()
        assert client.state is State.CLOSED
        assert peer.names() == ["Challenge", "Login"]
        eventually(lambda: peer.link.ended)

    def test_options(self, peer, monkeypatch):
        monkeypatch.setenv("AMI_URL", f"ami://admin:{SECRET}@{peer.host}:{peer.port}?auth=plain&event_mask=call")
        with connect(keepalive=None):
            assert peer.actions[-1]["Secret"] == SECRET
            assert peer.actions[-1]["Events"] == "call"
        assert "Challenge" not in peer.names()

    def test_not_opened(self):
        client = AMIClient("pbx")
        with pytest.raises(ConnectionClosed, match=r"call open\(\)"):
            client.send("Ping")
        with pytest.raises(ConnectionClosed):
            client.submit("Ping")
        assert (client.state, client.ami_version) == (State.CLOSED, None)
        assert list(client.events()) == []
        client.close()

    def test_nobody_listens(self, peer):
        peer.stop_listening()
        with pytest.raises(ConnectError, match="nothing listens") as caught:
            connect(**peer.options())
        assert caught.value.port == peer.port

    def test_a_wrong_secret(self, peer):
        with pytest.raises(LoginRejected, match=r"check manager\.conf") as caught:
            connect(**peer.options(secret="wrong-hunter3"))
        assert (caught.value.username, caught.value.host) == ("admin", peer.host)
        assert "hunter" not in str(caught.value)
        assert len(peer.links) == 1  # once

    @pytest.mark.promise(14)
    def test_no_fall_back_to_plain(self, peer):
        peer.answers["challenge"] = "Response: Error\nMessage: Must specify AuthType\n\n"
        with pytest.raises(LoginRejected):
            connect(**peer.options())
        assert peer.names() == ["Challenge"]
        assert SECRET.encode() not in peer.link.received

    def test_shutting_down(self, peer):
        peer.answers["challenge"] = "Response: Error\nMessage: Asterisk is shutting down\n\n"
        with pytest.raises(ConnectError, match="shutting down") as caught:
            connect(**peer.options())
        assert not isinstance(caught.value, LoginRejected)

    @pytest.mark.parametrize(
        ("greeting", "reason"),
        [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP server"), (b"SSH-2.0-x\r\n", "SSH"), (b"", "no greeting within")],
    )
    def test_another_server(self, greeting, reason):
        with Peer(greeting=greeting) as peer:
            with pytest.raises(ConnectError, match=reason) as caught:
                connect(**peer.options(connect_timeout=0.3))
            assert caught.value.port == peer.port

    def test_an_unknown_greeting_is_survived(self):
        with Peer(greeting=b"Hello\r\n") as peer, connect(**peer.options()) as ami:
            assert ami.ami_version is None
            assert ami.ping() > 0

    def test_no_answer_to_the_login(self, peer):
        peer.answers["login"] = None
        with pytest.raises(ConnectError, match="no answer to Login within"):
            connect(**peer.options(connect_timeout=0.2))

    def test_a_secret_that_can_not_be_sent(self, peer):
        with pytest.raises(ValueError) as caught:
            connect(**peer.options(secret="hunter2\r\nAction: Originate"))
        assert "hunter2" not in str(caught.value)
        assert peer.links == []

    def test_opening_again(self, peer):
        seen, states = [], []
        client = AMIClient(**peer.options())
        client.on("Tick", seen.append)
        client.on_state(states.append)
        for n in range(3):
            with client:
                peer.link.say("Event: Tick\n\n")
                eventually(lambda n=n: len(seen) == n + 1)
        assert states == [State.CONNECTING, State.CONNECTED, State.CLOSED] * 3

    def test_closing_while_it_opens(self, peer):
        peer.answers["login"] = None
        client = AMIClient(**peer.options())
        failure = []

        def run():
            try:
                client.open()
            except ConnectionClosed as exc:
                failure.append(exc)
            except ConnectError as exc:
                failure.append(exc)

        thread = threading.Thread(target=run)
        thread.start()
        peer.wait_for("Login")
        client.close()
        thread.join(10)
        assert len(failure) == 1
        assert client.state is State.CLOSED

    def test_unknown_options(self):
        with pytest.raises(TypeError, match="no such option: colour"):
            AMIClient("pbx", colour="red")

    def test_repr(self, ami, peer):
        assert repr(ami) == f"<AMIClient admin@{peer.host}:{peer.port} connected>"

    @pytest.mark.parametrize("booted", [True, False])
    def test_waiting_until_it_has_booted(self, booted):
        def login(link, action):
            event = "Event: FullyBooted\nUptime: 5\n\n" if booted else ""
            return "Response: Success\n\n" + event

        with Peer(login=login, command="Response: Error\nMessage: Permission denied\n\n") as peer:
            with connect(**peer.options(wait_fully_booted=True)) as ami:
                assert ami.state is State.CONNECTED
            assert ("Command" in peer.names()) is not booted

    def test_waiting_for_it_in_vain(self):
        with Peer(command=None) as peer:
            with pytest.raises(ConnectError, match="has not loaded its modules"):
                connect(**peer.options(wait_fully_booted=True, connect_timeout=0.3))


class TestCallbacks:
    @pytest.mark.promise(6)
    def test_may_block_and_call(self, ami, peer):
        found, done = [], threading.Event()
        ami.on("Tick", lambda event: (found.append(ami.ping()), found.append(ami.send("Ping").ok), done.set()))
        peer.link.say("Event: Tick\n\n")
        assert done.wait(10)

    @pytest.mark.promise(6)
    def test_a_slow_one_delays_nobody(self, ami, peer):
        go, begun, others = threading.Event(), threading.Event(), []
        ami.on("Tick", lambda event: (begun.set(), go.wait(20)))
        ami.on("Tick", others.append)
        peer.link.say("Event: Tick\n\n" * 5)
        assert begun.wait(10)
        eventually(lambda: len(others) == 5)
        assert ami.ping() < 5
        go.set()

    @pytest.mark.promise(6)
    def test_one_that_raises_is_told(self, ami, peer, caplog):
        errors = []
        stop = ami.on_error(lambda exc, subscription, event: errors.append((exc, subscription, event)))

        @ami.on("Tick")
        def bad(event):
            raise ValueError("oops")

        peer.link.say("Event: Tick\nSecret: hunter2\n\n")
        eventually(lambda: errors)
        exc, subscription, event = errors[0]
        assert (str(exc), subscription, event.name) == ("oops", bad, "Tick")
        assert "ValueError: oops" in caplog.text  # with its traceback
        assert "hunter2" not in caplog.text
        stop()
        peer.link.say("Event: Tick\n\n")
        eventually(lambda: bad.delivered == 2)
        assert ami.ping() > 0
        assert len(errors) == 1

    @pytest.mark.promise(8)
    def test_a_loss_is_told(self, ami, peer, caplog):
        errors, go, begun = [], threading.Event(), threading.Event()
        ami.on_error(lambda exc, subscription, event: errors.append(exc))
        ami.on("Tick", lambda event: (begun.set(), go.wait(20)), maxsize=2)
        peer.link.say("Event: Tick\n\n")
        assert begun.wait(10)
        peer.link.say("Event: Tick\n\n" * 10)
        ami.ping()
        go.set()
        eventually(lambda: errors)
        assert isinstance(errors[0], EventsLost)
        assert errors[0].count == ami.stats().events_lost == 8

    def test_closing_from_a_callback(self, peer):
        done = threading.Event()
        ami = connect(**peer.options())
        ami.on("Tick", lambda event: (ami.close(), ami.close(), done.set()))
        peer.link.say("Event: Tick\n\n")
        assert done.wait(10)
        assert ami.wait_closed(10)
        ami.close()

    def test_closing_from_every_hook(self, peer):
        for hook in ("state", "wire", "error"):
            ami = AMIClient(**peer.options())
            done = threading.Event()

            def end(*args, ami=ami, done=done):
                if ami.state is State.CONNECTED:
                    ami.close()
                    done.set()

            ami.on("Tick", lambda event: 1 / 0)
            getattr(ami, f"on_{hook}")(end)
            try:
                ami.open()
            except ConnectionClosed:
                pass  # the hook was quicker
            else:
                try:
                    peer.link.say("Event: Tick\n\n")
                except OSError:
                    pass
            assert done.wait(10)
            ami.close()

    def test_sys_exit_ends_the_program(self, peer):
        with pytest.raises(SystemExit, match="3"):
            with connect(**peer.options()) as ami:
                ami.on("Tick", lambda event: os.sys.exit(3))
                peer.link.say("Event: Tick\n\n")
                ami.wait_closed(20)
                time.sleep(20)  # the interrupt may come a moment later

    def test_hooks_for_states(self, peer):
        states = []
        ami = AMIClient(**peer.options())
        stop = ami.on_state(states.append)
        with ami:
            pass
        assert states == [State.CONNECTING, State.CONNECTED, State.CLOSED]
        stop()
        with ami:
            pass
        assert len(states) == 3

    def test_blocking_is_refused_on_the_engine_thread(self, ami):
        # User code gets there by finalizers and log handlers only.
        found, done = [], threading.Event()

        def run():
            for attempt in (ami.ping, ami.wait_closed, lambda: ami.wait_for("x"), lambda: ami.command("x")):
                try:
                    attempt()
                except ConcurrencyError as exc:
                    found.append(exc)
            done.set()

        class Careless:
            def __del__(self):
                run()

        holder = []  # filled there, too: a free-threaded build runs a finalizer on the thread that made the object
        ami.engine.call_soon(lambda: holder.append(Careless()))
        ami.engine.call_soon(holder.clear)
        assert done.wait(10)
        assert len(found) == 4
        assert ami.ping() > 0


class TestEvents:
    def test_streams_waits_and_expectations(self, ami, peer):
        with ami.events("Tick", timeout=5) as stream:
            peer.link.say("Event: Tick\nN: 1\n\nEvent: Tick\nN: 2\n\n")
            assert [next(stream)["N"], next(stream)["N"]] == ["1", "2"]
        with pytest.raises(WaitTimeout):
            ami.wait_for("Tick", timeout=0.02)
        with ami.expect(events.Hangup, where={"Cause": "16"}) as hangup:
            peer.link.say("Event: Hangup\nCause: 17\n\nEvent: Hangup\nCause: 16\n\n")
            assert hangup.result(10).cause == 16

    def test_streams_end_with_the_session(self, peer):
        with connect(**peer.options()) as ami:
            stream = ami.events()
            peer.link.say("Event: Tick\n\n")
            ami.ping()
        assert [event.name for event in stream] == ["Tick", "Response"][:1]

    @pytest.mark.parametrize("where", [None, lambda event: True])
    def test_expectations_end_with_the_session(self, peer, where):
        with connect(**peer.options()) as ami:
            with ami.expect("Never", where=where) as never:
                ami.close()
                with pytest.raises(ConnectionClosed):
                    never.result(timeout=10)

    def test_encodings(self, peer):
        with connect(**peer.options(encoding="latin-1")) as ami, ami.events(timeout=5) as stream:
            peer.link.send("Event: Tick\r\nName: Jörg\r\n\r\n".encode("latin-1"))
            assert next(stream)["Name"] == "Jörg"
            ami.send("Echo", Name="Jörg")
            assert "Name: Jörg".encode("latin-1") in peer.link.received

    def test_lost_bytes_are_not_lost(self, ami, peer):
        with ami.events(timeout=5) as stream:
            peer.link.send(b"Event: Tick\r\nX: \xff\xfe\r\nno colon\r\nKey:v\r\n\r\n")
            assert next(stream).to_bytes() == b"Event: Tick\r\nX: \xff\xfe\r\nno colon\r\nKey:v\r\n\r\n"


@pytest.mark.promise(17)
class TestSecrets:
    def test_no_log_repr_tap_or_exception_shows_one(self, caplog):
        caplog.set_level(logging.DEBUG)
        for auth in ("md5", "plain"):
            with Peer() as peer:
                taps = []
                ami = AMIClient(**peer.options(auth=auth))
                stop = ami.on_wire(lambda *args, taps=taps: taps.append(args))
                with ami:
                    ami.ping()
                    peer.link.say("Event: AuthDetail\nPassword: hunter-of-event\n\n")
                    eventually(lambda taps=taps: any(b"AuthDetail" in raw for _, raw in taps))
                    key = peer.wait_for("Login").get("Key", "no key")
                    shown = repr(ami) + repr(ami.options) + repr(ami.stats()) + repr(peer.actions) + str(taps)
                assert ("sent", b"Action: Ping") in [(direction, raw[:12]) for direction, raw in taps]
                stop()
                count = len(taps)
                with ami:
                    ami.ping()
                assert len(taps) == count
                for secret in (SECRET, key, "hunter-of-event", "123456789"):
                    assert secret not in shown + caplog.text
        assert "[hidden]" in caplog.text


class TestLosing:
    @pytest.mark.promise(11)
    def test_without_reconnect_the_session_ends(self, peer):
        ami = connect(**peer.options(reconnect=None))
        stream = ami.events()
        future = ami.submit("Slow") if peer.answers.setdefault("slow", None) is None else None
        peer.wait_for("Slow")
        peer.link.close()
        assert isinstance(future.exception(10), ConnectionLost)
        assert ami.wait_closed(10)
        marker = next(stream)
        assert type(marker) is events.ConnectionLost
        with pytest.raises(ConnectionLost):
            next(stream)
        with pytest.raises(ConnectionLost) as caught:
            ami.ping()
        assert caught.value.sent is False
        ami.close()

    @pytest.mark.promise(11)
    def test_coming_back(self, peer):
        with connect(**peer.options(reconnect=QUICK, event_mask="call")) as ami:
            stream, hangups = ami.events(timeout=10), ami.events("Hangup")
            seen = []
            ami.on("Tick", seen.append)
            peer.link.say("Event: Tick\nN: 1\n\n")
            assert next(stream)["N"] == "1"
            first = peer.link
            first.reset()
            assert type(next(stream)) is events.ConnectionLost
            assert type(next(stream)) is events.Reconnected
            assert ami.ping() > 0
            peer.link.say("Event: Tick\nN: 2\n\n")
            assert next(stream)["N"] == "2"
            eventually(lambda: len(seen) == 2)
            assert hangups.pending == 0
            assert [a["Events"] for a in peer.actions if a["Action"] == "Login"] == ["call", "call"]
            stats = ami.stats()
            assert (stats.connects, stats.losses) == (2, 1)

    @pytest.mark.promise(11)
    def test_filters_and_masks_are_restored_before_events_flow(self, peer):
        with connect(**peer.options(reconnect=QUICK)) as ami:
            ami.send("Filter", Operation="Add", Filter="!Event: Noise")
            ami.submit("Events", EventMask="call").result(10)
            peer.link.close()
            eventually(lambda: ami.stats().connects == 2)
            actions = peer.link.actions
            names = [each["Action"] for each in actions]
            assert names[:4] == ["Challenge", "Login", "Filter", "Events"]
            assert actions[1]["Events"] == "off"
            assert actions[2]["Filter"] == "!Event: Noise"
            assert actions[3]["EventMask"] == "call"

    def test_calls_wait_for_the_link_or_fail(self, peer):
        with connect(**peer.options(reconnect=ReconnectPolicy(initial=0.2, maximum=0.2, jitter=0))) as waiting:
            with connect(**peer.options(reconnect=ReconnectPolicy(initial=30, jitter=0), when_down="fail")) as failing:
                peer.answers["challenge"] = lambda link, action: link.close()
                for link in peer.links:
                    link.close()
                eventually(lambda: failing.state is State.RECONNECTING and waiting.state is State.RECONNECTING)
                with pytest.raises(ConnectionLost, match="the link is down") as caught:
                    failing.ping()
                assert caught.value.sent is False
                with pytest.raises(ActionTimeout) as timed_out:
                    waiting.ping(timeout=0.05)
                assert (timed_out.value.sent, timed_out.value.action) == (False, "Ping")
                del peer.answers["challenge"]
                assert waiting.ping(timeout=15) > 0

    def test_callbacks_that_wait_for_the_link_do_not_keep_it_away(self, peer):
        with connect(**peer.options(reconnect=QUICK, callback_threads=1)) as ami:
            down, answered = threading.Event(), threading.Event()

            @ami.on("Tick")
            def ask(event):
                assert down.wait(10)
                ami.send("Ping", timeout=30)
                answered.set()

            peer.link.say("Event: Tick\n\n")
            eventually(lambda: ami.engine.workers.threads)
            first = peer.link
            peer.answers["challenge"] = lambda link, action: link.close()
            first.close()
            eventually(lambda: ami.state is State.RECONNECTING)
            down.set()
            del peer.answers["challenge"]
            assert answered.wait(10)

    @pytest.mark.promise(11)
    def test_a_rejected_login_is_not_retried(self, peer):
        with connect(**peer.options(reconnect=QUICK)) as ami:
            peer.answers["login"] = "Response: Error\nMessage: Authentication failed\n\n"
            peer.link.close()
            assert ami.wait_closed(10)
            with pytest.raises(ConnectionLost, match="login rejected"):
                ami.ping()
            count = len(peer.links)
            time.sleep(0.1)
            assert len(peer.links) == count == 2

    def test_giving_up(self, peer):
        with connect(**peer.options(reconnect=ReconnectPolicy(initial=0.01, maximum=0.01, give_up_after=0.05))) as ami:
            stream = ami.events("Tick")
            peer.stop_listening()
            peer.link.close()
            assert ami.wait_closed(10)
            with pytest.raises(ConnectionLost, match="gave up"):
                next(stream)

    def test_closing_while_the_link_is_down(self, peer):
        ami = connect(**peer.options(reconnect=QUICK))
        peer.stop_listening()
        peer.link.close()
        eventually(lambda: ami.state is State.RECONNECTING)
        outcome = []

        def wait():
            try:
                ami.ping(timeout=20)
            except ConnectionClosed as exc:
                outcome.append(exc)

        waiter = threading.Thread(target=wait)
        waiter.start()
        ami.close()
        waiter.join(10)
        assert not waiter.is_alive()
        assert len(outcome) == 1

    @pytest.mark.promise(12)
    def test_a_keepalive_finds_a_silent_server(self, peer):
        with connect(**peer.options(keepalive=0.05, keepalive_timeout=0.1, reconnect=None)) as ami:
            peer.answers["ping"] = None
            assert ami.wait_closed(10)
            with pytest.raises(ConnectionLost, match="no sign of life"):
                ami.ping()


class TestTransports:
    @pytest.mark.parametrize("kind", ["socket", "tls", "stream"])
    def test_one_s_own(self, kind):
        class Stream:
            def __init__(self, sock):
                self.recv, self.sendall, self.shutdown, self.close = sock.recv, sock.sendall, sock.shutdown, sock.close

        with Peer(context=server_context() if kind == "tls" else None) as peer:
            sock = socket.create_connection((peer.host, peer.port))
            if kind == "tls":
                context = ssl.create_default_context(cafile=certificates()["ca"])
                sock = context.wrap_socket(sock, server_hostname="localhost")
            transport = Stream(sock) if kind == "stream" else sock
            with AMIClient(transport=transport, username="admin", secret=SECRET) as ami:
                assert ami.ping() > 0
                with ami.expect("Tick") as tick:
                    peer.link.say("Event: Tick\n\n")
                    tick.result(10)
                peer.link.close()
                assert ami.wait_closed(10)  # there is no second one like it

    def test_no_socket_at_all(self):
        with pytest.raises(TypeError, match="a transport needs"):
            AMIClient(transport=object()).open()

    def test_tls(self):
        with Peer(context=server_context()) as peer:
            with connect(**peer.options(tls=TLS(ca_file=certificates()["ca"]))) as ami:
                ami.originate("Local/1", Variable={f"V{n}": "x" * 60 for n in range(60)})
                assert len(peer.actions[-1].get_all("Variable")) == 60
                for future in [ami.submit("Ping") for _ in range(200)]:
                    assert future.result(15).ok
                assert max(map(len, peer.link.reads)) <= 1024
                assert all(read.endswith(b"\n") for read in peer.link.reads)

    def test_a_certificate_that_is_not_trusted(self):
        with Peer(context=server_context()) as peer:
            with pytest.raises(ConnectError, match="not trusted"):
                connect(**peer.options(tls=TLS(ca_file=certificates()["other"])))
            assert peer.link.received == b""

    def test_tls_against_a_plain_port(self, peer):
        with pytest.raises(ConnectError, match="does not speak TLS"):
            connect(**peer.options(tls=True))

    def test_plain_against_a_tls_port(self):
        with Peer(context=server_context()) as peer:
            with pytest.raises(ConnectError, match=r"speaks TLS|no greeting.*amis://"):
                connect(**peer.options(connect_timeout=0.3))


class TestCounting:
    def test_stats(self, ami, peer):
        peer.answers["slow"] = None
        stream = ami.events("Tick", maxsize=1)
        ami.ping()
        peer.link.say("Event: Tick\n\n" * 3)
        ami.ping()
        ami.send("Hangup")
        peer.answers["hangup"] = "Response: Error\n\n"
        ami.send("Hangup", check=False)
        with pytest.raises(ActionTimeout):
            ami.send("Slow", timeout=0.01)
        pending = ami.submit("Slow")
        stats = ami.stats()
        assert stats.state == "connected"
        assert stats.actions == {"ok": 3, "error": 1, "timeout": 1}
        assert stats.round_trip.count == 4
        assert (stats.pending, stats.events_received, stats.events_lost) == (1, 3, 2)
        assert stats.bytes_received > 100
        [each] = stats.subscriptions
        assert (each.kind, each.selectors, each.lost, each.pending, each.maxsize) == ("EventStream", "Tick", 2, 2, 1)
        peer.link.close()
        with pytest.raises(ConnectionLost):
            pending.result(10)
        eventually(lambda: ami.stats().actions.get("lost") == 1)
        assert ami.stats().events_received == 3
        stream.close()

    def test_a_client_that_nobody_holds_is_collected(self, peer):
        ami = connect(**peer.options())
        ami.close()
        gone = weakref.ref(ami)
        del ami
        eventually(lambda: gc.collect() is not None and gone() is None)


class TestSharing:
    def test_an_engine_of_others_goes_on(self, peer):
        from pyami_sync.engine.engine import Engine
        from pyami_sync.session.options import make_options

        engine = Engine("pyami-shared")
        two = [AMIClient.from_options(make_options(peer.options()), engine=engine) for _ in range(2)]
        for client in two:
            client.open()
        two[0].close()
        assert two[1].ping() > 0
        assert len([each for each in threading.enumerate() if each.name == "pyami-shared-engine"]) == 1
        two[1].close()
        assert not engine.closed
        engine.close()


class TestForking:
    @pytest.mark.promise(10)
    def test_a_child_connects_on_first_use(self, peer):
        # What the hook does in a child; the real thing is tested with processes.
        ami = connect(**peer.options())
        seen = []
        ami.on("Tick", seen.append)
        held, out = ami._session.current, threading.Event()
        ami.engine.unregister(held, out.set)
        assert out.wait(10)
        ami.after_fork()
        assert ami.state is State.CLOSED
        assert ami.ping() > 0
        assert ami.state is State.CONNECTED
        peer.link.say("Event: Tick\n\n")
        eventually(lambda: len(seen) == 1)
        ami.close()
        with pytest.raises(ConnectionClosed):
            ami.ping()

    def test_a_childs_first_use_keeps_to_its_own_timeout(self, peer):
        with connect(**peer.options()) as ami:
            held, out = ami._session.current, threading.Event()
            ami.engine.unregister(held, out.set)
            assert out.wait(10)
            ami.after_fork()
            peer.answers["login"] = None
            with pytest.raises(ActionTimeout, match=r"Ping.* 0\.1 s"):
                ami.ping(timeout=0.1)
            del peer.answers["login"]
            assert ami.ping() > 0

    def test_interrupting_without_signals_for_threads(self, monkeypatch):
        from pyami_sync.subscriptions import errors

        called = []
        monkeypatch.delattr(signal, "pthread_kill")
        monkeypatch.setattr(errors._thread, "interrupt_main", lambda: called.append(1))
        errors.interrupt_main()
        assert called == [1]


class TestLoggingOff:
    def test_ends_the_session_and_nothing_is_lost(self):
        states, lost = [], []
        with Simulator() as simulator:
            ami = connect(simulator.url)
            try:
                ami.on_state(states.append)
                ami.on("ConnectionLost", lost.append)
                stream = ami.events()
                assert ami.send("Logoff").status == "Goodbye"
                assert ami.wait_closed(5)
                assert [event for event in stream if event.name == "ConnectionLost"] == []
                with pytest.raises(ConnectionClosed, match="logged off"):
                    ami.ping()
                assert ami.stats().losses == 0
            finally:
                ami.close()
        assert states == [State.CLOSED]
        assert lost == []

    def test_a_stream_may_be_opened_before_the_session(self):
        with Simulator() as simulator:
            ami = AMIClient.from_url(simulator.url)
            stream = ami.events("UserEvent", timeout=5)
            with ami:
                ami.send("UserEvent", UserEvent="Early")
                assert next(stream)["UserEvent"] == "Early"
            assert list(stream) == []

    def test_listening_is_a_first_use_too(self):
        with Simulator() as simulator:
            ami = connect(simulator.url)
            try:
                stream = ami.events("UserEvent", timeout=10)
                ami.engine.close()
                for each in (ami.engine, ami):
                    each.after_fork()  # as a child does
                ami.on_state(lambda state: state is State.CONNECTED and simulator.emit("UserEvent", UserEvent="x"))
                assert next(stream)["UserEvent"] == "x"
            finally:
                ami.close()


@pytest.mark.promise(9)
@pytest.mark.parametrize("where", ["future", "state", "wire", "predicate"])
def test_closing_from_wherever_user_code_runs(where):
    done = threading.Event()
    with Simulator() as simulator:
        ami = connect(simulator.url)

        def close(*arguments):
            ami.close()
            done.set()

        if where == "future":
            ami.submit("Ping").add_done_callback(close)
        elif where == "state":
            ami.on_state(close)
            simulator.drop()
        elif where == "wire":
            ami.on_wire(close)
            ami.submit("Ping")
        else:
            ami.on("UserEvent", lambda event: None, where=close)
            ami.submit("UserEvent", UserEvent="x")
        assert done.wait(8)
        assert ami.state is State.CLOSED
        ami.close()
