"""Tools for testing code that uses Asterisk: an embedded AMI server, recorded traffic, a pytest plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .agi import AGITestCall
    from .leaks import assert_no_leaks
    from .replay import ReplayServer
    from .rights import User
    from .scenario import Play, Scenario
    from .session import Session
    from .simulator import Simulator
    from .state import Endpoint
    from .tape import Record, Recorder, read_tape

__all__ = [
    "AGITestCall",
    "Endpoint",
    "Play",
    "Record",
    "Recorder",
    "ReplayServer",
    "Scenario",
    "Session",
    "Simulator",
    "User",
    "assert_no_leaks",
    "read_tape",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "agi": ("AGITestCall",),
        "leaks": ("assert_no_leaks",),
        "replay": ("ReplayServer",),
        "rights": ("User",),
        "scenario": ("Play", "Scenario"),
        "session": ("Session",),
        "simulator": ("Simulator",),
        "state": ("Endpoint",),
        "tape": ("Record", "Recorder", "read_tape"),
    },
)
