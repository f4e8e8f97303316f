"""Server-side filters made from subscriptions (``event_filter="auto"``): the server does not send unwanted events.

The design follows from the server's ``Filter`` action:

* A filter that includes events can be added to a session, but never removed. So within a connection the filters only
  widen; they are narrowed at the next login, which starts without filters.
* Without filters all events are sent; the first filter excludes all events that it does not match. So the filters are
  added at each login before events are switched on, and always contain :data:`ALWAYS`.
* A server evaluates filters in the thread of the session, which also runs its actions: once it has answered a
  ``Filter``, that filter applies to all later events.
* Filters do not apply to answers and items of lists.

A filter may match more events than are wanted, never fewer: the subscriptions select from them as always.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from ..connection.connection import Connection
from ..connection.request import TimedRequest
from ..engine.deadline import Deadline
from ..engine.waiting import Waiters
from ..exceptions import ActionError, AMIError, ConcurrencyError, ConnectionClosed
from ..subscriptions.selectors import Selectors, Where
from ..subscriptions.subscribers import Subscriber
from ..vocabulary import markers
from ..vocabulary.model import TypedEvent, event_classes
from ..wire.action import Action
from ..wire.message import Event
from ..wire.protocol import AMIVersion
from ..wire.response import Response
from .steps import Ask, Steps

__all__ = ["EventFilter", "Want", "Widening", "filter_actions", "let_through", "wants_of"]

logger = logging.getLogger("pyami_sync")

MOST_NAMES = 100  # names in the filters of one subscription; with more it is not filtered
MOST_VALUES = 12  # values of a header in the filters of a connection, for one name; with more only the name is used
MOST_BYTES = 900  # of a regular expression: a server refuses lines over 1022
RETRY = 0.05  # seconds until a filter is sent again for which the write queue of a slow peer had no space
EXTENDED = (2,)  # AMI version (Asterisk 12) from which expressions are extended ones
ADVANCED = (9,)  # and (Asterisk 20) from which MatchCriteria may be understood

_plain_name = re.compile(r"[A-Za-z0-9_]{1,60}").fullmatch
_plain_header = re.compile(r"[A-Za-z0-9_-]{1,60}").fullmatch
_plain_value = re.compile(r"[A-Za-z0-9_@:/,;=&#.+-]{1,200}").fullmatch
_glob = re.compile(r"[*?\[]")
_letter = re.compile(r"[A-Za-z]")
_by_class: dict[type[Event], frozenset[str]] = {}
_special = re.compile(r"[.+]")


class Want(NamedTuple):
    """Events that a subscription may want: all of a name, or those in which a header has a value.

    A ``name`` is lower-case; one that ends in ``*`` is a prefix of names, and ``*`` alone means every event.
    """

    name: str
    header: str = ""
    value: str = ""


EVERY = Want("*")
ALWAYS: frozenset[Want] = frozenset({Want("fullybooted"), Want("originateresponse")})
"""The events that the session itself needs, or that are often waited for."""
_MARKERS = frozenset(cls.event_name.lower() for cls in markers.MARKERS)


def wants_of(selectors: Selectors, where: Where) -> frozenset[Want]:
    """Return all events that a subscription can want, or more."""
    if selectors.every:
        return frozenset({EVERY})
    names = set(selectors.names)
    for cls in selectors.classes:
        names |= _names_of(cls)
    if len(names) > MOST_NAMES:
        return frozenset({EVERY})
    wants = set()
    for name in names - _MARKERS:  # markers are made by the client; no server sends an event of such a name
        if not _plain_name(name):
            return frozenset({EVERY})
        wants.update(_with_header(name, where) if isinstance(where, Mapping) else {Want(name)})
    for glob in selectors.globs:
        start = glob[: _glob.search(glob).start()]  # type: ignore[union-attr]
        if not _plain_name(start):
            return frozenset({EVERY})
        wants.add(Want(start + "*"))
    return frozenset(wants)


@cache
def _known() -> dict[str, type[TypedEvent]]:
    return event_classes()


def _names_of(cls: type[Event]) -> frozenset[str]:
    if cls not in _by_class:
        _by_class[cls] = frozenset(name for name, known in _known().items() if issubclass(known, cls))
    return _by_class[cls]


def _with_header(name: str, where: Mapping[str, Any]) -> set[Want]:
    """Return the events of a name by the first header of a mapping whose values are plain text, or by name only."""
    for header, wanted in where.items():
        many = isinstance(wanted, Iterable) and not isinstance(wanted, str)
        values = list(wanted) if many else [wanted]
        # Numbers and text only: for other values the subscription tests the header itself.
        if not values or not _plain_header(header) or not all(type(value) in (str, int) for value in values):
            continue
        if len(values) <= MOST_VALUES and all(_plain_value(str(value)) for value in values):
            return {Want(name, header.lower(), str(value)) for value in values}
    return {Want(name)}


def covered(want: Want, by: Iterable[Want]) -> bool:
    """Return True if the filters match all events that are wanted."""
    there = by if isinstance(by, set | frozenset) else set(by)
    if want in there or EVERY in there or Want(want.name) in there:
        return True
    return any(each.name[-1] == "*" and want.name.startswith(each.name[:-1]) for each in there)


def filter_actions(wants: Iterable[Want], version: AMIVersion | None) -> Iterator[tuple[frozenset[Want], Action[Any]]]:
    """Yield the ``Filter`` actions for events, each with the events that it matches.

    Args:
        wants: the events.
        version: of the server's AMI. Before 2.0 a filter is a basic regular expression, without alternatives. From
            9.0 on the server may support ``MatchCriteria``, with which it compares the event's name as a number
            before it evaluates the expression; a server that does not ignores that header, and the expression alone
            matches the same events.

    """
    extended, advanced = (version is not None and version >= least for least in (EXTENDED, ADVANCED))
    chosen: list[Want] = []
    for want in sorted(wants):  # EVERY comes first
        known = _known().get(want.name) if advanced else None
        if known is not None:
            yield (
                frozenset({want}),
                _add([want], MatchCriteria=f"action(include),name({known.event_name}),method(regex)"),
            )
            continue
        if chosen and (not extended or len(_expression([*chosen, want])) > MOST_BYTES):
            yield frozenset(chosen), _add(chosen)
            chosen = []
        chosen.append(want)
    if chosen:
        yield frozenset(chosen), _add(chosen)


def _add(wants: list[Want], **headers: str) -> Action[Any]:
    return Action("Filter", {"Operation": "Add", **headers, "Filter": _expression(wants)})


def _expression(wants: list[Want]) -> str:
    """Return a POSIX extended regular expression for the whole text of an event.

    The text's lines end with CR LF, which no action can contain: ``[^ -~]`` stands for one of the two.
    """
    parts = []
    for want in wants:
        start = want.name.removesuffix("*")  # empty for EVERY
        part = _any_case(start) + ("[^ -~]" if start == want.name else "")
        if want.header:
            value = _special.sub(r"[\g<0>]", want.value)
            part += f".*[^ -~]{_any_case(want.header)}:[^!-~]*{value}[^!-~]"
        parts.append(part)
    return f"^Event: {parts[0]}" if len(parts) == 1 else f"^Event: ({'|'.join(parts)})"


def _any_case(text: str) -> str:
    return _letter.sub(lambda found: f"[{found[0].upper()}{found[0].lower()}]", text)


class Installed:
    """The filters of one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.refused = False
        """True if the server refused a filter, so that it sends every event."""
        self.wants: set[Want] = set()
        """The events that its filters match."""
        self.under_way: dict[Want, Widening] = {}
        """The widening that added a filter, until the server has answered."""

    @property
    def version(self) -> AMIVersion | None:
        """The version of the server's AMI."""
        return self.connection.greeting().version

    def missing(self, wants: Iterable[Want]) -> set[Want]:
        """Return the wanted events that its filters do not match."""
        if self.refused:
            return set()
        there = frozenset(self.wants)
        missing = {want for want in wants if not covered(want, there)}
        if EVERY in missing:
            return {EVERY}
        for want in [each for each in missing if each.header]:
            # Each filter costs the server time as long as the connection lasts.
            if sum(each.name == want.name for each in there | missing) > MOST_VALUES:
                missing.add(Want(want.name))
        return {want for want in missing if not covered(want, missing - {want})}


class Widening:
    """One subscription's share of filters that are being added to a connection."""

    def __init__(self, installed: Installed) -> None:
        self.installed = installed
        self.error: BaseException | None = None
        """The first error."""
        self._outstanding: dict[object, None] = {}  # an entry for each action without an answer
        self._others: set[Widening] = set()  # widenings of other threads that add filters which this one needs, too
        self._changed = Waiters()

    def begin(self, wants: Iterable[Want], timeout: float | None) -> None:
        """Send the missing filters that no other thread sends; does not wait for the answers."""
        installed = self.installed
        mine = set()
        for want in installed.missing(wants):
            first = installed.under_way.setdefault(want, self)  # one atomic step
            if first is self:
                mine.add(want)
            else:
                self._others.add(first)
        requests = [
            FilterRequest(self, action, some, timeout) for some, action in filter_actions(mine, installed.version)
        ]
        self._outstanding.update(dict.fromkeys(requests))
        for request in requests:
            request.send()

    @property
    def done(self) -> bool:
        """Return True if the server has answered, or can't answer any more."""
        return not self._outstanding

    def ended(self, request: FilterRequest, result: Response | BaseException) -> None:
        """Handle an answer; on the engine thread."""
        installed = self.installed
        if isinstance(result, Response):
            installed.wants |= request.wants
        elif self.error is None:
            self.error = result
        for want in request.wants:
            installed.under_way.pop(want, None)
        self._outstanding.pop(request, None)
        self._changed.notify_all()

    def wait(self, timeout: float | None) -> None:
        """Wait until the server sends the events, or the connection has ended.

        Raises:
            ActionError: the server refuses a filter.

        """
        connection = self.installed.connection
        outbox = connection.outbox
        if connection.engine.on_own_thread or (outbox.busy and outbox.written_here):
            return  # the engine thread would wait for itself
        deadline = Deadline(timeout)
        for each in (self, *self._others):
            error = each.error if each._changed.wait(lambda each=each: each.done, deadline.remaining()) else None  # type: ignore[misc]
            if isinstance(error, ActionError):
                raise ActionError(error.action, error.response)
            if not each.done or (error is not None and not isinstance(error, ConnectionClosed)):
                # The filter was sent, so the server runs it before any later action, or the connection ends.
                logger.warning("the server has not confirmed an event filter yet: %s", error or "it does not answer")


class FilterRequest(TimedRequest):
    """The request of a ``Filter`` action."""

    __slots__ = ("_widening", "wants")

    def __init__(self, widening: Widening, action: Action[Any], wants: frozenset[Want], timeout: float | None) -> None:
        connection = widening.installed.connection
        super().__init__(action, connection.make_key(action), None, timeout)
        self.wants = wants
        self._widening = widening

    def send(self) -> None:
        """Send it; the outcome is reported to the widening."""
        connection = self._widening.installed.connection
        try:
            connection.submit(self, self.deadline)
        except ConcurrencyError:  # the engine thread, which must not wait for a slow peer
            connection.engine.call_at(time.monotonic() + RETRY, self.send)
        except AMIError as exc:
            self.resolve(exc)

    def resolve(self, result: Response | BaseException) -> None:
        self.cancel_timer()
        # After the batch that contains the answer: the subscription must not get events from before it.
        self._widening.installed.connection.engine.call_soon(lambda: self._widening.ended(self, result))


class EventFilter:
    """Widens the filters of a session's connections so that they match all events that its subscriptions want.

    Args:
        everybody: returns all subscribers, those that wait for their filters included.

    """

    def __init__(self, everybody: Callable[[], Iterable[Subscriber]]) -> None:
        self.installed: Installed | None = None
        """The filters of the latest connection, which may have ended."""
        self._everybody = everybody
        self._told = False

    def login_steps(self, installed: Installed) -> Steps:
        """Add the filters of a new connection, until none is missing."""
        while missing := installed.missing(self._wanted()):
            for wants, action in filter_actions(missing, installed.version):
                try:
                    yield Ask(action)
                except ActionError as exc:
                    if not installed.wants:
                        installed.refused = True
                        self._tell(exc)
                        return
                    # With only some of the filters, events would be lost.
                    yield Ask(_add([EVERY]))
                    installed.wants.add(EVERY)
                    return
                installed.wants |= wants

    def _wanted(self) -> frozenset[Want]:
        return ALWAYS.union(*(wants_of(each.selectors, each.where) for each in self._everybody()))

    def last_steps(self, installed: Installed) -> Steps:
        """Add the filters of subscriptions that were made during the login.

        A subscription is added to the list before it checks :attr:`installed`, and :attr:`installed` is set before
        this method reads the list, so one of the two sees the other, whatever the order of their threads.
        """
        self.installed = installed
        yield from self.login_steps(installed)

    def _tell(self, exc: ActionError) -> None:
        if not self._told:
            self._told = True
            logger.warning("event_filter='auto': the server refuses filters, so that it sends every event: %s", exc)

    def widen(self, wants: Iterable[Want], timeout: float | None) -> Widening | None:
        """Add the filters that a new subscription needs; return the widening to wait for, or :data:`None`.

        Without a connection there is nothing to do: the next login adds them.
        """
        installed = self.installed
        if installed is None or installed.connection.close_exc is not None or not installed.missing(wants):
            return None
        widening = Widening(installed)
        widening.begin(wants, timeout)
        return widening

    @property
    def passes(self) -> tuple[str, ...] | None:
        """Return the events that the server sends, as text; :data:`None` if it filters nothing."""
        installed = self.installed
        if installed is None or installed.refused or EVERY in installed.wants:
            return None
        if installed.connection.close_exc is not None:
            return None
        return tuple(sorted(f"{w.name} ({w.header}: {w.value})" if w.header else w.name for w in [*installed.wants]))


def let_through(
    filters: Iterable[EventFilter | None],
    subscriber: Subscriber,
    timeout: float | None,
    *,
    patience: float | None = None,
) -> None:
    """Have servers send the events that a new subscriber wants, and wait for all servers together.

    Args:
        filters: of the sessions whose events it gets; :data:`None` for a session without filters.
        subscriber: the new subscriber; logins that begin from now on take it into account.
        timeout: seconds that each answer may take; after that a warning is logged and the subscription continues.
        patience: most seconds to wait for the answers, if less.

    Raises:
        ActionError: a server refuses a filter.

    """
    there = [each for each in filters if each is not None]
    if there:
        wants = wants_of(subscriber.selectors, subscriber.where)
        widenings = [each.widen(wants, timeout) for each in there]
        for widening in widenings:
            if widening is not None:
                widening.wait(timeout if patience is None else patience)
