"""The Django app: settings, clients, checks, health, commands, signals."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import RequestFactory, override_settings

from pyami_sync import AMIClient, events
from pyami_sync.testing import Simulator

from .waiting import until

if not settings.configured:
    settings.configure(
        SECRET_KEY="tests",
        INSTALLED_APPS=["pyami_sync.integrations.django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        PYAMI={"default": {"URL": "ami://nobody:nothing@127.0.0.1:1"}},
        USE_TZ=True,
    )
    django.setup()

from django.core import checks
from django.db import connection

from pyami_sync.integrations.django import close_clients, get_client, get_pool
from pyami_sync.integrations.django.health import check_health, health
from pyami_sync.integrations.django.signals import ami_connected, ami_event, ami_events_lost


@pytest.fixture
def configured(sim: Simulator) -> Iterator[Simulator]:
    with override_settings(PYAMI={"default": {"URL": sim.url, "OPTIONS": {"timeout": 5}}}):
        yield sim


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_clients()
    connection.close()


def gone(sim: Simulator) -> None:
    sim.wait_until(lambda: sim.connections == 0, 10, "the end of all sessions")


def problems(pyami: Any, *, deploy: bool = False) -> dict[str, str]:
    with override_settings(PYAMI=pyami):
        found = checks.run_checks(tags=["pyami"], include_deployment_checks=deploy)
    return {str(message.id): message.msg for message in found}


# Clients


def test_opens_on_first_use_and_once(configured: Simulator) -> None:
    unopened = get_client(opened=False)
    assert configured.accepted == 0
    assert get_client() is unopened
    assert get_client().ping() > 0
    assert configured.accepted == 1
    assert unopened.options.timeout == 5


def test_new_settings_make_a_new_client(configured: Simulator) -> None:
    first = get_client()
    with Simulator() as other, override_settings(PYAMI={"default": {"URL": other.url}}):
        assert get_client() is not first
        gone(configured)
        assert other.accepted == 1


def test_a_forked_worker_opens_its_own_session(configured: Simulator) -> None:
    client = get_client()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, f"{get_client().ping() > 0} {get_client() is client}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"True True"
    os.waitpid(child, 0)
    assert configured.accepted == 2
    assert client.ping() > 0
    assert client.stats().losses == 0


def test_a_pool_of_several_servers(sim: Simulator) -> None:
    with Simulator() as other, override_settings(PYAMI={"nodes": {"here": sim.url, "there": other.url}}):
        assert get_pool() is get_pool()
        assert {node: answer.ok for node, answer in get_pool().broadcast("Ping").items()} == {
            "here": True,
            "there": True,
        }
        close_clients()
        gone(sim)
        gone(other)


@pytest.mark.parametrize(
    ("pyami", "said"),
    [
        (None, "settings have no PYAMI"),
        ({"spare": {"URL": "ami://x@y"}}, "no client 'default'; there are: 'spare'"),
        ({"default": {"URL": "http://x"}}, r"PYAMI\['default'\]: a URL begins with ami://"),
        ({"default": {"URL": "ami://x@y", "OPTIONS": {"tiemout": 3}}}, "no such option: tiemout"),
    ],
)
def test_says_what_is_wrong_with_the_settings(pyami: Any, said: str) -> None:
    with override_settings(PYAMI=pyami), pytest.raises(ImproperlyConfigured, match=said):
        get_client()


def test_a_pool_without_nodes_says_so(configured: Simulator) -> None:
    with pytest.raises(ImproperlyConfigured, match="PYAMI has no nodes"):
        get_pool()


# Checks


def test_checks_pass(sim: Simulator) -> None:
    nodes = {"a": sim.url, "b": {"url": "amis://x:y@far.example", "tags": ["t"]}}
    options = {"timeout": 3, "callback_threads": 4}
    assert problems({"default": {"URL": sim.url, "OPTIONS": options}, "nodes": nodes}, deploy=True) == {}
    assert sim.accepted == 0


def test_checks_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(problems({"default": {}})) == ["pyami.E004"]
    monkeypatch.setenv("AMI_URL", "ami://x:y@127.0.0.1")
    assert problems({"default": {}}) == {}


@pytest.mark.parametrize(
    ("pyami", "id_", "said"),
    [
        (None, "pyami.E001", "missing"),
        ({}, "pyami.E002", "empty"),
        ([], "pyami.E002", "not a dict"),
        ({"default": "ami://x@y"}, "pyami.E002", "PYAMI['default'] is not a dict"),
        ({"default": {"URL": "ami://x@y", "OPTIONS": []}}, "pyami.E002", "OPTIONS"),
        ({"default": {"url": "ami://x@y"}}, "pyami.E003", "unknown keys: url"),
        ({"default": {"URL": "ami://x:topsecret@:0"}}, "pyami.E004", "URL"),
        ({"default": {"URL": "ami://x:topsecret@y", "OPTIONS": {"nope": 1}}}, "pyami.E004", "no such option: nope"),
        ({"nodes": {}}, "pyami.E005", "names no node"),
        ({"nodes": {"a": "http://x:topsecret@y"}}, "pyami.E005", "node 'a'"),
    ],
)
def test_checks_find(pyami: Any, id_: str, said: str) -> None:
    found = problems(pyami)
    assert list(found) == [id_]
    assert said in found[id_]
    assert "topsecret" not in found[id_]


def test_deployment_check_wants_tls() -> None:
    pyami = {"default": {"URL": "ami://x:topsecret@pbx.example"}, "b": {"URL": "ami://x:y@127.0.0.1"}}
    assert problems(pyami) == {}
    found = problems(pyami, deploy=True)
    assert list(found) == ["pyami.W001"]
    assert "pbx.example without TLS" in found["pyami.W001"]


# Health


def test_health(configured: Simulator) -> None:
    answer = health(RequestFactory().get("/"))
    found = json.loads(answer.content)
    assert (answer.status_code, found["ok"], found["state"]) == (200, True, "connected")
    assert "no-store" in answer["Cache-Control"]
    assert health(RequestFactory().post("/")).status_code == 405


def test_health_of_a_server_that_does_not_answer(configured: Simulator) -> None:
    get_client()
    configured.silence("Ping")
    found = check_health(timeout=0.05)
    assert (found["ok"], found["state"]) == (False, "connected")
    assert "no answer to Ping" in found["error"]


def test_health_of_a_server_that_is_not_there(configured: Simulator) -> None:
    configured.close()
    answer = health(RequestFactory().get("/"))
    assert answer.status_code == 503
    assert "cannot connect" in json.loads(answer.content)["error"]


def test_health_without_settings() -> None:
    with override_settings(PYAMI={}):
        assert check_health()["ok"] is False


# manage.py ami


def run(*args: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(*args, stdout=out, **options)
    return out.getvalue()


def test_the_command_for_one_action(configured: Simulator) -> None:
    lines = [json.loads(line) for line in run("ami", "QueueStatus", "Queue=support").splitlines()]
    assert [line.get("Event") for line in lines] == [None, "QueueParams", "QueueMember", "QueueMember"]
    assert run("ami", "core show version", "--command").startswith("Asterisk 22")
    gone(configured)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["QueueRemove", "Queue=support", "Interface=PJSIP/x"], "QueueRemove failed: "),
        (["Ping", "oops"], "'oops' is not HEADER=VALUE"),
        (["Ping", "--client", "spare"], "no client 'spare'"),
        (["Foo\r\nAction: Bar"], "CR"),
    ],
)
def test_the_command_says_what_is_wrong(configured: Simulator, args: list[str], said: str) -> None:
    with pytest.raises((CommandError, ImproperlyConfigured), match=said):
        run("ami", *args)


# manage.py ami_listen


class Listening:
    """What receivers were told by one run of the command, which ends itself with SIGTERM after the event Stop."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.threads: set[threading.Thread] = set()

    def event(self, sender: Any, event: Any, client: AMIClient, **kwargs: Any) -> None:
        self.threads.add(threading.current_thread())
        if event.name == "Stop":
            os.kill(os.getpid(), signal.SIGTERM)
        elif event.name in ("Foo", "Hangup", "ConnectionLost", "Reconnected"):
            self.log.append((sender.__name__, event.get("N")))

    def connected(self, sender: Any, client: AMIClient, marker: Any, **kwargs: Any) -> None:
        self.log.append(("connected", type(marker).__name__))

    def lost(self, sender: Any, count: int, **kwargs: Any) -> None:
        self.log.append(("lost", count))


@pytest.fixture
def listening() -> Iterator[Listening]:
    made = Listening()
    ami_event.connect(made.event)
    ami_connected.connect(made.connected)
    ami_events_lost.connect(made.lost)
    yield made
    ami_event.disconnect(made.event)
    ami_connected.disconnect(made.connected)
    ami_events_lost.disconnect(made.lost)


def when_listening(sim: Simulator, then: Any) -> threading.Thread:
    """Do something on another thread when the command has told that it is connected."""
    told = threading.Event()

    def connected(**kwargs: Any) -> None:
        told.set()

    def wait() -> None:
        assert told.wait(20)
        then()

    wait.connected = connected  # type: ignore[attr-defined]  # receivers are held weakly
    ami_connected.connect(connected)
    thread = threading.Thread(target=wait)
    thread.keep = connected  # type: ignore[attr-defined]
    thread.start()
    return thread


def test_events_become_signals_on_the_main_thread(configured: Simulator, listening: Listening) -> None:
    def act() -> None:
        configured.emit("Foo", N=1)
        configured.emit("Hangup", N=2, Cause=16)
        configured.emit("Stop")

    thread = when_listening(configured, act)
    before = signal.getsignal(signal.SIGTERM)
    output = run("ami_listen")
    thread.join(20)
    assert listening.log == [("connected", "NoneType"), ("Event", "1"), ("Hangup", "2")]
    assert listening.threads == {threading.main_thread()}
    assert output.splitlines() == [f"listening to 127.0.0.1:{configured.port}", "stopped"]
    gone(configured)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_has_come_is_handled_before_it_stops(configured: Simulator, listening: Listening) -> None:
    def act() -> None:
        configured.send_bytes(
            b"".join(
                [b"Event: Foo\r\nN: 1\r\n\r\nEvent: Stop\r\n\r\n"]
                + [b"Event: Foo\r\nN: %d\r\n\r\n" % number for number in range(2, 200)]
            )
        )

    thread = when_listening(configured, act)
    run("ami_listen")
    thread.join(20)
    assert [number for _, number in listening.log[1:]] == [str(number) for number in range(1, 200)]


def test_the_grace_is_bounded(configured: Simulator, listening: Listening, caplog: pytest.LogCaptureFixture) -> None:
    thread = when_listening(
        configured, lambda: configured.send_bytes(b"Event: Stop\r\n\r\nEvent: Foo\r\n\r\nEvent: Foo\r\n\r\n")
    )
    run("ami_listen", "--grace", "0")
    thread.join(20)
    assert listening.log == [("connected", "NoneType")]
    assert "2 events not handled" in caplog.text


def test_a_loss_is_told_and_comes_back(configured: Simulator, listening: Listening) -> None:
    def back(sender: Any, **kwargs: Any) -> None:
        configured.emit("Foo", N=9)
        configured.emit("Stop")

    ami_event.connect(back, sender=events.Reconnected)
    thread = when_listening(configured, configured.drop)
    run("ami_listen", "Foo", "Stop")
    thread.join(20)
    ami_event.disconnect(back, sender=events.Reconnected)
    assert listening.log == [
        ("connected", "NoneType"),
        ("ConnectionLost", None),
        ("connected", "Reconnected"),
        ("Reconnected", None),
        ("Event", "9"),
    ]


def test_a_slow_receiver_is_told_what_it_lost(configured: Simulator, listening: Listening) -> None:
    go_on = threading.Event()

    def slow(event: Any, **kwargs: Any) -> None:
        if event.get("N") == "0":
            assert go_on.wait(20)

    ami_event.connect(slow)

    def act() -> None:
        for number in range(50):
            configured.emit("Foo", N=number)
        with AMIClient.from_url(configured.url) as probe, probe.expect("Bar") as bar:
            configured.emit("Bar")
            bar.result(20)
        go_on.set()
        until(lambda: ("lost", 39) in listening.log or ("lost", 40) in listening.log, "the loss is told")
        configured.emit("Stop")

    thread = when_listening(configured, act)
    run("ami_listen", "Foo", "Stop", "--buffer", "10")
    thread.join(20)
    ami_event.disconnect(slow)


def test_a_receiver_that_raises_harms_nobody(
    configured: Simulator, listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("oh")

    ami_event.connect(broken)
    thread = when_listening(configured, lambda: (configured.emit("Foo", N=1), configured.emit("Stop")))
    run("ami_listen", "Foo", "Stop")
    thread.join(20)
    ami_event.disconnect(broken)
    assert ("Event", "1") in listening.log
    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)


def test_database_connections_that_are_over_age_are_closed(
    configured: Simulator, listening: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "file.sqlite3"))
    seen: list[Any] = []

    def query(event: Any, **kwargs: Any) -> None:
        connection.ensure_connection()
        seen.append(connection.connection)
        connection.close_at = 0  # as after CONN_MAX_AGE

    ami_event.connect(query)
    thread = when_listening(
        configured, lambda: [configured.emit("Foo"), configured.emit("Foo"), configured.emit("Stop")]
    )
    run("ami_listen", "Foo", "Stop")
    thread.join(20)
    ami_event.disconnect(query)
    assert len({id(each) for each in seen}) == len(seen) == 3
    assert connection.connection is None


def test_waits_for_a_server_that_is_not_there_yet(configured: Simulator, listening: Listening) -> None:
    configured.stop_listening()
    threading.Timer(0.2, configured.listen_again).start()
    thread = when_listening(configured, lambda: configured.emit("Stop"))
    assert "stopped" in run("ami_listen")
    thread.join(20)


def test_sigterm_ends_waiting_for_a_server(configured: Simulator) -> None:
    configured.close()
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert run("ami_listen") == "stopped\n"
    timer.join()


def test_a_rejected_login_is_an_error(configured: Simulator) -> None:
    configured.refuse_logins()
    with pytest.raises(CommandError, match="login rejected"):
        run("ami_listen")
