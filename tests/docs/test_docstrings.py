"""The examples in the docstrings of public names are executed, against a simulated server."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

import pyami_sync
from pyami_sync.agi import Router
from pyami_sync.testing import Simulator, User

MODULES = ("", ".cluster", ".live", ".calls", ".agi", ".testing", ".testing.pbx", ".testing.plugin", ".integrations.rx")
# They run for ever, or only show how a script is registered with something else.
NOT_RUN = {"pyami_sync.ClusterPool", "pyami_sync.agi", "pyami_sync.agi.FastAGIServer"}
_block = re.compile(r"::\n\n((?:(?: {4}.*)?\n)+)")


def documented() -> Iterator[tuple[str, Any]]:
    """Yield the public modules, names and methods."""
    for each in MODULES:
        module = import_module(f"pyami_sync{each}")
        yield module.__name__, module
        for name in module.__all__:
            found = getattr(module, name)
            yield f"{module.__name__}.{name}", found
            if inspect.isclass(found):
                for member in vars(found):
                    if not member.startswith("_"):
                        yield f"{module.__name__}.{name}.{member}", getattr(found, member)


def examples() -> dict[str, str]:
    """Return the examples by the names that they stand at; one that several names share counts once."""
    found: dict[str, str] = {}
    for name, each in documented():
        text = inspect.getdoc(each) if not isinstance(each, (str, int)) else None
        for block in _block.findall(f"{text}\n"):
            example = textwrap.dedent(block).strip()
            if example not in found.values():
                found[name] = example
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - NOT_RUN))
def test_example_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = pyami_sync.connect

    def connect(url: str = "", **options: Any) -> pyami_sync.AMIClient:
        return original(url if "127.0.0.1" in url else simulator.url, **options)

    monkeypatch.setattr(pyami_sync, "connect", connect)

    scripts = Router()

    @scripts.route("ivr/{language}")
    def ivr(call: Any, language: str) -> None:
        if call.menu("welcome", digits=1) == "1":
            call.go_to("sales", "s", 1)

    with Simulator() as simulator, connect() as client:
        simulator.pbx.add_endpoint("1101")
        simulator.pbx.add_extension("200", "Answer()", "Wait(60)", context="internal")
        names: dict[str, Any] = {name: getattr(pyami_sync, name) for name in pyami_sync.__all__}
        module = import_module(next(part for part in (name, name.rpartition(".")[0], "pyami_sync") if is_module(part)))
        names |= {each: getattr(module, each) for each in module.__all__}
        names |= {"connect": connect, "ami": client, "client": client, "simulator": simulator, "pbx": simulator.pbx}
        names |= {"Simulator": Simulator, "User": User, "pytest": pytest}
        if "ops." in EXAMPLES[name]:
            names["ops"] = pytest.importorskip("reactivex.operators")
        if "agi_call" in EXAMPLES[name]:
            client.agi(scripts)
        exec(compile(EXAMPLES[name], name, "exec"), names)


def is_module(name: str) -> bool:
    try:
        return inspect.ismodule(import_module(name))
    except ImportError:
        return False


def test_those_that_are_not_run_exist() -> None:
    assert set(EXAMPLES) >= NOT_RUN
    for name in NOT_RUN:
        compile(EXAMPLES[name], name, "exec")
