"""The README's examples run as they stand, against a simulated server; and its claims about itself hold."""

from __future__ import annotations

import logging
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pyami_sync.testing import Simulator

README = Path(__file__).parent.parent / "README.rst"


def test_it_opens_with_what_it_is_and_the_two_commands():
    head = README.read_text("utf-8").split("First call")[0]
    assert "pip install '.[cli]' && pyami-sync demo" in head
    assert "pip install tox && tox" in head


def test_it_has_examples_for_each_task():
    assert len(re.findall(r"^\.\. code-block:: python$", README.read_text("utf-8"), re.MULTILINE)) >= 8


def blocks() -> list[str]:
    found = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", README.read_text("utf-8"), re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


@pytest.mark.parametrize("block", [each for each in blocks() if "def test_" not in each])
def test_its_examples_run(
    block: str,
    ami_simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AMI_URL", ami_simulator.url)
    exec(block, {})
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR], "a callback raised"
    assert capsys.readouterr().out or "print(" not in block or "Reconnected" in block


def test_its_example_of_a_test_passes(ami_simulator: Any, ami_client: Any) -> None:
    names: dict[str, Any] = {}
    exec(next(block for block in blocks() if "def test_" in block), names)
    names["test_pauses"](ami_simulator, ami_client)


GUIDES = {
    "pyami_sync.integrations.flask": "integrations/flask.py",
    "….django": "integrations/django/__init__.py",
    "….django.signals": "integrations/django/signals.py",
    "….prometheus": "integrations/prometheus.py",
    "….opentelemetry": "integrations/opentelemetry.py",
    "….rx": "integrations/rx.py",
    "pyami_sync.testing.plugin": "testing/plugin.py",
}


@pytest.mark.parametrize("name", GUIDES)
def test_it_says_where_the_guides_are(name: str) -> None:
    assert f"{name}``" in README.read_text("utf-8")
    guide = (README.parent / "pyami_sync" / GUIDES[name]).read_text("utf-8").split('"""')[1]
    assert "::\n\n    " in guide
