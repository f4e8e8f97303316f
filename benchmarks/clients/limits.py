"""What Python can do at most: reference programs that are no client, each for a scenario or two.

They log in to nobody's satisfaction but the server's, check nothing, and stop at nothing but the end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Lock, Thread

from ..traffic import END
from .base import Client, Tally, Unsupported

__all__ = ["Batches", "Eager", "Lazy", "RawSocket", "ReaderAndLock", "Split"]

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


class Lazy:
    """A message that looks for a header when it is asked for it, in one spelling; it allows for nothing else."""

    __slots__ = ("name", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.name = raw[7 : raw.find(b"\r", 7)].decode()

    def get(self, name: str) -> str | None:
        found = self.raw.partition(_marks[name])[2]
        return found.partition(b"\r")[0].decode() if found else None

    def __getitem__(self, name: str) -> str:
        found = self.raw.partition(_marks[name])[2]
        if not found:
            raise KeyError(name)
        return found.partition(b"\r")[0].decode()

    def items(self) -> list[list[str]]:
        return [line.split(": ", 1) for line in self.raw.decode().split("\r\n")]


_marks = {name: f"\r\n{name}: ".encode() for name in ("Privilege", "Linkedid", "Nothing", "Channel", "Application")}


class Batches(Bare):
    """Raw blocks handed over whole, and no more looked at in a message than is asked for."""

    shown = "limit: lazy parser, a queue item a read"

    def listen(self, names: tuple[str, ...] | None) -> Tally:
        tally = Tally()
        wanted = None if names is None else {name.encode() for name in names}

        def dispatch(frames: list[bytes]) -> None:
            for frame in frames:
                name = frame[7 : frame.find(b"\r\n", 7)]
                if wanted is not None and name not in wanted:
                    continue
                at = frame.find(b"\r\nChannel: ")
                if at >= 0:
                    frame[at + 11 : frame.find(b"\r\n", at + 11)].decode()
                tally.count += 1
                if name.decode() == END:
                    tally.done.set()

        self._hand_over(dispatch)
        return tally

    def read(self, how: str, names: tuple[str, ...] | None = None) -> Tally:
        tally = Tally()
        by_name, by_call = tally.names, tally.calls

        def headers(event: Lazy) -> None:
            name = event.name
            by_name[name] = by_name.get(name, 0) + 1
            event["Privilege"]
            call = event.get("Linkedid")
            by_call[call] = by_call.get(call, 0) + 1
            event.get("Nothing")
            tally.count += 1
            if name == END:
                tally.done.set()

        def items(event: Lazy) -> None:
            for _, value in event.items():
                by_name["all"] = by_name.get("all", 0) + len(value)
            tally.count += 1
            if event.name == END:
                tally.done.set()

        def as_dict(event: Lazy) -> None:
            by_name["all"] = by_name.get("all", 0) + len(dict(event.items()))  # type: ignore[arg-type]
            tally.count += 1
            if event.name == END:
                tally.done.set()

        callback = {"headers": headers, "items": items, "dict": as_dict}[how]

        def dispatch(frames: list[bytes]) -> None:
            for frame in frames:
                callback(Lazy(frame))

        self._hand_over(dispatch)
        return tally

    def _hand_over(self, dispatch: Callable[[list[bytes]], None]) -> None:
        inbox: SimpleQueue[list[bytes]] = SimpleQueue()

        def read() -> None:
            for frames in self._reads():
                inbox.put(frames)

        def serve() -> None:
            while True:
                dispatch(inbox.get())

        Thread(target=read, daemon=True).start()
        Thread(target=serve, daemon=True).start()

    def fetch_list(self) -> int:
        return len(self._collect())

    def read_list(self) -> int:
        seen: dict[str, int] = {}
        for item in self._collect():
            application = item["Application"]
            seen[application] = seen.get(application, 0) + 1
        return sum(seen.values())

    def _collect(self) -> list[Lazy]:
        self.sock.sendall(b"Action: CoreShowChannels\r\nActionID: 1\r\n\r\n")
        items: list[Lazy] = []
        for frames in self._reads():
            last = bool(frames) and b"EventList: Complete" in frames[-1]
            items += [Lazy(frame) for frame in frames if frame.startswith(b"Event: CoreShowChannel\r")]
            if last:
                return items
        raise ConnectionError("the server is gone")
