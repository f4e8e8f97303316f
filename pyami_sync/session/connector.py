"""Connector: starts attempts to connect, for one client or for a thousand nodes at a time, and limits their rate.

The attempts themselves are in :mod:`.attempt`. They run on the engine thread, apart from resolving names and
computing TLS handshakes, which block or take long and run on two small pools of threads.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..connection.connection import Connection
from ..connection.tls import TLS, make_context
from ..connection.transport import Transport
from ..engine.deadline import Deadline
from ..engine.engine import Engine
from ..engine.workers import Workers
from .attempt import ConnectAttempt, Outcome
from .login import Steps
from .options import Options

__all__ = ["ConnectAttempt", "Connector"]

MOST_AT_ONCE = 64
SLOW = 0.5  # seconds after which an attempt does not count towards the limit any more
SPREAD = 0.001  # seconds, for each attempt under way, over which new ones are spread
CONTEXT_LIFE = 60.0  # seconds until a changed certificate file is noticed
RESOLVER_GRACE = 0.2  # seconds that close() waits for a resolver, which can't be interrupted
THREADS = 4


class Connector:
    """Starts attempts, limits their number and spreads them over time. Used on the engine thread only.

    An attempt counts towards the limit of 64 for at most half a second, since one without progress costs only a
    socket and must not delay the others. So 128 attempts can begin in each second even if no server answers.

    Args:
        engine: polls the sockets.

    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._attempts: set[ConnectAttempt] = set()
        self.reset()

    def reset(self) -> None:
        """Reset the state, without any attempts."""
        # Two pools, so that a name server that does not answer delays no handshake.
        self.workers = Workers(f"{self.engine.name}-connect", THREADS)
        self.resolvers = Workers(f"{self.engine.name}-resolve", THREADS)
        self._waiting: deque[ConnectAttempt] = deque()
        self._attempts = set()
        self._at_once = 0
        self._closed = False
        self._contexts: dict[TLS, tuple[float, Any]] = {}

    def after_fork(self) -> None:
        """Reset the state in a forked child, and close its copies of the sockets of the parent's attempts."""
        for attempt in list(self._attempts):
            attempt.abandon()
        self.reset()

    def attempt(
        self,
        options: Options,
        *,
        make: Callable[[Transport], Connection],
        steps: Callable[[Connection], Steps],
        done: Callable[[Outcome], None],
        deadline: Deadline | None = None,
        transport: Any = None,
    ) -> ConnectAttempt:
        """Start an attempt.

        Args:
            options: of the session.
            make: makes the connection when the transport is ready.
            steps: the steps of the login, which follow the server's greeting.
            done: called with the connection or with an exception; never before this method returns, and not after
                :meth:`ConnectAttempt.cancel`.
            deadline: of the attempt; by default ``connect_timeout`` after its turn has come.
            transport: a connected socket-like object to use instead of a TCP connection.

        """
        attempt = ConnectAttempt(self, options, make, steps, done, deadline, transport)
        # Many attempts that start at the same moment, as after a failure of the network, are spread at random.
        delay = random.random() * SPREAD * len(self._attempts)
        self._attempts.add(attempt)
        if delay:
            self.engine.call_at(time.monotonic() + delay, lambda: self._enter(attempt))
        else:
            self.engine.call_soon(lambda: self._enter(attempt))
        return attempt

    def _enter(self, attempt: ConnectAttempt) -> None:
        self._waiting.append(attempt)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._at_once < MOST_AT_ONCE and not self._closed:
            attempt = self._waiting.popleft()
            if attempt.finished:
                continue
            self._at_once += 1
            attempt.counted = True
            self.engine.call_at(time.monotonic() + SLOW, lambda attempt=attempt: self._release(attempt))  # type: ignore[misc]
            attempt.begin()

    def _release(self, attempt: ConnectAttempt) -> None:
        if attempt.counted:
            attempt.counted = False
            self._at_once -= 1
            self._admit()

    def ended(self, attempt: ConnectAttempt) -> None:
        """Forget an attempt that is over."""
        self._attempts.discard(attempt)
        self._release(attempt)

    def context(self, tls: Any) -> Any:
        """Return the TLS context of a node; nodes with equal settings share one, because making it reads files.

        Raises:
            ConnectError: a file can't be read or is not a certificate.

        """
        if not isinstance(tls, TLS):
            return tls
        made, context = self._contexts.get(tls, (0.0, None))
        now = time.monotonic()
        if context is None or now - made > CONTEXT_LIFE:
            context = make_context(tls)
            self._contexts[tls] = (now, context)
        return context

    def close(self, deadline: Deadline) -> None:
        """End the threads, and wait for them until the deadline; the sessions have cancelled the attempts. From any
        thread.
        """
        self._closed = True
        self.workers.close(deadline)
        left = deadline.remaining()
        self.resolvers.close(Deadline(RESOLVER_GRACE if left is None else min(left, RESOLVER_GRACE)))
