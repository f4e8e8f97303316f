"""How the program starts and ends: its exit codes, signals, broken pipes, missing packages, time to start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyami_sync.cli.exits import CODES
from pyami_sync.testing import Simulator
from pyami_sync.version import version
from tests.cli.conftest import SECRET
from tests.cli.running import PROGRAM, Process, Server, Terminal, environment, run


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_tells_its_version() -> None:
    done = run("--version")
    assert (done.code, done.out, done.err) == (0, f"pyami-sync {version}\n", "")


def test_documents_its_exit_codes() -> None:
    done = run("--help")
    assert done.code == 0
    for code, text in CODES.items():
        assert f"{code}" in done.out
        assert text.split(":")[0].split(",")[0] in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ping"], 0),
        (["send", "NoSuchAction"], 1),
        (["send", "QueueAdd", "Queue=none", "Interface=Local/1"], 1),
        (["nonsense"], 2),
        (["send", "Ping", "NoHeader"], 2),
        (["send", "Ping", "A=b\nAction: Logoff"], 2),
        (["events", "--for", "soon"], 2),
        (["--user", "nobody", "ping"], 4),
        (["wait", "NoSuchEvent", "--timeout", "100ms"], 5),
    ],
)
def test_exit_codes(server: Server, arguments: list[str], code: int) -> None:
    done = server.run(*arguments)
    assert done.code == code, done
    assert bool(done.err) == bool(code)
    as_json = server.run("--json", *arguments)
    assert as_json.code == code
    assert as_json.objects is not None
    if code:
        assert json.loads(as_json.err.splitlines()[-1])["exit"] == code
        assert "Traceback" not in done.err


def test_cannot_connect() -> None:
    done = run("ping", "--url", f"ami://admin@127.0.0.1:{closed_port()}", env={"AMI_SECRET": SECRET})
    assert done.code == 3
    assert "refused" in done.err


def test_no_answer_in_time(sim: Simulator, simulated: Server) -> None:
    sim.silence("Ping")
    done = simulated.run("ping", "--count", "1", "--timeout", "300ms")
    assert done.code == 5
    assert "no answer to Ping" in done.err
    assert "100% lost" in done.out


@pytest.mark.parametrize(
    "arguments", [["events"], ["wait", "Nothing"], ["ping", "--forever"], ["top", "--every", "9s"]]
)
def test_interrupted(server: Server, arguments: list[str], tmp_path: Path) -> None:
    with Process(*arguments, "--debug", env=server.env) as process:
        wait_for_login(process)
        if "ping" in arguments:
            # The login is told before the program is back from it, and only the loop of Pings ends well.
            assert "pong" in process.line()
        done = process.ended(by=signal.SIGINT)
    assert done.code == (0 if "ping" in arguments else 130)
    assert "Traceback" not in done.err


def test_interrupted_while_it_is_loaded() -> None:
    script = (
        "import sys, pyami_sync.cli as cli\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'pyami_sync.cli.program': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "sys.exit(cli.main(['ping']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", env=environment(), timeout=30
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_terminated(simulated: Server) -> None:
    with Process("events", "--debug", env=simulated.env) as process:
        wait_for_login(process)
        assert process.ended(by=signal.SIGTERM).code == 128 + signal.SIGTERM


def wait_for_login(process: Process) -> None:
    assert process.process.stderr is not None
    while "Authentication accepted" not in process.process.stderr.readline():
        assert process.process.poll() is None


@pytest.mark.parametrize("command", ["describe | head -1", "events | head -1", "events --json | head -c 5"])
def test_broken_pipe(sim: Simulator, simulated: Server, command: str) -> None:
    program = " ".join(PROGRAM)
    script = f"set -o pipefail; {program} {command}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        encoding="utf-8",
        env=environment(simulated.env),
        timeout=30,
    )
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.stdout


def test_says_how_to_get_what_is_missing() -> None:
    script = (
        "import sys; sys.modules['click'] = None; sys.modules.pop('click')\n"
        "import importlib.util as u; found = u.find_spec\n"
        "import pyami_sync.cli as cli\n"
        "cli.find_spec = lambda name: None if name == 'click' else found(name)\n"
        "sys.exit(cli.main(['ping']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", env=environment(), timeout=30
    )
    assert done.returncode == 2
    assert "pip install 'pyami-sync[cli]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_is_imported_without_its_packages() -> None:
    script = "import sys, pyami_sync.cli; assert not {'click', 'rich'} & set(sys.modules), 'loaded'"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30, env=environment())


def test_needs_rich_at_a_terminal_alone(simulated: Server) -> None:
    script = (
        "import sys, pyami_sync.cli as cli\ncode = cli.main(['ping', '--count', '1'])\n"
        "assert 'rich' not in sys.modules\nsys.exit(code)"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        timeout=30,
        env=environment(simulated.env),
        stdout=subprocess.DEVNULL,
    )


def seconds(run_once: Callable[[], object]) -> float:
    started = time.perf_counter()
    run_once()
    return time.perf_counter() - started


def test_starts_quickly(simulated: Server) -> None:
    def call(*command: str) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(simulated.env), timeout=30)

    def takes_less(limit: float, *command: str) -> bool:
        # Other processes slow it down, nothing speeds it up: one time below the limit is proof.
        program = (sys.executable, "-m", "pyami_sync")
        return any(seconds(lambda: call(*program, *command)) - bare < limit for _ in range(20))

    bare = min(seconds(lambda: call(sys.executable, "-c", "pass")) for _ in range(5))
    assert takes_less(0.25, "--version")
    assert takes_less(0.5, "ping")


def test_secret_in_an_argument_is_hidden(sim: Simulator) -> None:
    url = f"ami://admin:{SECRET}@127.0.0.1:{sim.port}"
    with Process("ping", "--forever", "--interval", "50ms", "--url", url) as process:
        assert "pong" in process.line()
        shown = Path(f"/proc/{process.process.pid}/cmdline").read_text()
        done = process.ended(by=signal.SIGINT)
    assert SECRET not in shown
    assert "******" in shown
    assert SECRET not in done.out + done.err
    assert "process list" in done.err


def test_secret_from_a_file_and_from_a_prompt(sim: Simulator, tmp_path: Path) -> None:
    url = f"ami://admin@127.0.0.1:{sim.port}"
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert run("ping", "--url", url, "--secret-file", str(file)).code == 0
    assert run("ping", "--url", url, env={"AMI_SECRET_FILE": str(file)}).code == 0
    assert run("ping", "--url", url).code == 2
    with Terminal("ping", "--url", url) as terminal:
        terminal.until("Secret of admin@127.0.0.1: ")
        terminal.type(f"{SECRET}\n")
        assert terminal.ended() == 0
        assert SECRET not in terminal.text
        assert "3 answered" in terminal.text


def test_secret_is_not_logged(simulated: Server) -> None:
    done = simulated.run("send", "Ping", "--debug")
    assert done.code == 0
    assert "Action: Login" in done.err
    assert "[hidden]" in done.err


def test_runs_in_any_locale(simulated: Server) -> None:
    done = simulated.run(
        "send", "UserEvent", "UserEvent=Grüße", env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    )
    assert done.code == 0, done.err


def test_ends_when_nobody_reads(simulated: Server) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(
        [*PROGRAM, "events", "NoSuchEvent"], stdout=write, stderr=subprocess.PIPE, env=environment(simulated.env)
    )
    os.close(write)
    os.close(read)
    assert process.communicate(timeout=30)[1] is not None
    assert process.returncode == 0


def test_shows_that_it_is_under_way_at_a_terminal_alone(sim: Simulator, simulated: Server) -> None:
    sim.delay("CoreStatus", 1.5)
    shown = simulated.in_terminal("send", "CoreStatus")
    assert shown.code == 0
    assert "waiting for CoreStatus" in shown.out
    assert shown.out.rindex("\x1b[K") > shown.out.rindex("waiting for CoreStatus")
    assert simulated.run("send", "CoreStatus").err == ""
