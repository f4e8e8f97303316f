"""Servers of its own: record, replay, simulate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyami_sync import connect
from pyami_sync.testing import Simulator, read_tape
from tests.cli.conftest import SECRET
from tests.cli.running import PROGRAM, Process, Server, environment, run


def recorded(tape: str) -> bytes:
    """All that is in a recording so far."""
    return b"".join(record.raw for record in read_tape(tape))


def test_recording_replays_the_same(server: Server, tmp_path: Path) -> None:
    tape = str(tmp_path / "traffic.tape")
    with Process("record", tape, env=server.env) as process:
        assert process.process.stderr is not None
        assert "recording" in process.process.stderr.readline()
        with connect(server.url, secret=server.secret) as client, client.events("UserEvent") as stream:
            for number in range(20):
                client.send("UserEvent", UserEvent="Recorded", Number=number)
            for _ in range(20):
                stream.get(10)
        deadline = time.monotonic() + 20
        while recorded(tape).count(b"Event: UserEvent\r\n") < 20:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.ended(by=signal.SIGINT).code == 130
    raw = recorded(tape)
    assert server.secret.encode() not in raw
    assert b"Key: [hidden]" in raw
    assert run("record", tape, env=server.env).code == 2
    for speed in (["--full-speed"], ["--speed", "100"]):
        with Process("replay", tape, "--port", "0", "--once", "--json", *speed) as process:
            serving = json.loads(process.line())
            url = f"ami://anyone@127.0.0.1:{serving['port']}"
            listener = ["events", "UserEvent", "--no-reconnect"]
            done = run(*listener, env={"AMI_URL": url, "AMI_SECRET": "any"})
            assert done.code == 3  # the recording is over, and so is the connection
            found = [each["Number"] for each in done.objects if each["UserEvent"] == "Recorded"]
            assert found == [str(number) for number in range(20)]
            assert process.ended().code == 0


def test_a_recording_that_failed_can_be_tried_again(server: Server, tmp_path: Path) -> None:
    tape = tmp_path / "x.tape"
    for _ in range(2):
        done = run("record", str(tape), env={**server.env, "AMI_SECRET": "wrong"})
        assert done.code == 4, done.err
        assert not tape.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_recording_to_a_full_disk(server: Server) -> None:
    done = run("record", "/dev/full", "--append", env=server.env)
    assert done.code == 2
    assert "can't be written: No space left" in done.err


def test_the_disk_fills_up_while_recording(server: Server, tmp_path: Path) -> None:
    tape = tmp_path / "x.tape"
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "from pyami_sync.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", script, "record", str(tape), "--for", "60s"]
    process = subprocess.Popen(command, env=environment(server.env), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert "recording" in process.stderr.readline()
        with connect(server.url, secret=server.secret) as client:
            while process.poll() is None:
                client.send("UserEvent", UserEvent="Filling", Text=os.urandom(200).hex())
        said = process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert process.returncode == 1, said
    assert "make room" in said


def test_replay_goes_stepwise(tmp_path: Path) -> None:
    dump = tmp_path / "dump.ami"
    event = "Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Step{}\r\n\r\n"
    dump.write_text("Asterisk Call Manager/11.0.0\r\n" + "".join(map(event.format, range(3))), newline="")
    with subprocess.Popen(
        [*PROGRAM, "replay", str(dump), "--port", "0", "--step", "--once", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        port = json.loads(process.stdout.readline())["port"]
        with connect(f"ami://x:y@127.0.0.1:{port}", reconnect=None) as client, client.events("UserEvent") as stream:
            process.stdin.write("\n")
            process.stdin.flush()
            assert stream.get(10)["UserEvent"] == "Step0"
            assert stream.pending == 0
            process.stdin.write("2\n")
            process.stdin.flush()
            assert [stream.get(10)["UserEvent"] for _ in range(2)] == ["Step1", "Step2"]
        process.stdin.close()
        assert process.wait(30) == 0


def test_simulate_makes_calls(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    arguments = ["simulate", "--port", "0", "--calls-per-second", "20", "--pace", "5", "--queues", "one,two"]
    with Process(*arguments, "--secret-file", str(file), "--json") as process:
        port = json.loads(process.line())["port"]
        server = Server(f"ami://admin@127.0.0.1:{port}", SECRET)
        seen = server.run("events", "Newchannel", "--count", "5", "--for", "30s")
        assert len(seen.objects) == 5
        assert {each["queue"] for each in server.run("queues", "--json").objects} == {"one", "two"}
        done = process.ended(by=signal.SIGINT)
    assert done.code == 130
    assert SECRET not in done.out + done.err


def test_port_that_is_taken(sim: Simulator) -> None:
    done = run("simulate", "--port", str(sim.port))
    assert done.code == 2
    assert "can't listen" in done.err
