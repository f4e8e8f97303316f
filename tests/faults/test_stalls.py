"""Servers that stand still and networks that delay: told as a stall, and not as anything else."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest

from pyami_sync import AMIClient
from pyami_sync import events as ami_events
from tests.asterisk.plugin import AsteriskFactory
from tests.asterisk.server import AsteriskServer

LIMIT = 0.4
WATCHFUL = {"username": "patient", "secret": "patient-secret", "keepalive": 0.2, "stall_after": LIMIT}


class Delay:
    """A proxy in front of a port of 127.0.0.1 that passes on to its client what has waited for :attr:`seconds`."""

    def __init__(self, target: int) -> None:
        self.seconds = 0.0
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        self._over, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._run, args=(listener, target), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.close()
        self._thread.join(10)
        self._over.close()

    def _run(self, listener: socket.socket, target: int) -> None:
        with listener, selectors.DefaultSelector() as selector:
            selector.register(self._over, selectors.EVENT_READ)
            selector.register(listener, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select()}
            if self._over in ready:
                return
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", target)) as server:
                selector.register(client, selectors.EVENT_READ)
                selector.register(server, selectors.EVENT_READ)
                waiting: list[tuple[float, int, bytes]] = []
                order = itertools.count()
                while True:
                    left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
                    for key, _ in selector.select(left):
                        if key.fileobj is self._over:
                            return
                        if key.fileobj is listener:
                            continue
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is client:
                            server.sendall(data)
                        else:
                            # Never before what came earlier.
                            due = max([time.monotonic() + self.seconds, *(each[0] for each in waiting)])
                            heapq.heappush(waiting, (due, next(order), data))
                    while waiting and waiting[0][0] <= time.monotonic():
                        client.sendall(heapq.heappop(waiting)[2])


@pytest.fixture
def server(asterisk_version: int, asterisk_factory: AsteriskFactory) -> AsteriskServer:
    """A server that a test may stop."""
    return asterisk_factory(asterisk_version)


@pytest.fixture
def chatter(server: AsteriskServer) -> Iterator[threading.Event]:
    """Have the server send an event every 20 ms, until the test ends or sets what it gets."""
    over = threading.Event()

    def talk() -> None:
        with server.session("patient") as raw:
            while not over.wait(0.02):
                raw.action("UserEvent", ("UserEvent", "Chatter"))

    thread = threading.Thread(target=talk)
    thread.start()
    yield over
    over.set()
    thread.join(10)


@pytest.mark.asterisk
def test_a_server_that_is_stopped_and_goes_on(server: AsteriskServer, caplog: pytest.LogCaptureFixture) -> None:
    assert server.pid is not None
    with (
        AMIClient("127.0.0.1", server.port, **WATCHFUL) as ami,  # type: ignore[arg-type]
        ami.events(ami_events.Stalled, ami_events.Recovered) as told,
    ):
        os.kill(server.pid, signal.SIGSTOP)
        try:
            stalled = told.get(20)
            assert (type(stalled), stalled.what) == (ami_events.Stalled, "answers")
            assert stalled.late >= LIMIT
            assert ami.stats().late >= LIMIT
        finally:
            os.kill(server.pid, signal.SIGCONT)
        recovered = told.get(20)
        assert type(recovered) is ami_events.Recovered
        assert recovered.late >= LIMIT
        stats = ami.stats()
        assert (stats.stalls, stats.losses) == (1, 0)
        assert stats.stall_total == pytest.approx(recovered.lasted, abs=0.01)
    assert [each.levelno for each in caplog.records if "late" in each.message] == [logging.WARNING] * 2


@pytest.mark.asterisk
def test_a_delayed_network(server: AsteriskServer, chatter: threading.Event) -> None:
    with (
        Delay(server.port) as delay,
        AMIClient("127.0.0.1", delay.port, **{**WATCHFUL, "keepalive": None}) as ami,  # type: ignore[arg-type]
        ami.events("UserEvent", overflow="drop_oldest", maxsize=1) as chat,
        ami.events(ami_events.Stalled, ami_events.Recovered) as told,
    ):
        for _ in range(60):  # a second of life without delay, to learn what the clocks say
            chat.get(10)
        assert not told.pending
        delay.seconds = 3 * LIMIT
        assert type(told.get(20)) is ami_events.Stalled
        delay.seconds = 0.0
        recovered = told.get(20)
        assert type(recovered) is ami_events.Recovered
        assert 2 * LIMIT < recovered.late < 5 * LIMIT + 5.0
        assert ami.stats().stalls == 1


@pytest.mark.asterisk
def test_a_constant_delay_of_events_is_no_stall(server: AsteriskServer, chatter: threading.Event) -> None:
    """It looks like a clock that differs, and is always the same; only a round trip tells it."""
    with (
        Delay(server.port) as delay,
        AMIClient("127.0.0.1", delay.port, **{**WATCHFUL, "keepalive": None}) as ami,  # type: ignore[arg-type]
        ami.events("UserEvent", overflow="drop_oldest", maxsize=1) as chat,
        ami.events(ami_events.Stalled) as told,
    ):
        current = ami._session.current
        assert current is not None
        delay.seconds = LIMIT * 0.9
        for _ in range(60):
            chat.get(10)
        assert not told.pending
