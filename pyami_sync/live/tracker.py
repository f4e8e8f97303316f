"""Tracker: applies one server's events to its reducer, decides when to fetch lists, and merges them between events."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any

from ..exceptions import ActionError, AMIError
from ..wire.message import Event
from ..wire.response import Response
from .areas import Area
from .comparing import differences
from .draft import Change, Headers
from .merging import Lists
from .reducer import Reducer, headers_of
from .view import View

__all__ = ["Health", "Tracker"]

logger = logging.getLogger("pyami_sync")

CONSISTENT, LOADING, GAP, CLOSED = "consistent", "loading", "gap", "closed"
Health = str
MOST_HELD = 200_000  # events that may wait for a list; further ones count as lost
SETTLE = 0.25  # seconds by which a Hangup may arrive later than a list without its channel
PATIENCE = 0.2  # seconds from an event that names something unknown to the request for lists
SHARE = 0.2  # greatest share of the time for fetching lists because of something unknown
RETRIES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Answer:
    """Fetches the lists of one area, and holds the server's answers."""

    def __init__(self, area: Area, send: Callable[..., Response]) -> None:
        self.area = area
        self.lists: dict[str, Lists] = {}
        self.received = 0.0
        """When the first of them was received, in seconds since the epoch."""
        self.missing = False
        """True if the server did not know a command."""
        self.refused: set[str] = set()
        """Actions that the server refused."""
        self._send = send

    def fetch(self) -> None:
        """Request the lists; blocks.

        Raises:
            AMIError: no complete answer.

        """
        self.lists = {self.area.name: self.area.ask(self._ask)}

    def _ask(self, action: str, **headers: str) -> list[Headers] | None:
        try:
            response = self._send(action, **headers)
        except ActionError as exc:
            self.missing = self.missing or "unknown command" in (exc.response.message or "").lower()
            self.refused.add(action)
            return None
        self.received = self.received or response._origin.received
        return [headers_of(item) for item in response.events]


class Tracker:
    """The model of one server.

    Events are applied on the thread of the live model; lists are fetched on a separate thread, which ends when they
    are complete. Meanwhile events are held back, and then applied in wire order: the events before a list, the list,
    the events after it.

    Args:
        reducer: the model.
        send: sends an action to this server and returns its answer.
        publish: publishes changes; called with the lock held, so that they stay in order.

    """

    def __init__(
        self,
        reducer: Reducer,
        send: Callable[..., Response],
        publish: Callable[[list[Change[Any]]], None],
    ) -> None:
        self.reducer = reducer
        self.health: Health = LOADING
        self.loads = 0
        """Number of times that lists were fetched."""
        self.drift = 0
        """Number of differences that audits have found; if it is not 0, this library or the server has a bug."""
        self.audits = 0
        self.refused: frozenset[str] = frozenset()
        """List actions that the server refused at the last full load."""
        self.lock = Lock()
        """Guards all attributes; nothing blocks and no user code runs while it is held."""
        self._send = send
        self._publish = publish
        self._listing = Lock()  # held while lists are fetched and merged; taken before `lock`
        self._held: list[Event] | None = None  # events that wait for lists; None while no lists are being fetched
        self._wanted: set[str] = set()  # areas to fetch
        self._want_all = False
        self._missing = False  # True if the server did not know a command at the last full load
        self._loader: Thread | None = None
        self._wake = Flag()  # set when all lists are wanted, so that the thread for lists stops waiting
        self._closing = Flag()
        self._closed = False
        self._known = False  # True once lists have been merged
        self._generation = 0  # number of the connection: lists from an earlier connection are discarded
        self._right_at = time.monotonic()
        self._offset: float | None = None  # the server's clock minus this machine's monotonic one
        self._pause = PATIENCE
        self._names = {area.name for area in reducer.areas}
        self._booted = False

    # Events

    def feed(self, event: Event) -> None:
        """Apply an event, or hold it back; the caller holds the lock."""
        name = event.name
        if name == "ConnectionLost":
            self._lost()
        elif name == "Reconnected":
            restarted = headers_of(event).get("ServerRestarted", "").lower() == "yes"
            if restarted:
                self.reducer.clear()
            self._generation += 1
            self._booted = False
            self.load()
        elif name == "FullyBooted":
            self._booted = True
            if self._missing or self.health != CONSISTENT:
                self._missing = False
                self._wake.set()
                if self._loader is None:
                    self.load()
        elif self._held is not None:
            self._held.append(event)
            if len(self._held) > MOST_HELD:
                self._held.clear()
                self.gap()
        else:
            self._apply(event)

    @property
    def current(self) -> bool:
        """True if the model is consistent and contains every event so far; the caller holds the lock."""
        return self.health == CONSISTENT and self._held is None

    def _apply_held(self, event: Event) -> None:
        changes = self.reducer.apply(event)
        if changes:
            self._publish(changes)

    def _apply(self, event: Event) -> None:
        self._apply_held(event)
        draft = self.reducer.draft
        if draft.stale or draft.unknown:
            self._look_up()

    def _look_up(self) -> None:
        """Request fresh lists if an event has named something unknown."""
        draft = self.reducer.draft
        wanted = draft.stale & self._names
        draft.stale.clear()
        if wanted or self._unknown():
            self.load(wanted)

    def _unknown(self) -> bool:
        """Return True if an event has named something that is unknown and has not ended since."""
        return bool(self.reducer.draft.unknown) and "calls" in self._names

    def gap(self) -> None:
        """Note that events are missing, and fetch all lists; the caller holds the lock."""
        self._lost()
        self.load()

    def _note_wrong(self, health: Health) -> None:
        """Note that the model is not consistent any more, and since when."""
        if self.health == CONSISTENT:
            self._right_at = time.monotonic()
        self.health = health

    def _lost(self) -> None:
        self._note_wrong(GAP)
        self._generation += 1
        for event in self._held or ():
            self._apply_held(event)
        if self._held is not None:
            self._held = []
        self.reducer.mark_gap()

    # Lists

    def load(self, areas: set[str] | None = None) -> None:
        """Start fetching the lists of some areas, or of all; the caller holds the lock."""
        if self._closed:
            return
        if areas is None:
            self._want_all = True
            self._wake.set()
            if self.health != GAP:
                self._note_wrong(LOADING)
        else:
            self._wanted |= areas
        if self._loader is None:
            self._loader = Thread(target=self._load, name="pyami-live-lists", daemon=True)
            self._loader.start()

    def _load(self) -> None:
        """Fetch lists until none are wanted; runs on the thread for lists."""
        attempt = 0
        delay = 0.0
        while True:
            with self.lock:
                self._wanted |= self.reducer.draft.stale & self._names
                self.reducer.draft.stale.clear()
                if self._closed or not (self._want_all or self._wanted or self._unknown()):
                    self._loader = None
                    return
                # Something unknown may end a moment later, so wait a little; but not after a gap.
                delay = 0.0 if self._wake.is_set() else delay or (0.0 if self._want_all else self._pause)
                self._wake.clear()
            if delay:
                self._wake.wait(delay)
            with self.lock:
                if self._closed:
                    self._loader = None
                    return
                everything, names = self._want_all, self._wanted
                if self._unknown():
                    names.add("calls")
                areas = [area for area in self.reducer.areas if everything or area.name in names]
                self._want_all, self._wanted = False, set()
                if not areas:
                    continue
            with self._listing:
                missing, generation, booted = self._take(areas, everything)
            delay = 0.0
            with self.lock:
                if generation != self._generation or self._closed:
                    attempt = 0  # the connection has changed: Reconnected requests all lists, or has done so by now
                elif missing is None or (missing and everything and not booted and not self._booted and generation):
                    if missing and attempt == len(RETRIES):
                        self._finished()  # the server does not report when it has booted, and it had enough time
                        continue
                    self._want_all, self._wanted = self._want_all or everything, self._wanted | names
                    delay = RETRIES[min(attempt, len(RETRIES) - 1)]
                    attempt += 1
                elif missing and everything and self._booted and not booted:
                    self._want_all = True  # it has booted while the lists were being fetched
                elif everything:
                    attempt = 0
                    self._missing = missing
                    self._finished()

    def _take(self, areas: list[Area], everything: bool) -> tuple[bool | None, int, bool]:
        """Fetch and merge lists while events are held back.

        Returns:
            The result of :meth:`_fetch`, or None if it failed; the number of the connection; whether the server had
            booted.

        """
        with self.lock:
            generation, booted = self._generation, self._booted
            self._held = []
        missing: bool | None = None
        try:
            missing = self._fetch(areas, generation, everything)
        except AMIError as exc:
            logger.debug("lists for the live model were not answered: %s", exc)
        except Exception:
            logger.exception("the live model could not merge a list")
        with self.lock:
            self._release()
        return missing, generation, booted

    def _finished(self) -> None:
        """Note that all lists have been merged; the caller holds the lock."""
        if not self._want_all and not self._closed:
            self.health = CONSISTENT
            self._known = True
            self._publish([])

    def _fetch(self, areas: list[Area], generation: int, everything: bool) -> bool:
        """Fetch the lists of areas and merge them.

        Returns:
            True if the server did not know a command, which it may know once it has booted.

        """
        began = time.monotonic()
        self._read_clock()
        answers = [Answer(area, self._send) for area in areas]
        for answer in answers:
            answer.fetch()
        if everything:
            self.refused = frozenset(action for answer in answers for action in answer.refused)
            if self.refused:
                logger.info("the server has no list for the live model's %s", ", ".join(sorted(self.refused)))
        self._pause = max(PATIENCE, (time.monotonic() - began) / SHARE)
        with self.lock:
            if self._generation != generation or self._closed:
                return False
            for answer in answers:
                self._release(before=answer.received)
                inferred = self._known and everything
                changes = self.reducer.merge(answer.lists, self._server_time(), inferred=inferred)
                if changes:
                    self._publish(changes)
            self._release()
            doubtful = bool(self.reducer.draft.doubtful)
            self.loads += 1
        if doubtful:
            self._closing.wait(SETTLE)
            self._send("Ping")  # events that were sent before have arrived before its answer
            with self.lock:
                if self._generation == generation and not self._closed:
                    changes = self.reducer.settle(self._server_time())
                    if changes:
                        self._publish(changes)
        return any(answer.missing for answer in answers)

    def _release(self, before: float | None = None) -> None:
        """Apply events that were held back: those received before a time, or all; the caller holds the lock."""
        held = self._held
        if held is None:
            return
        if before is None:
            self._held = None
            for event in held:
                self._apply(event)
            return
        count = next((n for n, event in enumerate(held) if event._origin.received >= before), len(held))
        for event in held[:count]:
            self._apply_held(event)
        del held[:count]

    # Auditing

    def compare(self) -> dict[tuple[str, str], Any] | None:
        """Fetch fresh lists and return how the model differs from them; None if the model is not consistent now."""
        with self._listing:
            with self.lock:
                if self.health != CONSISTENT or self._closed:
                    return None
                generation = self._generation
                self._held = []
            try:
                answers = [Answer(area, self._send) for area in self.reducer.areas]
                for answer in answers:
                    answer.fetch()
                with self.lock:
                    if generation != self._generation or self._closed:
                        return None
                    found: dict[tuple[str, str], Any] = {}
                    for answer in answers:
                        self._release(before=answer.received)
                        trial = Reducer(*self._names, view=self.reducer.view())
                        found |= differences(trial.merge(answer.lists, self._server_time()))
                        for uniqueid in trial.draft.doubtful:
                            found["Channel", uniqueid] = (trial.draft.channels.get(uniqueid), None)
                    return found
            finally:
                with self.lock:
                    self._release()

    def repair(self, drift: int) -> None:
        """Count differences that an audit has found, and fetch all lists."""
        with self.lock:
            self.drift += drift
            self.load()

    # Clock

    def _read_clock(self) -> None:
        before = time.monotonic()
        response = self._send("Ping")
        after = time.monotonic()
        stamp = response.get("Timestamp")
        try:
            server = float(stamp) if stamp is not None else time.time()
        except ValueError:
            server = time.time()
        self._offset = server - (before + after) / 2

    def _server_time(self) -> datetime | None:
        """Return the time of the server's clock; None if it is not known yet."""
        if self._offset is None:
            return None
        return datetime.fromtimestamp(time.monotonic() + self._offset, UTC)

    # Views

    def view(self) -> View:
        """Return a view; the caller holds the lock."""
        age = 0.0 if self.health == CONSISTENT else time.monotonic() - self._right_at
        reducer = self.reducer
        return View(
            reducer.draft.freeze(), reducer.version, self._server_time(), self.health, age, node=reducer.draft.node
        )

    def after_fork(self) -> None:
        """Reset the state in a forked child: the thread for lists, and the locks that it held, exist in the parent
        only.
        """
        self.lock, self._listing = Lock(), Lock()
        self._closed, self._loader = True, None
        self._note_wrong(CLOSED)

    def close(self) -> Thread | None:
        """Stop fetching lists; return the thread that fetches them, if there is one."""
        with self.lock:
            self._closed = True
            self._note_wrong(CLOSED)
            self._wake.set()
            self._closing.set()
            return self._loader
