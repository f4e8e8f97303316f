"""The Flask extension: one client per application and process, its commands, its health."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, jsonify

from pyami_sync import AMIClient, ConnectError
from pyami_sync.integrations.flask import AMI
from pyami_sync.testing import Simulator

from .waiting import until


def make_app(url: str, **config: Any) -> tuple[Flask, AMI]:
    app, ami = Flask("tests"), AMI()
    app.config.update(AMI_URL=url, TESTING=True, **config)
    ami.init_app(app)
    app.register_blueprint(ami.health_blueprint(), url_prefix="/health")

    @app.get("/ping")
    def ping() -> Any:
        return jsonify(seconds=ami.client.ping())

    @app.get("/events")
    def events() -> Any:
        stream = ami.events("Foo")

        def lines() -> Iterator[str]:
            yield "ready\n"
            for event in stream:
                yield event["N"] + "\n"

        return Response(lines())

    return app, ami


@pytest.fixture
def made(sim: Simulator) -> Iterator[tuple[Flask, AMI]]:
    app, ami = make_app(sim.url)
    yield app, ami
    ami.close(app)


def test_opens_on_first_use_and_once(sim: Simulator, made: tuple[Flask, AMI]) -> None:
    app, ami = made
    assert sim.accepted == 0
    for _ in range(3):
        assert app.test_client().get("/ping").json["seconds"] > 0  # type: ignore[index]
    assert sim.accepted == 1
    with app.app_context():
        assert ami.client is ami.get_client(app)


def test_many_threads_at_once_open_one_session(sim: Simulator, made: tuple[Flask, AMI]) -> None:
    app, _ = made
    gate = threading.Barrier(12)
    codes: list[int] = []

    def request() -> None:
        gate.wait(10)
        codes.append(app.test_client().get("/ping").status_code)

    threads = [threading.Thread(target=request) for _ in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert codes == [200] * 12
    assert sim.accepted == 1


def test_applications_are_apart(sim: Simulator) -> None:
    with Simulator() as other:
        ami = AMI()
        apps = []
        for simulator in (sim, other):
            app = Flask("several")
            app.config["AMI_URL"] = simulator.url
            ami.init_app(app)
            apps.append(app)
        for app in apps:
            with app.app_context():
                ami.client.send("UserEvent", UserEvent="Hi")
        assert len(sim.actions.find("UserEvent")) == len(other.actions.find("UserEvent")) == 1
        for app in apps:
            ami.close(app)


def test_options_come_from_the_configuration(sim: Simulator) -> None:
    app, ami = make_app(sim.url, AMI_OPTIONS={"timeout": 3.5, "name": "pyami-web"})
    assert ami.get_client(app, opened=False).options.timeout == 3.5
    assert sim.accepted == 0


def test_the_environment_gives_the_url(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMI_URL", sim.url)
    app = Flask("environment")
    ami = AMI(app)
    assert ami.get_client(app).ping() > 0
    ami.close(app)


def test_says_what_is_missing() -> None:
    ami = AMI()
    with pytest.raises(RuntimeError, match="which application"):
        ami.client  # noqa: B018
    with Flask("unbound").app_context(), pytest.raises(RuntimeError, match="init_app"):
        ami.client  # noqa: B018


def test_health(sim: Simulator, made: tuple[Flask, AMI]) -> None:
    app, _ = made
    answer = app.test_client().get("/health")
    assert (answer.status_code, answer.json["ok"], answer.json["state"]) == (200, True, "connected")  # type: ignore[index]
    assert answer.headers["Cache-Control"] == "no-store"


def test_health_of_a_server_that_is_not_there(sim: Simulator) -> None:
    port = sim.port
    sim.close()
    app, _ = make_app(f"ami://admin:wonderful@127.0.0.1:{port}")
    answer = app.test_client().get("/health/")
    assert answer.status_code == 503
    assert answer.json["state"] == "closed"  # type: ignore[index]
    assert str(port) in answer.json["error"]  # type: ignore[index]
    assert b"wonderful" not in answer.data


def test_waiting_threads_share_a_failure(sim: Simulator) -> None:
    app, ami = make_app(sim.url, AMI_OPTIONS={"connect_timeout": 1.0})
    sim.stall()
    failures: list[BaseException] = []

    def use() -> None:
        with pytest.raises(ConnectError) as caught:
            ami.get_client(app)
        failures.append(caught.value)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert len(failures) == 6
    assert sim.accepted <= 3  # one for all, and perhaps others for threads that came later
    sim.resume()
    assert ami.get_client(app).ping() > 0
    ami.close(app)


def test_streams_end_with_their_request(sim: Simulator, made: tuple[Flask, AMI]) -> None:
    app, ami = made
    with app.app_context():
        stream = ami.events("Foo")
        assert stream.active
    assert not stream.active
    assert not ami.get_client(app).stats().subscriptions


def test_streams_end_when_the_view_raises(made: tuple[Flask, AMI]) -> None:
    app, ami = made
    opened: list[Any] = []

    @app.get("/raises")
    def raises() -> Any:
        opened.append(ami.events("Foo"))
        raise ZeroDivisionError

    app.testing = False
    with app.test_client().get("/raises") as answer:
        assert answer.status_code == 500
    assert not opened[0].active


def test_a_streamed_answer_lives_until_the_reader_leaves(sim: Simulator, made: tuple[Flask, AMI]) -> None:
    app, ami = made
    answer = app.test_client().get("/events", buffered=False)
    sim.emit("Foo", N=1)
    sim.emit("Foo", N=2)
    lines = iter(answer.response)
    assert [next(lines) for _ in range(3)] == [b"ready\n", b"1\n", b"2\n"]
    assert len(ami.get_client(app).stats().subscriptions) == 1
    answer.close()
    until(lambda: not ami.get_client(app).stats().subscriptions, "the stream is closed")


def test_a_forked_worker_opens_its_own_session(sim: Simulator, made: tuple[Flask, AMI]) -> None:
    app, ami = made
    client = ami.get_client(app)
    assert client.ping() > 0
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = app.test_client().get("/ping")
            os.write(writer, str(answer.status_code).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"200"
    os.waitpid(child, 0)
    assert sim.accepted == 2
    assert client.ping() > 0
    assert client.stats().losses == 0


def test_commands(sim: Simulator, made: tuple[Flask, AMI]) -> None:
    app, _ = made
    run = app.test_cli_runner().invoke
    assert "answers in" in run(args=["ami", "ping"]).output
    shown = run(args=["ami", "send", "QueueStatus", "Queue=support"])
    names = [json.loads(line).get("Event") for line in shown.output.splitlines()]
    assert names[0] is None
    assert names[1:] == ["QueueParams", "QueueMember", "QueueMember"]
    refused = run(args=["ami", "send", "QueueRemove", "Queue=support", "Interface=PJSIP/nobody"])
    assert refused.exit_code == 1
    assert "Error" in refused.output
    assert run(args=["ami", "command", "core", "show", "version"]).output.startswith("Asterisk 22")
    assert run(args=["ami", "send", "Ping", "oops"]).exit_code == 2
    sim.wait_until(lambda: not sim.connections, 10)


def test_the_command_that_listens(sim: Simulator, made: tuple[Flask, AMI]) -> None:
    app, _ = made
    found: list[Any] = []

    def emit() -> None:
        session = sim.wait_for_sessions(1)[0]
        until(lambda: client_of(app).stats().subscriptions, "a subscription")
        assert session
        for number in range(3):
            sim.emit("Foo", N=number)

    thread = threading.Thread(target=emit)
    thread.start()
    found = app.test_cli_runner().invoke(args=["ami", "listen", "Foo", "--count", "3"]).output.splitlines()
    thread.join(20)
    assert [json.loads(line)["N"] for line in found] == ["0", "1", "2"]
    nothing = app.test_cli_runner().invoke(args=["ami", "listen", "Foo", "--seconds", "0.05"])
    assert (nothing.exit_code, nothing.output) == (0, "")


def test_a_pool_of_several_servers(sim: Simulator) -> None:
    with Simulator() as other:
        app = Flask("pool")
        ami = AMI(app)
        app.config["AMI_NODES"] = {"here": sim.url, "there": {"url": other.url, "tags": ["spare"]}}
        with app.app_context():
            assert ami.pool is ami.pool
            answers = ami.pool.broadcast("Ping")
            assert {node_id: answer.ok for node_id, answer in answers.items()} == {"here": True, "there": True}
            assert ami.pool.nodes["there"].tags == {"spare"}
        ami.close(app)
        for each in (sim, other):
            each.wait_until(lambda: not each.connections, 10)  # noqa: B023


def test_a_pool_without_nodes_says_so() -> None:
    app = Flask("pool")
    ami = AMI(app)
    with app.app_context(), pytest.raises(ValueError, match="AMI_NODES"):
        ami.pool  # noqa: B018


def client_of(app: Flask) -> AMIClient:
    client: AMIClient = app.extensions["pyami_sync"][0].peek()
    return client


def test_commands_say_in_one_line_what_is_wrong(sim: Simulator) -> None:
    app, _ = make_app(sim.url.replace("secret", "wrong"))
    result = app.test_cli_runner().invoke(args=["ami", "ping"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: login rejected for user 'admin'")
    assert len(result.output.splitlines()) == 1
