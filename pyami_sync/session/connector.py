"""Connector: starts attempts to connect, for one client or for a thousand nodes at a time, and limits their rate.

The attempts themselves are in :mod:`.attempt`. They run on the engine thread, apart from resolving names and
computing TLS handshakes, which block or take long and run on two small pools of threads.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ..connection.tls import TLS, make_context
from ..engine.deadline import Deadline
from ..engine.engine import Engine
from ..engine.workers import Workers
from .attempt import ConnectAttempt
from .gate import EventGate
from .login import LoginPlan

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
        self._begun: dict[ConnectAttempt, float] = {}  # attempts that count, with the time of their start, oldest first
        self._looks = False  # True if a timer is set for waiting attempts
        self._closed = False
        self._contexts: dict[TLS, tuple[float, Any]] = {}

    def after_fork(self) -> None:
        """Reset the state in a forked child, and close its copies of the sockets of the parent's attempts."""
        for attempt in list(self._attempts):
            attempt.abandon()
        self.reset()

    def attempt(
        self,
        plan: LoginPlan,
        gate: EventGate,
        done: Callable[[ConnectAttempt | Exception], None],
        *,
        again: bool,
        deadline: Deadline | None = None,
        transport: Any = None,
    ) -> ConnectAttempt:
        """Start an attempt, as soon as there are not too many; see :class:`ConnectAttempt`."""
        attempt = ConnectAttempt(self, plan, gate, done, again=again, deadline=deadline, transport=transport)
        # Many attempts that start at the same moment, as after a failure of the network, are spread at random.
        delay = random.random() * SPREAD * len(self._attempts)
        self._attempts.add(attempt)
        if delay:
            self.engine.call_at(time.monotonic() + delay, partial(self._admit, attempt))
        else:
            self._admit(attempt)
        return attempt

    def _admit(self, attempt: ConnectAttempt | None = None) -> None:
        """Begin the waiting attempts, and then a new one, up to the limit."""
        waiting, begun = self._waiting, self._begun
        if attempt is not None:
            waiting.append(attempt)
        while waiting and not self._closed:
            if len(begun) >= MOST_AT_ONCE:
                oldest = next(iter(begun))
                due = begun[oldest] + SLOW
                if time.monotonic() < due:
                    if not self._looks:
                        self._looks = True
                        self.engine.call_at(due, self._look)
                    return
                del begun[oldest]  # it makes no progress
            attempt = waiting.popleft()
            if not attempt.finished:
                begun[attempt] = time.monotonic()
                attempt.begin()

    def _look(self) -> None:
        self._looks = False
        self._admit()

    def ended(self, attempt: ConnectAttempt) -> None:
        """Forget an attempt that is over."""
        self._attempts.discard(attempt)
        self._begun.pop(attempt, None)
        if self._waiting:  # not here, but in a job: the next one may end at once, too, and thousands may wait
            self.engine.call_soon(self._admit)

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
