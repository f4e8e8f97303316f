"""Base classes of typed actions, events and answers; :func:`event_class` chooses the class of an event by its name."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Required, TypedDict, TypeVar

from ..exceptions import ConcurrencyError
from ..wire.action import Action, HeaderValue
from ..wire.lookup import AnySpelling, Lookup
from ..wire.message import Event
from ..wire.response import Response
from .fields import Field, Int, Text

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultingTypeVar

    E = DefaultingTypeVar("E", bound=Event, covariant=True, default=Event)
    R = DefaultingTypeVar("R", bound=Response, covariant=True, default=Response)
else:
    E = TypeVar("E", bound=Event, covariant=True)
    R = TypeVar("R", bound=Response, covariant=True)

__all__ = ["ConfigChange", "Headers", "ListAction", "ListComplete", "ListResponse", "TypedAction", "TypedEvent"]
__all__ += ["event_class", "event_classes", "fields_of", "load_actions", "load_events"]

# Events


class TypedEvent(Event):
    """Base class of the events that have a class of their own.

    Its attributes are those of :class:`~pyami_sync.Event` and its fields; all headers, known or not, are
    there as on every :class:`~pyami_sync.Message`. Patterns match by keyword:
    ``case events.Hangup(cause=16)``.
    """

    __slots__ = ()
    __match_args__ = ()  # by position, a pattern would depend on the order of headers in some version

    event_name: ClassVar[str] = ""
    """Its name on the wire; empty for a group of events."""

    privilege = Text("Privilege")
    """Classes of the event, such as ``call,all``; list items have none."""
    system_name = Text("SystemName")
    """Name of the server, if asterisk.conf gives it one."""
    sequence_number = Int("SequenceNumber")
    """Number of the event; only sent while the manager's debugging is on."""


class SentByUser(AnySpelling, TypedEvent):
    """An event whose headers are chosen by its sender, such as UserEvent.

    The first header of a name counts, in any spelling, so that a sender can't override a header of the server by
    spelling it as the reader does. (In other events the exact spelling is looked up first, which takes half the time;
    a server spells a header in one way.)
    """

    __slots__ = ()


class OriginateOutcome(TypedEvent):
    """The event that says how a call that was placed ended."""

    __slots__ = ()

    @property
    def outcome(self) -> str:
        """The outcome in words: ``answered``, ``no answer``, ``busy``, ``congestion``, ``hung up`` or ``failed``.

        An unknown reason is given by its number.
        """
        if self.get("Response", "").lower() == "success":
            return "answered"
        reason = self.get("Reason", "0")
        return OUTCOMES.get(reason, f"failed (reason {reason})")


OUTCOMES = {"0": "failed", "1": "hung up", "3": "no answer", "5": "busy", "8": "congestion"}


class ListComplete(TypedEvent):
    """The event that closes a list."""

    __slots__ = ()

    event_list = Text("EventList")
    """``Complete``."""
    list_items = Int("ListItems")
    """Number of items by the server's count; not always the number of events that arrived."""


_classes: dict[bytes, type[Event]] = {}
_known: dict[bytes, type[TypedEvent]] = {}  # complete or empty, never half filled
_actions: list[type[TypedAction[Any]]] = []  # likewise
_loading: dict[None, _Claim] = {}  # one, while a thread imports classes or forks
LOAD_WAIT = 10.0  # seconds
LOOK = 0.002  # seconds between two looks whether another thread has loaded them
MOST_NAMES = 10_000


class _Claim:
    """The claim of a thread to be the only one that imports classes, or forks.

    Not a lock: a signal handler that comes here while its own thread imports must neither wait, nor find a module half
    imported.
    """

    def __init__(self) -> None:
        self.thread = get_ident()

    def take(self) -> None:
        """Wait for the claims of other threads, and take it.

        Raises:
            ConcurrencyError: this thread has it, in code that a signal handler has interrupted; or another one does not
                let go of it.

        """
        deadline = time.monotonic() + LOAD_WAIT
        while (other := _loading.setdefault(None, self)) is not self:
            if other.thread == self.thread or time.monotonic() > deadline:
                raise ConcurrencyError(
                    "the classes of events and actions are being loaded by the code that this signal handler has"
                    " interrupted, or by another thread that does not go on; try again when that is over"
                )
            time.sleep(LOOK)

    def release(self) -> None:
        """Let others have it; does nothing without :meth:`take`."""
        if _loading.get(None) is self:
            _loading.pop(None, None)


def event_class(name: bytes) -> type[Event]:
    """Return the class of events of that name on the wire; :class:`~pyami_sync.Event` if there is none.

    Names are compared without case, because servers differ in it.
    """
    try:
        return _classes[name]
    except KeyError:
        return _learn(name)


def load_events() -> None:
    """Load the classes of events unless they are loaded; blocks for some hundredths of a second the first time.

    A client calls this before its threads start, because the first event would otherwise block the engine thread. No
    other thread can fork meanwhile: a half-imported module would stay locked in the child for ever.
    """
    if _known:
        return
    claim = _Claim()
    try:
        claim.take()
        if _known:
            return
        from .. import events

        # Servers send no markers: an event with the name of one on the wire is a plain Event.
        typed = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, TypedEvent)]
        own = [each for each in typed if each.__module__ == events.__name__]
        _known.update({each.event_name.encode().lower(): each for each in own})
    finally:
        claim.release()


def event_classes() -> dict[str, type[TypedEvent]]:
    """Return the classes of all events that servers are known to send, by their names in lower case."""
    load_events()
    return {name.decode(): cls for name, cls in _known.items() if issubclass(cls, TypedEvent)}


def event_names() -> dict[str, str]:
    """Return the spelling of all events that the catalogue knows, by their names in lower case."""
    load_events()
    return {name.decode(): cls.event_name for name, cls in _known.items()}


def load_actions() -> list[type[TypedAction[Any]]]:
    """Return the classes of actions; loads them as :func:`load_events` does events, safe from a fork meanwhile."""
    if not _actions:
        claim = _Claim()
        try:
            claim.take()
            from .. import actions
        finally:
            claim.release()
        typed = [each for each in vars(actions).values() if isinstance(each, type) and issubclass(each, TypedAction)]
        _actions[:] = [each for each in typed if each.action_name]
    return list(_actions)


_of_forks: dict[int, list[_Claim]] = {}  # of each thread that forks; of a signal handler in it, too


def _before_fork() -> None:
    claim = _Claim()
    _of_forks.setdefault(claim.thread, []).append(claim)
    try:
        claim.take()
    except (
        ConcurrencyError
    ):  # in a signal handler, for example: the child goes on with the code that it has interrupted
        pass


def _after_fork() -> None:
    _of_forks[get_ident()].pop().release()


def _after_in_child() -> None:
    _after_fork()
    other = _loading.get(None)
    if other is not None and other.thread != get_ident():  # of a thread that is not there any more
        _loading.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_in_child)


def _learn(name: bytes) -> type[Event]:
    if not _known:
        load_events()
    if len(_classes) > MOST_NAMES:  # names come from outside: bound the memory
        _classes.clear()
    made = _classes[name] = _known.get(name.lower(), Event) if name else Event
    return made


def fields_of(cls: type[Lookup]) -> dict[str, Field[Any]]:
    """Return the fields of a typed class by their attributes, those of its groups included."""
    found: dict[str, Field[Any]] = {}
    for base in reversed(cls.__mro__):
        found.update((name, field) for name, field in vars(base).items() if isinstance(field, Field))
    return found


# Answers and actions


class ListResponse(Response, Generic[E]):
    """The answer to a list action: the response, its items and its closing event."""

    __slots__ = ()

    events: list[E]


class ConfigChange(TypedDict, total=False):
    """One change to a configuration file, for ``UpdateConfig``."""

    action: Required[Literal["NewCat", "RenameCat", "DelCat", "EmptyCat", "Update", "Delete", "Append", "Insert"]]
    cat: str
    var: str
    value: str
    match: str
    line: str | int
    options: str


Headers = Mapping[str, HeaderValue] | Iterable[tuple[str, HeaderValue]]


class TypedAction(Action[R]):
    """Base class of the actions that have a class of their own; its arguments are keywords, named like its fields.

    All of them also take:

    Args:
        action_id: an ActionID of your own; without it the client makes one.
        headers: further headers, in any form that :class:`~pyami_sync.Action` accepts.

    Raises:
        InvalidAction: the server would refuse or misread the action; nothing has been sent.

    """

    __slots__ = ()

    action_name: ClassVar[str] = ""
    """Its name on the wire."""
    privileges: ClassVar[tuple[str, ...]] = ()
    """Write classes of which the user needs one; empty if none is needed."""

    def _fill(self, action_id: str | None, headers: Headers | None, *pairs: tuple[str, HeaderValue]) -> None:
        given = [("ActionID", action_id), *pairs]
        if headers:
            given += headers.items() if isinstance(headers, Mapping) else headers
        super().__init__(self.action_name, given)


class ListAction(TypedAction[ListResponse[E]], Generic[E]):
    """An action that answers with a list."""

    __slots__ = ()

    response_class = ListResponse


def numbered(header: str, values: Iterable[str | int] | None) -> Iterator[tuple[str, HeaderValue]]:
    """Yield values as ``Header(0)``, ``Header(1)`` and so on."""
    for number, value in enumerate(values or ()):
        yield header.replace("(n)", f"({number})"), value


def changed(changes: Iterable[ConfigChange] | None) -> Iterator[tuple[str, HeaderValue]]:
    """Yield changes as ``Action-000000``, ``Cat-000000`` and so on."""
    for number, change in enumerate(changes or ()):
        for name, value in change.items():
            yield f"{name.capitalize()}-{number:06}", value  # type: ignore[misc]
