"""Calls: places the calls of one client or cluster, and follows them with one subscription and one thread.

The thread runs no user code, so calls are followed even while all callback threads wait for calls. It starts with the
first call and ends some seconds after the last.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from threading import Lock, Thread, current_thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..exceptions import AMIError, ConnectionClosed, EventsLost, WaitTimeout
from ..session.session import State
from ..wire.action import Action, HeaderValue
from ..wire.message import Event
from ..wire.response import Response
from .bridges import Bridges, Key
from .call import Call
from .server import Server
from .state import EVENTS, IDENTITIES, VARIABLES, CallState
from .stream import CallEvents
from .target import connect_headers

if TYPE_CHECKING:
    from ..client import AMIClient
    from ..subscriptions.listener import Listener
    from ..subscriptions.subscribers import EventStream

__all__ = ["Calls"]

logger = logging.getLogger("pyami_sync")

LINGER = 10.0  # seconds that the thread stays after the last call
TICK = 0.1  # seconds between two checks for overdue events, while a call waits for one
LATE_CHANNEL = 0.5  # seconds after a failure within which events of its channel may still arrive
LATE_HANGUP = 5.0  # the same for the Hangup of a channel that is known
LATE_RESPONSE = 15.0  # seconds after the ringing time within which the server must have reported the outcome
PATIENCE = 5.0  # seconds after the loss of a link after which the outcome of its calls counts as unknown
LOOK_AGAIN = 5.0  # seconds that reading the list of channels after a gap may take

MOST_FORWARDED = 1_000


class Calls:
    """The present calls of a client or a cluster.

    Args:
        listener: the client or the cluster whose events are used.

    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.bridges = Bridges()
        self._reset()

    def _reset(self) -> None:
        self._lock = Lock()  # guards the thread, the tables, and the delivery of events to streams
        self._thread: Thread | None = None
        self._stream: EventStream[Event] | None = None
        self._variables: EventStream[Event] | None = None
        self._servers: dict[str | None, Server] = {}
        self._calls: set[Call] = set()
        self._index: dict[Key, tuple[Call, ...]] = {}
        self._forwarded: dict[Key, tuple[Event, ...]] = {}  # VarSet events of channels to which a device forwarded
        self._late = False  # True if a call waits for an event that may arrive late or never
        self._lost_at: dict[str | None, float] = {}  # when each node's link was lost, for links that are down
        # All ids have the same length: Asterisk 22 refuses an id that is the beginning of one in use.
        self._prefix = f"pyami-{os.urandom(6).hex()}"
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        """Return how many calls are under way."""
        return len(self._calls)

    # Placing

    def server(self, sender: AMIClient, node: str | None) -> Server:
        """Return the server that a client is for; the same each time."""
        found = self._servers.get(node)
        if found is None or found.sender is not sender:
            found = self._servers[node] = Server(self, sender, node)
        return found

    def place(
        self,
        server: Server,
        device: str,
        to: str,
        *,
        ring: float = 30.0,
        caller_id: str | None = None,
        variables: dict[str, str] | None = None,
        account: str | None = None,
        codecs: str | None = None,
        early_media: bool | None = None,
        hangup_on_exit: bool = True,
        **headers: HeaderValue,
    ) -> Call:
        """Place a call; see :meth:`AMIClient.call() <pyami_sync.AMIClient.call>`."""
        if not ring > 0:
            raise ValueError(f"ring must be a positive number of seconds, not {ring!r}")
        number = next(self._numbers)
        identity, other = (f"{self._prefix}-{number:08x}-{half}" for half in (1, 2))
        if not device.lower().startswith("local/"):
            other = ""
        pairs: dict[str, HeaderValue] = {
            "Channel": device,
            **connect_headers(to),
            "Async": "true",
            "ChannelId": identity,
            "OtherChannelId": other or None,
            "Timeout": round(ring * 1000),
            "CallerID": caller_id,
            "Account": account,
            "Codecs": codecs,
            "EarlyMedia": early_media,
            "Variable": variables or None,
            **headers,
        }
        action: Action[Response] = Action("Originate", pairs, encoding=server.sender.options.encoding)
        state = CallState(identity, other, datetime.now(UTC))
        state.ring_limit = ring
        call = Call(server, state, device, hangup_on_exit=hangup_on_exit)
        with self._lock:  # before the action is sent, so that no event of the call is missed
            self._start()
            self._calls.add(call)
            for uniqueid in filter(None, (identity, other)):
                self._index[(server.node, uniqueid)] = (call,)
        try:
            # The response has the id, and so does the OriginateResponse, even if there was no channel.
            server.sender.send(action.with_action_id(identity))
        except BaseException:
            with self._lock:
                self._forget(call)
            raise
        return call

    def _start(self) -> None:
        """Start the thread unless it runs; called with the lock held."""
        if self._thread is not None:
            return
        self.bridges.clear()
        self._lost_at.clear()
        markers = ("ConnectionLost", "Reconnected")
        stream = self.listener.events(*EVENTS, *markers)
        variables = self.listener.events("VarSet", where={"Variable": VARIABLES}, overflow="drop_oldest")
        self._stream, self._variables = stream, variables
        thread = Thread(target=self._run, args=(stream, variables), name="pyami-calls", daemon=True)
        thread.start()
        self._thread = thread

    def _forget(self, call: Call) -> None:
        """Remove a call from the tables; called with the lock held."""
        self._calls.discard(call)
        node, state = call.node, call._state
        for uniqueid in {*state.legs, state.identity, state.other_identity}:
            key = node, uniqueid
            left = tuple(each for each in self._index.get(key, ()) if each is not call)
            if left:
                self._index[key] = left
            else:
                self._index.pop(key, None)

    def open_stream(self, call: Call, timeout: float | None) -> CallEvents:
        """Return a stream of a call's events; made with the lock held, so that it gets each event once."""
        with self._lock:
            return call.attach(timeout)

    # The thread

    def _run(self, stream: EventStream[Event], variables: EventStream[Event]) -> None:
        idle_since = checked = monotonic()
        try:
            while True:
                try:
                    event = stream.get(self._patience())
                except WaitTimeout:
                    pass
                except EventsLost:
                    self._look_again()
                else:
                    if variables.pending:  # asking an empty stream costs more than the rest
                        self._take_variables(variables, 0.0)
                    self._take(event, variables)
                now = monotonic()
                if self._calls:
                    idle_since = now
                    if now - checked >= TICK / 2:  # not at each event, because it checks every call
                        checked = now
                        self._check(now)
                elif now - idle_since > LINGER and self._retire():
                    return
        except ConnectionClosed:
            pass  # the session has ended
        except Exception:
            logger.exception("following calls failed: their outcomes are unknown")
        finally:
            stream.close()
            variables.close()
            self._give_up()

    def _retire(self) -> bool:
        """Return True if the thread may end, because no call has begun meanwhile."""
        with self._lock:
            if self._calls:
                return False
            self._thread = None
            return True

    def _give_up(self) -> None:
        """End all calls, because nothing more can be learned about them."""
        with self._lock:
            if self._thread is not current_thread():
                return  # this thread has retired, and another one may be running
            self._thread = None
            calls = list(self._calls)
            for call in calls:
                self._forget(call)
        for call in calls:
            call._state.lose()
            call.announce()

    def _patience(self) -> float:
        """Return how long to wait for the next event."""
        return TICK if self._late or self._lost_at else min(1.0, LINGER)

    def _take(self, event: Event, variables: EventStream[Event]) -> None:
        name = event.name
        if name == "ConnectionLost":
            self._lost_at.setdefault(event.node, monotonic())
            for call in self._of(event.node):
                call._state.gap = True
            return
        if name == "Reconnected":
            self._lost_at.pop(event.node, None)
            self._look_again(event.node)
            return
        if name.startswith("Bridge"):
            self.bridges.apply(event)
        for call in self._concerned(event):
            self._apply(call, event)
            if name == "DialEnd" and event.get("Forward"):
                self._take_variables(variables, 0.05)  # it was sent before this event, but may arrive a little later
                self._link(call)

    def _concerned(self, event: Event) -> list[Call]:
        index, node = self._index, event.node
        found: list[Call] = []
        for header in IDENTITIES.get(event.name, ()):
            for call in index.get((node, event.get(header, "")), ()):
                if call not in found:
                    found.append(call)
        if event.name == "BridgeEnter":  # also calls of the channels that are in the bridge already
            for uniqueid in self.bridges.members(node, event.get("BridgeUniqueid", "")):
                found += [call for call in index.get((node, uniqueid), ()) if call not in found]
        return found

    def _apply(self, call: Call, event: Event) -> None:
        state, node = call._state, call.node
        late = state.cancelled and event.name == "Newchannel" and event["Uniqueid"] == state.identity
        before = len(state.legs), state.current
        state.apply(event, lambda bridge: list(self.bridges.members(node, bridge)))
        self._settle(call, event, before)
        if late:
            _hang_up_later(call)

    def _settle(self, call: Call, event: Event, before: tuple[int, str]) -> None:
        state, node = call._state, call.node
        with self._lock:
            if (len(state.legs), state.current) != before:
                for uniqueid in state.legs:
                    known = self._index.get((node, uniqueid), ())
                    if call not in known:
                        self._index[(node, uniqueid)] = (*known, call)
            call.take(event)
            if state.ended:
                self._forget(call)
        call.announce()

    def _take_variables(self, variables: EventStream[Event], timeout: float) -> None:
        while timeout or variables.pending:
            try:
                event = variables.get(timeout)
            except (WaitTimeout, EventsLost, ConnectionClosed):
                return  # the end of the session is noticed by the other stream, after its last event
            timeout = 0.0
            if event.get("Variable") == "DIALSTATUS":
                uniqueid = event.get("Uniqueid", "")
                for call in self._index.get((event.node, uniqueid), ()):
                    if uniqueid == call._state.current:
                        call._state.dial_status(event.get("Value", ""))
                continue
            key = event.node, event.get("Value", "")  # the name of the channel whose device has forwarded
            if "Uniqueid" not in event:
                continue
            self._forwarded[key] = (*self._forwarded.get(key, ()), event)
            while len(self._forwarded) > MOST_FORWARDED:
                del self._forwarded[next(iter(self._forwarded))]

    def _link(self, call: Call) -> None:
        """Follow a forwarded call to the channel that it was forwarded to."""
        events = self._forwarded.pop((call.node, call.channel), ())
        if events:
            before = len(call._state.legs), call._state.current
            call._state.forwarded_to(events)
            self._settle(call, events[0], before)

    # Overdue events

    def _check(self, now: float) -> None:
        self._late = False
        for call in self._of():
            state = call._state
            lost_at = self._lost_at.get(call.node)
            self._late = self._late or _unsettled(call) or call.missing_since is not None
            if self._is_lost(call, lost_at, now):
                self._end(call, state.lose)
            elif lost_at is not None or not _unsettled(call):
                call.unsettled_since = None
            elif call.unsettled_since is None:
                call.unsettled_since = now
            elif now - call.unsettled_since > (LATE_HANGUP if state.legs else LATE_CHANNEL):
                self._end(call, state.settle)

    def _is_lost(self, call: Call, lost_at: float | None, now: float) -> bool:
        """Return True if nothing more can be learned about a call."""
        state = call._state
        if call._server.sender.state is State.CLOSED or (lost_at is not None and now - lost_at > PATIENCE):
            return True
        if call.missing_since is not None and now - call.missing_since > LATE_CHANNEL:
            return self._stream is not None and not self._stream.pending
        silent = state.response is None and state.outcome is None
        return silent and now > call.placed + state.ring_limit + LATE_RESPONSE

    def _end(self, call: Call, how: Callable[[], None]) -> None:
        how()
        with self._lock:
            self._forget(call)
        call.announce()

    def _of(self, node: Any = ...) -> list[Call]:
        """Return the present calls on a node; ``...`` stands for all nodes."""
        with self._lock:
            return [call for call in self._calls if node is ... or call.node == node]

    def _look_again(self, node: Any = ...) -> None:
        """Find out after a gap which channels are still there."""
        self.bridges.clear()
        for server in {call._server for call in self._of(node)}:
            calls = self._of(server.node)
            for call in calls:
                call._state.gap = True
            try:
                listed = server.sender.send("CoreShowChannels", timeout=LOOK_AGAIN).events
            except AMIError as exc:
                logger.warning("calls at %s: their outcome is unknown: %s", server.node or "the server", exc)
                for call in calls:
                    self._end(call, call._state.lose)
                continue
            self._compare(calls, listed)

    def _compare(self, calls: Iterable[Call], listed: Iterable[Event]) -> None:
        there = {event.get("Uniqueid"): event for event in listed}
        for call in calls:
            state = call._state
            event = there.get(state.current)
            if event is not None:
                call.missing_since = None
                state.still_there(event.get("Channel", ""), event.get("ChannelState", ""))
                call.announce()
            elif call.missing_since is None and (state.legs or state.response is not None):
                # Its Hangup may have arrived since the link was restored, and be in the buffer.
                call.missing_since = monotonic()
            # A call without any event yet may be about to begin.

    # Closing

    def close(self, timeout: float | None = 5.0) -> None:
        """Wait for the thread to end, after the session was closed; called by the client's ``close()``."""
        # Without the lock: a signal handler may close the client during a call() that holds it.
        thread = self._thread
        streams = [each for each in (self._stream, self._variables) if each is not None]
        if thread is None or thread is current_thread():
            return
        for stream in streams:
            stream.finish(None)
        thread.join(timeout)

    def after_fork(self) -> None:
        """Reset the state in a forked child, without the parent's calls."""
        calls, streams = list(self._calls), (self._stream, self._variables)
        self._reset()
        for stream in streams:
            if stream is not None:
                stream.close()
        for call in calls:
            call._state.lose()


def _unsettled(call: Call) -> bool:
    """Return True if a call waits for an event that may arrive late or never."""
    state = call._state
    failed = state.outcome is None and state.response == "Failure"
    return failed or state.orphan_since is not None


def _hang_up_later(call: Call) -> None:
    """Hang up a channel that did not exist yet when :meth:`Call.hangup` was called."""
    try:
        future = call._server.sender.submit("Hangup", Channel=call.id, check=False)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
    except AMIError as exc:
        logger.warning("%r could not be hung up: %s", call, exc)
