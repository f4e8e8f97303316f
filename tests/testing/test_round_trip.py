"""Recording a client and replaying it to another: the same events in the same order."""

from __future__ import annotations

import pathlib
import threading

from pyami_sync import connect
from pyami_sync.testing import Recorder, ReplayServer, Scenario, Simulator, assert_no_leaks, read_tape


def test_a_recording_replays_to_the_same_events(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "calls.tape"
    seen: list[bytes] = []
    with assert_no_leaks(), Simulator() as simulator, connect(simulator.url) as client:
        with client.events(maxsize=1_000_000) as stream, Recorder(path, client) as recorder:
            # Taps are called one after the other, behind the events: this one, and so the recorder, has seen it all.
            told = threading.Event()
            client.on_wire(lambda direction, raw: told.set() if b"UserEvent: Last" in raw else None)
            simulator.play(Scenario(calls_per_second=10, calls=60, speed=200)).wait()
            client.ping()
            simulator.emit("UserEvent", UserEvent="Last")
            for event in stream:
                seen.append(event.to_bytes())
                if event.name == "UserEvent":
                    break
            assert told.wait(10)
            assert recorder.count > 1000
    received = b"".join(record.raw for record in read_tape(path) if record.direction == "received")
    for event in seen[1:]:
        assert event in received
    again: list[bytes] = []
    with ReplayServer(path, speed=None, stepwise=True) as server, connect(server.url) as client:
        with client.events(maxsize=1_000_000) as stream:
            server.step(server.messages)
            for event in stream:
                again.append(event.to_bytes())
                if event.name == "UserEvent":
                    break
    assert len(again) > 1000
    assert again == seen[-len(again) :]


def test_a_tape_holds_no_secret(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "login.tape"
    with Simulator(secret="hush-hush") as simulator:
        with Recorder(path) as recorder, connect(simulator.url) as client:
            recorder.attach(client)
            client.send("PJSIPShowAuths")
            client.send("Login", Username="admin", Secret="hush-hush")
    raw = b"".join(record.raw for record in read_tape(path))
    assert b"Password: [hidden]" in raw
    assert b"alice-secret" not in raw
    assert b"hush-hush" not in raw
