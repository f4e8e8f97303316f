"""What the guide to debugging shows of a rejected login is what is printed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pyami_sync import LoginRejected, connect
from pyami_sync.testing import Simulator

from .blocks import ROOT, blocks

TEXTS = [block.text for block in blocks(ROOT / "docs/guides/debugging.rst") if block.language == "text"]
COMMANDS = [text for text in TEXTS if text.startswith("$ pyami-sync doctor")]
CONF = "[general]\nenabled = yes\n\n[web]\nsecret = a-long-random-word\n"


def plain(text: str) -> str:
    return re.sub(r"\([\d.]+ ms\)", "(… ms)", " ".join(text.split()))


@pytest.mark.parametrize("text", COMMANDS, ids=["without the file", "with the file"])
def test_doctor_says_what_is_shown(text: str, tmp_path: Path) -> None:
    command, _, printed = text.partition("\n")
    conf = tmp_path / "manager.conf"
    conf.write_text(CONF, "utf-8")
    with Simulator(users={"web": "a-long-random-word"}) as simulator:
        arguments = [
            each.replace("@127.0.0.1", f"@127.0.0.1:{simulator.port}").replace("/etc/asterisk/manager.conf", str(conf))
            for each in shlex.split(command)[2:]
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pyami_sync", *arguments],
            env={**os.environ, "AMI_SECRET": "wrong"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 4  # as the guide says
        found = plain(done.stdout.replace(str(simulator.port), "5038").replace(str(conf), "/etc/asterisk/manager.conf"))
        for part in printed.split("…"):
            assert plain(part) in found


def test_the_exception_is_the_one_that_is_shown() -> None:
    with Simulator() as simulator:
        with pytest.raises(LoginRejected) as caught:
            connect(f"ami://web:wrong@127.0.0.1:{simulator.port}")
    said = f"pyami_sync.LoginRejected: {caught.value}".replace(str(simulator.port), "5038")
    assert plain(said) == plain(next(text for text in TEXTS if "LoginRejected" in text))
