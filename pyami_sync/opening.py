"""From an address to a session that is logged in: the steps, and what each failure means to a person."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple, TypeAlias

from .action import Action
from .connection import Connection
from .deadline import Deadline
from .exceptions import ActionError, ActionTimeout, AMIError, ConnectError, ConnectionLost, LoginRejected
from .options import Options
from .protocol import challenge_action, login_action
from .response import Response
from .transport import TLS, Channel, connect_socket, make_channel, make_context, start_tls

__all__ = ["Ask", "Steps", "boot_steps", "filter_steps", "login_steps", "open_channel", "perform", "uptime_steps"]

logger = logging.getLogger("pyami_sync")

UPTIME_WAIT = 0.5


class Ask(NamedTuple):
    """An action whose answer decides how an opening goes on."""

    action: Action[Any]
    within: float | None = None
    """Most seconds for the answer, if that is less than what the opening has left."""


Steps: TypeAlias = Generator[Ask, Response, None]
"""The actions of an opening, one after the other. It is sent each answer, or thrown what came instead; so it
can be run by a thread that waits (:func:`perform`) and, for many servers at once, by one that does not."""


def perform(connection: Connection, steps: Steps, deadline: Deadline) -> None:
    """Run steps, waiting for each answer; raises what they raise."""
    try:
        ask = next(steps)
        while True:
            try:
                answer = connection.call(ask.action, within(ask, deadline))
            except AMIError as exc:
                ask = steps.throw(exc)
            else:
                ask = steps.send(answer)
    except StopIteration:
        pass


def within(ask: Ask, deadline: Deadline) -> float | None:
    """Seconds that an answer may take."""
    return min((each for each in (ask.within, deadline.remaining()) if each is not None), default=None)


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


def login_steps(options: Options, *, event_mask: str | None, timeout: float | None) -> Steps:
    """Log in.

    Raises:
        LoginRejected: the server refuses the user, its secret or this address.
        ConnectError: no answer, or the server is shutting down.

    """
    host, port = options.host, options.port
    challenge = None
    action: Action[Any] = challenge_action()
    try:
        if options.auth == "md5":
            challenge = (yield Ask(action)).get("Challenge")
            if not challenge:  # an answer to an empty one could be replayed
                raise ConnectError("the server's answer to Challenge holds no challenge", host=host, port=port)
        action = login_action(
            options.username, options.secret, challenge=challenge, event_mask=event_mask, encoding=options.encoding
        )
        yield Ask(action)
    except ActionError as exc:
        raise _rejected(exc, options) from None
    except ActionTimeout as exc:
        within = "in time" if timeout is None else f"within {timeout:g} s"
        raise ConnectError(f"no answer to {action.name} {within}", host=host, port=port) from exc
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


def filter_steps(filters: Iterable[Action[Any]], event_mask: str | None) -> Steps:
    """Add the filters that the last login had, and only then let events flow."""
    for each in filters:
        try:
            yield Ask(each)
        except ActionError as exc:
            logger.warning("a filter could not be restored: %s", exc)
    yield Ask(Action("Events", EventMask=event_mask or "on"))


def uptime_steps(found: Callable[[float], object]) -> Steps:
    """Ask how many seconds the server is up, which tells whether it was started anew; some may not ask."""
    try:
        answer = yield Ask(Action("Command", Command="core show uptime seconds"), UPTIME_WAIT)
    except (ActionError, ActionTimeout):
        return
    for line in answer.output:
        seconds = line.rpartition(":")[2].strip()
        if "System uptime" in line and seconds.isdecimal():
            found(float(seconds))


def boot_steps(seen: Callable[[], bool]) -> Steps:
    """Wait until the server has loaded its modules, as far as it lets this user know.

    FullyBooted follows the login at once when the server is up, but only to users with the read class
    ``system``; nothing tells the others. The console command that waits for it needs another class.

    Args:
        seen: tells whether FullyBooted has come.

    """
    yield Ask(Action("Ping"))
    if seen():
        return
    try:
        yield Ask(Action("Command", Command="core waitfullybooted"))
    except ActionError as exc:
        logger.info("can't tell whether the server has fully booted: %s", exc)
