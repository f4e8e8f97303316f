"""From an address to a session that is logged in: the steps, and what each failure means to a person."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from .action import Action
from .connection import Connection
from .deadline import Deadline
from .exceptions import ActionError, ActionTimeout, ConnectError, ConnectionLost, LoginRejected
from .options import Options
from .protocol import challenge_action, login_action
from .transport import TLS, Channel, connect_socket, make_channel, make_context, start_tls

__all__ = ["log_in", "open_channel", "restore_filters", "wait_fully_booted"]

logger = logging.getLogger("pyami_sync")


def open_channel(options: Options, deadline: Deadline) -> Channel:
    """Connect, and shake hands for TLS; blocks until the deadline.

    Raises:
        ConnectError: with what to check.

    """
    tls = options.tls
    context = make_context(tls) if isinstance(tls, TLS) else tls
    sock = connect_socket(options.host, options.port, deadline)
    try:
        if context is None:
            return make_channel(sock)
        name = (tls.server_name if isinstance(tls, TLS) else None) or options.host
        return start_tls(sock, context, name, deadline, host=options.host, port=options.port)
    except BaseException:
        sock.close()
        raise


def log_in(connection: Connection, options: Options, deadline: Deadline, *, event_mask: str | None) -> None:
    """Log in; blocks until the deadline.

    Raises:
        LoginRejected: the server refuses the user, its secret or this address.
        ConnectError: no answer, or the server is shutting down.

    """
    host, port = options.host, options.port
    challenge = None
    action: Action[Any] = challenge_action()
    try:
        if options.auth == "md5":
            challenge = connection.call(action, deadline.remaining()).get("Challenge", "")
        action = login_action(
            options.username, options.secret, challenge=challenge, event_mask=event_mask, encoding=options.encoding
        )
        connection.call(action, deadline.remaining())
    except ActionError as exc:
        raise _rejected(exc, options) from None
    except ActionTimeout as exc:
        raise ConnectError(f"no answer to {action.name} within {deadline.timeout:g} s", host=host, port=port) from exc
    except ConnectionLost as exc:
        raise ConnectError(f"the connection ended during {action.name}: {exc.reason}", host=host, port=port) from exc


def _rejected(exc: ActionError, options: Options) -> ConnectError:
    """Say what a refusal means: servers give one answer for many causes."""
    said = exc.response.message
    folded = said.lower()
    host, port = options.host, options.port
    if "shutting down" in folded:
        return ConnectError("Asterisk is shutting down", host=host, port=port)
    if exc.action == "Challenge" and "in use" not in folded:
        reason = f"the server refuses the MD5 challenge ({said}); auth='plain' would send the secret in clear"
    elif "in use" in folded:
        reason = "the user is logged in elsewhere and allowmultiplelogin is off in manager.conf"
    elif folded == "authentication failed":
        reason = "check manager.conf: the user, its secret and its permit/deny (the server does not say which)"
    else:
        reason = said or "no reason given"
    return LoginRejected(reason, host=host, port=port, username=options.username, response=exc.response)


def restore_filters(
    connection: Connection, filters: Iterable[Action[Any]], event_mask: str | None, deadline: Deadline
) -> None:
    """Add the filters that the last login had, and only then let events flow."""
    for each in filters:
        try:
            connection.call(each, deadline.remaining())
        except ActionError as exc:
            logger.warning("a filter could not be restored: %s", exc)
    connection.call(Action("Events", EventMask=event_mask or "on"), deadline.remaining())


def wait_fully_booted(connection: Connection, deadline: Deadline, seen: Callable[[], bool]) -> None:
    """Wait until the server has loaded its modules, as far as it lets this user know.

    FullyBooted follows the login at once when the server is up, but only to users with the read class
    ``system``; nothing tells the others. The console command that waits for it needs another class.

    Args:
        connection: logged in.
        deadline: when to give up.
        seen: tells whether FullyBooted has come.

    """
    connection.call(Action("Ping"), deadline.remaining())
    if seen():
        return
    try:
        connection.call(Action("Command", Command="core waitfullybooted"), deadline.remaining())
    except ActionError as exc:
        logger.info("can't tell whether the server has fully booted: %s", exc)
