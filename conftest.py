"""Runs the examples of the README: each Python block is a test on a simulated server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

try:
    from sybil import Sybil
    from sybil.parsers.rest import PythonCodeBlockParser
except ImportError:  # only the environment that runs them needs it
    pass
else:

    @pytest.fixture
    def server_at_ami_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """Have AMI_URL name a simulated server."""
        from pyami_sync.testing import Simulator

        with Simulator() as simulator:
            monkeypatch.setenv("AMI_URL", simulator.url)
            yield simulator

    pytest_collect_file = Sybil(
        parsers=[PythonCodeBlockParser()], patterns=["README.rst"], fixtures=["server_at_ami_url"]
    ).pytest()
