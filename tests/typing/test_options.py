"""What type checkers say of options: mypy always, pyright where it is installed."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
SAMPLE = HERE / "options.py"
PLANTED = {number for number, line in enumerate(SAMPLE.read_text("utf-8").splitlines(), 1) if line.endswith("# wrong")}
PYRIGHT = shutil.which("pyright", path=str(pathlib.Path(sys.executable).parent))


def complaints(command: list[str]) -> tuple[set[int], str]:
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1], timeout=150)
    return {int(number) for number in re.findall(r"options\.py:(\d+)[^\n]*error", done.stdout)}, done.stdout


def test_mypy_finds_mistyped_and_mistaken_options_and_nothing_else():
    assert len(PLANTED) >= 10
    found, said = complaints([sys.executable, "-m", "mypy", "--strict", "--hide-error-context", str(SAMPLE)])
    assert found == PLANTED, said


@pytest.mark.skipif(PYRIGHT is None, reason="pyright is not installed")
def test_pyright_finds_the_same():
    found, said = complaints([str(PYRIGHT), "--pythonpath", sys.executable, str(SAMPLE)])
    assert found == PLANTED, said
