"""A threaded, synchronous client for the Asterisk Manager Interface."""

from __future__ import annotations

from .action import Action
from .message import Event, Message, Response
from .version import version as __version__

__all__ = ["Action", "Event", "Message", "Response", "__version__"]
