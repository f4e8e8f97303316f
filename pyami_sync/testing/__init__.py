"""Tools to test code that talks to Asterisk: an embedded AMI server, recorded traffic, a pytest plugin."""

from __future__ import annotations

from .rights import User
from .session import Session
from .simulator import Simulator

__all__ = ["Session", "Simulator", "User"]
