"""What is said of uWSGI's options when a thread starts in its process."""

from __future__ import annotations

import logging
import sys
import types
from typing import Any

import pytest

from pyami_sync.engine.engine import Engine


@pytest.mark.parametrize(
    ("options", "worker", "said"),
    [
        ({"master": True}, 0, ["--enable-threads", "--py-call-uwsgi-fork-hooks"]),
        ({"master": True, "threads": b"2"}, 0, ["--py-call-uwsgi-fork-hooks"]),
        ({"master": True, "enable-threads": True, "py-call-uwsgi-fork-hooks": True}, 0, []),
        ({"master": True, "enable-threads": True, "lazy-apps": True}, 1, []),
        ({"enable-threads": True}, 0, []),
    ],
)
def test_options_of_uwsgi(
    options: dict[str, Any], worker: int, said: list[str], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    module: Any = types.ModuleType("uwsgi")
    module.opt, module.worker_id = options, lambda: worker
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    engine = Engine()
    with caplog.at_level(logging.WARNING, "pyami_sync"):
        engine.start()
        engine.close()
    assert len(caplog.messages) == len(said)
    for message, option in zip(caplog.messages, said, strict=True):
        assert option in message
