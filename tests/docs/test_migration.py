"""The programs of the migration pages run, the old one and the new one, against the same simulated server."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyami_sync.testing import Simulator

from .blocks import ROOT, Block, blocks

PAGES = ["pyst2", "panoramisk", "asterisk-ami", "pystrix"]
PACKAGES = {
    "pyst2": "asterisk.manager",
    "panoramisk": "panoramisk",
    "asterisk-ami": "asterisk.ami",
    "pystrix": "pystrix",
}


def programs() -> list[Block]:
    return [
        block
        for page in PAGES
        for block in blocks(ROOT / "docs/migration" / f"{page}.rst")
        if block.language == "python"
    ]


def run(block: Block, simulator: Simulator) -> subprocess.CompletedProcess[str]:
    port = simulator.url.rpartition(":")[2]
    environment = {**os.environ, "PYTHONPATH": str(Path(ROOT))}
    return subprocess.run(
        [sys.executable, "-c", block.text.replace("5038", port)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_pairs(page: str) -> None:
    captions = [each.options.get("caption") for each in blocks(ROOT / "docs/migration" / f"{page}.rst")]
    assert len(captions) >= 2
    assert captions == [page, "pyami_sync"] * (len(captions) // 2)


@pytest.mark.parametrize("block", programs(), ids=str)
def test_program_runs(block: Block) -> None:
    caption = block.options["caption"]
    if caption != "pyami_sync" and importlib.util.find_spec(PACKAGES[caption].partition(".")[0]) is None:
        pytest.skip(f"{caption} is not installed")
    with Simulator() as simulator:
        done = run(block, simulator)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip(), f"{caption} printed nothing: {done.stderr}"
        if caption == "pyami_sync":
            assert done.stderr == ""


@pytest.mark.parametrize("page", PAGES)
def test_both_programs_print_the_same(page: str) -> None:
    pair = blocks(ROOT / "docs/migration" / f"{page}.rst")[:2]
    if importlib.util.find_spec(PACKAGES[page].partition(".")[0]) is None:
        pytest.skip(f"{page} is not installed")
    outputs = []
    for block in pair:
        with Simulator() as simulator:
            outputs.append(run(block, simulator).stdout)
    assert outputs[0] == outputs[1]
