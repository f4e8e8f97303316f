"""What survives connections: states, losses, coming back, the place of events around a gap."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time

import pytest

from pyami_sync.engine.deadline import Deadline
from pyami_sync.engine.engine import Engine
from pyami_sync.exceptions import ActionTimeout, ConnectError, ConnectionClosed, ConnectionLost, LoginRejected
from pyami_sync.session.connector import Connector
from pyami_sync.session.options import make_options
from pyami_sync.session.reconnect import ReconnectPolicy
from pyami_sync.session.session import Session, State
from pyami_sync.subscriptions.dispatch import Subscriptions
from pyami_sync.subscriptions.selectors import Selectors
from pyami_sync.subscriptions.subscribers import EventStream
from pyami_sync.vocabulary import markers
from pyami_sync.vocabulary.model import event_class

from ..support.peer import Peer, eventually
from ..support.rig import Outcome

CHALLENGE = "Response: Success\nChallenge: 123456789\n\n"
LOGGED_IN = "Response: Success\n\n"
QUICK = ReconnectPolicy(initial=0.01, maximum=0.02)


class Rig:
    """A session without a client around it."""

    def __init__(self, peer, **options):
        self.changes = []
        self.peer = peer
        self.engine = Engine("pyami-test")
        self.states = []
        self.subscriptions = Subscriptions(
            self.engine.workers.submit, event_class, lambda *args: None, self.engine.check_thread
        )
        self.session = Session(
            make_options(peer.options(**{"reconnect": QUICK, **options})),
            self.engine,
            self.subscriptions,
            Connector(self.engine),
            on_state=self.states.append,
            tap=lambda direction, frames: None,
            observe=lambda: self.changes.append(1),
        )
        self.stream = EventStream(Selectors(()), None, 1000, "error", self.subscriptions)
        self.subscriptions.add(self.stream)

    def open(self, seconds=10):
        self.session.open(Deadline(seconds))
        return self

    def next(self):
        return self.stream.get(10)

    def close(self):
        self.session.close()
        self.engine.close(10)
        self.session.connector.close(Deadline(10))


@pytest.fixture
def peer():
    with Peer() as made:
        yield made


@pytest.fixture
def make(peer):
    made = []

    def make(**options):
        made.append(Rig(peer, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


class TestStates:
    def test_the_usual_way(self, make, peer):
        rig = make()
        assert rig.session.state is State.CLOSED
        rig.open()
        rig.open()
        peer.link.close()
        eventually(lambda: rig.states[-2:] == [State.RECONNECTING, State.CONNECTED])
        rig.session.close()
        rig.session.close()
        assert rig.states == [
            State.CONNECTING,
            State.CONNECTED,
            State.RECONNECTING,
            State.CONNECTED,
            State.CLOSED,
        ]
        assert rig.session.since > 0

    def test_an_opening_that_fails(self, make, peer):
        rig = make(secret="wrong")
        with pytest.raises(LoginRejected) as caught:
            rig.open()
        assert rig.states == [State.CONNECTING, State.CLOSED]
        assert rig.session.last_error is caught.value
        with pytest.raises(ConnectionClosed, match="login rejected"):
            rig.session.connection(Deadline(1))
        eventually(lambda: peer.link.ended)

    def test_events_of_a_link_that_ends_right_after_its_login(self, make, peer):
        def login(link, action):
            link.say(LOGGED_IN + "Event: Last\nN: 1\n\n", action)
            link.close()

        peer.answers["login"] = login
        rig = make(reconnect=None).open()
        assert [rig.next().name, rig.next().name] == ["Last", "ConnectionLost"]
        with pytest.raises(ConnectionLost):
            rig.next()

    def test_a_link_that_is_lost_while_the_server_boots(self, make, peer):
        rig = make(wait_fully_booted=True)
        peer.answers["ping"] = lambda link, action: link.close()
        with pytest.raises(ConnectError, match="ended while the server was loading"):
            rig.open()
        assert rig.states == [State.CONNECTING, State.CLOSED]

    def test_closing_while_another_thread_opens(self, make, peer):
        rig, outcome = make(), Outcome()
        peer.answers["login"] = None
        opens = threading.Thread(target=outcome.run, args=(rig.open,))
        opens.start()
        peer.wait_for("Login")
        rig.session.close()
        assert "closed while it was opened" in str(outcome.get())
        opens.join(10)
        eventually(lambda: peer.link.ended)

    def test_a_second_opening_has_a_deadline_of_its_own(self, make, peer):
        rig, outcome = make(), Outcome()
        peer.answers["login"] = None
        opens = threading.Thread(target=outcome.run, args=(rig.open, 20))
        opens.start()
        peer.wait_for("Login")
        began = time.monotonic()
        with pytest.raises(ConnectError, match=r"not connected within 0\.1 s"):
            rig.open(0.1)
        assert time.monotonic() - began < 5
        peer.link.say(LOGGED_IN, peer.wait_for("Login"))
        assert outcome.get() is rig
        opens.join(10)

    def test_an_opening_with_less_time_does_not_fail_another_one(self, make, peer):
        rig, first, second = make(), Outcome(), Outcome()
        peer.answers["login"] = lambda link, action: None if link is peer.links[0] else LOGGED_IN
        hasty = threading.Thread(target=first.run, args=(rig.open, 0.5))
        hasty.start()
        peer.wait_for("Login")
        patient = threading.Thread(target=second.run, args=(rig.open, 20))
        patient.start()
        eventually(lambda: len(rig.session.openings.waiting) == 2)
        assert isinstance(first.get(), ConnectError)
        assert second.get() is rig
        assert rig.session.state is State.CONNECTED
        for each in (hasty, patient):
            each.join(10)

    def test_opening_while_it_reconnects_waits_for_the_link(self, make, peer):
        rig = make().open()
        peer.answers["login"] = None
        peer.link.close()
        peer.wait_for("Login", 2)
        with pytest.raises(ConnectError, match=r"not connected within 0\.05 s"):
            rig.open(0.05)
        assert rig.session.state is State.RECONNECTING
        outcome = Outcome()
        opens = threading.Thread(target=outcome.run, args=(rig.open,))
        opens.start()
        peer.link.say(LOGGED_IN, peer.wait_for("Login", 2))
        assert outcome.get() is rig
        assert rig.session.state is State.CONNECTED
        opens.join(10)

    @pytest.mark.parametrize("exc", [OSError(24, "Too many open files"), RuntimeError("can't start new thread")])
    def test_a_process_without_resources(self, make, monkeypatch, exc):
        def start():
            raise exc

        rig = make()
        with monkeypatch.context() as patch:
            patch.setattr(rig.engine, "start", start)
            with pytest.raises(ConnectError, match="lacks resources") as caught:
                rig.open()
            assert caught.value.__cause__ is exc
        assert rig.open().session.state is State.CONNECTED

    def test_no_descriptor_for_the_new_connection(self, make, peer, monkeypatch):
        rig = make().open()
        failures = []

        class Full(socket.socket):
            def __init__(self, *args, **more):
                if len(failures) < 3:
                    failures.append(1)
                    raise OSError(24, "Too many open files")
                super().__init__(*args, **more)

        first = rig.session.current
        monkeypatch.setattr("pyami_sync.session.attempt.socket.socket", Full)
        first.close()
        eventually(lambda: rig.session.state is State.CONNECTED and rig.session.current is not first)
        assert len(failures) == 3

    @pytest.mark.parametrize("seconds", [1e10, float("inf")])
    def test_very_long_timeouts(self, make, seconds):
        rig = make().open(seconds)
        rig.session.current.close()
        assert rig.session.connection(Deadline(seconds))
        threading.Timer(0.02, rig.session.close).start()
        assert rig.session.wait_closed(seconds)

    def test_without_reconnect(self, make, peer):
        rig = make(reconnect=None).open()
        peer.link.close()
        assert rig.session.wait_closed(10)
        assert rig.states[-1] is State.CLOSED
        assert isinstance(rig.session.last_error, ConnectionLost)

    def test_waiting_for_the_end(self, make):
        rig = make().open()
        assert not rig.session.wait_closed(0.01)
        waiter = threading.Timer(0.02, rig.session.close)
        waiter.start()
        assert rig.session.wait_closed(10)
        waiter.join()

    def test_starting_in_the_background(self, make, peer):
        rig = make()
        rig.session.start()
        rig.session.start()
        eventually(lambda: rig.session.state is State.CONNECTED)
        assert State.CONNECTING not in rig.states

    def test_starting_a_server_that_is_not_there_yet(self, make, peer):
        rig = make()
        peer.answers["challenge"] = lambda link, action: link.close()
        rig.session.start()
        eventually(lambda: len(peer.links) >= 3)
        assert rig.session.state is State.RECONNECTING
        assert isinstance(rig.session.last_error, ConnectError)
        del peer.answers["challenge"]
        eventually(lambda: rig.session.state is State.CONNECTED)
        assert rig.session.last_error is None

    def test_connection(self, make):
        rig = make().open()
        assert rig.session.connection(Deadline(0)) is rig.session.current


@pytest.mark.promise(11)
class TestGaps:
    def test_markers_stand_in_their_place(self, make, peer):
        def login(link, action):
            # Events that come in one read with the answer to the login.
            return f"Response: Success\nActionID: {action['ActionID']}\n\nEvent: Tick\nN: {len(peer.links)}\n\n"

        peer.answers["login"] = login
        rig = make().open()
        assert rig.next()["N"] == "1"
        peer.link.say("Event: Last\n\n")
        peer.link.close()
        assert rig.next().name == "Last"
        lost = rig.next()
        assert type(lost) is markers.ConnectionLost
        assert "the server closed the connection" in lost.reason
        back = rig.next()
        assert type(back) is markers.Reconnected
        assert (back.attempts, back.gap >= 0) == (1, True)
        assert rig.next()["N"] == "2"

    def test_a_gap_with_several_tries_is_one_gap(self, make, peer):
        rig = make().open()
        peer.answers["challenge"] = lambda link, action: (
            link.close() if len(peer.links) < 4 else "Response: Success\nChallenge: 123456789\n\n"
        )
        peer.link.close()
        assert type(rig.next()) is markers.ConnectionLost
        back = rig.next()
        assert type(back) is markers.Reconnected
        assert back.attempts == 3
        assert rig.session.metrics.losses == 1
        assert rig.session.metrics.attempts == 3
        assert rig.session.metrics.outage_last > 0

    @pytest.mark.parametrize(("uptime", "restarted"), [(3600, False), (0, True), (None, None)])
    def test_whether_the_server_was_started_anew(self, make, peer, monkeypatch, uptime, restarted):
        peer.answers["login"] = (
            "Response: Success\nActionID: {id}\n\n"
            if uptime is None
            else f"Response: Success\nActionID: {{id}}\n\nEvent: FullyBooted\nUptime: {uptime}\n\n"
        )
        peer.answers["command"] = "Response: Error\nMessage: Permission denied\n\n"
        rig = make().open()
        rig.session.connected_at -= 100  # as if it had been up for a while
        peer.link.close()
        back = eventually(lambda: next((e for e in [rig.next()] if type(e) is markers.Reconnected), None))
        assert back.server_restarted is restarted

    def test_uptime_asked_by_command(self, make, peer):
        peer.answers["command"] = "Response: Success\nOutput: System uptime: 7\n\n"
        rig = make().open()
        rig.session.connected_at -= 100
        peer.link.close()
        back = eventually(lambda: next((e for e in [rig.next()] if type(e) is markers.Reconnected), None))
        assert back.server_restarted is True


class TestRestarts:
    """The server is restarted, and listens before it has loaded its modules."""

    BOOTED = LOGGED_IN + "Event: FullyBooted\nStatus: Fully Booted\n\n"  # without Uptime, as Asterisk 13 says it

    @pytest.fixture
    def restarted(self, make, peer):
        peer.answers["login"] = lambda link, action: self.BOOTED if len(peer.links) == 1 else LOGGED_IN
        peer.answers["command"] = "Response: Error\nMessage: Permission denied\n\n"

        def restarted(**options):
            rig = make(**options).open()
            assert rig.next().name == "FullyBooted"
            peer.link.close()
            assert type(rig.next()) is markers.ConnectionLost
            eventually(lambda: peer.names().count("Ping") == 1)
            return rig

        return restarted

    def test_the_marker_waits_for_the_modules(self, restarted, peer):
        rig = restarted()
        assert rig.session.state is State.RECONNECTING
        peer.link.say("Event: FullyBooted\n\n")
        assert [type(rig.next()), rig.next().name] == [markers.Reconnected, "FullyBooted"]
        assert rig.session.state is State.CONNECTED

    def test_but_not_for_ever(self, restarted, monkeypatch, caplog):
        monkeypatch.setattr("pyami_sync.session.login.BOOT_WAIT", 0.05)
        rig = restarted()
        assert type(rig.next()) is markers.Reconnected
        assert "has not loaded its modules" in caplog.text

    def test_the_link_is_lost_again_meanwhile(self, restarted, peer):
        rig = restarted()
        peer.answers["login"] = self.BOOTED
        peer.link.close()
        assert rig.next().attempts == 2

    def test_who_can_not_hear_of_it_asks(self, restarted, peer):
        rig = restarted(event_mask="call")
        assert type(rig.next()) is markers.Reconnected
        assert "core waitfullybooted" in [each.get("Command") for each in peer.actions]

    def test_closing_meanwhile(self, restarted, peer):
        rig = restarted()
        rig.session.close()
        eventually(lambda: peer.link.ended)
        assert rig.session.state is State.CLOSED


class TestWaiting:
    def test_for_the_link(self, make, peer):
        rig = make(reconnect=ReconnectPolicy(initial=0.05, maximum=0.05)).open()
        first = rig.session.current
        peer.answers["challenge"] = lambda link, action: (
            link.close() if len(peer.links) < 3 else "Response: Success\nChallenge: 123456789\n\n"
        )
        peer.link.close()
        eventually(lambda: first.close_exc)
        assert rig.session.connection(Deadline(10)) is not first

    def test_too_long(self, make, peer):
        rig = make(reconnect=ReconnectPolicy(initial=30, jitter=0)).open()
        peer.answers["challenge"] = lambda link, action: link.close()
        peer.link.close()
        eventually(lambda: rig.session.state is State.RECONNECTING)
        with pytest.raises(ActionTimeout) as caught:
            rig.session.connection(Deadline(0.02))
        assert caught.value.sent is False

    def test_each_caller_gets_an_exception_of_its_own(self, make, peer):
        rig = make(reconnect=None).open()
        peer.link.close()
        assert rig.session.wait_closed(10)
        found = []
        for _ in range(2):
            with pytest.raises(ConnectionLost) as caught:
                rig.session.connection(Deadline(0))
            found.append(caught.value)
        assert found[0] is not found[1]


class TestForking:
    def test_a_child_is_closed_until_it_is_used(self, make, peer):
        rig = make().open()
        held = rig.session.current
        out = threading.Event()
        rig.engine.unregister(held, out.set)
        assert out.wait(10)
        rig.session.after_fork()
        assert rig.session.state is State.CLOSED
        assert rig.session.over is False
        assert rig.session.connection(Deadline(10)) is not held
        assert rig.session.state is State.CONNECTED
        assert not rig.session.over
        assert len(peer.links) == 2

    @pytest.fixture
    def child(self, make, peer):
        """A fork's copy of an open session, whose logins are not answered."""
        rig = make().open()
        held, out = rig.session.current, threading.Event()
        rig.engine.unregister(held, out.set)
        assert out.wait(10)
        rig.session.after_fork()
        peer.answers["login"] = None
        return rig

    def test_one_that_was_about_to_connect_at_the_fork_opens_on_first_use(self, peer, make):
        rig = make()
        rig.session.starting = True  # start() was called, and its engine thread is the parent's
        rig.session.after_fork()
        rig.session.prepare_to_listen()
        assert rig.session.connection(Deadline(10)) is rig.session.current

    def test_its_first_use_takes_no_longer_than_it_may(self, child, peer):
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(ActionTimeout) as caught:
                child.session.connection(Deadline(0.1))
            assert time.monotonic() - began < 5
            assert (caught.value.sent, caught.value.timeout) == (False, 0.1)
            assert isinstance(caught.value.__cause__, ConnectError)
            assert not child.session.over
        del peer.answers["login"]
        assert child.session.connection(Deadline(10)) is child.session.current

    def test_its_first_use_takes_no_longer_than_connecting_may(self, make, peer, child):
        child.session.options = dataclasses.replace(child.session.options, connect_timeout=0.1)
        for deadline in (Deadline(60), Deadline(None)):
            with pytest.raises(ConnectError, match=r"no answer to Login within 0\.1 s"):
                child.session.connection(deadline)

    def test_who_has_more_time_goes_on_when_the_first_use_gives_up(self, child, peer):
        first, second = Outcome(), Outcome()
        hasty = threading.Thread(target=first.run, args=(child.session.connection, Deadline(0.5)))
        hasty.start()
        peer.wait_for("Login", 2)
        peer.answers["login"] = lambda link, action: None if link is peer.links[1] else LOGGED_IN
        patient = threading.Thread(target=second.run, args=(child.session.connection, Deadline(20)))
        patient.start()
        eventually(lambda: len(child.session.openings.waiting) == 2)
        assert isinstance(first.get(), ActionTimeout)
        assert second.get() is child.session.current
        for each in (hasty, patient):
            each.join(10)

    def test_a_rejected_login_is_not_tried_again(self, child, peer):
        peer.answers["login"] = "Response: Error\nMessage: Authentication failed\n\n"
        with pytest.raises(LoginRejected):
            child.session.connection(Deadline(10))
        with pytest.raises(ConnectionClosed, match="login rejected"):
            child.session.connection(Deadline(10))
        assert child.session.over

    def test_a_child_of_a_closed_session_stays_closed(self, make):
        rig = make().open()
        rig.session.close()
        rig.session.after_fork()
        assert rig.session.over
        with pytest.raises(ConnectionClosed):
            rig.session.connection(Deadline(0))


class TestReconnecting:
    def test_coming_back_without_a_thread_that_waits(self, make, peer):
        rig = make()
        peer.answers["challenge"] = lambda link, action: link.close() if len(peer.links) < 3 else CHALLENGE
        rig.session.start()
        eventually(lambda: rig.session.state is State.CONNECTED)
        assert len(peer.links) == 3
        assert rig.session.metrics.attempts == 3
        assert rig.next().attempts == 3  # it came late: that is a gap too
        peer.link.close()
        assert type(rig.next()) is markers.ConnectionLost
        assert type(rig.next()) is markers.Reconnected
        assert rig.changes

    def test_closing_while_it_connects(self, make, peer):
        rig = make()
        peer.answers["login"] = None
        rig.session.start()
        peer.wait_for("Login")
        rig.session.close()
        eventually(lambda: peer.link.ended)
        assert rig.session.state is State.CLOSED

    def test_closing_while_it_comes_back(self, make, peer):
        rig = make().open()
        peer.answers["login"] = None
        peer.link.close()
        eventually(lambda: [each["Action"] for each in peer.actions].count("Login") == 2)
        rig.session.close()
        eventually(lambda: peer.link.ended)
        assert rig.session.state is State.CLOSED
        assert State.CONNECTED not in rig.states[2:]

    def test_what_a_caller_who_does_not_wait_is_told(self, make, peer):
        rig = make(reconnect=ReconnectPolicy(initial=30, jitter=0)).open()
        peer.answers["challenge"] = lambda link, action: link.close()
        peer.link.close()
        eventually(lambda: rig.session.metrics.attempts == 1 and isinstance(rig.session.last_error, ConnectError))
        exc = rig.session.down()
        assert isinstance(exc, ConnectionLost)
        assert "the link is down" in str(exc)
        assert exc.sent is False
        rig.session.close()
        assert type(rig.session.down()) is ConnectionClosed
