"""Starting attempts to connect: for one client, or for a thousand nodes side by side.

The attempts themselves are in :mod:`.attempt`. They run on the engine thread, apart from two things that compute or
block: resolving a name, and the steps of a TLS handshake, which run on two small pools of threads.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ..connection.transport import TLS, make_context
from ..engine.deadline import Deadline
from ..engine.engine import Engine
from ..engine.workers import Workers
from .attempt import ConnectAttempt
from .gate import EventGate
from .login import LoginPlan

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
        self._begun: dict[ConnectAttempt, float] = {}  # those that count, and when they began, in this order
        self._looks = False  # a timer is set for those that wait
        self._closed = False
        self._contexts: dict[TLS, tuple[float, Any]] = {}

    def after_fork(self) -> None:
        """Start anew in a forked child, and close its copies of the sockets of the parent's attempts."""
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
        # Many that start at the same moment, as after a failure of the network, are spread at random.
        delay = random.random() * SPREAD * len(self._attempts)
        self._attempts.add(attempt)
        if delay:
            self.engine.call_at(time.monotonic() + delay, partial(self._admit, attempt))
        else:
            self._admit(attempt)
        return attempt

    def _admit(self, attempt: ConnectAttempt | None = None) -> None:
        """Begin those that wait, a new one last, as far as there are not too many."""
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
        if self._waiting:  # not here: the next one may end at once as well, and thousands may wait
            self.engine.call_soon(self._admit)

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
