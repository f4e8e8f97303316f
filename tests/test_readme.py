"""The README's examples run as they stand, against a simulated server; and its claims about itself hold."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

README = Path(__file__).parent.parent / "README.rst"


def test_it_opens_with_what_it_is_and_the_two_commands():
    head = README.read_text("utf-8").split("First call")[0]
    assert "pip install '.[cli]' && pyami-sync demo" in head
    assert "pip install tox && tox" in head


def test_it_has_examples_for_each_task():
    assert len(re.findall(r"^\.\. code-block:: python$", README.read_text("utf-8"), re.MULTILINE)) >= 8


def test_its_example_of_a_test_passes(ami_simulator: Any, ami_client: Any) -> None:
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", README.read_text("utf-8"), re.MULTILINE)
    block = next(block for block in blocks if "def test_" in block)
    names: dict[str, Any] = {}
    exec(textwrap.dedent(block), names)
    names["test_pauses"](ami_simulator, ami_client)
