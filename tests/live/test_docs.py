"""The guide's examples run as they stand."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.live.support import recorded

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "live.rst"


def blocks() -> list[str]:
    found = re.findall(r"::\n\n((?:    .*\n|\n)+)", GUIDE.read_text("utf-8"))
    return [textwrap.dedent(block) for block in found]


@pytest.mark.parametrize("block", blocks())
def test_it_runs(block, ami_simulator, ami_client, monkeypatch):
    monkeypatch.setenv("AMI_URL", ami_simulator.url)
    if "for change in changes:" in block:  # it never ends; a lost connection that does not return ends it here
        assert len([line for line in block.splitlines() if line.strip()]) <= 15
        block = block.replace("live.changes(Queue)", "live.changes(Queue, timeout=0.2)")
        block = block.replace("    for queue in", '    ami.send("QueueReset")\n    for queue in')
    with ami_client.live() as live:
        exec(block, {"live": live, "ami": ami_client, "events": recorded()[:200]})
