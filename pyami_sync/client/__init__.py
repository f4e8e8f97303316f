"""What users hold: one session with one server, for blocking code and any number of threads."""

from .client import AMIClient, connect

__all__ = ["AMIClient", "connect"]
