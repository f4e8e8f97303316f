"""Recording, reading and replaying traffic."""

from __future__ import annotations

import contextlib
import errno
import gzip
import lzma
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterator

import pytest

from pyami_sync.testing import Record, Recorder, ReplayServer, assert_no_leaks, read_tape
from pyami_sync.testing.tape import MAGIC
from tests.asterisk.raw import RawSession

TRAFFIC = pathlib.Path(__file__).parents[1] / "traffic" / "asterisk-22.10-400-calls.ami.xz"


def so_far(raw: RawSession) -> bytes:
    """What came before the answer to a Ping."""
    return raw.ask("Ping").partition(b"Response: Success\r\nActionID: raw-")[0]


class Wire:
    """Something with a tap."""

    def on_wire(self, callback: Callable[[str, bytes], object]) -> None:
        self.callback = callback


def test_record_and_read(tmp_path: pathlib.Path) -> None:
    wire, path = Wire(), tmp_path / "call.tape"
    with assert_no_leaks(), Recorder(path, wire) as recorder:
        wire.callback("received", b"Asterisk Call Manager/11.0.0\r\n")
        wire.callback("sent", b"Action: Login\r\nUsername: a\r\nSecret: hush\r\n\r\n")
        wire.callback("received", b"Event: X\r\nV: \xff\n\n\r\n\r\n")
        assert recorder.count == 3
    recorder.close()
    records = list(read_tape(path))
    assert [(record.direction, record.raw) for record in records] == [
        ("received", b"Asterisk Call Manager/11.0.0\r\n"),
        ("sent", b"Action: Login\r\nUsername: a\r\nSecret: [hidden]\r\n\r\n"),
        ("received", b"Event: X\r\nV: \xff\n\n\r\n\r\n"),
    ]
    times = [record.time for record in records]
    assert times == sorted(times)
    assert b"hush" not in gzip.decompress(path.read_bytes())


def test_append(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "call.tape"
    for number in range(3):
        with Recorder(path) as recorder:
            recorder.add("received", b"%d\r\n\r\n" % number)
    assert gzip.decompress(path.read_bytes()).count(MAGIC) == 1
    assert [record.raw for record in read_tape(path)] == [b"0\r\n\r\n", b"1\r\n\r\n", b"2\r\n\r\n"]


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def wait_for_error(recorder: Recorder) -> None:
    deadline = time.monotonic() + 20
    while recorder.error is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_full_disk_ends_the_recording_and_close_says_so(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.tape"
    with assert_no_leaks(), files_of_at_most(300_000):
        recorder = Recorder(path, interval=0.01)
        recorder.add("received", b"first\r\n\r\n")
        while not recorder.written:
            time.sleep(0.01)
        for _ in range(100):
            recorder.add("received", os.urandom(10_000))
        wait_for_error(recorder)
        recorded = recorder.count
        for _ in range(100):
            recorder.add("received", os.urandom(10_000))
        assert recorder.count == recorded == recorder.written
        assert recorder._pending == []
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                recorder.close()
            assert caught.value.errno == errno.EFBIG
    assert len(list(read_tape(path))) == recorded
    with Recorder(path) as again:  # what is appended later can be read
        again.add("sent", b"later")
    assert [record.raw for record in read_tape(path)][recorded:] == [b"later"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_is_full_from_the_start() -> None:
    with assert_no_leaks(), pytest.raises(OSError) as caught:
        Recorder("/dev/full")
    assert caught.value.errno == errno.ENOSPC


def test_a_recording_that_could_not_begin_leaves_no_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.tape"
    with files_of_at_most(10), pytest.raises(OSError):
        Recorder(path)
    assert not path.exists()


def test_traffic_that_waits_for_the_disk_is_bounded(tmp_path: pathlib.Path) -> None:
    recorder = Recorder(tmp_path / "x.tape", interval=60.0, most_pending=10_000)
    for _ in range(200):
        recorder.add("received", b"x" * 100)
    assert recorder.error is not None
    with pytest.raises(OSError, match="slower"):
        recorder.close()
    assert recorder.count == recorder.written == 0


def test_the_error_of_the_block_counts_more(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KeyError), Recorder(tmp_path / "x.tape", interval=60.0, most_pending=1) as recorder:
        recorder.add("received", b"xx")
        raise KeyError
    assert recorder.error is not None


def test_a_killed_recorder_leaves_a_readable_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "call.tape"
    for number in range(2):
        with Recorder(path) as recorder:
            recorder.add("received", b"%d" % number * 1000)
    whole = path.read_bytes()
    seen = set()
    for size in range(len(gzip.compress(b"")), len(whole)):
        path.write_bytes(whole[:size])
        try:
            seen.add(len(list(read_tape(path))))
        except ValueError as exc:
            pytest.fail(f"cut to {size} bytes: {exc}")
    assert seen >= {0, 1}


def test_damage_is_told(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "call.tape"
    path.write_bytes(MAGIC + b"1.0\nnonsense\n")
    with pytest.raises(ValueError, match="damaged"):
        list(read_tape(path))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_read_a_dump(tmp_path: pathlib.Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x.ami"
    path.write_bytes(
        pack(
            b"Asterisk Call Manager/5.0\r\nEvent: A\r\nTimestamp: 10.500000\r\n\r\nEvent: B\r\n\r\n"
            b"Event: C\r\nTimestamp: 12.000000\r\nx: y\r\n\r\n"
        )
    )
    assert [record.time for record in read_tape(path)] == [0.0, 0.0, 0.0, 1.5]


def test_replay_of_recorded_traffic_at_full_speed() -> None:
    original = lzma.decompress(TRAFFIC.read_bytes())
    server = ReplayServer(TRAFFIC, speed=None, close_at_end=True)
    with server, RawSession(server.port, timeout=30) as raw:
        assert raw.login("anybody", "whatever", events="on").startswith(b"Response: Success\r\nActionID: raw-login\r\n")
        data = raw.read_to_end()
        server.wait_sent()
    assert original.startswith(raw.greeting)
    assert original.endswith(data)
    assert data.startswith(b"Event: FullyBooted\r\n")
    assert len(data) > 8_000_000
    assert data.count(b"\r\n\r\n") == server.messages


def test_actions_are_answered_between_two_messages() -> None:
    with ReplayServer(TRAFFIC, speed=None) as server, RawSession(server.port, timeout=30) as raw:
        raw.login(events="on")
        answer = raw.ask("Ping")
        assert answer.endswith(b"\r\n\r\n")
        assert answer.count(b"Ping: Pong\r\n") == 1


def test_replay_twice_and_close() -> None:
    records = [Record(0.0, "received", b"Event: A\r\n\r\nEvent: B\r"), Record(0.0, "received", b"\n\r\n")]
    with ReplayServer(records, speed=None, repeat=3, close_at_end=True) as server, RawSession(server.port) as raw:
        raw.login(events="on")
        assert raw.read_to_end() == b"Event: A\r\n\r\nEvent: B\r\n\r\n" * 3


def test_replay_at_its_pace() -> None:
    records = [Record(moment, "received", b"Event: %d\r\n\r\n" % moment) for moment in (5, 5, 6, 7)]
    with ReplayServer(records, speed=20) as server, RawSession(server.port) as raw:
        raw.login(events="on")
        assert raw.read_until(b"Event: 5\r\n\r\nEvent: 5\r\n\r\n")
        server.wait_sent()
        assert so_far(raw) == b"Event: 6\r\n\r\nEvent: 7\r\n\r\n"


def test_replay_step_by_step() -> None:
    records = [Record(0.0, "received", b"Event: %d\r\n\r\n" % number) for number in range(4)]
    with ReplayServer(records, stepwise=True) as server, RawSession(server.port) as raw:
        raw.login(events="on")
        assert so_far(raw) == b""
        server.step()
        assert so_far(raw) == b"Event: 0\r\n\r\n"
        server.step(3)
        assert re.findall(rb"\d", so_far(raw)) == [b"1", b"2", b"3"]
        server.wait_sent()


def test_nothing_is_replayed_to_who_wants_no_events() -> None:
    with ReplayServer([Record(0.0, "received", b"Event: A\r\n\r\n")]) as server, RawSession(server.port) as raw:
        raw.login(events="off")
        assert so_far(raw) == b""
        with pytest.raises(AssertionError, match="was not sent"):
            server.wait_sent(0.01)
