"""Making a session's connections: reaching the server, logging in, restoring what the last login had been told."""

from __future__ import annotations

import secrets
from typing import Any

from .action import Action
from .catalogue.answers import ANSWERS
from .catalogue.rules import AnswerRule
from .connection import Connection
from .deadline import Deadline
from .engine import Engine
from .exceptions import ConnectError
from .link import Link
from .model import event_class
from .opening import Steps, boot_steps, filter_steps, login_steps, open_channel, perform, uptime_steps
from .options import Options
from .pending import PendingCalls
from .protocol import Greeting
from .response import Response
from .transport import Channel, make_channel

__all__ = ["Connector"]


def find_rule(name: str) -> AnswerRule | None:
    """How an action answers, by its name; :data:`None` for one Response."""
    return ANSWERS.get(name.lower())


class Connector:
    """Makes the connections of one session, one after the other, and knows what each new login needs.

    Args:
        options: how the session is to be.
        transport: a connected socket-like object to use in place of a TCP connection, once.

    """

    def __init__(self, options: Options, transport: Any = None) -> None:
        self.options = options
        self.greeting: Greeting | None = None
        """What the server said first on the latest connection."""
        self.filters: list[Action[Any]] = []
        """Server-side filters that were added, in order: a new login has none of them."""
        self.event_mask = options.event_mask
        """What the session hears now."""
        self.tapping = False
        """Whether what goes by on the wire is shown."""
        self._transport = transport

    def reach(self, engine: Engine, link: Link, deadline: Deadline) -> Connection:
        """Connect, and say nothing yet; blocks until the deadline.

        Raises:
            ConnectError: with what to check.

        """
        transport, self._transport = self._transport, None
        channel = make_channel(transport) if transport is not None else open_channel(self.options, deadline)
        return self.make(engine, channel, link)

    def make(self, engine: Engine, channel: Channel, link: Link) -> Connection:
        """Make a connection of a channel."""
        connection = Connection(
            engine,
            channel,
            PendingCalls(f"{secrets.token_hex(5)}-", self.options.limits, event_class),
            link,
            limits=self.options.limits,
            encoding=self.options.encoding,
            node=self.options.node,
            find_rule=find_rule,
        )
        connection.tapping = self.tapping
        return connection

    def log_in(self, connection: Connection, link: Link, deadline: Deadline, *, returning: bool, compare: bool) -> None:
        """Wait for the greeting and say what is to be said; closes the connection if that fails.

        Args:
            connection: a new one.
            link: what is known of it.
            deadline: for all of it.
            returning: see :meth:`steps`.
            compare: see :meth:`steps`.

        Raises:
            ConnectError: with what to check.

        """
        try:
            connection.start()
            connection.wait_greeting(deadline)
            steps = self.steps(connection, link, deadline.timeout, returning=returning, compare=compare)
            perform(connection, steps, deadline)
        except BaseException as exc:
            connection.close()
            if isinstance(exc, ConnectError) and not exc.host:
                exc.host, exc.port = self.options.host, self.options.port
            raise

    def steps(
        self, connection: Connection, link: Link, timeout: float | None, *, returning: bool, compare: bool
    ) -> Steps:
        """What is said on a new connection, once it has greeted.

        Args:
            connection: the new one.
            link: what is known of it.
            timeout: seconds that an answer may take, for messages.
            returning: whether it takes the place of one that was lost, or is made in the background.
            compare: whether there is an earlier login to compare the server's uptime with.

        """
        self.greeting = connection.greeting()
        # Filters must be there before events flow, or what they keep out slips in at each new login.
        yield from login_steps(self.options, event_mask="off" if self.filters else self.event_mask, timeout=timeout)
        if self.filters:
            yield from filter_steps(self.filters, self.event_mask)
        if returning:
            if compare and link.uptime is None:
                yield from uptime_steps(link.learn_uptime)
            if self.options.wait_fully_booted:
                yield from boot_steps(lambda: link.uptime is not None)

    def learn(self, action: Action[Any], response: Response) -> None:
        """Note what an action has changed about the session, so that a new login can restore it."""
        name = action.name.lower()
        if name == "filter":
            self.filters.append(action)
        elif name == "events":
            self.event_mask = action.get("EventMask", "") or self.event_mask
