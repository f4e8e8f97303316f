"""Leader: publishes the events of a node's session to the broker, and runs the broker's requests on the session.

The session's event stream is the spool: its buffer is bounded, the engine never waits for it, and events that do not
fit are counted at their place. One thread takes events from it, numbers them, and publishes them in batches; while
one batch is being confirmed, the events of the next one collect in the buffer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Event as Flag
from threading import Thread
from typing import Any

from .. import (
    Action,
    ActionError,
    ActionTimeout,
    AMIClient,
    AMIError,
    ConnectionClosed,
    Event,
    EventsLost,
    EventStream,
    InvalidAction,
    Message,
    Response,
    State,
    WaitTimeout,
)
from .. import ConnectionLost as LinkLost
from .envelope import Position, Record, make_record
from .errors import BrokerUnavailable, Fenced
from .markers import events_lost, leader_changed, snapshot
from .requests import AllowList, Answer, Outcome, Request
from .state import NodeState
from .transport import Lease, Transport

__all__ = ["Leader", "LeaderStats", "run_request"]

logger = logging.getLogger("pyami_sync")

BATCH = 1_000
CONFIRM = 5.0  # seconds for a batch to be confirmed before it is published again
IDLE = 0.25  # seconds after which an idle leader checks whether it is to end
LONGEST_PAUSE = 1.0
LINGER = 0.002  # seconds that the first event of a batch waits for others: a batch costs as much as ten events
STOP = 5.0  # seconds for the thread that fetches lists to end
RUN_LIMIT = 60.0  # seconds that a server may take to answer an action


@dataclass(frozen=True, slots=True)
class LeaderStats:
    """A snapshot of a leader's statistics."""

    node: str
    epoch: int
    connected: bool
    published: int
    """Number of events that the broker has confirmed, markers included."""
    lost: int
    """Number of events that did not fit into the spool."""
    spool: int
    """Number of events that wait for the broker."""
    lag: float
    """Seconds that the oldest event of the current batch has waited."""
    retries: int


class Leader:
    """Publishes the events of one node while it holds the lease.

    Args:
        lease: the lease of the node.
        transport: the broker.
        client: the node's session, which may lose its link and reconnect.
        stream: every event of the session. It was opened before the session began to connect, so that it misses none.
        batch: most events in one batch.
        snapshots: seconds between two Snapshot markers; :data:`None` for none.
        ended: called last on the leader's thread, when it has stopped publishing.

    """

    def __init__(
        self,
        lease: Lease,
        transport: Transport,
        client: AMIClient,
        stream: EventStream[Event],
        *,
        batch: int = BATCH,
        snapshots: float | None = None,
        ended: Callable[[Leader], None] = lambda leader: None,
    ) -> None:
        self.lease = lease
        self.client = client
        self._transport = transport
        self._stream = stream
        self._most = batch
        self._snapshots = snapshots
        self._state: NodeState | None = None
        self._ended = ended
        self._seq = 0
        self._published = 0
        self._retries = 0
        self._oldest: float | None = None
        self._stop = Flag()
        self._abandoned = Flag()
        self.over = Flag()
        """Set by its owner when its session has ended, too, so that the lease may be released."""
        self._thread = Thread(target=self._run, name=f"pyami-bridge-{lease.node}", daemon=True)

    # For other threads

    def start(self) -> None:
        """Start publishing; does not block."""
        self._thread.start()

    def resign(self) -> None:
        """Publish the events in the spool, and then stop; does not wait."""
        self._stop.set()

    def abandon(self) -> None:
        """Stop publishing, because the lease was lost; does not wait."""
        self._abandoned.set()
        self._stop.set()

    def join(self, timeout: float | None) -> bool:
        """Wait until it has ended; return False if it has not within ``timeout`` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def leading(self) -> bool:
        """True while it publishes."""
        return not self._stop.is_set()

    def stats(self) -> LeaderStats:
        """Return a snapshot of its statistics."""
        oldest, stream = self._oldest, self._stream
        return LeaderStats(
            node=self.lease.node,
            epoch=self.lease.epoch,
            connected=self.client.state is State.CONNECTED,
            published=self._published,
            lost=stream.lost,
            spool=stream.pending,
            lag=0.0 if oldest is None else max(0.0, time.time() - oldest),
            retries=self._retries,
        )

    # On its own thread

    def _run(self) -> None:
        lease, stream = self.lease, self._stream
        try:
            first = leader_changed(lease.node, lease.epoch, lease.owner, lease.previous)
            self._publish([self._numbered(first)])
            if self._snapshots is not None:
                self._state = NodeState(self.client, lease.node, self._snapshots)
            while not self._stop.is_set():
                self._publish(self._gather(stream, IDLE))
            # The events up to now are published; a leader that resigns does not wait for more.
            left = stream.pending
            while left > 0 and not self._abandoned.is_set() and (batch := self._gather(stream, 0.0)):
                left -= len(batch)
                self._publish(batch)
        except Fenced as exc:
            logger.warning("%s", exc)
        except ConnectionClosed as exc:
            # Every event before its end was published.
            logger.warning("the session with node %r is over: %s", lease.node, exc)
        except Exception:
            logger.exception("the leader of node %r failed", lease.node)
        finally:
            self._stop.set()
            stream.close()
            lists = None if self._state is None else self._state.close()
            self._ended(self)
            if lists is not None:
                lists.join(STOP)  # the actions that it waits for have ended with the session

    def _gather(self, stream: EventStream[Event], wait: float) -> list[Record]:
        """Return the next events, numbered; an empty list if none came in time."""
        batch: list[Record] = []
        get, state = stream.get, self._state
        while len(batch) < self._most:
            try:
                event = get(0.0 if batch else wait)
            except WaitTimeout:
                break
            except EventsLost as exc:
                # The lost events have numbers, too, so that a consumer sees from the numbers what is missing.
                first = Position(self.lease.epoch, self._seq + 1)
                self._seq += exc.count
                last = Position(self.lease.epoch, self._seq)
                batch.append(self._numbered(events_lost(self.lease.node, first, last, "spool full")))
                if state is not None:
                    state.gap()
                continue
            except ConnectionClosed:
                if batch:
                    break
                raise
            if wait and not batch and stream.pending < self._most:
                self._abandoned.wait(LINGER)
            batch.append(self._numbered(event))
            if state is not None:
                state.feed(event)
        if state is not None and (text := state.take()) is not None:
            batch.append(self._numbered(snapshot(self.lease.node, text)))
        return batch

    def _numbered(self, event: Event) -> Record:
        self._seq += 1
        return make_record(self.lease.node, Position(self.lease.epoch, self._seq), event)

    def _publish(self, batch: list[Record]) -> None:
        """Publish a batch repeatedly until it is confirmed, since no later event may be published before it.

        Raises:
            Fenced: another bridge leads the node.

        """
        if not batch:
            return
        pause = 0.02
        self._oldest = batch[0].time
        while not self._abandoned.is_set():
            try:
                self._transport.publish(self.lease, batch, CONFIRM)
            except BrokerUnavailable as exc:
                self._retries += 1
                logger.info("node %r: %d events and more wait: %s", self.lease.node, len(batch), exc)
                self._abandoned.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._published += len(batch)
                self._oldest = None
                return


def run_request(
    request: Request, client: AMIClient | None, allowed: AllowList, reply: Callable[[Request, Answer], None]
) -> None:
    """Run a request at most once, if it is allowed, and reply; does not wait for the server.

    ``reply`` is called on a callback thread of the client, or at once on this thread if no answer has to be awaited.
    """
    try:
        message = Message.from_bytes(request.action)
        action = Action(*_parts(message))
    except (ValueError, InvalidAction, IndexError) as exc:
        reply(request, Answer(request.id, "refused", f"no valid action: {exc}"))
        return
    refusal = allowed.refusal(request.user, request.node, action)
    if refusal is not None:
        logger.warning("request %s refused: %s", request.id, refusal)
        reply(request, Answer(request.id, "refused", f"Permission denied by the bridge: {refusal}"))
        return
    if client is None or client.state is not State.CONNECTED:
        reply(request, Answer(request.id, "refused", f"node {request.node!r} is not connected; the action has not run"))
        return
    # The time is checked directly before sending, with nothing between that may take long.
    if request.expired:
        reply(request, Answer(request.id, "expired", "its time was over before it could be run"))
        return
    try:
        future = client.submit(action, timeout=RUN_LIMIT, check=False)
    except AMIError as exc:
        outcome: Outcome = "unknown" if getattr(exc, "sent", False) else "refused"
        reply(request, Answer(request.id, outcome, str(exc)))
        return
    future.add_done_callback(lambda done: reply(request, _answer_of(request, done)))


def _parts(message: Message) -> tuple[str, list[tuple[str, str]]]:
    (name, value), *rest = message.items()
    if name.lower() != "action":
        raise ValueError("the first header is not Action")
    return value, rest


def _answer_of(request: Request, done: Future[Any]) -> Answer:
    try:
        response: Response = done.result()
    except ActionError as exc:
        return Answer.of_response(request.id, exc.response)
    except (ActionTimeout, LinkLost) as exc:
        if not exc.sent:
            return Answer(request.id, "refused", f"{exc}; the action has not run")
        return Answer(request.id, "unknown", str(exc))
    except Exception as exc:
        return Answer(request.id, "unknown", str(exc))
    return Answer.of_response(request.id, response)
