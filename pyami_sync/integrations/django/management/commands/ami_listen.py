"""``manage.py ami_listen``: events as Django signals, for as long as it is let."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections
from django.dispatch import Signal

from pyami_sync.client import AMIClient
from pyami_sync.engine.deadline import Deadline
from pyami_sync.events import ConnectionLost as LostMarker
from pyami_sync.events import Reconnected
from pyami_sync.exceptions import AMIError, ConnectError, ConnectionClosed, EventsLost, LoginRejected, WaitTimeout
from pyami_sync.subscriptions.subscribers import EventStream

from ...clients import make_client
from ...signals import ami_connected, ami_event, ami_events_lost

logger = logging.getLogger("pyami_sync.django")

LOOK = 0.25  # seconds between two looks at whether to stop, while nothing happens
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between tries to connect the first time


class Command(BaseCommand):
    """Send events as Django signals until told to stop.

    Made for systemd and containers: a server that is not there yet is waited for, a lost link comes back, and
    SIGTERM (or Ctrl-C) ends it after the events that have come are handled. It ends with an error when the
    login is refused.
    """

    help = "Listen to Asterisk and send its events as Django signals (pyami_sync.integrations.django.signals)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("selectors", nargs="*", metavar="EVENT", help="names or globs; all events unless given")
        parser.add_argument("--client", default="default", help="its name in PYAMI (default: default)")
        parser.add_argument("--buffer", type=int, default=50_000, help="most events that may wait (default: 50000)")
        parser.add_argument(
            "--grace", type=float, default=10.0, help="seconds after SIGTERM to handle what has come (default: 10)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stopping = threading.Event()
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        client = make_client(options["client"])
        selectors = (*options["selectors"], LostMarker, Reconnected) if options["selectors"] else ()
        try:
            if self._connect(client):
                with client.events(*selectors, maxsize=options["buffer"]) as stream:
                    self.stdout.write(f"listening to {client.options.address}")
                    self.stdout.flush()
                    self._send(ami_connected, type(client), client=client, marker=None)
                    self._listen(client, stream, options["grace"])
        finally:
            client.close()
            close_old_connections()
            for number, handler in before.items():
                signal.signal(number, handler)
        self.stdout.write("stopped")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        # A handler of signals interrupts whatever runs here, maybe with a lock held: it only leaves a note.
        self.stopping.set()

    def _connect(self, client: AMIClient) -> bool:
        """Open the session, waiting for a server that is not there; tell whether it is open."""
        pause = FIRST_PAUSE
        while not self.stopping.is_set():
            try:
                client.open()
            except LoginRejected as exc:
                raise CommandError(str(exc)) from None
            except ConnectError as exc:
                logger.warning("%s; trying again in %.1f s", exc, pause)
                self.stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                return True
        return False

    def _listen(self, client: AMIClient, stream: EventStream, grace: float) -> None:
        until: Deadline | None = None
        left = 0
        while True:
            if until is None and self.stopping.is_set():
                until = Deadline(grace)
                self._barrier(client, grace)
                left = stream.pending
            if until is not None:
                if left <= 0:
                    return
                if until.expired:
                    logger.error("stopped with %d events not handled: the grace is over", left)
                    return
                left -= 1
            try:
                event = stream.get(LOOK)
            except WaitTimeout:
                continue
            except EventsLost as exc:
                logger.error("%s", exc)
                self._send(ami_events_lost, type(client), client=client, count=exc.count)
            except ConnectionClosed as exc:
                raise CommandError(str(exc)) from None
            else:
                if isinstance(event, Reconnected):
                    self._send(ami_connected, type(client), client=client, marker=event)
                self._send(ami_event, type(event), client=client, event=event)

    def _barrier(self, client: AMIClient, grace: float) -> None:
        """Wait until everything is in the buffer that the server had sent before: its answer comes behind that."""
        try:
            client.ping(timeout=max(LOOK, grace / 2))
        except AMIError:
            pass  # the link is down: nothing comes any more

    def _send(self, which: Signal, sender: Any, **named: Any) -> None:
        """Send a signal between two looks at the database connections, as a request does."""
        close_old_connections()
        for receiver, result in which.send_robust(sender, **named):
            if isinstance(result, Exception):
                name = getattr(receiver, "__qualname__", receiver)
                logger.error("%s raised at %r", name, named.get("event"), exc_info=result)
        close_old_connections()
