"""Starting attempts to connect: for one client, or for a thousand nodes side by side.

The attempts themselves are in :mod:`.attempt`. They run on the engine thread, apart from two things that compute or
block: resolving a name, and the steps of a TLS handshake, which run on two small pools of threads.
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
SLOW = 0.5  # seconds after which an attempt counts no longer among those at once
SPREAD = 0.001  # seconds, for each attempt under way, over which new ones are spread
CONTEXT_LIFE = 60.0  # seconds until a changed certificate file is noticed
RESOLVER_GRACE = 0.2  # seconds that close() waits for a resolver, which can't be interrupted
THREADS = 4


class Connector:
    """Starts attempts, bounds and spreads them, and owns their threads. Belongs to the engine thread.

    An attempt that makes no progress counts for half a second only: it costs no more than a socket, and the others
    must not wait for it. So at most 128 attempts begin in each second even if no server answers.

    Args:
        engine: serves the sockets.

    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._attempts: set[ConnectAttempt] = set()
        self.reset()

    def reset(self) -> None:
        """Start anew, without the attempts of before."""
        # Apart from each other, so that a name server which does not answer delays no handshake.
        self.workers = Workers(f"{self.engine.name}-connect", THREADS)
        self.resolvers = Workers(f"{self.engine.name}-resolve", THREADS)
        self._waiting: deque[ConnectAttempt] = deque()
        self._attempts = set()
        self._at_once = 0
        self._closed = False
        self._contexts: dict[TLS, tuple[float, Any]] = {}

    def after_fork(self) -> None:
        """Start anew in a forked child, and close its copies of the sockets of the parent's attempts."""
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
            options: where to.
            make: makes the connection when there is a transport.
            steps: what is said on it once the server has greeted.
            done: called with the connection or with what went wrong, never before this returns, and not after
                :meth:`ConnectAttempt.cancel`.
            deadline: by when it must be done; unless given, ``connect_timeout`` after its turn has come.
            transport: a connected socket-like object to use instead of a TCP connection.

        """
        attempt = ConnectAttempt(self, options, make, steps, done, deadline, transport)
        # Many that start at the same moment, as after a failure of the network, are spread at random.
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
        """Return the TLS context of a node: made once for all that want the same, since that reads files.

        Raises:
            ConnectError: a file can't be read or is no certificate.

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
        """End the threads; the attempts have been cancelled by their sessions. From any thread; blocks until then."""
        self._closed = True
        self.workers.close(deadline)
        left = deadline.remaining()
        self.resolvers.close(Deadline(RESOLVER_GRACE if left is None else min(left, RESOLVER_GRACE)))
