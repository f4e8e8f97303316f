"""One client per process, created and opened on first use; for Flask and Django.

Frameworks import an application once and then fork workers, or start threads that all use the client at the same
moment. The client itself survives a fork (the child opens its own session on first use, with the same subscriptions);
this module makes sure that it is opened only when it is needed, and only once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from ..client import AMIClient
from ..exceptions import ConnectionClosed
from ..session.session import State

if TYPE_CHECKING:
    from ..cluster.pool import ClusterPool

__all__ = ["LazyClient", "LazyPool"]

T = TypeVar("T")


class Lazy(Generic[T]):
    """A value that is created on first use.

    There is no lock, which a signal handler could find taken by the code that it has interrupted.

    Args:
        make: makes it; must not block. Where two threads come at once each of them makes one, of which one stays.

    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._slot: dict[None, T] = {}  # empty, or with the one that was made: filled and emptied in single steps

    @property
    def made(self) -> T | None:
        """It, if it was made already."""
        return self._slot.get(None)

    def peek(self) -> T:
        """It, made but not opened: to register callbacks before there is a connection."""
        made = self._slot.get(None)
        return self._slot.setdefault(None, self._make()) if made is None else made

    def _take(self) -> T | None:
        return self._slot.pop(None, None)


class LazyClient(Lazy[AMIClient]):
    """The client of a process."""

    def get(self) -> AMIClient:
        """Return the open client. Blocks while it connects the first time, or again after its session has ended.

        Threads that call this while another one connects share its outcome, so that an unreachable server costs all
        of them together one ``connect_timeout``.

        Raises:
            ConnectError: the server can't be reached, or refused the login.
            ConnectionClosed: it was closed meanwhile.

        """
        client = self.peek()
        if client.state in (State.CONNECTED, State.RECONNECTING):
            return client
        client.open()
        if self._slot.get(None) is not client:  # by close() in a signal handler or on another thread
            client.close()
            raise ConnectionClosed("the session was closed while it was opened")
        return client

    def close(self) -> None:
        """Close the client; the next use makes a new one. Idempotent."""
        client = self._take()
        if client is not None:
            client.close()


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
