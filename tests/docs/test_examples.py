"""Every Python block of the site is executed, against a simulated server.

A block with ``:class: fragment`` only shows a line or two in a context that the text gives: it is compiled, not run.
A block that defines ``test_…`` functions is run as a test of the pytest plugin.
"""

from __future__ import annotations

import logging
import sys
import textwrap
from pathlib import Path

import pytest

from pyami_sync.testing import Simulator

from .blocks import ROOT, Block, blocks

pytest_plugins = ["pytester"]

PAGES = sorted(
    path
    for path in (ROOT / "docs").rglob("*.rst")
    if not {"actions", "events", "migration", "benchmarks", "_build"} & set(path.relative_to(ROOT / "docs").parts)
)
EVERY = [block for page in PAGES for block in blocks(page) if block.language == "python"]
FRAGMENTS = [block for block in EVERY if "fragment" in block.options.get("class", "")]
TESTS = [block for block in EVERY if block not in FRAGMENTS and "def test_" in block.text]
PROGRAMS = [block for block in EVERY if block not in FRAGMENTS + TESTS]


@pytest.mark.parametrize("block", FRAGMENTS, ids=str)
def test_fragment_compiles(block: Block) -> None:
    assert compile("def _():\n" + textwrap.indent(block.text, "    "), str(block), "exec")


@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_program_runs(
    block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Not with pytester: it drops the modules that a program imports first, and the next one would get second copies.
    monkeypatch.chdir(tmp_path)
    with Simulator() as simulator:
        monkeypatch.setenv("AMI_URL", simulator.url)
        names = {"__name__": "__example__"}
        exec(compile(block.text, str(block), "exec"), names)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR], "a callback raised"
    sys.modules.pop("__example__", None)


@pytest.mark.parametrize("block", TESTS, ids=str)
def test_tests_pass(block: Block, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(block.text)
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=block.text.count("def test_"))


def test_fragments_are_the_exception() -> None:
    assert len(FRAGMENTS) <= len(EVERY) / 3
