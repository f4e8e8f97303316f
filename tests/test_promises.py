"""Each promise of the design has tests, one of which at least needs no real server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .promises import PROMISES, keepers

REAL = ("tests/contract/", "tests/faults/test_prefork", "tests/faults/test_restart", "tests/deployment/")


@pytest.mark.parametrize("number", PROMISES)
def test_each_promise_has_tests(number):
    tests = keepers()[number]
    assert len(tests) >= 2
    assert any(not test.startswith(REAL) for test in tests)


def test_there_is_no_other_promise():
    assert set(keepers()) <= set(PROMISES)


def test_one_command_prints_the_table():
    done = subprocess.run([sys.executable, "-m", "tests.promises"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "17  Secrets" in done.stdout
    assert "tests/test_client.py::TestSecrets" in done.stdout
