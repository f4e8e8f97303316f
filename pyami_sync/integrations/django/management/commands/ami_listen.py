"""``manage.py ami_listen``: sends events as Django signals until it is stopped."""

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

LOOK = 0.25  # seconds between two checks whether to stop, while no events arrive
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts to connect the first time


class Command(BaseCommand):
    """Send events as Django signals until the command is stopped.

    Made for systemd and containers: it waits for a server that is not reachable yet, reconnects after a lost link,
    and on SIGTERM (or Ctrl-C) ends after handling the events that have arrived. It ends with an error if the login is
    refused.
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
        # A signal handler interrupts this thread at any point, perhaps with a lock held, so it only sets a flag.
        self.stopping.set()

    def _connect(self, client: AMIClient) -> bool:
        """Open the session, waiting for an unreachable server; return False if the command was stopped before."""
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
        """Wait until all events that were sent so far are in the buffer: the answer to a Ping follows them."""
        try:
            client.ping(timeout=max(LOOK, grace / 2))
        except AMIError:
            pass  # the link is down: no more events will arrive

    def _send(self, which: Signal, sender: Any, **named: Any) -> None:
        """Send a signal, and close old database connections before and after it, as for a request."""
        close_old_connections()
        for receiver, result in which.send_robust(sender, **named):
            if isinstance(result, Exception):
                name = getattr(receiver, "__qualname__", receiver)
                logger.error("%s raised at %r", name, named.get("event"), exc_info=result)
        close_old_connections()
