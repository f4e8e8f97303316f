"""What the simulator answers: one function an action, registered by :func:`handler`."""

from __future__ import annotations

from . import core
from .registry import HANDLERS, Call, Handler, handler

__all__ = ["HANDLERS", "Call", "Handler", "core", "handler"]
