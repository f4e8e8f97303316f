"""One client per process, made and opened when it is first used.

Frameworks import an application once and then fork workers of it, or start threads that all want the client at
the same moment. The client itself survives a fork (the child opens a session of its own on first use, with the
same subscriptions); what is added here is that nothing is opened before it is needed, and once.
"""

from __future__ import annotations

import copy
import os
import weakref
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..client import AMIClient
from ..exceptions import AMIError
from ..session.session import State

if TYPE_CHECKING:
    from ..cluster.pool import ClusterPool

__all__ = ["LazyClient", "LazyPool"]

T = TypeVar("T")
_holders: weakref.WeakSet[Lazy[Any]] = weakref.WeakSet()


class Lazy(Generic[T]):
    """Something that is made when it is first asked for.

    Args:
        make: makes it; must not block.

    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: T | None = None
        self._lock = Lock()
        _holders.add(self)

    @property
    def made(self) -> T | None:
        """It, if it was made already."""
        return self._made

    def peek(self) -> T:
        """It, made but not opened: to register callbacks before there is a connection."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def after_fork(self) -> None:
        """Forget a lock that a thread of the parent may hold; what was made looks after itself."""
        self._lock = Lock()

    def _take(self) -> T | None:
        with self._lock:
            made, self._made = self._made, None
            return made


class LazyClient(Lazy[AMIClient]):
    """A client per process."""

    def __init__(self, make: Callable[[], AMIClient]) -> None:
        super().__init__(make)
        self._opening = Lock()
        self._failures = 0
        self._failure: AMIError | None = None

    def get(self) -> AMIClient:
        """Give the client, open. Blocks while it connects the first time, and when its session has ended.

        Threads that come while another one connects share what becomes of that, so that a server which is
        not there costs all of them together one ``connect_timeout``.

        Raises:
            ConnectError: the server can't be reached, or refused the login.

        """
        client = self.peek()
        if client.state in (State.CONNECTED, State.RECONNECTING):
            return client
        before = self._failures
        with self._opening:
            if self._failures != before and self._failure is not None:
                raise copy.copy(self._failure) from self._failure
            try:
                return client.open()
            except AMIError as exc:
                self._failures += 1
                self._failure = exc
                raise

    def close(self) -> None:
        """Log off; the next use makes a new client. Idempotent."""
        client = self._take()
        if client is not None:
            client.close()

    def after_fork(self) -> None:
        super().after_fork()
        self._opening = Lock()


class LazyPool(Lazy["ClusterPool"]):
    """A cluster per process."""

    def get(self) -> ClusterPool:
        """Give the cluster; it opens by itself on first use."""
        return self.peek()

    def close(self) -> None:
        """Log off everywhere; the next use makes a new one. Idempotent."""
        pool = self._take()
        if pool is not None:
            pool.close()


def _after_fork() -> None:
    for holder in list(_holders):
        holder.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
