"""Facts about real servers that decide what a test may expect."""

from __future__ import annotations

ENDS_THE_SESSION = frozenset({"logoff"})
"""Actions that end the session they are sent on."""

NEVER_ANSWERED = {
    "waitevent": "without a Timeout it waits for an event, for ever where none is let through",
}
"""Actions that a server may never answer when they are sent without parameters, and why."""
