"""One client per process, created and opened on first use; for Flask and Django.

Frameworks import an application once and then fork workers, or start threads that all use the client at the same
moment. The client itself survives a fork (the child opens its own session on first use, with the same subscriptions);
this module makes sure that it is opened only when it is needed, and only once.
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
    """A value that is created on first use.

    Args:
        make: creates it; must not block.

    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: T | None = None
        self._lock = Lock()
        _holders.add(self)

    @property
    def made(self) -> T | None:
        """The value, or None if it was not created yet."""
        return self._made

    def peek(self) -> T:
        """Return the value without opening it, so that callbacks can be registered before it connects."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held; the value itself handles forks."""
        self._lock = Lock()

    def _take(self) -> T | None:
        with self._lock:
            made, self._made = self._made, None
            return made


class LazyClient(Lazy[AMIClient]):
    """The client of a process."""

    def __init__(self, make: Callable[[], AMIClient]) -> None:
        super().__init__(make)
        self._opening = Lock()
        self._failures = 0
        self._failure: AMIError | None = None

    def get(self) -> AMIClient:
        """Return the open client. Blocks while it connects the first time, or again after its session has ended.

        Threads that call this while another one connects share its outcome, so that an unreachable server costs all
        of them together one ``connect_timeout``.

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
        """Close the client; the next use makes a new one. Idempotent."""
        client = self._take()
        if client is not None:
            client.close()

    def after_fork(self) -> None:
        super().after_fork()
        self._opening = Lock()


class LazyPool(Lazy["ClusterPool"]):
    """The cluster of a process."""

    def get(self) -> ClusterPool:
        """Return the cluster, which opens on first use."""
        return self.peek()

    def close(self) -> None:
        """Close the cluster; the next use makes a new one. Idempotent."""
        pool = self._take()
        if pool is not None:
            pool.close()


def _after_fork() -> None:
    for holder in list(_holders):
        holder.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
