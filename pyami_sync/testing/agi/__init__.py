"""Calls into AGI scripts, on the simulator."""

from __future__ import annotations

from .call import AGITestCall

__all__ = ["AGITestCall"]
