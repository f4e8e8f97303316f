"""From the first bytes of an event to its class and to those who want it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ..wire.message import Event
from .selectors import Selectors

__all__ = ["PREFIX", "Routes"]

KNOWN_NAMES = 5_000
KNOWN_PREFIXES = 20_000
PREFIX = 36  # bytes: "Event: ", all but the longest names, and into the next header's name


class HasSelectors(Protocol):
    """Whoever takes events."""

    selectors: Selectors


Taker = TypeVar("Taker", bound=HasSelectors)
Route = tuple[type[Event], str, tuple[Taker, ...]]


class Routes(Generic[Taker]):
    """From how an event begins on the wire to its class, name and takers; :data:`None` where nobody wants it.

    The key is the first :data:`PREFIX` bytes. Behind its name an event has a header whose value hardly
    varies (``Privilege``, or of list items the ``ActionID``), so there are not many more of these than names;
    and cutting off a fixed length costs less than finding the end of the name. Where the name is longer the
    route is empty: :meth:`of` looks closer.
    """

    def __init__(
        self, takers: tuple[Taker, ...], event_class: Callable[[bytes], type[Event]], version: object = None
    ) -> None:
        self.takers = takers
        self.version = version
        self.by_prefix: dict[bytes, Route[Taker] | tuple[()] | None] = {}
        self._event_class = event_class
        self._by_name: dict[str, Route[Taker] | None] = {}
        # One tuple for all names that the same takers want: publish() sees at a glance that nothing changes.
        self._groups: dict[tuple[Taker, ...], tuple[Taker, ...]] = {}

    def find(self, prefix: bytes) -> Route[Taker] | tuple[()] | None:
        """The route of a prefix that is new."""
        if len(self.by_prefix) >= KNOWN_PREFIXES:  # they come from outside: don't let them pile up
            self.by_prefix.clear()
        route = () if len(prefix) == PREFIX and b"\r\n" not in prefix else self.of(prefix)
        self.by_prefix[prefix] = route
        return route

    def of(self, frame: bytes) -> Route[Taker] | None:
        """The route of an event, by its first line."""
        name = Event._wire(frame.partition(b"\r\n")[0]).name
        try:
            return self._by_name[name]
        except KeyError:
            pass
        if len(self._by_name) >= KNOWN_NAMES:
            self._by_name.clear()
            self._groups.clear()
        cls = self._event_class(name.encode("utf-8", "surrogateescape"))
        wanted = tuple(taker for taker in self.takers if taker.selectors.want(name, cls))
        wanted = self._groups.setdefault(wanted, wanted)
        route = self._by_name[name] = (cls, name, wanted) if wanted else None
        return route
