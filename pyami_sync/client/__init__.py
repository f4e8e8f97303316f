"""AMIClient and connect(): the public interface to one session with one server."""

from .client import AMIClient, connect

__all__ = ["AMIClient", "connect"]
