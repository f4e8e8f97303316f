"""Tapes: files of recorded traffic, with the time and direction of each piece.

The format, version 1: text and bytes packed with gzip (``zcat`` shows it). The first line is
``pyami-tape 1 <seconds since 1970>``. Then, for each piece of traffic, a line with the microseconds since the
piece before it, ``<`` for received or ``>`` for sent, and a number of bytes; then these bytes and a line feed. The
file is a sequence of complete gzip members, and is only ever appended to: after a recorder was killed, the file is
readable except for the last moment. No secret is written.

Other files are read as dumps of a server's bytes, plain or compressed with gzip or xz; their times are those of the
events' ``Timestamp`` headers, if they have any.
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
PIECES = 5000  # most pieces of traffic in one gzip member
MOST_PENDING = 64 * 1024 * 1024
_MARKS = {"received": b"<", "sent": b">"}
_timestamp = re.compile(rb"\r\nTimestamp: (\d+\.\d+)(?:\r\n|\Z)").search


class Record(NamedTuple):
    """A piece of traffic."""

    time: float
    """Seconds since the recording began."""
    direction: str
    """``"received"`` or ``"sent"``, from the client's point of view."""
    raw: bytes


class HasWire(Protocol):
    """Something that a recorder can be attached to: a client."""

    def on_wire(self, callback: Callable[[str, bytes], object], /) -> Any:
        """Have a callback called with the direction and bytes of all traffic; may return a function that stops it."""


class Recorder:
    """Records traffic in a file, which is appended to if it exists.

    A thread named ``pyami-recorder`` writes the file, at least once a second, so that recording causes no delay.
    Use it as a context manager, or call :meth:`close`.

    Args:
        path: of the file.
        client: the client to record, or another object with ``on_wire(callback)``.
        interval: most seconds until traffic is in the file.
        most_pending: most bytes of traffic that may wait to be written; if the disk is slower, the recording ends.

    Raises:
        OSError: the file can't be opened or its first line can't be written; a newly created file is removed.

    An error while writing, such as a full disk, ends the recording: later traffic is dropped, :attr:`error` has the
    reason, and :meth:`close` raises it. The file is readable up to that point.

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
        """Number of pieces of traffic in the file."""
        self.error: OSError | None = None
        """The error that ended the recording."""
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
                    os.unlink(path)  # an empty file would prevent the next try
                raise
        self._thread = threading.Thread(target=self._run, name="pyami-recorder", daemon=True)
        self._thread.start()
        if client is not None:
            self.attach(client)

    @property
    def count(self) -> int:
        """Number of pieces of traffic recorded so far: written, or waiting to be written."""
        with self._change:
            return self.written + self._under_way + len(self._pending)

    def attach(self, client: HasWire) -> None:
        """Record the traffic of a client from now on."""
        self._taps.append(client.on_wire(self.add))

    def add(self, direction: str, raw: bytes) -> None:
        """Record a piece of traffic; after :meth:`close` it is dropped. Any thread may call this."""
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
        """Write the remaining traffic and close the file; idempotent.

        A client reports traffic a moment after it passed: what has not been reported by now is not recorded.

        Raises:
            OSError: not all traffic could be written; each call raises it.

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
            if exc is None:  # otherwise the block's exception is propagated, and .error has this one
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
                    # Wait a moment for more: a gzip member for each piece would compress badly.
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
            while packed:  # unbuffered, so that close() can't fail
                packed = packed[self._file.write(packed) :]
        except OSError:
            # An incomplete member at the end would make later ones unreadable.
            with contextlib.suppress(OSError):
                self._file.truncate(began)
            raise


def read_tape(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield the pieces of a tape, or of a dump of a server's bytes.

    An incomplete piece at the end, left by a killed recorder, is skipped.

    Raises:
        OSError: the file can't be read.
        ValueError: the tape is damaged.

    """
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(b"\x1f\x8b"):
        data = _unpack(data)
    elif data.startswith(b"\xfd7zXZ"):
        data = lzma.decompress(data)
    yield from _records(data) if data.startswith(MAGIC) else _dump(data)


def _unpack(data: bytes) -> bytes:
    """Unpack gzip members, up to the first incomplete one."""
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
