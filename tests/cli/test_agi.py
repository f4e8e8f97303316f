"""``agi serve`` and ``agi listen``: scripts out of a module, read again when they change, ended in good order."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyami_sync.testing import Simulator
from tests.agi.peer import Peer
from tests.cli.running import Process, Server, run

SCRIPTS = """
from pyami_sync.agi import Router
from words import SOUND

router = Router()

@router.route("hello/{name}")
def hello(call, name):
    call.play(SOUND, name)
"""
PATIENCE = 30.0


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with scripts, in which programs run."""
    (tmp_path / "scripts.py").write_text(SCRIPTS)
    (tmp_path / "words.py").write_text('SOUND = "hello"\n')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((os.getcwd(), os.environ.get("PYTHONPATH", ""))))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def serve(*more: str) -> Process:
    return Process("agi", "serve", "scripts:router", "--port", "0", "--json", *more)


def port_of(process: Process) -> int:
    told = json.loads(process.line())
    assert told["scripts"] == ["hello/{name}"]
    return int(told["port"])


def sounds(port: int) -> list[str]:
    with Peer(port, "hello/ann") as peer:
        return [command.split('"')[1] for command in peer.rest() if command.startswith("STREAM FILE")]


def until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_serves_and_ends_in_good_order(app: Path) -> None:
    with serve() as process:
        port = port_of(process)
        assert sounds(port) == ["hello", "ann"]
        with Peer(port, "hello/bob") as peer:
            peer.command()
            process.process.send_signal(signal.SIGTERM)
            peer.send(b"200 result=0\n")  # the script under way goes on to its end
            assert [command.split('"')[1] for command in peer.rest()] == ["bob", "AGISCRIPT"]
        ended = process.ended()
    assert ended.code == 143
    assert "[1.1] script 'hello/bob' begins" in ended.err
    assert "script 'hello/bob' ended" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("by_signal", [False, True])
def test_reads_scripts_again(app: Path, by_signal: bool) -> None:
    with serve(*([] if by_signal else ["--reload"])) as process:
        port = port_of(process)
        with Peer(port, "hello/bob") as peer:
            assert peer.command() == 'STREAM FILE "hello" ""'
            (app / "words.py").write_text('SOUND = "good-day"\n')
            if by_signal:
                process.process.send_signal(signal.SIGHUP)
            until(lambda: sounds(port) == ["good-day", "ann"])
            peer.send(b"200 result=0\n")  # one under way goes on with what it began with
            assert peer.command() == 'STREAM FILE "bob" ""'
        (app / "scripts.py").write_text("a syntax error")
        if by_signal:
            process.process.send_signal(signal.SIGHUP)
        assert process.process.stderr is not None
        until(lambda: "can't be loaded" in process.process.stderr.readline())  # type: ignore[union-attr]
        assert sounds(port) == ["good-day", "ann"]
        (app / "scripts.py").write_text(SCRIPTS.replace("SOUND, name", "name"))
        if by_signal:
            process.process.send_signal(signal.SIGHUP)
        until(lambda: sounds(port) == ["ann"])
        assert process.ended(by=signal.SIGINT).code == 130


def test_stops_after_a_time(app: Path) -> None:
    done = run("agi", "serve", "scripts", "--port", "0", "--for", "100ms")
    assert done.code == 0, done
    assert done.out.startswith("serving hello/{name} at agi://127.0.0.1:")


@pytest.mark.parametrize(
    ("scripts", "text"),
    [
        ("nothing", "No module named 'nothing'"),
        ("scripts:none", "no none"),
        ("words:SOUND", "no Router"),
        ("no such name", "package.module:router"),
        ("broken", "can't be loaded"),
    ],
)
def test_what_is_no_script_is_refused(app: Path, scripts: str, text: str) -> None:
    (app / "broken.py").write_text(textwrap.dedent("router ="))
    done = run("agi", "serve", scripts, "--port", "0")
    assert done.code == 2, done
    assert text in done.err
    assert "Traceback" not in done.err


def test_listens_to_a_session(app: Path, sim: Simulator, simulated: Server) -> None:
    with Process("agi", "listen", "scripts:router", "--json", env=simulated.env) as process:
        assert json.loads(process.line())["scripts"] == ["hello/{name}"]
        sim.agi_call("hello/ann").hears("hello", "ann").ends("DONE")
        ended = process.ended(by=signal.SIGINT)
    assert ended.code == 130
    assert "script 'hello/ann' ended" in ended.err
