"""Recorded traffic in a file: what passed on the wire, when, and in which direction.

The format, version 1: text and bytes packed with gzip (``zcat`` shows it). The first line is
``pyami-tape 1 <seconds since 1970>``. Then, for each piece of traffic, a line with the microseconds since the
piece before it, ``<`` for received or ``>`` for sent, and a number of bytes; then so many bytes and a line
feed. The file is a row of gzip members, each complete in itself, and is only ever appended to: a recorder
that is killed leaves a file that can be read but for the last moment. No secret is written.

Files that are not of this kind are taken for what a server sent, as it is or packed with gzip or xz; their
times are those of the events' ``Timestamp`` headers, as far as they have some.
"""

from __future__ import annotations

import contextlib
import errno
import lzma
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, Self

from ..wire.redaction import redact

__all__ = ["Record", "Recorder", "read_tape"]

MAGIC = b"pyami-tape 1 "
PIECES = 5000  # of traffic in one member of the file at most
MOST_PENDING = 64 * 1024 * 1024
_MARKS = {"received": b"<", "sent": b">"}
_timestamp = re.compile(rb"\r\nTimestamp: (\d+\.\d+)(?:\r\n|\Z)").search


class Record(NamedTuple):
    """A piece of traffic."""

    time: float
    """Seconds since the recording began."""
    direction: str
    """``"received"`` or ``"sent"``, as the client saw it."""
    raw: bytes


class HasWire(Protocol):
    """What a recorder can be attached to: a client."""

    def on_wire(self, callback: Callable[[str, bytes], object], /) -> Any:
        """Have a callback called with the direction and the bytes of all traffic; may give a function that stops it."""


class Recorder:
    """Write traffic to a file; it is appended to if it exists.

    A thread named ``pyami-recorder`` writes, at least once a second, so that recording delays nobody.
    Use it as a context manager, or call :meth:`close`.

    Args:
        path: of the file.
        client: whose traffic to record: anything with ``on_wire(callback)``.
        interval: most seconds until traffic is in the file.
        most_pending: bytes of traffic that may wait to be written; a disk that is slower loses the recording.

    Raises:
        OSError: the file can't be opened or its first line not written; a file that was made for it is removed.

    A disk that is full, or anything else that ends the writing, ends the recording: what comes later is dropped,
    :attr:`error` holds the reason, and :meth:`close` raises it. The file can be read up to there.

    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        client: HasWire | None = None,
        *,
        interval: float = 1.0,
        most_pending: int = MOST_PENDING,
    ) -> None:
        self.interval = interval
        self.most_pending = most_pending
        self.written = 0
        """Pieces of traffic that are in the file."""
        self.error: OSError | None = None
        """What ended the recording early."""
        existed = os.path.exists(path)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        self._pending: list[tuple[float, bytes, bytes]] = []
        self._pending_bytes = 0
        self._under_way = 0
        self._last = time.monotonic()
        self._closed = False
        self._change = threading.Condition()
        self._taps: list[Any] = []
        if not self._file.tell():
            try:
                self._write(MAGIC + f"{time.time():.3f}\n".encode())
            except OSError:
                self._file.close()
                if not existed:
                    os.unlink(path)  # an empty file would stand in the way of the next try
                raise
        self._thread = threading.Thread(target=self._run, name="pyami-recorder", daemon=True)
        self._thread.start()
        if client is not None:
            self.attach(client)

    @property
    def count(self) -> int:
        """Pieces of traffic recorded so far: written, or about to be."""
        with self._change:
            return self.written + self._under_way + len(self._pending)

    def attach(self, client: HasWire) -> None:
        """Record the traffic of a client from now on."""
        self._taps.append(client.on_wire(self.add))

    def add(self, direction: str, raw: bytes) -> None:
        """Record a piece of traffic; after :meth:`close` it is dropped. For any thread."""
        record = (time.monotonic(), _MARKS[direction], bytes(raw))
        with self._change:
            if self._closed or self.error is not None:
                return
            if self._pending_bytes + len(raw) > self.most_pending:
                self._fail(OSError(errno.ENOBUFS, "the disk is slower than the traffic; the recording ended"))
                return
            self._pending.append(record)
            self._pending_bytes += len(raw)
            if len(self._pending) == 1:
                self._change.notify()

    def close(self) -> None:
        """Write what is left and close the file; idempotent.

        A client hands traffic over a moment after it passed: what has not come by now is not recorded.

        Raises:
            OSError: not all that came could be written; each call raises it.

        """
        while self._taps:
            stop = self._taps.pop()
            if callable(stop):
                stop()
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()
        self._file.close()
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, traceback: object) -> None:
        try:
            self.close()
        except OSError:
            if exc is None:  # else what ended the block counts more; .error has the other
                raise

    def _fail(self, exc: OSError) -> None:
        """End the recording; the lock is held."""
        self.error = self.error or exc
        self._pending = []
        self._pending_bytes = 0
        self._change.notify_all()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._pending or self._closed or self.error)
                if not self._closed:
                    # A moment to let more come: a member of the file for each piece would pack badly.
                    self._change.wait_for(lambda: self._closed or self.error, self.interval)
                if self.error is not None:
                    return
                pending, self._pending = self._pending, []
                self._pending_bytes = 0
                self._under_way = len(pending)
                closed = self._closed
            for at in range(0, len(pending), PIECES):
                part = pending[at : at + PIECES]
                try:
                    self._write(b"".join(map(self._spell, part)))
                except OSError as exc:
                    with self._change:
                        self._under_way = 0
                        self._fail(exc)
                    return
                with self._change:
                    self.written += len(part)
                    self._under_way -= len(part)
            if closed:
                return

    def _spell(self, record: tuple[float, bytes, bytes]) -> bytes:
        moment, mark, raw = record
        raw = redact(raw)
        passed = max(0, int((moment - self._last) * 1e6))
        self._last = moment
        return b"%d %b %d\n%b\n" % (passed, mark, len(raw), raw)

    def _write(self, data: bytes) -> None:
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        packed = memoryview(packer.compress(data) + packer.flush())
        began = self._file.seek(0, os.SEEK_END)
        try:
            while packed:  # unbuffered, so that nothing of it is left for close() to fail on
                packed = packed[self._file.write(packed) :]
        except OSError:
            # Half a member at the end would hide whatever is appended later.
            with contextlib.suppress(OSError):
                self._file.truncate(began)
            raise


def read_tape(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Read a tape, or a dump of what a server sent, piece by piece.

    What a killed recorder left incomplete at the end is not given.

    Raises:
        OSError: the file can't be read.
        ValueError: it is a tape, but damaged.

    """
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(b"\x1f\x8b"):
        data = _unpack(data)
    elif data.startswith(b"\xfd7zXZ"):
        data = lzma.decompress(data)
    yield from _records(data) if data.startswith(MAGIC) else _dump(data)


def _unpack(data: bytes) -> bytes:
    """Unpack gzip members, as far as they go."""
    found = []
    while data.startswith(b"\x1f\x8b"):
        unpacker = zlib.decompressobj(31)
        try:
            found.append(unpacker.decompress(data) + unpacker.flush())
        except zlib.error:
            break
        data = unpacker.unused_data
    return b"".join(found)


def _records(data: bytes) -> Iterator[Record]:
    at = data.find(b"\n") + 1 or len(data)
    moment = 0.0
    while at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            return
        try:
            passed, mark, size = data[at:end].split(b" ")
            start, stop = end + 1, end + 1 + int(size)
            direction = {b"<": "received", b">": "sent"}[mark]
            moment += int(passed) / 1e6
        except (ValueError, KeyError):
            raise ValueError(f"the tape is damaged at byte {at}") from None
        if stop >= len(data):
            return
        yield Record(moment, direction, data[start:stop])
        at = stop + 1


def _dump(data: bytes) -> Iterator[Record]:
    greeting, line, rest = data.partition(b"\r\n")
    if b": " in greeting:
        rest = data
    else:
        yield Record(0.0, "received", greeting + line)
    began: float | None = None
    moment = 0.0
    for frame in rest.split(b"\r\n\r\n"):
        if not frame:
            continue
        found = _timestamp(frame)
        if found:
            stamp = float(found[1])
            began = stamp if began is None else began
            moment = max(moment, stamp - began)
        yield Record(moment, "received", frame + b"\r\n\r\n")
