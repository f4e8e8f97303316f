"""How much of a stream of messages the typed vocabulary covers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

from pyami_sync import Event, Message
from pyami_sync.vocabulary.fields import Numbered
from pyami_sync.vocabulary.model import event_class, fields_of

EVERYWHERE = frozenset(
    {"event", "actionid", "privilege", "timestamp", "systemname", "sequencenumber", "file", "line", "func"}
)
"""Headers that the server may add to any event, in lower case."""
OWN_CHOICE = frozenset({"TestEvent", "UserEvent"})
"""Events whose senders choose headers: applications, and the places in the server that report to its own tests."""


def is_known(cls: type[Event], header: str) -> bool:
    """Tell whether a typed attribute of the class, or of all events, reads that header."""
    if header.lower() in EVERYWHERE or header.lower().startswith("chanvariable("):
        return True
    return any(
        field.header.lower() == header.lower() or (isinstance(field, Numbered) and field.match(header))
        for field in fields_of(cls).values()
    )


@dataclasses.dataclass
class Coverage:
    """What was found; `str()` is the report that the tests print."""

    events: Counter[str] = dataclasses.field(default_factory=Counter)
    without_class: Counter[str] = dataclasses.field(default_factory=Counter)
    headers: int = 0
    unknown: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    chosen: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    unreadable: Counter[str] = dataclasses.field(default_factory=Counter)

    @property
    def share_unknown(self) -> float:
        """Headers that no attribute reads, those of senders' own choice included, among all."""
        return (self.unknown.total() + self.chosen.total()) / max(self.headers, 1)

    def add(self, event: Event) -> None:
        """Look at one event, of its typed class if it has one."""
        self.events[event.name] += 1
        if type(event) is Event:
            self.without_class[event.name] += 1
        for header in event:
            self.headers += 1
            if not is_known(type(event), header):
                found = self.chosen if event.name in OWN_CHOICE else self.unknown
                found[event.name, header] += 1
        for name in fields_of(type(event)):
            try:
                getattr(event, name)
            except ValueError as exc:
                self.unreadable[f"{event.name}.{name}: {exc}"] += 1

    def __str__(self) -> str:
        lines = [
            f"{self.events.total()} events of {len(self.events)} kinds, {self.headers} headers,"
            f" {100 * self.share_unknown:.3f} % unknown"
        ]
        lines += [f"  no class: {name} ({count})" for name, count in self.without_class.most_common()]
        lines += [f"  unknown: {name}.{header} ({count})" for (name, header), count in self.unknown.most_common()]
        lines += [f"  sender's own: {name}.{header} ({count})" for (name, header), count in self.chosen.most_common()]
        lines += [f"  unreadable: {text} ({count})" for text, count in self.unreadable.most_common()]
        return "\n".join(lines)


def typed_events(wire: bytes) -> list[Event]:
    """Cut a stream into messages, and give its events as their classes."""
    found = []
    for frame in wire.split(b"\r\n\r\n"):
        raw = frame.lstrip(b"\r\n")
        if raw[:6].lower() == b"event:":
            plain = Event.from_bytes(raw)
            found.append(event_class(plain.name.encode())._wire(raw))
    return found


def coverage(events: Iterable[Message]) -> Coverage:
    """Look at the events among messages."""
    made = Coverage()
    for event in events:
        if isinstance(event, Event):
            made.add(event)
    return made
