"""What Python can do at most: reference programs that are no client, each for a scenario or two.

They log in to nobody's satisfaction but the server's, check nothing, and stop at nothing but the end.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Lock, Thread

from ..traffic import END
from .base import Client, Tally, Unsupported

__all__ = ["Batches", "Eager", "RawSocket", "ReaderAndLock", "Split"]

READ = 256 * 1024
LAST = b"Event: " + END.encode()


class Bare(Client):
    """A connected socket."""

    def open(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", self.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(b"Action: Login\r\nActionID: 0\r\nUsername: a\r\nSecret: b\r\n\r\n")
        self._until(b"Status: Fully Booted\r\n\r\n")

    def _until(self, mark: bytes) -> bytes:
        """Read until some bytes have come."""
        pieces: list[bytes] = []
        tail = b""
        while mark not in tail:
            piece = self.sock.recv(READ)
            if not piece:
                raise ConnectionError("the server is gone")
            tail = tail[-len(mark) :] + piece
            pieces.append(piece)
        return b"".join(pieces)

    def _reads(self) -> Iterator[list[bytes]]:
        """Messages as they came, those of one read together."""
        rest = b""
        while True:
            try:
                chunk = self.sock.recv(READ)
            except OSError:
                return
            if not chunk:
                return
            *frames, rest = (rest + chunk).split(b"\r\n\r\n")
            yield frames

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


class RawSocket(Bare):
    """A round trip in one thread."""

    shown = "limit: raw socket"

    def ping(self) -> None:
        self.sock.sendall(b"Action: Ping\r\nActionID: 1\r\n\r\n")
        self.sock.recv(65536)


class ReaderAndLock(Bare):
    """A round trip by way of a thread that reads and a lock that wakes the caller."""

    shown = "limit: reader thread and lock"

    def open(self) -> None:
        super().open()
        self._waiting: dict[bytes, Lock] = {}
        self._sending = Lock()
        self._next = 0
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for frames in self._reads():
            for frame in frames:
                at = frame.find(b"\r\nActionID: ") + 12
                self._waiting.pop(frame[at : frame.find(b"\r\n", at)]).release()

    def ping(self) -> None:
        done = Lock()
        done.acquire()
        with self._sending:
            self._next += 1
            key = b"%d" % self._next
            self._waiting[key] = done
            self.sock.sendall(b"Action: Ping\r\nActionID: %s\r\n\r\n" % key)
        done.acquire()


class Split(Bare):
    """Reading and splitting, in one thread, and looking at nothing."""

    shown = "limit: bare split"

    def listen(self, names: tuple[str, ...] | None) -> Tally:
        if names is not None:
            raise Unsupported
        return Tally()

    def wait(self, tally: Tally) -> bool:
        for frames in self._reads():
            tally.count += len(frames)
            if frames and frames[-1].startswith(LAST):
                break
        return True

    def fetch_list(self) -> int:
        self.sock.sendall(b"Action: CoreShowChannels\r\nActionID: 1\r\n\r\n")
        items: list[bytes] = []
        for frames in self._reads():
            items += frames
            if frames and b"EventList: Complete" in frames[-1]:
                break
        return len(items) - 2

    def fetch_output(self) -> int:
        self.sock.sendall(b"Action: Command\r\nActionID: 1\r\nCommand: x\r\n\r\n")
        return len(self._until(b"\r\n\r\n").decode().split("\r\nOutput: ")) - 1


class Eager(Bare):
    """The usual way: a thread that makes a dict of each message, and a queue to another that calls back."""

    shown = "limit: eager parser, a queue item an event"
    pace = 0.3

    def listen(self, names: tuple[str, ...] | None) -> Tally:
        tally = Tally()
        inbox: SimpleQueue[dict[str, str]] = SimpleQueue()

        def read() -> None:
            for frames in self._reads():
                for frame in frames:
                    inbox.put(dict(line.split(": ", 1) for line in frame.decode().split("\r\n")))

        def dispatch() -> None:
            while True:
                event = inbox.get()
                name = event["Event"]
                if names is None or name in names:
                    event.get("Channel")
                    tally.count += 1
                    if name == END:
                        tally.done.set()

        Thread(target=read, daemon=True).start()
        Thread(target=dispatch, daemon=True).start()
        return tally


class Batches(Bare):
    """Raw blocks handed over whole, and no more looked at in a message than is asked for."""

    shown = "limit: lazy parser, a queue item a read"

    def listen(self, names: tuple[str, ...] | None) -> Tally:
        tally = Tally()
        inbox: SimpleQueue[list[bytes]] = SimpleQueue()
        wanted = None if names is None else {name.encode() for name in names}

        def read() -> None:
            for frames in self._reads():
                inbox.put(frames)

        def dispatch() -> None:
            while True:
                for frame in inbox.get():
                    name = frame[7 : frame.find(b"\r\n", 7)]
                    if wanted is not None and name not in wanted:
                        continue
                    at = frame.find(b"\r\nChannel: ")
                    if at >= 0:
                        frame[at + 11 : frame.find(b"\r\n", at + 11)].decode()
                    tally.count += 1
                    if name.decode() == END:
                        tally.done.set()

        Thread(target=read, daemon=True).start()
        Thread(target=dispatch, daemon=True).start()
        return tally
