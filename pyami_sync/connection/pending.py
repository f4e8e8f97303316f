"""Matching answers to requests, and deciding where a list ends: the requests of one connection that wait for theirs.

A request is added before its bytes are sent, and is removed exactly once. It is claimed by one of the engine
(with an answer), a caller whose time is up, and the end of the connection; that one alone decides its outcome.

The server runs the actions of a connection one after the other in the order in which they were sent, and answers in
that order. Correlation is by ActionID all the same. The order serves where there is no id (items of IAXpeers, answers
that are mere text), and where an id was used twice: the answer to a request that was given up, which comes late, must
not be taken for that of a later one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import NamedTuple

from ..exceptions import ActionError, AMIError, ConnectionLost, InvalidAction, RemoteProtocolError
from ..vocabulary.catalogue.rules import AnswerRule
from ..wire.lookup import make_event, make_events
from ..wire.message import Event
from ..wire.origin import Origin
from ..wire.protocol import AMIVersion, Limits
from ..wire.redaction import redact
from ..wire.response import Response
from .request import BlockingRequest, Fence, Request

__all__ = ["PendingRequests"]

logger = logging.getLogger("pyami_sync")

UNIFORM_LISTS = AMIVersion((2, 7))  # Asterisk 13.2: every list begins with EventList: start
BLANK = b"\r\n\r\n"
ACTION_ID = b"\r\nActionID: "
EVENT = b"Event: "
SUCCESS = b"Response: Success\r\n"
PLAIN = b"Response: Success\r\nActionID: "
HEAD = 1024  # of a long answer, such as thousands of lines of output, no more is searched for what announces a list


class Run(NamedTuple):
    """Items of one name of one list: how they begin, and what to do with one more."""

    head: bytes
    request: Request
    cls: type[Event]
    name: str
    append: Callable[[Event], None]


class PendingRequests:
    """The requests of one connection.

    :meth:`feed` belongs to the thread that reads the socket; everything else may be called from any thread.
    Safe without a lock of its own: each step on the table is one dict operation.

    Args:
        prefix: what the ActionIDs made here begin with.
        limits: for lists.
        event_class: which class an event is, by its name on the wire.

    """

    def __init__(self, prefix: str, limits: Limits, event_class: Callable[[bytes], type[Event]]) -> None:
        self._prefix = prefix.encode("ascii")
        self._ids = count(1)
        self.table: dict[bytes, Request] = {}
        """The requests by ActionID; others only look whether there are any."""
        self._collecting: dict[bytes, Request] = {}  # those of them that expect events
        self.answered: list[BlockingRequest] = []
        """Requests that have got their outcome from :meth:`feed`; the caller of that method wakes their callers."""
        self._run: Run | None = None  # the list whose items come in one after the other
        self._adjacent: Request | None = None  # the list under way whose items carry no ActionID
        self._limits = limits
        self._event_class = event_class
        self.ami_version: AMIVersion | None = None
        self.answered_at = monotonic()
        """When the last response came, on :func:`time.monotonic`'s clock: the sign that the server still serves."""
        self._late: dict[Request, int] = {}  # given up after they were sent, with their order: an answer may come yet
        self.logged_off = False
        """True if the server has answered Logoff: the end that follows is no loss."""

    def __len__(self) -> int:
        return len(self.table)

    def requests(self) -> list[Request]:
        """Those under way, oldest first."""
        return list(self.table.values())

    def new_id(self) -> str:
        """An ActionID that no other request and no other session uses."""
        return self.new_key().decode("ascii")

    def new_key(self) -> bytes:
        """As :meth:`new_id`, in bytes."""
        return self._prefix + b"%d" % next(self._ids)

    def add(self, request: Request) -> Fence | None:
        """Enter a request before it is sent; return the fence that must be sent right after it, if it needs one.

        Raises:
            InvalidAction: another request with its ActionID is under way.

        """
        if self.table.setdefault(request.key, request) is not request:
            raise InvalidAction(f"an action with ActionID {request.key.decode()!r} is under way", header="ActionID")
        rule = request.rule
        if rule is None:
            return None
        if rule.shape == "event":
            self._collecting[request.key] = request  # DataGet answers with its event alone
        if not rule.fenced:
            return None
        fence = Fence(self.new_key(), request, self.conclude)
        self.table[fence.key] = fence
        return fence

    def remove(self, request: Request) -> bool:
        """Remove a request; return whether it was still under way, so that the caller decides its outcome."""
        if self.table.get(request.key) is not request:
            return False
        try:
            request.claims.pop()
        except IndexError:
            return False
        # An ActionID that a user chose may be used again, but not before the request is out of the table, and only
        # the thread that has claimed it takes it out: so this never takes out another request.
        self._collecting.pop(request.key, None)
        self.table.pop(request.key, None)
        return True

    def give_up(self, request: Request) -> bool:
        """Remove a request that nobody wants any more, and note that its answer may come late.

        Return whether it was still under way, as :meth:`remove` does.
        """
        if self.table.get(request.key) is not request:
            return False
        request.given_up = True  # before the look at `order`: see Request
        # Noted before it leaves the table: in between, its answer would seem to be that of the only one left.
        if request.order and request.response is None:
            self._late[request] = request.order
        if self.remove(request):
            return True
        self._late.pop(request, None)
        return False

    def expire(self, request: Request) -> None:
        """End a request whose time is up, unless its answer has come in the meantime."""
        if self.give_up(request):
            request.expire()

    def fail_all(self, reason: str, cause: BaseException | None) -> None:
        """End every request because the connection has ended."""
        for request in self.requests():
            if not self.remove(request):
                continue
            request.given_up = True  # before the look at `order`: a writer may be at it this moment
            exc = ConnectionLost(reason, partial=list(request.items), sent=request.sent)
            exc.__cause__ = cause
            request.resolve(exc)

    # On the thread that reads: the engine's, or that of a caller that leads

    def claim_own(self, request: Request, chunk: bytes, origin: Origin) -> Response | None:
        """Return the answer that a caller has read itself, if these bytes are that, whole and plain, and no more."""
        end = chunk.find(BLANK)
        if end + 4 != len(chunk) or not chunk.startswith(SUCCESS) or b"eventlist:" in chunk[:HEAD].lower():
            return None
        if self._late or not chunk.startswith(request.key + b"\r\n", chunk.find(ACTION_ID) + 12):
            return None
        return request.action.response_class._success(chunk[:-4], origin) if self.remove(request) else None

    def feed(self, frames: list[bytes], span: tuple[bytes, bytes], origin: Origin) -> list[bytes]:
        """Hand answers and list items that came in to their requests; return the events among them, all of them.

        Answers are handed over before any of the events is published, so that they do not wait for a flood.

        Args:
            frames: messages as they came.
            span: the least and the greatest of them (:attr:`Framer.range <pyami_sync.wire.framing.Framer.range>`).
            origin: of all of them.

        """
        least, greatest = span
        if least.startswith(EVENT) and greatest.startswith(EVENT):
            if not self._collecting:
                self._run = None  # holds a list that is over
                return frames
        else:
            self.answered_at = monotonic()
        events: list[bytes] = []
        run = self._run
        if run is not None:
            if run.request.key not in self.table:
                run = self._run = None  # given up since the last batch
            elif least.startswith(run.head) and greatest.startswith(run.head):
                # All of them are items of it, such as most batches of a long list are.
                run.request.items.extend(make_events(run.cls, frames, origin, run.name))
                self._check_run(run.request)
                return frames
        for each in frames:
            if run is not None and each.startswith(run.head):
                # As _event() does with one more item of a list that it knows; most of a long list comes here.
                run.append(make_event(run.cls, each, origin, run.name))
                events.append(each)
                continue
            if each[:10] == b"Response: ":
                self._response(each, origin)
                run = self._run
                continue
            frame: bytes | None = each
            while frame is not None:
                frame = self._feed_one(frame, origin, events)
            run = self._run
        if run is not None:
            self._check_run(run.request)
        return events

    def _check_run(self, request: Request) -> None:
        """End a list that has grown too long, and the quick way into one that is over."""
        if len(request.items) > self._limits.list_items:
            self._resolve(
                request,
                RemoteProtocolError(f"the list of {request.action.name} passed {self._limits.list_items} items"),
            )
        if request.key not in self.table:
            self._run = None

    def _feed_one(self, frame: bytes, origin: Origin, events: list[bytes]) -> bytes | None:
        """Process one message; return another one that was glued to its end."""
        kind = frame[: frame.find(b":")].lower()
        if kind == b"event":
            events.append(frame)
            if self._collecting:
                self._event(frame if frame[:7] == b"Event: " else b"Event: " + frame[6:].lstrip(b" "), origin)
        elif kind == b"response":
            self._response(frame, origin)
        else:
            return self._text(frame, origin)
        return None

    def _is_late(self, frame: bytes, origin: Origin) -> bool:
        """Return True if a response belongs to a request that was given up.

        The server answers in the order in which it was asked. So an answer to a later request shows that no answer to
        an earlier one will come; and of two requests with one ActionID the earlier one is answered first.
        """
        key = self._key(frame, origin)
        if not key:
            return False
        # Of requests with this key the one sent first is answered first; one still under way was sent after those.
        late = min((order for request, order in list(self._late.items()) if request.key == key), default=0)
        current = self.table.get(key)
        answered = late or (current.order if current is not None else 0)
        for request, order in list(self._late.items()):
            if order < answered or order == late:
                self._late.pop(request, None)
        if late:
            logger.debug("dropped a late response with ActionID %s", key.decode("utf-8", "backslashreplace"))
        return bool(late)

    def _response(self, frame: bytes, origin: Origin) -> None:
        if self._late and self._is_late(frame, origin):
            return
        if frame.startswith(PLAIN):
            # The usual answer, whole: in as few steps as can be.
            request = self.table.get(frame[len(PLAIN) : HEAD].partition(b"\r\n")[0])
            if (
                request is not None
                and request.rule is None
                and request.response is None
                and b"eventlist:" not in frame[:HEAD].lower()
            ):
                if self.remove(request):
                    response = request.action.response_class._success(frame, origin)
                    if isinstance(request, BlockingRequest):
                        request.outcome = response
                        self.answered.append(request)
                    else:
                        request.resolve(response)
                return
        request = self._owner(frame, origin)
        if request is None:
            return
        response = request.action.response_class._wire(frame, origin)
        rule = request.rule
        if response.status == "Goodbye":
            self.logged_off = True
        if not frame.startswith(SUCCESS) and not response.ok:
            self._error(request, response)
        elif request.response is not None:
            logger.debug("dropped a second response to %s: %r", request.action.name, response)
        elif b"eventlist:" in frame[:HEAD].lower() and response.get("EventList", "").strip().lower() == "start":
            self._start_list(request, response)
        elif rule is None or not self._more_follows(rule):
            self._resolve(request, response)
        else:
            self._start_list(request, response)

    def _more_follows(self, rule: AnswerRule) -> bool:
        """Return True if a Success that does not announce a list is followed by events all the same."""
        if rule.shape == "list":
            return rule.unmarked and self.ami_version is not None and self.ami_version < UNIFORM_LISTS
        return rule.shape in ("event", "window")

    def _start_list(self, request: Request, response: Response) -> None:
        request.response = response
        self._collecting[request.key] = request
        rule = request.rule
        if rule is not None and (rule.items_without_id or rule.shape == "window"):
            self._adjacent = request
        if request.key not in self.table:  # its caller gave up between the look-up and here
            self._collecting.pop(request.key, None)

    def _error(self, request: Request, response: Response) -> None:
        said = response.message.strip().lower()
        if request.rule is not None and any(said.startswith(text) for text in request.rule.empty):
            response._empty = True
            self._resolve(request, response)
            return
        response.events = request.items
        self._resolve(request, ActionError(request.action.name, response, partial=list(request.items)))

    def _owner(self, frame: bytes, origin: Origin) -> Request | None:
        """Return the request that a response belongs to."""
        key = self._key(frame, origin)
        request = self.table.get(key)
        if request is not None:
            return request
        if not key and b"Missing action in request" not in frame:
            # Some handlers forget the id (Events of old servers); with one request under way there is no doubt, unless
            # the answer to one that was given up may come yet.
            asking = [each for each in self.requests() if not isinstance(each, Fence)]
            if len(asking) == 1 and not self._late:
                return asking[0]
        logger.debug("dropped a late or unasked response: %r", Response._wire(frame, origin))
        return None

    @staticmethod
    def _key(frame: bytes, origin: Origin) -> bytes:
        """Return the ActionID of a response; empty if it has none."""
        at = frame.find(ACTION_ID)
        if at < 0:
            return (Response._wire(frame, origin).action_id or "").encode("utf-8", "surrogateescape")
        start = at + len(ACTION_ID)
        end = frame.find(b"\r\n", start)
        return frame[start:] if end < 0 else frame[start:end]

    def _event(self, frame: bytes, origin: Origin) -> None:
        """Add an event to the list that it belongs to, if it belongs to one."""
        at = frame.find(ACTION_ID)
        request = None
        if at >= 0:
            start = at + len(ACTION_ID)
            end = frame.find(b"\r\n", start)
            request = self._collecting.get(frame[start:] if end < 0 else frame[start:end])
        if request is None:
            request = self._adjacent
            if request is None:
                return
            if request.key not in self.table:
                self._adjacent = None
                return
        end = frame.find(b"\r\n", 7)
        name = frame[7:] if end < 0 else frame[7:end]
        if name not in request.names:
            if request.rule is not None and request.rule.glued and b"\r\nEvent: " in frame:
                self._unglue(frame, request, origin)
                return
            if not self._belongs(request, name, frame, origin):
                return
        self._grow(request, name, frame, origin)
        if name in request.names and (request.rule is None or not (request.rule.bare_lf or request.rule.glued)):
            head = b"Event: %b\r\nActionID: %b\r\n" % (name, request.key)
            if request.key in self.table and frame.startswith(head):
                text = name.decode("utf-8", "surrogateescape")
                self._run = Run(head, request, self._event_class(name), text, request.items.append)

    def _belongs(self, request: Request, name: bytes, frame: bytes, origin: Origin) -> bool:
        """Look closer at the first event of a name: close the list, learn the name, or leave it alone."""
        rule = request.rule
        event = Event._wire(frame, origin)
        folded = event.name.lower()
        if rule is not None and rule.shape == "window":
            if folded != rule.complete:
                request.items.append(self._make(name, frame, origin))
                return False
        elif request is self._adjacent and (event.action_id or "").encode("utf-8", "surrogateescape") != request.key:
            # Only by its place: it must be an item by name, and queued events always have a Privilege.
            known = rule is not None and folded in rule.items
            return known and event.action_id is None and "Privilege" not in event
        marked = event.get("EventList", "").strip().lower()
        if marked in ("complete", "cancelled") or (rule is not None and folded == rule.complete):
            self._conclude_with(request, self._make(name, frame, origin))
            return False
        if rule is not None and folded in rule.items:
            if not rule.items_without_id:
                request.names |= {name}
            return True
        if rule is None or rule.shape == "list":
            if "Privilege" in event:
                return False  # a queued event that repeats our id, as UserEvent and OriginateResponse do
            request.names |= {name}
            return True
        return False

    def _grow(self, request: Request, name: bytes, frame: bytes, origin: Origin) -> None:
        rule = request.rule
        if rule is not None:
            if rule.bare_lf:
                frame = frame.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            if rule.shape == "event":
                request.items.append(self._make(name, frame, origin))
                self._resolve(request, self._collected(request, None))
                return
        request.items.append(self._make(name, frame, origin))
        if len(request.items) > self._limits.list_items:
            self._resolve(
                request,
                RemoteProtocolError(f"the list of {request.action.name} passed {self._limits.list_items} items"),
            )

    def _unglue(self, frame: bytes, request: Request, origin: Origin) -> None:
        """Take apart a message that holds a whole list because its handler forgot the blank lines."""
        first, *others = frame.split(b"\r\nEvent: ")
        for each in (first, *(b"Event: " + other for other in others)):
            end = each.find(b"\r\n")
            name = each[7:] if end < 0 else each[7:end]
            if name.lower().decode("utf-8", "surrogateescape") == (request.rule.complete if request.rule else ""):
                self._conclude_with(request, self._make(name, each, origin))
            else:
                self._grow(request, name, each, origin)

    def _text(self, frame: bytes, origin: Origin) -> bytes | None:
        """Hand an answer without a Response line to the oldest request that answers so.

        The table of IAXnetstats ends in LF CR LF, so that the next message is glued to it: that one is returned.
        """
        text, glued, rest = frame.partition(b"\n\r\n")
        waiting = (
            each for each in self.requests() if each.rule is not None and each.rule.shape == "text" and each.order
        )
        request = min(waiting, key=lambda each: each.order, default=None)
        if request is None:
            logger.debug("dropped a message that is neither event nor response: %r", redact(frame[:200]))
        elif request.response is not None:
            request.response._body += b"\r\n\r\n" + text
        elif b": " in text.partition(b"\r\n")[0]:
            request.response = request.action.response_class._wire(text, origin)
        else:
            request.response = request.action.response_class._text(text, origin)
        return rest if glued and rest else None

    def _too_long(self, request: Request) -> RemoteProtocolError:
        return RemoteProtocolError(f"the list of {request.action.name} passed {self._limits.list_items} items")

    def _make(self, name: bytes, frame: bytes, origin: Origin) -> Event:
        return make_event(self._event_class(name), frame, origin, name.decode("utf-8", "surrogateescape"))

    # Endings

    def _collected(self, request: Request, complete: Event | None) -> Response:
        response = request.response
        if response is None:  # DataGet, or a text answer that is empty
            response = request.action.response_class._wire(b"", Origin())
        response.events = request.items
        response.complete = complete
        return response

    def _conclude_with(self, request: Request, complete: Event) -> None:
        self._run = None
        if request is self._adjacent:
            self._adjacent = None
        self._resolve(request, self._collected(request, complete))

    def conclude(self, request: Request) -> None:
        """End a fenced request with what has come: its fence was answered, so nothing more will."""
        self._resolve(request, self._collected(request, None))

    def _resolve(self, request: Request, result: Response | AMIError) -> None:
        if not self.remove(request):
            return
        if isinstance(request, BlockingRequest):
            request.outcome = result
            self.answered.append(request)
        else:
            request.resolve(result)
