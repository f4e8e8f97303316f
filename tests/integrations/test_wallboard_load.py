"""The wallboard under gunicorn: four workers, two hundred open pages."""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from pyami_sync import connect
from pyami_sync.testing import Simulator

from .processes import EXAMPLES, Process, Service, free_port
from .waiting import until

STREAMS = 200
SECONDS = float(os.environ.get("PYAMI_STREAM_SECONDS", "6"))  # a minute where there is time


class Streams:
    """Open pages, read by one thread."""

    def __init__(self, port: int, count: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.rest: dict[socket.socket, bytes] = {}
        self.latest: dict[socket.socket, Any] = {}
        self.pictures = 0
        self.dropped = 0
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), 10)
            sock.sendall(b"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ)
            self.rest[sock] = b""

    def read(self, seconds: float) -> None:
        """Read what comes within that time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for key, _ in self.selector.select(left):
                self._take(key.fileobj)  # type: ignore[arg-type]

    def _take(self, sock: socket.socket) -> None:
        data = sock.recv(1 << 20)
        if not data:
            self.dropped += 1
            self.selector.unregister(sock)
            return
        *lines, self.rest[sock] = (self.rest[sock] + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                self.latest[sock] = json.loads(line[6:])
                self.pictures += 1

    def close(self) -> None:
        for sock in self.rest:
            sock.close()
        self.selector.close()


@pytest.mark.slow
@pytest.mark.deployment
def test_two_hundred_pages_on_four_workers(tmp_path: Path) -> None:
    port = free_port()
    service = Service(port)
    gunicorn = ("-m", "gunicorn", "-c", "gunicorn.conf.py", "app:create_app()")
    environment = {"WALLBOARD_BIND": f"127.0.0.1:{port}"}
    with (
        Simulator() as simulator,
        Process(
            tmp_path / "log", *gunicorn, cwd=EXAMPLES / "wallboard", AMI_URL=simulator.url, **environment
        ) as process,
    ):
        service.wait_until_up(process)
        simulator.wait_for_sessions(4, 20)  # one a worker, none of the master
        streams = Streams(port, STREAMS)
        try:
            until(lambda: streams.read(0.1) or len(streams.latest) == STREAMS, "a picture on each page", 60)
            with connect(simulator.url, event_mask="off") as ami:
                end = time.monotonic() + SECONDS
                while time.monotonic() < end:
                    ami.originate("Local/100@default", Application="Wait", Data="0.5")
                    streams.read(0.5)
                ami.originate("Local/100@default", Application="Wait", Data="3600", CallerID="Last <999>")

                def all_have_the_last() -> bool:
                    streams.read(0.1)
                    return all(
                        any("999" in (call["from"]["num"], call["to"]["num"]) for call in picture["calls"])
                        for picture in streams.latest.values()
                    )

                until(all_have_the_last, "the last call on each page", 60)
            assert streams.dropped == 0
            assert streams.pictures > STREAMS * 5
            assert simulator.accepted == 5  # one a worker, and this test's
        finally:
            streams.close()
        assert process.end() == 0
        simulator.wait_until(lambda: not simulator.connections, 10, "the end of all sessions")
        assert "Traceback" not in process.output
