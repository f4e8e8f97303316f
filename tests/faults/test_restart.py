"""The server goes away and comes back: the session does too, as it was."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pyami_sync import AMIClient, AMIError, ConnectError, Event, LoginRejected, ReconnectPolicy
from pyami_sync import events as ami_events
from pyami_sync.session.session import State
from pyami_sync.testing import Simulator
from tests.asterisk import scenario
from tests.asterisk.plugin import AsteriskFactory
from tests.asterisk.server import AsteriskServer

POLICY = ReconnectPolicy(initial=0.05, maximum=0.2)
SLACK = 2.0


@pytest.fixture(params=[22, pytest.param(16, marks=pytest.mark.slow)], ids=lambda version: f"asterisk{version}")
def server(request: pytest.FixtureRequest, killable: AsteriskFactory) -> AsteriskServer:
    """A server of the test's own."""
    return killable(request.param)


@contextlib.contextmanager
def session(server: AsteriskServer, **options: object) -> Iterator[AMIClient]:
    """A session that comes back fast."""
    given: dict[str, object] = {"username": "admin", "secret": "admin-secret", "reconnect": POLICY, "timeout": 20.0}
    with AMIClient("127.0.0.1", server.port, **{**given, **options}) as ami:  # type: ignore[arg-type]
        yield ami


class PortWatch:
    """Notes when a port takes connections again; a thread that tries all the time."""

    def __init__(self, port: int) -> None:
        self.opened: float | None = None
        self._port = port
        self._thread = threading.Thread(target=self._try, daemon=True)
        self._thread.start()

    def _try(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                self.opened = time.monotonic()
                return
            time.sleep(0.01)

    def wait(self) -> float:
        """Return when it was open."""
        self._thread.join(70)
        assert self.opened is not None
        return self.opened


def wait_connects(ami: AMIClient, count: int) -> float:
    """Wait until the client has logged in so often; return when that was seen."""
    scenario.wait_until(lambda: ami.stats().connects >= count and ami.state is State.CONNECTED, f"{count} logins")
    return time.monotonic()


def restarts_during_calls(server: AsteriskServer, rounds: int) -> list[float]:
    """Restart so often while calls are made; return how long after the port each was back."""
    delays: list[float] = []
    marks: list[Event] = []
    with session(server, event_mask="user,call") as ami:
        ami.send("Filter", Operation="Add", Filter="!UserEvent: Hidden")
        ami.on(ami_events.ConnectionLost, ami_events.Reconnected, marks.append)
        user_events: list[str] = []
        ami.on("UserEvent", lambda event: user_events.append(event["UserEvent"]))
        unwanted: list[str] = []
        ami.on("VarSet", "Newexten", "FullyBooted", lambda event: unwanted.append(event.name))
        for number in range(rounds):
            calls = [ami.submit("Originate", Channel="Local/100@default", Application="Wait", Data="60", Async="yes")]
            calls += [ami.submit("CoreShowChannels") for _ in range(5)]
            if number % 2:
                server.kill()
            else:
                server.stop()
            watch = PortWatch(server.port)
            server.start()
            opened = watch.wait()
            back = wait_connects(ami, number + 2)
            delays.append(back - opened)
            for future in calls:
                outcome = future.exception(20)
                assert outcome is None or isinstance(outcome, AMIError)
            with ami.expect("UserEvent", where={"UserEvent": f"Shown{number}"}) as shown:
                ami.send("UserEvent", UserEvent="Hidden")
                ami.send("UserEvent", UserEvent=f"Shown{number}")
                shown.result(20)
            ami.originate("Local/106@default", Application="NoOp", wait=True)
        scenario.wait_until(lambda: len(user_events) == rounds, "the events that the filter lets through")
        scenario.wait_until(lambda: len(marks) == 2 * rounds, "the marks")
        assert user_events == [f"Shown{number}" for number in range(rounds)]
        assert not unwanted
        assert [mark.name for mark in marks] == ["ConnectionLost", "Reconnected"] * rounds
        assert ami.stats().losses == rounds
    return delays


@pytest.mark.promise(11)
@pytest.mark.asterisk
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_back_soon_after_each_restart(server: AsteriskServer, rounds: int) -> None:
    delays = restarts_during_calls(server, rounds)
    # The median is the measure: one late round on a busy machine says nothing about the library.
    assert sorted(delays)[len(delays) // 2] < 1.0
    assert max(delays) < 1.0 + SLACK


@pytest.mark.asterisk
@pytest.mark.parametrize("end", ["core restart now", "core stop now"])
def test_ends_by_the_console(server: AsteriskServer, end: str) -> None:
    with session(server, event_mask="system") as ami:
        with ami.expect(ami_events.ConnectionLost) as lost, ami.expect(ami_events.Reconnected) as back:
            server.cli(end)
            lost.result(20)
            if end == "core stop now":
                scenario.wait_until(lambda: not server.running, "the server has stopped")
                server.kill()
                server.start()
            mark = back.result(60)
            assert mark.gap > 0
            assert mark.attempts >= 1
            assert ami.ping() > 0
    server.kill()  # one that has restarted itself ends slowly


@pytest.mark.asterisk
def test_the_command_that_ends_the_server_ends_in_a_typed_error(server: AsteriskServer) -> None:
    with session(server, reconnect=None) as ami, pytest.raises(AMIError):
        for _ in range(100):  # it may still answer one or two
            ami.command("core stop now")


@pytest.mark.asterisk
def test_says_whether_the_server_itself_was_new(server: AsteriskServer) -> None:
    with session(server) as ami:
        ami.ping()
        time.sleep(2.1)  # the server counts its uptime in whole seconds
        with ami.expect(ami_events.Reconnected) as back:
            if server.version > 16:  # the older one has no such command
                server.cli(f"manager kick session {fd_of(server, 'admin')}")
            else:
                server.kill()
                server.start()
            mark = back.result(30)
        assert mark.server_restarted is (server.version == 16)


def fd_of(server: AsteriskServer, user: str) -> str:
    """Return the number by which the console knows the session of a user."""
    lines = server.cli("manager show connected").splitlines()
    line = next(line for line in lines if line.split()[:1] == [user])
    return line.split()[4]


@pytest.mark.asterisk
def test_reload_of_the_manager_leaves_the_session_alone(server: AsteriskServer) -> None:
    with session(server, event_mask="user") as ami:
        ami.send("Filter", Operation="Add", Filter="UserEvent: Kept")
        server.reload_manager()
        with ami.events("UserEvent") as stream:
            ami.send("UserEvent", UserEvent="Dropped")
            ami.send("UserEvent", UserEvent="Kept")
            assert stream.get(20)["UserEvent"] == "Kept"
        assert ami.stats().connects == 1
        assert ami.stats().losses == 0


@pytest.mark.asterisk
@pytest.mark.parametrize("retry", [False, True])
def test_a_removed_user_is_not_tried_for_ever(server: AsteriskServer, retry: bool) -> None:
    states: list[State] = []
    policy = ReconnectPolicy(initial=0.05, maximum=0.1, retry_login=retry)
    account = {"username": "patient", "secret": "patient-secret"}
    with session(server, reconnect=policy, **account) as ami, ami.events() as stream:
        ami.on_state(states.append)
        server.remove_user("patient")
        server.restart()
        if retry:
            scenario.wait_until(lambda: isinstance(ami._session.last_error, LoginRejected), "a rejected login")
            assert ami.state is State.RECONNECTING
            server.reset_users()
            wait_connects(ami, 2)
            assert ami.ping() > 0
            return
        assert ami.wait_closed(30)
        with pytest.raises(AMIError, match="login rejected") as info:
            ami.ping()
        assert isinstance(info.value.__cause__, LoginRejected)
        with pytest.raises(AMIError, match="login rejected"):
            for _ in stream:
                pass
        scenario.wait_until(lambda: states == [State.RECONNECTING, State.CLOSED], "the states")
        server.reset_users()
        ami.open()
        assert ami.ping() > 0


def test_a_server_that_shuts_down_is_tried_on() -> None:
    with Simulator() as sim, AMIClient.from_url(sim.url, reconnect=POLICY, timeout=20) as ami:
        sim.shutting_down = True
        sim.drop()
        scenario.wait_until(lambda: ami.stats().attempts >= 4, "several tries")
        assert ami.state is State.RECONNECTING
        assert isinstance(ami._session.last_error, ConnectError)
        assert "shutting down" in str(ami._session.last_error)
        waiting = threading.Thread(target=ami.ping)
        waiting.start()
        sim.shutting_down = False
        waiting.join(20)
        assert not waiting.is_alive()
        assert ami.state is State.CONNECTED


def test_a_refused_port_is_tried_on() -> None:
    with Simulator() as sim, AMIClient.from_url(sim.url, reconnect=POLICY, timeout=20) as ami:
        sim.stop_listening()
        sim.drop()
        scenario.wait_until(lambda: ami.stats().attempts >= 4, "several tries")
        sim.listen_again()
        assert ami.ping() > 0
        assert ami.stats().losses == 1
