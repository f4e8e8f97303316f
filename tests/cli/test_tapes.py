"""What ``replay`` takes for a recording, and how to reach what ``simulate`` serves."""

from __future__ import annotations

import gzip
import json
import re
import signal
from pathlib import Path

import pytest

from tests.cli.running import Process, run

FRAME = b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Kept\r\n\r\n"
NONE = {
    "text": b"Dear all,\n\nthe server: it is down.\n\n",
    "ini": b"[general]\r\nenabled = yes\r\n\r\n[admin]\r\nsecret: x\r\n\r\n",
    "empty": b"",
    "packed text": gzip.compress(b"Event horizon: none\r\n\r\n"),
    "broken": b"\xfd7zXZ\x00 and no more",
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("content", NONE.values(), ids=NONE.keys())
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    done = run("replay", str(file), "--port", "0", "--for", "100ms")
    assert done.code == 2, done
    assert done.out == ""
    assert f"{file} can't be replayed: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "content", [FRAME, b"Asterisk Call Manager/11.0.0\r\n", gzip.compress(FRAME)], ids=["frame", "greeting", "packed"]
)
def test_dumps_are_recordings(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "dump.ami"
    file.write_bytes(content)
    with Process("replay", str(file), "--port", "0", "--json", "--for", "10ms") as process:
        assert json.loads(process.line())["messages"] == (0 if b"Manager" in content else 1)
        assert process.ended().code == 0


@pytest.mark.parametrize("more", [[], ["--tls"]])
def test_simulate_tells_how_to_reach_it(more: list[str]) -> None:
    with Process("simulate", "--port", "0", *more) as process:
        assert process.process.stderr is not None
        said = process.process.stderr.readline()
        env = dict(re.findall(r"(AMI_\w+)='?([^' ]+)", said))
        assert set(env) == {"AMI_URL", "AMI_SECRET"}
        assert run("ping", env=env).code == 0
        process.ended(by=signal.SIGINT)


def test_simulate_keeps_a_secret_that_is_one() -> None:
    with Process("simulate", "--port", "0", env={"AMI_SECRET": "planted"}) as process:
        assert process.line()
        assert "planted" not in process.ended(by=signal.SIGINT).err
