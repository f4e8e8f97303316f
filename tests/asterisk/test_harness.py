"""The harness itself: without this, a contract test that passes would prove little."""

from __future__ import annotations

import atexit
import contextlib
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import textwrap

import pytest

from tests.asterisk import scenario
from tests.asterisk.plugin import AsteriskFactory, require_asterisk
from tests.asterisk.raw import RawError, RawSession
from tests.asterisk.server import AsteriskServer, ServerError

GREETINGS = {16: b"Asterisk Call Manager/5.0.", 22: b"Asterisk Call Manager/11.0."}


@pytest.fixture
def empty(asterisk: AsteriskServer) -> AsteriskServer:
    """The shared server without any channel."""
    scenario.clear(asterisk)
    return asterisk


def test_greets_and_lets_in(asterisk: AsteriskServer) -> None:
    with RawSession(asterisk.port) as raw:
        assert raw.greeting.startswith(GREETINGS[asterisk.version])
        assert b"Message: Authentication accepted\r\n" in raw.login()
        settings = raw.ask("CoreSettings")
    assert f"\r\nSystemName: a{asterisk.version}\r\n".encode() in settings
    assert f"\r\nAsteriskVersion: {asterisk.full_version}".encode() in settings


@pytest.mark.parametrize(("user", "secret"), [("admin", "wrong"), ("acl", None), ("nobody", None)])
def test_refuses_and_closes(asterisk: AsteriskServer, user: str, secret: str | None) -> None:
    with RawSession(asterisk.port) as raw:
        assert b"Response: Error\r\n" in raw.login(user, secret)
        assert raw.read_to_end() == b""


def test_console_knows_what_the_manager_knows(asterisk: AsteriskServer) -> None:
    with asterisk.session("limited"):
        assert "limited" in asterisk.cli("manager show connected")


def test_tls_is_for_localhost_and_signed_by_the_authority(asterisk: AsteriskServer) -> None:
    with asterisk.session(tls=True) as raw:
        assert b"Ping: Pong\r\n" in raw.ask("Ping")
    with pytest.raises(ssl.SSLCertVerificationError):
        RawSession(asterisk.tls_port, ca_file=asterisk.certificates.other_ca)


def test_limited_users_see_less(asterisk: AsteriskServer) -> None:
    with asterisk.session("limited") as raw:
        assert b"Message: Permission denied\r\n" in raw.ask("Command", ("Command", "core show version"))
    quiet, filtered = asterisk.session("noevents", events="on"), asterisk.session("filtered", events="on")
    with quiet, filtered:
        with asterisk.session() as raw:
            raw.ask("UserEvent", ("UserEvent", "Hidden"))
            raw.ask("UserEvent", ("UserEvent", "Shown"))
        filtered.read_until(b"UserEvent: Shown\r\n")
        assert b"Hidden" not in filtered.capture
        assert b"Event: " not in quiet.read_silence(0.2)


def test_populates(empty: AsteriskServer) -> None:
    made = (
        scenario.channels_up(empty, 3),
        scenario.bridged_calls(empty, 2),
        scenario.queue_callers(empty, 4),
        scenario.parked_call(empty),
        scenario.conference(empty, 2),
        scenario.agent_logged_in(empty),
    )
    with empty.session() as raw:
        listed = raw.ask("CoreShowChannels")
        waiting = raw.ask("QueueStatus", ("Queue", "empty"))
    assert listed.count(b"Event: CoreShowChannel\r\n") == sum(part.channels for part in made)
    assert waiting.count(b"Event: QueueEntry\r\n") == 4
    scenario.clear(empty)
    assert scenario.channel_count(empty) == 0


def test_places_calls(empty: AsteriskServer) -> None:
    calls = scenario.place_calls(empty, 30)
    assert len(calls.succeeded) == 20
    assert len(calls.failed) == 10
    assert calls.wire.count(b"Event: OriginateResponse\r\n") == 30
    assert calls.wire.count(b"Event: Newchannel\r\n") == calls.wire.count(b"Event: Hangup\r\n") > 60


def test_strange_values_come_through_raw(empty: AsteriskServer) -> None:
    with empty.session("patient", events="user,dialplan") as raw, empty.session() as control:
        for extension in ("120", "121", "122", "123", "124"):
            channel = (("Channel", f"Local/{extension}@default"), ("Application", "Wait"), ("Data", "1"))
            control.ask("Originate", *channel, ("Async", "true"))
            raw.read_until(b"UserEvent: Strange\r\n")
        raw.read_until(b"Event: Fake\r\n")
    assert b"Newline: a\nResponse: x\n\nEvent: Fake\r\nAfter: here\r\n" in raw.capture
    assert "LineEnds: a\u2028b\u0085c\x0bd\x0ce\x1cf\r\n".encode() in raw.capture
    assert b"AppData: Bytes \xff\xfe\xe9 \xf0\x9f\x93\x9e\r\n" in raw.capture


def test_restarts_and_dies_on_the_same_ports(asterisk_version: int, asterisk_factory: AsteriskFactory) -> None:
    server = asterisk_factory(asterisk_version)
    first = server.pid
    with server.session(events="on") as raw:
        server.restart()
        assert b"Event: Shutdown\r\n" in raw.read_to_end()
    assert server.pid not in (None, first)
    with server.session() as raw:
        server.kill()
        assert raw.read_to_end() == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 1)
    server.start()
    with server.session() as raw:
        assert b"Pong" in raw.ask("Ping")


def test_accounts_change_at_run_time(asterisk_version: int, asterisk_factory: AsteriskFactory) -> None:
    server = asterisk_factory(asterisk_version)
    server.remove_user("limited")
    with pytest.raises(ServerError, match="limited was not let in"):
        server.session("limited")
    server.reset_users()
    server.session("limited").close()
    server.disable_manager()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 1)
    server.reload_manager()
    server.restart()
    server.session("limited").close()


def test_says_why_it_does_not_start(asterisk_version: int, asterisk_factory: AsteriskFactory) -> None:
    server = asterisk_factory(asterisk_version, start=False)
    modules = server.run_dir / "etc" / "modules.conf"
    modules.write_text("[modules]\nautoload = yes\nrequire = no_such.so\n", "utf-8")
    with pytest.raises(ServerError, match=r"(?s)ended while starting, with exit code.*no_such"):
        server.start(timeout=20)
    assert not server.running


@pytest.mark.parametrize("end", ["pass", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_leaves_no_process_behind(asterisk_version: int, end: str) -> None:
    require_asterisk(asterisk_version)
    program = f"""
        import os
        from tests.asterisk.server import AsteriskServer
        server = AsteriskServer({asterisk_version})
        server.start()
        print(server.pid, server.run_dir, flush=True)
        {end}
    """
    root = pathlib.Path(__file__).parents[2]
    command = (sys.executable, "-c", textwrap.dedent(program))
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout, done.stderr
    pid, run_dir = done.stdout.split()
    scenario.wait_until(lambda: not _alive(int(pid)), "the server ends with its owner")
    scenario.wait_until(lambda: not pathlib.Path(run_dir).exists(), "its directory is gone as well")


def test_survives_the_exit_of_a_forked_child(asterisk: AsteriskServer) -> None:
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    with asterisk.session() as raw:
        assert b"Pong" in raw.ask("Ping")


def test_keeps_its_mounts_to_itself(asterisk: AsteriskServer) -> None:
    assert str(asterisk.tree) not in pathlib.Path("/proc/self/mounts").read_text("utf-8")
    assert not os.listdir(asterisk.tree / "srv")


def test_raw_session_says_what_came_instead(asterisk: AsteriskServer) -> None:
    with asterisk.session() as raw:
        raw.action("Ping")
        with pytest.raises(RawError, match=r"time is up .*Pong"):
            raw.read_until(b"no such text", timeout=0.2)


def _alive(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
