"""The core does its main job with the standard library alone; run as ``python -m tests.bare``."""

from __future__ import annotations

import sys
import threading

import pyami_sync
from pyami_sync.testing import Simulator


def foreign_modules() -> list[str]:
    """Top-level modules that are loaded and come from neither Python nor this project."""
    own = {"pyami_sync", "tests", "__main__", "__mp_main__"}
    # What the interpreter's own start-up loads in a virtual environment is not ours.
    started = {name for name in sys.modules if name.startswith(("_virtualenv", "__editable__", "_distutils_hack"))}
    names = {name.partition(".")[0] for name in sys.modules}
    return sorted(names - set(sys.stdlib_module_names) - own - started)


def main() -> None:
    """Ask, list, listen."""
    assert not foreign_modules(), foreign_modules()
    with Simulator() as simulator, pyami_sync.connect(simulator.url) as ami:
        assert ami.ping() < 5
        with ami.expect("UserEvent", where={"UserEvent": "Hello"}) as hello:
            ami.send("UserEvent", UserEvent="Hello")
            assert hello.result(5).name == "UserEvent"
        assert ami.send("CoreShowChannels").complete is not None
        typed = pyami_sync.actions.Ping()
        assert ami.send(typed).ok
    assert not foreign_modules(), foreign_modules()
    assert threading.active_count() == 1, threading.enumerate()
    print("bare: 1 passed, 0 failed")


if __name__ == "__main__":
    main()
