"""Tracker: applies one server's events to its reducer, decides when to fetch lists, and merges them between events."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock, Thread
from typing import Any

from ..engine.waiting import Waiters
from ..exceptions import ActionError, AMIError
from ..wire.message import Event
from ..wire.response import Response
from .areas import Area
from .comparing import differences
from .draft import Change, Headers, Tables
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
        publish: hands on changes, there may be none; called with the lock held, so that they keep their order.
            Without it they are dropped.

    """

    def __init__(
        self,
        reducer: Reducer,
        send: Callable[..., Response],
        publish: Callable[[list[Change[Any]]], None] | None = None,
    ) -> None:
        self.reducer = reducer
        self._health: Health = LOADING
        self.loads = 0
        """Number of times that lists were fetched."""
        self.drift = 0
        """Number of differences that audits have found; if it is not 0, this library or the server has a bug."""
        self.audits = 0
        self.refused: frozenset[str] = frozenset()
        """List actions that the server refused at the last full load."""
        self.lock = Lock()
        """Guards everything here; nothing blocks and no user code runs while it is held.

        Only the library's own threads take it. A signal handler interrupts what the main thread does, and that must not
        hold what the model needs: :attr:`health`, :meth:`view` and :meth:`close` use single steps instead.
        """
        self._send = send
        self._publish = publish
        self._listing = Lock()  # held while lists are fetched and merged; taken before `lock`
        self._held: list[Event] | None = None  # events that wait for lists; None while no lists are being fetched
        self._wanted: set[str] = set()  # areas to fetch
        self._want_all = False
        self._missing = False  # True if the server did not know a command at the last full load
        self._loader: Thread | None = None
        self._hurry = False  # all lists are wanted: their thread waits for nothing
        self._pausing = Waiters()  # their thread, until it is to hurry or to end
        self._closed = False
        self._closed_at = 0.0
        self._begun = False
        self._known = False  # lists have been merged at least once
        self._generation = 0  # of the connection: lists of an older one are worth nothing
        self._right_at = time.monotonic()
        self._offset: float | None = None  # the server's clock minus this machine's monotonic one
        self._pause = PATIENCE
        self._names = {area.name for area in reducer.areas}
        self._booted = False
        self._untold: list[Change[Any]] = []
        self._shown = self._picture()  # replaced as a whole: readers need no lock

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
                self._skip_pause()
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
        self._note(self.reducer.apply(event))

    def _note(self, changes: list[Change[Any]]) -> None:
        if self._publish is not None:
            self._untold += changes

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
        """Note that the model does not follow the server any more, and since when."""
        if self._health == CONSISTENT:
            self._right_at = time.monotonic()
        self._health = health

    def _lost(self) -> None:
        self._note_wrong(GAP)
        self._generation += 1
        for event in self._held or ():
            self._apply_held(event)
        if self._held is not None:
            self._held = []
        self.reducer.mark_gap()

    # Lists

    def begin(self) -> None:
        """Fetch lists for the first time, unless that has been done; the caller holds the lock."""
        if not self._begun:
            self._begun = True
            self.load()

    def _skip_pause(self) -> None:
        self._hurry = True
        self._pausing.notify_all()

    def load(self, areas: set[str] | None = None) -> None:
        """Start fetching the lists of some areas, or of all; the caller holds the lock."""
        if self._closed:
            return
        if areas is None:
            self._want_all = True
            self._skip_pause()
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
                    self._end_loading()
                    return
                # What is unknown may have ended by itself a moment later; a gap does not wait.
                delay = 0.0 if self._hurry else delay or (0.0 if self._want_all else self._pause)
                self._hurry = False
            if delay:
                self._pausing.wait(lambda: self._hurry or self._closed, delay)
            with self.lock:
                if self._closed:
                    self._end_loading()
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

    def _end_loading(self) -> None:
        self._loader = None
        self.tell()  # wakes a thread that waits in close()

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
            self.tell()
        return missing, generation, booted

    def _finished(self) -> None:
        """Note that all lists have been merged; the caller holds the lock."""
        if not self._want_all and not self._closed:
            self._shown = self._picture()  # first: who sees that it is consistent sees it all
            self._health = CONSISTENT
            self._known = True
            self.tell()

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
                self._note(self.reducer.merge(answer.lists, self._server_time(), inferred=inferred))
            self._release()
            self.tell()
            doubtful = bool(self.reducer.draft.doubtful)
            self.loads += 1
        if doubtful:
            self._pausing.wait(lambda: self._closed, SETTLE)
            self._send("Ping")  # events that were on their way have come before its answer
            with self.lock:
                if self._generation == generation and not self._closed:
                    self._note(self.reducer.settle(self._server_time()))
                    self.tell()
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
                    self.tell()

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

    @property
    def health(self) -> Health:
        """``consistent``, ``loading``, ``gap`` or ``closed``; no lock is needed."""
        return CLOSED if self._closed else self._health

    @property
    def loader(self) -> Thread | None:
        """The thread that fetches lists, while there is one."""
        return self._loader

    def _picture(self) -> tuple[Tables, int]:
        return self.reducer.draft.freeze(), self.reducer.version

    def tell(self) -> None:
        """Show what was fed, and hand on what it changed; the caller holds the lock.

        Not done for each event of a burst, because it costs half as much as taking up one.
        """
        self._shown = self._picture()  # first: who is told of a change finds it in the view
        changes, self._untold = self._untold, []
        if self._publish is not None:
            self._publish(changes)

    def view(self) -> View:
        """Return the picture of the last :meth:`tell`; no lock is needed."""
        health, right_at, now = self.health, self._right_at, time.monotonic()
        # After the health: "consistent" must be reported only of what is shown already.
        tables, version = self._shown
        if self._health == CONSISTENT:
            right_at = self._closed_at if health == CLOSED else now
        return View(tables, version, self._server_time(), health, now - right_at, node=self.reducer.draft.node)

    def after_fork(self) -> None:
        """Reset the state in a forked child: the thread for lists, and the locks that it held, exist in the parent
        only.
        """
        self.lock, self._listing = Lock(), Lock()
        self._pausing = Waiters()
        self.close()
        self._loader = None

    def close(self) -> None:
        """Fetch no more lists, and have the thread that does so end; never waits, and may be repeated."""
        if not self._closed:
            self._closed_at = time.monotonic()
            self._closed = True
        self._pausing.notify_all()
