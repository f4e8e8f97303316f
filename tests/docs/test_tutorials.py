"""The tutorials, step by step as a reader takes them: on the server that the first one starts, each block a program."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from .blocks import ROOT, Block, blocks

TUTORIALS = [ROOT / "docs/tutorials" / f"{name}.rst" for name in ("first-call", "wallboard")]
PROGRAMS = [block for page in TUTORIALS for block in blocks(page) if block.language == "python"]
SHOWN = next(block.text for block in blocks(TUTORIALS[0]) if block.text.startswith("$ pyami-sync simulate"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the server, started by the command that the tutorial shows."""
    command, printed = SHOWN.splitlines()
    arguments = [sys.executable, "-m", "pyami_sync", *shlex.split(command)[2:], "--port", "0"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AMI_")}
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline().strip()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert found is not None
            assert line == printed.replace(":5038", f":{found[1]}")
            yield f"ami://admin:secret@{found[0]}"
        finally:
            server.terminate()


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_step_works(block: Block, url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.text],
        env={**os.environ, "AMI_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or "print(" not in block.text
