"""Only tests that need more than this process may be run again, and only where PYAMI_RERUNS says so."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
REPORT = """
import pytest

def pytest_collection_finish(session):
    for item in session.items:
        mark = item.get_closest_marker("flaky")
        names = sorted(each.name for each in item.iter_markers())
        print("ITEM", item.nodeid.replace(" ", "_"), mark.kwargs["reruns"] if mark else 0, *names)
"""


def collected(tmp_path: pathlib.Path, **environment: str) -> list[tuple[str, int, set[str]]]:
    (tmp_path / "report_marks.py").write_text(REPORT)
    path = os.pathsep.join([str(tmp_path), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    folders = [str(HERE / name) for name in ("connection", "subscriptions", "calls", "bridge", "deployment")]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "report_marks",
            "-p",
            "no:cacheprovider",
            *folders,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": "", **environment},
    )
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("ITEM ")]
    assert len(rows) > 500, done.stdout + done.stderr
    return [(row[1], int(row[2]), set(row[3:])) for row in rows]


def test_none_without_the_variable(tmp_path):
    assert not any(reruns for _, reruns, _ in collected(tmp_path, PYAMI_RERUNS=""))


def test_only_those_that_need_more_than_this_process(tmp_path):
    rows = collected(tmp_path, PYAMI_RERUNS="2")
    for node, reruns, names in rows:
        assert reruns == (2 if names & {"asterisk", "broker", "browser", "deployment"} else 0), node
        if node.startswith(("tests/connection", "tests/subscriptions")):
            assert reruns == 0, node
    for folder, marker in (("calls", "asterisk"), ("bridge", "broker"), ("deployment", "deployment")):
        assert any(marker in names for node, _, names in rows if node.startswith(f"tests/{folder}")), folder
