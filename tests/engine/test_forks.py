"""What is said of uWSGI's options when a thread starts in its process."""

from __future__ import annotations

import logging
import os
import sys
import types
from typing import Any

import pytest

from pyami_sync.engine import forks
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


def test_a_handler_uses_a_session_while_the_child_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        if len(ran) == 1:
            forks.check()  # in a signal handler: all of it is done when this returns
            assert ran == ["first", "first", "second"]

    monkeypatch.setattr(forks, "_callbacks", [first, lambda: ran.append("second")])
    monkeypatch.setattr(forks, "_pid", -1)
    forks.check()
    assert ran == ["first", "first", "second"]
    assert forks._pid == os.getpid()


def test_a_handler_raises_while_the_child_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    def reset() -> None:
        ran.append(len(ran))
        if len(ran) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(forks, "_callbacks", [reset])
    monkeypatch.setattr(forks, "_pid", -1)
    with pytest.raises(KeyboardInterrupt):
        forks.check()
    forks.check()  # else the child would use the parent's socket
    forks.check()
    assert ran == [0, 1]
