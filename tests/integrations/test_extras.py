"""Integrations are apart: none imports another, and a missing extra says so in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pyami_sync.integrations

FOLDER = Path(pyami_sync.integrations.__file__).parent
THIRD_PARTY = {
    "django": ("django", "django"),
    "flask": ("flask", "flask"),
    "opentelemetry": ("opentelemetry", "opentelemetry"),
    "prometheus": ("prometheus_client", "prometheus"),
    "prometheus_live": ("prometheus_client", "prometheus"),
    "rx": ("reactivex", "rx"),
}


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_every_integration_is_known_here() -> None:
    found = {path.stem for path in FOLDER.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert found - {"__init__", "__pycache__", "process"} == set(THIRD_PARTY)


@pytest.mark.parametrize("name", sorted(THIRD_PARTY))
def test_a_missing_extra_is_one_line_that_names_it(name: str) -> None:
    package, extra = THIRD_PARTY[name]
    done = python(f"import sys; sys.modules[{package!r}] = None; import pyami_sync.integrations.{name}")
    assert done.returncode == 1
    assert f"pip install 'pyami-sync[{extra}]'" in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("ImportError: ")
    assert done.stderr.count("Traceback") == 1


@pytest.mark.parametrize("name", sorted(THIRD_PARTY))
def test_an_integration_imports_no_other(name: str) -> None:
    others = [other for other in THIRD_PARTY if other != name]
    packages = sorted({THIRD_PARTY[other][0] for other in others} - {THIRD_PARTY[name][0]})
    code = (
        f"import sys, pyami_sync.integrations.{name}\n"
        f"mine = [m for m in {others!r} if f'pyami_sync.integrations.{{m}}' in sys.modules]\n"
        f"theirs = [m for m in {packages!r} if m in sys.modules]\n"
        "print(mine, theirs)"
    )
    done = python(code)
    assert done.stdout == "[] []\n", done.stdout + done.stderr


def test_the_core_imports_none() -> None:
    packages = sorted(package for package, _ in THIRD_PARTY.values())
    modules = "sys, pyami_sync, pyami_sync.actions, pyami_sync.testing"
    code = f"import {modules}\nprint([m for m in {packages!r} if m in sys.modules])"
    assert python(code).stdout == "[]\n"


def test_an_observable_without_the_extra_says_so() -> None:
    code = "import sys; sys.modules['reactivex'] = None\nfrom pyami_sync import AMIClient\nAMIClient().observable()"
    assert "pip install 'pyami-sync[rx]'" in python(code).stderr.splitlines()[-1]
