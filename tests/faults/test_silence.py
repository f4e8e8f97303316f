"""Peers that fall silent without an end: packets lost, a server that hangs, and one that is only busy."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pyami_sync import ActionError, ActionTimeout, AMIClient, AMIError, ConnectionLost, ReconnectPolicy
from pyami_sync import events as ami_events
from pyami_sync.testing import Simulator
from tests.asterisk import scenario
from tests.asterisk.plugin import AsteriskFactory
from tests.asterisk.server import AsteriskServer

from .netns import Far, far_network
from .processes import ROOT
from .proxy import Proxy

INTERVAL, TIMEOUT = 0.6, 0.6
FOUND = INTERVAL + TIMEOUT
SLACK = 1.5
POLICY = ReconnectPolicy(initial=0.05, maximum=0.2)
WATCHFUL = {"keepalive": INTERVAL, "keepalive_timeout": TIMEOUT, "reconnect": POLICY}


@pytest.fixture
def far() -> Iterator[Far]:
    """A simulator behind a cable."""
    with far_network() as network:
        command = ("ip", "netns", "exec", network.name, sys.executable, "-m", "tests.faults.apps.far_server")
        process = subprocess.Popen(
            (*command, network.address, "5038"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == b"ready\n"
            yield network
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            process.wait(10)
            process.stdout.close()  # type: ignore[union-attr]


@pytest.mark.promise(12)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "calling"])
def test_lost_packets_are_found_in_time(far: Far, busy: bool) -> None:
    options = {**WATCHFUL, "connect_timeout": 1.0, "timeout": 1.0}
    with AMIClient(far.address, username="admin", secret="secret", **options) as ami:
        ami.ping()
        with ami.expect(ami_events.ConnectionLost) as lost, ami.expect(ami_events.Reconnected) as back:
            began = time.monotonic()
            far.lose_packets()
            if busy:
                with pytest.raises((ConnectionLost, ActionTimeout)):
                    ami.send("CoreShowChannels")
                assert time.monotonic() - began < FOUND + SLACK
            mark = lost.result(FOUND + SLACK + 5)
            assert time.monotonic() - began < FOUND + SLACK
            assert "no sign of life" in mark.reason
            far.deliver_packets()
            assert back.result(20).gap > 0
        assert ami.ping(timeout=20) > 0


def test_connecting_into_silence_ends_in_time(far: Far) -> None:
    far.lose_packets()
    began = time.monotonic()
    with pytest.raises(AMIError, match=r"no answer within|No route|unreachable"):
        AMIClient(far.address, username="admin", secret="secret", connect_timeout=0.5).open()
    assert time.monotonic() - began < 0.5 + SLACK


@pytest.mark.promise(12)
def test_a_stalled_proxy_is_found_in_time() -> None:
    with Simulator() as sim, Proxy(sim.port) as proxy:
        with AMIClient("127.0.0.1", proxy.port, username="admin", secret="secret", timeout=1.0, **WATCHFUL) as ami:
            ami.ping()
            with ami.expect(ami_events.ConnectionLost) as lost:
                began = time.monotonic()
                proxy.stall()
                lost.result(FOUND + SLACK + 5)
                assert INTERVAL < time.monotonic() - began + 0.1 < FOUND + SLACK + 0.1
            assert ami.ping(timeout=20) > 0
            assert ami.stats().connects == 2


@pytest.fixture(params=[22, pytest.param(16, marks=pytest.mark.slow)], ids=lambda version: f"asterisk{version}")
def server(request: pytest.FixtureRequest, killable: AsteriskFactory) -> AsteriskServer:
    """A server to be stopped."""
    return killable(request.param)


def stop(server: AsteriskServer) -> int:
    """Stop all threads of the server, as if it hung; give its process id."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    tasks = pathlib.Path(f"/proc/{server.pid}/task")

    def stopped() -> bool:
        return all(
            each.read_text("ascii", "replace").rpartition(")")[2].split()[0] == "T" for each in tasks.glob("*/stat")
        )

    scenario.wait_until(stopped, "all threads of the server have stopped")
    return server.pid


@pytest.mark.asterisk
def test_a_hanging_server_is_found_and_used_again(server: AsteriskServer) -> None:
    options = {**WATCHFUL, "connect_timeout": 1.0, "timeout": 1.0}
    with AMIClient("127.0.0.1", server.port, username="admin", secret="admin-secret", **options) as ami:
        ami.ping()
        pid = stop(server)
        try:
            began = time.monotonic()
            outcomes: list[BaseException | None] = []

            def call() -> None:
                try:
                    ami.send("CoreStatus")
                except AMIError as exc:
                    outcomes.append(exc)

            threads = [threading.Thread(target=call) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            assert time.monotonic() - began < FOUND + SLACK
            assert len(outcomes) == 8
            assert all(isinstance(exc, ConnectionLost | ActionTimeout) for exc in outcomes)
            scenario.wait_until(lambda: ami.stats().losses == 1, "the link counts as lost")
            assert time.monotonic() - began < FOUND + SLACK + 0.5
        finally:
            os.kill(pid, signal.SIGCONT)
        assert ami.ping(timeout=20) > 0
        assert ami.stats().losses == 1


@pytest.mark.asterisk
def test_a_synchronous_originate_is_no_dead_server(server: AsteriskServer) -> None:
    with AMIClient("127.0.0.1", server.port, username="admin", secret="admin-secret", **WATCHFUL) as ami:
        began = time.monotonic()
        headers = {"Application": "NoOp", "Timeout": 2500}
        with pytest.raises(ActionError):
            ami.send("Originate", Channel="Local/109@default/n", **headers, timeout=10.0)
        assert time.monotonic() - began > 2 * FOUND
        assert ami.ping() > 0
        assert ami.stats().losses == 0


@pytest.mark.asterisk
def test_a_server_that_hangs_below_a_long_call_is_found_by_its_end(server: AsteriskServer) -> None:
    options = {**WATCHFUL, "connect_timeout": 1.0}
    with AMIClient("127.0.0.1", server.port, username="admin", secret="admin-secret", **options) as ami:
        pid = stop(server)
        try:
            began = time.monotonic()
            with pytest.raises((ActionTimeout, ConnectionLost)):
                ami.send("CoreStatus", timeout=2.0)
            assert time.monotonic() - began < 2.0 + SLACK
            scenario.wait_until(lambda: ami.stats().losses == 1, "the link counts as lost")
            assert time.monotonic() - began < 2.0 + FOUND + SLACK
        finally:
            os.kill(pid, signal.SIGCONT)
        assert ami.ping(timeout=20) > 0
