"""The exit codes, and the exceptions for which they are used."""

from __future__ import annotations

from ..exceptions import (
    ActionError,
    ActionTimeout,
    AMIError,
    ConnectError,
    ConnectionClosed,
    InvalidAction,
    LoginRejected,
    RemoteProtocolError,
    UnknownNode,
    WaitTimeout,
)

__all__ = ["CODES", "FAILED", "INTERRUPTED", "LOGIN_REJECTED", "NO_CONNECTION", "OK", "TIMEOUT", "USAGE", "code_of"]

OK = 0
FAILED = 1
USAGE = 2
NO_CONNECTION = 3
LOGIN_REJECTED = 4
TIMEOUT = 5
INTERRUPTED = 130

CODES = {
    OK: "all went well",
    FAILED: "the server answered an action with an error, or a check failed",
    USAGE: "wrong usage: the command line, a profile or a header",
    NO_CONNECTION: "no connection, or it was lost",
    LOGIN_REJECTED: "the server rejected the login",
    TIMEOUT: "no answer or no event in time",
    INTERRUPTED: "ended by Ctrl-C",
}
"""The meaning of each exit code."""

# The first match counts, so a class precedes its base.
_kinds: tuple[tuple[type[BaseException], int], ...] = (
    (LoginRejected, LOGIN_REJECTED),
    (ConnectError, NO_CONNECTION),
    (ConnectionClosed, NO_CONNECTION),
    (RemoteProtocolError, NO_CONNECTION),
    (InvalidAction, USAGE),
    (UnknownNode, USAGE),
    (ActionTimeout, TIMEOUT),
    (WaitTimeout, TIMEOUT),
    (ActionError, FAILED),
    (AMIError, FAILED),
)


def code_of(exc: BaseException) -> int:
    """Return the exit code for an exception of the library."""
    return next((code for kind, code in _kinds if isinstance(exc, kind)), FAILED)
