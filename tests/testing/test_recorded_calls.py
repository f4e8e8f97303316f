"""The recording of 400 calls: replayed, recorded again by a client, and replayed once more."""

from __future__ import annotations

import threading
from pathlib import Path

import pyami_sync
from pyami_sync.testing import Recorder, ReplayServer

TRAFFIC = Path(__file__).parent.parent / "traffic" / "asterisk-22.10-400-calls.ami.xz"


def events_of(tape: Path, record: Path | None = None) -> list[bytes]:
    """What a client hears that reads a tape as fast as it can."""
    heard: list[bytes] = []
    with ReplayServer(tape, speed=None, close_at_end=True) as server:
        client = pyami_sync.AMIClient.from_url(server.url, reconnect=False)
        over = threading.Event()
        client.on(lambda event: over.set() if event.name == "ConnectionLost" else heard.append(event.to_bytes()))
        recorder = Recorder(record, client) if record is not None else None
        with client:
            assert over.wait(60)
        if recorder is not None:
            recorder.close()
        assert client.stats().wire_lost == 0
        assert client.stats().events_lost == 0
    return heard


def test_400_calls_are_heard_in_order_and_again_from_the_clients_own_recording(tmp_path: Path) -> None:
    first = events_of(TRAFFIC, tmp_path / "calls.tape")
    assert len(first) > 19_000
    assert events_of(tmp_path / "calls.tape") == first
