"""Whose answer is this: the calls of one connection that wait for one.

A call is entered before its bytes are sent and leaves the table exactly once: who takes it out, be it the
engine with an answer, a caller whose time is up, or the end of the connection, alone decides its outcome.

The server runs the actions of a connection one after the other in the order they were sent. Correlation is
by ActionID all the same; the order serves only where there is no id: items of IAXpeers, answers of mere text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from .request import BlockingCall, Call, Fence
from .catalogue.rules import AnswerRule
from .exceptions import ActionError, AMIError, ConnectionLost, InvalidAction, RemoteProtocolError
from .message import Event, Origin, make_event
from .protocol import AMIVersion, Limits
from .redaction import redact
from .response import Response

__all__ = ["PendingCalls"]

logger = logging.getLogger("pyami_sync")

UNIFORM_LISTS = AMIVersion((2, 7))  # Asterisk 13.2: every list begins with EventList: start
BLANK = b"\r\n\r\n"
ACTION_ID = b"\r\nActionID: "
SUCCESS = b"Response: Success\r\n"
PLAIN = b"Response: Success\r\nActionID: "
HEAD = 1024  # of a long answer, such as thousands of lines of output, no more is searched for what announces a list


class Run(NamedTuple):
    """Items of one name of one list: how they begin, and what to do with one more."""

    head: bytes
    call: Call
    cls: type[Event]
    name: str
    append: Callable[[Event], None]


class PendingCalls:
    """The calls of one connection.

    :meth:`take` belongs to the thread that reads the socket; everything else may be called from any thread.
    Safe without a lock of its own: each step on the table is one dict operation.

    Args:
        prefix: what the ActionIDs made here begin with.
        limits: for lists.
        event_class: which class an event is, by its name on the wire.

    """

    def __init__(self, prefix: str, limits: Limits, event_class: Callable[[bytes], type[Event]]) -> None:
        self._prefix = prefix.encode("ascii")
        self._ids = count(1)
        self.table: dict[bytes, Call] = {}
        """The calls by ActionID; others only look whether there are any."""
        self._collecting: dict[bytes, Call] = {}  # those of them that expect events
        self.answered: list[BlockingCall] = []
        """Calls that have got their outcome from :meth:`take`; whoever called it has to wake their callers."""
        self._run: Run | None = None  # the list whose items come in one after the other
        self._adjacent: Call | None = None  # the list under way whose items carry no ActionID
        self._limits = limits
        self._event_class = event_class
        self.ami_version: AMIVersion | None = None
        self.logged_off = False
        """Whether the server has said good-bye: the end that follows is no loss."""

    def __len__(self) -> int:
        return len(self.table)

    def calls(self) -> list[Call]:
        """Those under way, oldest first."""
        return list(self.table.values())

    def new_id(self) -> str:
        """An ActionID that no other call and no other session uses."""
        return self.new_key().decode("ascii")

    def new_key(self) -> bytes:
        """As :meth:`new_id`, in bytes."""
        return self._prefix + b"%d" % next(self._ids)

    def add(self, call: Call) -> Fence | None:
        """Enter a call before it is sent; give the fence that must be sent right behind it, if it needs one.

        Raises:
            InvalidAction: another call with its ActionID is under way.

        """
        if self.table.setdefault(call.key, call) is not call:
            raise InvalidAction(f"an action with ActionID {call.key.decode()!r} is under way", header="ActionID")
        rule = call.rule
        if rule is None:
            return None
        if rule.shape == "event":
            self._collecting[call.key] = call  # DataGet answers with its event alone
        if not rule.fenced:
            return None
        fence = Fence(self.new_key(), call, self.conclude)
        self.table[fence.key] = fence
        return fence

    def remove(self, call: Call) -> bool:
        """Take a call out; tell whether it was still under way, so that the caller decides its outcome."""
        # An ActionID that a user chose may be in use again by now: never take out another's call.
        if self.table.get(call.key) is not call or self.table.pop(call.key, None) is None:
            return False
        self._collecting.pop(call.key, None)
        return True

    def expire(self, call: Call) -> None:
        """End a call whose time is up, unless its answer has come in the meantime."""
        if self.remove(call):
            call.expire()

    def fail_all(self, reason: str, cause: BaseException | None) -> None:
        """End every call because the connection has ended."""
        while self.table:
            try:
                _, call = self.table.popitem()
            except KeyError:
                break
            self._collecting.pop(call.key, None)
            call.given_up = True  # before the look at `sent`: a writer may be at it this moment
            exc = ConnectionLost(reason, partial=list(call.items), sent=call.sent)
            exc.__cause__ = cause
            call.settle(exc)

    # What is done by who reads: the engine, or the caller of an action

    def take_own(self, call: Call, chunk: bytes, origin: Origin) -> Response | None:
        """The answer that a caller has read itself, if these bytes are that, whole and plain, and nothing else."""
        end = chunk.find(BLANK)
        if end + 4 != len(chunk) or not chunk.startswith(SUCCESS) or b"eventlist:" in chunk[:HEAD].lower():
            return None
        if not chunk.startswith(call.key + b"\r\n", chunk.find(ACTION_ID) + 12) or not self.remove(call):
            return None
        return call.action.response_class._success(chunk[:-4], origin)

    def take(self, frames: list[bytes], only_events: bool, origin: Origin) -> list[bytes]:
        """Take answers and list items out of messages that came in; give the events among them, all of them.

        Answers are taken before any of the events is published: they must not wait behind a flood.
        """
        if only_events and not self._collecting:
            self._run = None  # holds a list that is over
            return frames
        events: list[bytes] = []
        run = self._run
        if run is not None and run.call.key not in self.table:
            run = self._run = None  # given up since the last batch
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
                frame = self._take_one(frame, origin, events)
            run = self._run
        if run is not None:
            self._check_run(run.call)
        return events

    def _check_run(self, call: Call) -> None:
        """End a list that has grown too long, and the quick way into one that is over."""
        if len(call.items) > self._limits.list_items:
            self._settle(
                call, RemoteProtocolError(f"the list of {call.action.name} passed {self._limits.list_items} items")
            )
        if call.key not in self.table:
            self._run = None

    def _take_one(self, frame: bytes, origin: Origin, events: list[bytes]) -> bytes | None:
        """Take one message; give another one that was glued to its end."""
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

    def _response(self, frame: bytes, origin: Origin) -> None:
        if frame.startswith(PLAIN):
            # The usual answer, whole and to a caller who waits: in as few steps as can be.
            call = self.table.get(frame[len(PLAIN) : HEAD].partition(b"\r\n")[0])
            if (
                isinstance(call, BlockingCall)
                and call.rule is None
                and call.response is None
                and b"eventlist:" not in frame[:HEAD].lower()
            ):
                if self.remove(call):
                    call.keep(call.action.response_class._success(frame, origin))
                    self.answered.append(call)
                return
        call = self._owner(frame, origin)
        if call is None:
            return
        response = call.action.response_class._wire(frame, origin)
        rule = call.rule
        if response.status == "Goodbye":
            self.logged_off = True
        if not frame.startswith(SUCCESS) and not response.ok:
            self._error(call, response)
        elif call.response is not None:
            logger.debug("dropped a second response to %s: %r", call.action.name, response)
        elif b"eventlist:" in frame[:HEAD].lower() and response.get("EventList", "").strip().lower() == "start":
            self._start_list(call, response)
        elif rule is None or not self._more_follows(rule):
            self._settle(call, response)
        else:
            self._start_list(call, response)

    def _more_follows(self, rule: AnswerRule) -> bool:
        """Whether a Success that does not announce a list is followed by events all the same."""
        if rule.shape == "list":
            return rule.unmarked and self.ami_version is not None and self.ami_version < UNIFORM_LISTS
        return rule.shape in ("event", "window")

    def _start_list(self, call: Call, response: Response) -> None:
        call.response = response
        self._collecting[call.key] = call
        rule = call.rule
        if rule is not None and (rule.items_without_id or rule.shape == "window"):
            self._adjacent = call
        if call.key not in self.table:  # its caller gave up between the look-up and here
            self._collecting.pop(call.key, None)

    def _error(self, call: Call, response: Response) -> None:
        said = response.message.strip().lower()
        if call.rule is not None and any(said.startswith(text) for text in call.rule.empty):
            response._empty = True
            self._settle(call, response)
            return
        response.events = call.items
        self._settle(call, ActionError(call.action.name, response, partial=list(call.items)))

    def _owner(self, frame: bytes, origin: Origin) -> Call | None:
        """The call that a response belongs to."""
        at = frame.find(ACTION_ID)
        if at >= 0:
            start = at + len(ACTION_ID)
            end = frame.find(b"\r\n", start)
            key = frame[start:] if end < 0 else frame[start:end]
        else:
            key = (Response._wire(frame, origin).action_id or "").encode("utf-8", "surrogateescape")
        call = self.table.get(key)
        if call is not None:
            return call
        if not key and b"Missing action in request" not in frame:
            # Some handlers forget the id (Events of old servers); with one call under way there is no doubt.
            asking = [each for each in self.calls() if not isinstance(each, Fence)]
            if len(asking) == 1:
                return asking[0]
        logger.debug("dropped a late or unasked response: %r", Response._wire(frame, origin))
        return None

    def _event(self, frame: bytes, origin: Origin) -> None:
        """Give an event to the list that it belongs to, if it belongs to one."""
        at = frame.find(ACTION_ID)
        call = None
        if at >= 0:
            start = at + len(ACTION_ID)
            end = frame.find(b"\r\n", start)
            call = self._collecting.get(frame[start:] if end < 0 else frame[start:end])
        if call is None:
            call = self._adjacent
            if call is None:
                return
            if call.key not in self.table:
                self._adjacent = None
                return
        end = frame.find(b"\r\n", 7)
        name = frame[7:] if end < 0 else frame[7:end]
        if name not in call.names:
            if call.rule is not None and call.rule.glued and b"\r\nEvent: " in frame:
                self._unglue(frame, call, origin)
                return
            if not self._belongs(call, name, frame, origin):
                return
        self._grow(call, name, frame, origin)
        if name in call.names and (call.rule is None or not (call.rule.bare_lf or call.rule.glued)):
            head = b"Event: %b\r\nActionID: %b\r\n" % (name, call.key)
            if call.key in self.table and frame.startswith(head):
                text = name.decode("utf-8", "surrogateescape")
                self._run = Run(head, call, self._event_class(name), text, call.items.append)

    def _belongs(self, call: Call, name: bytes, frame: bytes, origin: Origin) -> bool:
        """Look closer at the first event of a name: close the list, learn the name, or leave it alone."""
        rule = call.rule
        event = Event._wire(frame, origin)
        folded = event.name.lower()
        if rule is not None and rule.shape == "window":
            if folded != rule.complete:
                call.items.append(self._make(name, frame, origin))
                return False
        elif call is self._adjacent and (event.action_id or "").encode("utf-8", "surrogateescape") != call.key:
            # Only by its place: it must be an item by name, and queued events always have a Privilege.
            known = rule is not None and folded in rule.items
            return known and event.action_id is None and "Privilege" not in event
        marked = event.get("EventList", "").strip().lower()
        if marked in ("complete", "cancelled") or (rule is not None and folded == rule.complete):
            self._conclude_with(call, self._make(name, frame, origin))
            return False
        if rule is not None and folded in rule.items:
            if not rule.items_without_id:
                call.names |= {name}
            return True
        if rule is None or rule.shape == "list":
            if "Privilege" in event:
                return False  # a queued event that repeats our id, as UserEvent and OriginateResponse do
            call.names |= {name}
            return True
        return False

    def _grow(self, call: Call, name: bytes, frame: bytes, origin: Origin) -> None:
        rule = call.rule
        if rule is not None:
            if rule.bare_lf:
                frame = frame.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            if rule.shape == "event":
                call.items.append(self._make(name, frame, origin))
                self._settle(call, self._collected(call, None))
                return
        call.items.append(self._make(name, frame, origin))
        if len(call.items) > self._limits.list_items:
            self._settle(
                call, RemoteProtocolError(f"the list of {call.action.name} passed {self._limits.list_items} items")
            )

    def _unglue(self, frame: bytes, call: Call, origin: Origin) -> None:
        """Take apart a message that holds a whole list because its handler forgot the blank lines."""
        first, *others = frame.split(b"\r\nEvent: ")
        for each in (first, *(b"Event: " + other for other in others)):
            end = each.find(b"\r\n")
            name = each[7:] if end < 0 else each[7:end]
            if name.lower().decode("utf-8", "surrogateescape") == (call.rule.complete if call.rule else ""):
                self._conclude_with(call, self._make(name, each, origin))
            else:
                self._grow(call, name, each, origin)

    def _text(self, frame: bytes, origin: Origin) -> bytes | None:
        """Give an answer without a Response line to the oldest call that answers so.

        The table of IAXnetstats ends in LF CR LF, so that the message behind it is glued to it: it is given back.
        """
        text, glued, rest = frame.partition(b"\n\r\n")
        call = next((each for each in self.calls() if each.rule is not None and each.rule.shape == "text"), None)
        if call is None:
            logger.debug("dropped a message that is neither event nor response: %r", redact(frame[:200]))
        elif call.response is not None:
            call.response._body += b"\r\n\r\n" + text
        elif b": " in text.partition(b"\r\n")[0]:
            call.response = call.action.response_class._wire(text, origin)
        else:
            call.response = call.action.response_class._text(text, origin)
        return rest if glued and rest else None

    def _make(self, name: bytes, frame: bytes, origin: Origin) -> Event:
        return make_event(self._event_class(name), frame, origin, name.decode("utf-8", "surrogateescape"))

    # Endings

    def _collected(self, call: Call, complete: Event | None) -> Response:
        response = call.response
        if response is None:  # DataGet, or a text answer that is empty
            response = call.action.response_class._wire(b"", Origin())
        response.events = call.items
        response.complete = complete
        return response

    def _conclude_with(self, call: Call, complete: Event) -> None:
        self._run = None
        if call is self._adjacent:
            self._adjacent = None
        self._settle(call, self._collected(call, complete))

    def conclude(self, call: Call) -> None:
        """End a fenced call with what has come: its fence was answered, so nothing more will."""
        self._settle(call, self._collected(call, None))

    def _settle(self, call: Call, result: Response | AMIError) -> None:
        if not self.remove(call):
            return
        if isinstance(call, BlockingCall):
            call.keep(result)
            self.answered.append(call)
        else:
            call.settle(result)
