"""State: the states of a session."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["State"]


class State(StrEnum):
    """The state of a session.

    ``CONNECTING`` leads to ``CONNECTED`` or ``CLOSED``, ``CONNECTED`` to ``RECONNECTING`` or ``CLOSED``,
    ``RECONNECTING`` to ``CONNECTED`` or ``CLOSED``.
    """

    __module__ = "pyami_sync"  # its public path

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"
