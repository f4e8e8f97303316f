"""Waiting for many sockets at once.

Two ways with one face: ``epoll`` itself where there is one, because other threads may tell it what to wait for
(:attr:`Poller.modify`); the standard library's :mod:`selectors` everywhere else.
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
"""The same as epoll says it (EPOLLIN, EPOLLOUT)."""


class Pollable(Protocol):
    """A socket with what happens when it is ready; all methods run on the engine's thread."""

    @property
    def interest(self) -> int:
        """What to wait for: :data:`READ`, :data:`WRITE`, both, or 0 for nothing."""
        ...

    def fileno(self) -> int:
        """Its descriptor; -1 once it is closed."""
        ...

    def readable(self) -> None:
        """Read what is there."""
        ...

    def writable(self) -> None:
        """Write what waits; only called while wanted."""
        ...

    def broken(self, exc: BaseException) -> None:
        """End: serving it raised."""
        ...


class Poller(Protocol):
    """Waits for descriptors. All but :attr:`modify` belongs to the engine's thread."""

    modify: Callable[[int, int], object] | None
    """Changes what is waited for at a descriptor, at once and on any thread; :data:`None` if there is no such way.

    Only for a thread that is sure that the number is still the same link's, and that no other thread changes it."""

    def add(self, link: Pollable) -> None:
        """Wait for what it is interested in."""
        ...

    def remove(self, link: Pollable) -> None:
        """Wait for it no more; before its descriptor is closed. One that is not there is no error."""
        ...

    def rearm(self, link: Pollable) -> None:
        """Look again what it is interested in; one that is not there is no error."""
        ...

    def poll(self, timeout: float) -> list[tuple[Pollable, int]]:
        """Wait at most so many seconds; what is ready, and for what."""
        ...

    def close(self) -> None:
        """Close the operating system's part."""
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
                # An error or the end of the connection is for both, whichever is waited for.
                mask = (READ if events & ~EVENTS[WRITE] else 0) | (WRITE if events & ~EVENTS[READ] else 0)
                ready.append((link, mask))
        return ready

    def close(self) -> None:
        self._epoll.close()


class Selector:
    """Whatever the standard library finds."""

    modify: Callable[[int, int], object] | None = None

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._idle: set[Pollable] = set()  # there, but interested in nothing, which a selector does not know

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
            return self._selector.get_key(link).data is link  # its number may be another's by now
        except (KeyError, ValueError):
            return False

    def poll(self, timeout: float) -> list[tuple[Pollable, int]]:
        return [(key.data, mask) for key, mask in self._selector.select(timeout)]

    def close(self) -> None:
        self._selector.close()


def make_poller() -> Poller:
    """The best that this platform has."""
    # gevent and eventlet replace the module `select`, and leave out what would block all greenlets.
    return Epoll() if hasattr(select, "epoll") else Selector()
