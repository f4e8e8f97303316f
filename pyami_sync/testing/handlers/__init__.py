"""The simulator's answers: one function for each action, registered by :func:`handler`; by topic (queues.py, …)."""

from __future__ import annotations

from . import bridges, channels, cli, core, database, devices, irregular, queues
from .registry import HANDLERS, Call, Handler, handler

_MODULES = (bridges, channels, cli, core, database, devices, irregular, queues)  # they register themselves

__all__ = ["HANDLERS", "Call", "Handler", "handler"]
