"""The steps on a new connection before the session uses it: login, filters, waiting until the server has booted.

The steps are generators of :class:`Ask` and :class:`AwaitBoot`, and are sent each answer; so they know nothing of
threads. :class:`~pyami_sync.session.attempt.ConnectAttempt` runs them on the engine thread.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from ..connection.connection import Connection
from ..connection.pending import PendingRequests
from ..connection.transport import Transport
from ..engine.engine import Engine
from ..exceptions import ActionError, ActionTimeout, ConnectError, ConnectionLost, LoginRejected
from ..vocabulary.catalogue.answers import ANSWERS
from ..vocabulary.catalogue.rules import AnswerRule
from ..vocabulary.model import event_class
from ..wire.action import Action
from ..wire.protocol import Greeting, challenge_action, login_action
from ..wire.response import Response
from .filters import EventFilter, Installed
from .gate import EventGate
from .options import Options
from .steps import Ask, AwaitBoot, Steps

__all__ = ["Ask", "AwaitBoot", "LoginPlan", "Steps", "boot_steps", "filter_steps", "login_steps", "uptime_steps"]

logger = logging.getLogger("pyami_sync")

UPTIME_WAIT = 0.5  # seconds that the server may take to report its uptime
BOOT_WAIT = 60.0  # seconds after which the session stops waiting for a restarted server to load its modules
CHALLENGE = challenge_action()


def login_steps(options: Options, *, event_mask: str | None, timeout: float | None) -> Steps:
    """Log in.

    Raises:
        LoginRejected: the server refuses the user, its secret or this address.
        ConnectError: there was no answer in time, or the server is shutting down.

    """
    host, port = options.host, options.port
    if not options.secret:
        raise LoginRejected(
            "no secret was given: pass secret=…, or ami://user:secret@host",
            host=host,
            port=port,
            username=options.username,
        )
    challenge = None
    action: Action[Any] = CHALLENGE
    try:
        if options.auth == "md5":
            answer = yield Ask(action)
            challenge = None if answer is None else answer.get("Challenge")
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
    """Return an exception that explains a refusal, since servers give one answer for many causes."""
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
    """Add the filters of the last login, and then switch events on."""
    for each in filters:
        try:
            yield Ask(each)
        except ActionError as exc:
            logger.warning("a filter could not be restored: %s", exc)
    yield Ask(Action("Events", EventMask=event_mask or "on"))


def uptime_steps(found: Callable[[float], object]) -> Steps:
    """Ask for the server's uptime, which shows whether it was restarted; some users may not ask."""
    try:
        answer = yield Ask(Action("Command", Command="core show uptime seconds"), UPTIME_WAIT)
    except (ActionError, ActionTimeout):
        return
    for line in answer.output if answer is not None else ():
        seconds = line.rpartition(":")[2].strip()
        if "System uptime" in line and seconds.isdecimal():
            found(float(seconds))


def boot_steps(gate: EventGate, timeout: float | None) -> Steps:
    """Wait until the server has loaded its modules, if this user can find that out.

    FullyBooted follows the login at once when the server is up, but only to users with the read class
    ``system``. The console command that waits for it needs another class.

    Raises:
        ConnectError: the modules were not loaded within the attempt's time, or the connection ended.

    """
    try:
        yield Ask(Action("Ping"))
        if not gate.booted:
            yield Ask(Action("Command", Command="core waitfullybooted"))
    except ActionError as exc:
        logger.info("can't tell whether the server has fully booted: %s", exc)
    except ActionTimeout as exc:
        limit = "in time" if timeout is None else f"within {timeout:g} s"
        raise ConnectError(f"logged in, but the server has not loaded its modules {limit}") from exc
    except ConnectionLost as exc:
        raise ConnectError(f"the connection ended while the server was loading its modules: {exc.reason}") from exc


def restart_steps(gate: EventGate, *, seen_before: bool, hears: bool) -> Steps:
    """Detect whether the server was restarted; if so, wait until it has loaded its modules.

    A server that has booted sends FullyBooted right after the login. So if it did at an earlier login of this user
    and does not now, it is still loading its modules.

    Args:
        gate: of the new connection.
        seen_before: whether an earlier login of this session was followed by FullyBooted.
        hears: whether the event mask and the filters include FullyBooted, right after the login or later.

    """
    if seen_before and not gate.booted:
        try:
            yield Ask(Action("Ping"))  # a FullyBooted that was sent before arrives before its answer
        except (ActionError, ActionTimeout):
            pass
        if not gate.booted:
            logger.info("waiting until the server has loaded its modules")
            if hears:
                yield AwaitBoot(BOOT_WAIT)
            else:
                try:
                    yield Ask(Action("Command", Command="core waitfullybooted"))
                except (ActionError, ActionTimeout) as exc:
                    logger.info("can't tell whether the server has fully booted: %s", exc)
            if hears and not gate.booted:
                logger.warning("the server has not loaded its modules within %g s; going on", BOOT_WAIT)
    if gate.uptime is None:
        yield from uptime_steps(gate.learn_uptime)


def find_rule(name: str) -> AnswerRule | None:
    """Return the rule for an action's answer, by its name; :data:`None` if that is one Response."""
    return ANSWERS.get(name.lower())


class LoginPlan:
    """The steps for each new connection of one session, and what they depend on.

    Args:
        options: of the session.
        event_filter: the filters that its subscriptions need; :data:`None` for none.

    """

    def __init__(self, options: Options, event_filter: EventFilter | None = None) -> None:
        self.options = options
        self.event_filter = event_filter
        self.greeting: Greeting | None = None
        """The server's greeting on the latest connection."""
        self.filters: list[Action[Any]] = []
        """The server-side filters that the user added, in order; each new login has to add them again."""
        self.event_mask = options.event_mask
        """The present event mask."""
        self.tapping = False
        """True if messages are passed to taps."""
        self.boot_seen = False
        """True if FullyBooted followed an earlier login, so that its absence after a later one is significant."""

    def make(self, engine: Engine, transport: Transport, gate: EventGate) -> Connection:
        """Return a new connection over a transport."""
        connection = Connection(
            engine,
            transport,
            PendingRequests(f"{secrets.token_hex(5)}-", self.options.limits, event_class),
            gate,
            limits=self.options.limits,
            encoding=self.options.encoding,
            node=self.options.node,
            find_rule=find_rule,
        )
        if self.tapping:
            connection.tapping = True
        return connection

    def steps(self, connection: Connection, gate: EventGate, timeout: float | None, *, again: bool) -> Steps:
        """Return the steps on a new connection after the greeting.

        Args:
            connection: the new connection.
            gate: of that connection.
            timeout: seconds that the attempt may take, for messages.
            again: whether the session has been logged in before, so that the server may have been restarted.

        """
        self.greeting = connection.greeting()
        mask, chosen = self.event_mask, self.event_filter
        hears = mask is None or mask == "on" or "system" in mask.lower().split(",")
        hears = hears and not self.filters  # filters may exclude it, and events are off at the login
        # The user's filters must be added before events are switched on, or excluded events would arrive at each
        # login. Filters of subscriptions exclude only events that no subscription wants, so events may be on before;
        # then the server sends FullyBooted, if the event mask includes its class.
        if self.filters or chosen is not None:
            yield from login_steps(self.options, event_mask="system" if hears else "off", timeout=timeout)
            if chosen is not None:
                installed = Installed(connection)
                yield from chosen.login_steps(installed)
            yield from filter_steps(self.filters, mask)
        else:
            yield from login_steps(self.options, event_mask=mask, timeout=timeout)
        if self.options.wait_fully_booted:
            yield from boot_steps(gate, timeout)
        if again:
            yield from restart_steps(gate, seen_before=self.boot_seen, hears=hears)
        self.boot_seen = self.boot_seen or gate.booted
        if chosen is not None:
            yield from chosen.last_steps(installed)

    def learn(self, action: Action[Any], response: Response) -> None:
        """Note the event mask or filter that an action has set, so that the next login can restore it."""
        name = action.name.lower()
        if name == "filter":
            self.filters.append(action)
        elif name == "events":
            self.event_mask = action.get("EventMask", "") or self.event_mask
