"""Calls: places the calls of one client or cluster, and follows them with one subscription and one thread.

The thread is the library's own and runs no user code, so that calls are followed also while every callback thread
waits for the end of a call. It begins with the first call and ends some seconds after the last.

There is no lock: a signal handler may use calls while the main thread is placing one. Who places a call adds it to the
tables in single steps; all other changes of them are made by the thread.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from threading import current_thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..exceptions import AMIError, ConcurrencyError, ConnectionClosed, EventsLost, WaitTimeout
from ..session.session import State
from ..wire.action import Action, HeaderValue
from ..wire.message import Event
from ..wire.response import Response
from .bridges import Bridges, Key
from .call import Call
from .follower import Follower
from .server import Server
from .state import IDENTITIES, CallState
from .target import connect_headers

if TYPE_CHECKING:
    from ..client import AMIClient
    from ..cluster.pool import ClusterPool
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

    def __init__(self, listener: AMIClient | ClusterPool) -> None:
        self.listener = listener
        self.bridges = Bridges()
        self._reset()

    def _reset(self) -> None:
        self._followers: dict[None, Follower] = {}  # one, while there are calls
        self._abandoned: deque[Call] = deque()  # could not be placed: the thread takes them out of the index
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
        try:
            self._calls.add(call)  # before it is sent, so that no event of it is missed
            for uniqueid in filter(None, (identity, other)):
                self._index[(server.node, uniqueid)] = (call,)
            self._follow()
            # The answer carries the id again, and so does the OriginateResponse, even when there was no channel.
            server.sender.send(action.with_action_id(identity))
        except BaseException:
            self._calls.discard(call)
            self._abandoned.append(call)
            raise
        return call

    def _follow(self) -> None:
        """Have calls followed; the one in question is in the table already."""
        while True:
            follower = self._followers.get(None)
            if follower is None:
                new = Follower(self)
                follower = self._followers.setdefault(None, new)
                if follower is not new:
                    new.close()
            # One that begins to end after this line looks at the table afterwards, and goes on.
            if not follower.ending or follower.thread is current_thread():
                follower.start()
                return
            follower.wait_decided()

    def _forget(self, call: Call) -> None:
        """Take a call out of the tables; on the thread that follows calls."""
        self._calls.discard(call)
        node, state = call.node, call._state
        for uniqueid in {*state.legs, state.identity, state.other_identity}:
            key = node, uniqueid
            left = tuple(each for each in self._index.get(key, ()) if each is not call)
            if left:
                self._index[key] = left
            else:
                self._index.pop(key, None)

    def check_thread(self, doing: str) -> None:
        """Refuse to block a thread that all calls depend on.

        Raises:
            ConcurrencyError: the calling thread is one.

        """
        self.listener.engine.check_thread(doing)
        follower = self._followers.get(None)
        if follower is not None and follower.thread is current_thread():
            raise ConcurrencyError(f"{doing} would block thread {current_thread().name}, which must bring it about")

    # The thread

    def _run(self, follower: Follower) -> None:
        """Follow calls; what the thread of a follower runs."""
        stream, variables = follower.stream, follower.variables
        self.bridges.clear()
        self._lost_at.clear()
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
                while self._abandoned:
                    self._forget(self._abandoned.popleft())
                if self._calls:
                    idle_since = now
                    if now - checked >= TICK / 2:  # not at each event, because it checks every call
                        checked = now
                        self._check(now, stream)
                elif now - idle_since > LINGER:
                    follower.ending = True  # before the last look; a thread that places a call looks at it afterwards
                    if not self._calls:
                        return
                    follower.stay()
        except ConnectionClosed:
            pass  # the session has ended
        except Exception:
            logger.exception("following calls failed: their outcomes are unknown")
        finally:
            follower.ending = True
            follower.close()
            for call in list(self._calls):  # nothing more will be learnt of them
                self._end(call, call._state.lose)
            self._drop(follower)

    def _drop(self, follower: Follower) -> None:
        """Let the next call have a follower of its own."""
        if self._followers.get(None) is follower:  # always, but in a forked child
            self._followers.pop(None, None)

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

    def _check(self, now: float, stream: EventStream[Event]) -> None:
        self._late = False
        for call in self._of():
            state = call._state
            lost_at = self._lost_at.get(call.node)
            self._late = self._late or _unsettled(call) or call.missing_since is not None
            if self._is_lost(call, lost_at, now, stream):
                self._end(call, state.lose)
            elif lost_at is not None or not _unsettled(call):
                call.unsettled_since = None
            elif call.unsettled_since is None:
                call.unsettled_since = now
            elif now - call.unsettled_since > (LATE_HANGUP if state.legs else LATE_CHANNEL):
                self._end(call, state.settle)

    def _is_lost(self, call: Call, lost_at: float | None, now: float, stream: EventStream[Event]) -> bool:
        """Return True if nothing more can be learnt of a call."""
        state = call._state
        if call._server.sender.state is State.CLOSED or (lost_at is not None and now - lost_at > PATIENCE):
            return True
        if call.missing_since is not None and now - call.missing_since > LATE_CHANNEL:
            return not stream.pending
        silent = state.response is None and state.outcome is None
        return silent and now > call.placed + state.ring_limit + LATE_RESPONSE

    def _end(self, call: Call, how: Callable[[], None]) -> None:
        how()
        self._forget(call)
        call.announce()

    def _of(self, node: Any = ...) -> list[Call]:
        """Return the calls under way on a node; ``...`` stands for all nodes."""
        return [call for call in list(self._calls) if node is ... or call.node == node]

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
        """Wait for the thread to end, after the session has; called by the client's ``close()``."""
        follower = self._followers.get(None)
        if follower is not None:
            follower.finish()
            follower.join(timeout)

    def after_fork(self) -> None:
        """Become those of a forked child: the parent's calls are none of its own."""
        calls, followers = list(self._calls), list(self._followers.values())
        self._reset()
        for follower in followers:
            follower.close()
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
