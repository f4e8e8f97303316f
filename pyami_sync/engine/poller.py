"""Pollers: wait for many sockets at once.

Two implementations of one interface: ``epoll`` where it exists, because other threads may change what it waits for
(:attr:`Poller.modify`), and the standard library's :mod:`selectors` elsewhere.
"""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from typing import Protocol

__all__ = ["READ", "WRITE", "Epoll", "Pollable", "Poller", "Selector", "make_poller"]

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
EVENTS = {0: 0, READ: 1, WRITE: 4, READ | WRITE: 5}
"""The same as flags of epoll (EPOLLIN, EPOLLOUT)."""


class Pollable(Protocol):
    """A socket and its handlers, which all run on the engine thread."""

    @property
    def interest(self) -> int:
        """What to poll for: :data:`READ`, :data:`WRITE`, both, or 0 for nothing."""
        ...

    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed."""
        ...

    def readable(self) -> None:
        """Read what has arrived."""
        ...

    def writable(self) -> None:
        """Write what waits to be written; only called while :attr:`interest` includes :data:`WRITE`."""
        ...

    def broken(self, exc: BaseException) -> None:
        """End the connection, because one of its handlers raised ``exc``."""
        ...


class Poller(Protocol):
    """Waits for descriptors. Only the engine thread uses it, apart from :attr:`modify`."""

    modify: Callable[[int, int], object] | None
    """Changes at once what is polled for at a descriptor, on any thread; :data:`None` if that is not supported.

    The calling thread must be sure that the descriptor still belongs to the same link, and that no other thread
    changes its registration.
    """

    def add(self, link: Pollable) -> None:
        """Poll a link for its interest."""
        ...

    def remove(self, link: Pollable) -> None:
        """Stop polling a link, before its descriptor is closed; unknown links are ignored."""
        ...

    def rearm(self, link: Pollable) -> None:
        """Update what a link is polled for; unknown links are ignored."""
        ...

    def poll(self, timeout: float) -> list[tuple[Pollable, int]]:
        """Wait at most ``timeout`` seconds; return the links that are ready, and for what."""
        ...

    def close(self) -> None:
        """Release the operating system's resources."""
        ...


class Epoll:
    """Linux's ``epoll``, level-triggered."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._links: dict[int, Pollable] = {}
        self._numbers: dict[Pollable, int] = {}
        self.modify: Callable[[int, int], object] | None = self._epoll.modify

    def add(self, link: Pollable) -> None:
        number = link.fileno()
        self._epoll.register(number, EVENTS[link.interest])
        self._links[number] = link
        self._numbers[link] = number

    def remove(self, link: Pollable) -> None:
        number = self._numbers.pop(link, None)
        if number is not None:
            del self._links[number]
            self._epoll.unregister(number)

    def rearm(self, link: Pollable) -> None:
        number = self._numbers.get(link)
        if number is not None:
            self._epoll.modify(number, EVENTS[link.interest])

    def poll(self, timeout: float) -> list[tuple[Pollable, int]]:
        links = self._links
        ready = []
        for number, events in self._epoll.poll(timeout):
            link = links.get(number)
            if link is not None:
                # An error or the end of the connection counts as both readable and writable.
                mask = (READ if events & ~EVENTS[WRITE] else 0) | (WRITE if events & ~EVENTS[READ] else 0)
                ready.append((link, mask))
        return ready

    def close(self) -> None:
        self._epoll.close()


class Selector:
    """The best selector of the standard library."""

    modify: Callable[[int, int], object] | None = None

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._idle: set[Pollable] = set()  # links with an interest of 0, which a selector does not support

    def add(self, link: Pollable) -> None:
        if link.interest:
            self._selector.register(link, link.interest, link)
        else:
            self._idle.add(link)

    def remove(self, link: Pollable) -> None:
        self._idle.discard(link)
        if self._registered(link):
            self._selector.unregister(link)

    def rearm(self, link: Pollable) -> None:
        if link in self._idle or self._registered(link):
            self.remove(link)
            self.add(link)

    def _registered(self, link: Pollable) -> bool:
        try:
            return self._selector.get_key(link).data is link  # another link may have this descriptor by now
        except (KeyError, ValueError):
            return False

    def poll(self, timeout: float) -> list[tuple[Pollable, int]]:
        return [(key.data, mask) for key, mask in self._selector.select(timeout)]

    def close(self) -> None:
        self._selector.close()


def make_poller() -> Poller:
    """Return the best poller that this platform has."""
    # gevent and eventlet replace the module `select`, without the functions that would block all greenlets.
    return Epoll() if hasattr(select, "epoll") else Selector()
