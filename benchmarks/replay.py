"""The server of the benchmarks where there is no C compiler; ``sender.c`` does the same, faster.

It greets, answers each action with ``Success`` and its ActionID, and three of them with more: ``Ping``,
``Challenge``, ``CoreShowChannels`` (a list) and ``Command`` (lines of output). A flood goes out in slices of
16 KB that end with a message, and answers go between two of them. Its send buffer is kept at 64 KB, so that what
an answer waits for under a flood is the client, not this server.

Usage and control are those of ``sender.c``.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

SLICE = 16 * 1024
SNDBUF = 64 * 1024
END_OF_FLOOD = b"Event: Reload\r\nPrivilege: system,all\r\nModule: All\r\nStatus: 0\r\n\r\n"
BOOTED = b"Event: FullyBooted\r\nPrivilege: system,all\r\nUptime: 53\r\nLastReload: 53\r\nStatus: Fully Booted\r\n\r\n"
SPECIAL = {
    "ping": ("Success", "Ping: Pong\r\nTimestamp: 1795311952.751243\r\n"),
    "challenge": ("Success", "Challenge: 123456789\r\n"),
    "login": ("Success", "Message: Authentication accepted\r\n"),
    "coreshowchannels": ("Success", "EventList: start\r\nMessage: Channels will follow\r\n"),
    "command": ("Success", "Message: Command output follows\r\n"),
    "logoff": ("Goodbye", "Message: Thanks for all the fish.\r\n"),
}
USUAL = ("Success", "Message: OK\r\n")


class Block:
    """Messages that are sent round and round."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.ends = [found.end() for found in re.finditer(rb"\r\n\r\n", data)]

    def slices(self, count: int) -> Iterator[tuple[memoryview, int]]:
        """Slices of that many messages, each with how many it holds."""
        done = 0
        while count:
            start = self.ends[done - 1] if done else 0
            stop = min(bisect_left(self.ends, start + SLICE) + 1, len(self.ends), done + count)
            yield self.data[start : self.ends[stop - 1]], stop - done
            count -= stop - done
            done = stop % len(self.ends)


class Session:
    """One client."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.logged_in = False
        self.closing = False
        self.received = b""
        self.replies = [b"Asterisk Call Manager/11.0.0\r\n"]
        self.items: Iterator[tuple[memoryview, int]] = iter(())
        self.flood: Iterator[tuple[memoryview, int]] = iter(())
        self.rate = 0.0
        self.begun = 0.0
        self.sent = 0
        self.out = memoryview(b"")

    def read(self) -> bool:
        """Answer what came; tell whether the session goes on."""
        data = self.sock.recv(65536)
        *actions, self.received = (self.received + data).split(b"\r\n\r\n")
        for action in actions:
            self._answer(action.decode("utf-8", "replace"))
        return bool(data)

    def _answer(self, action: str) -> None:
        headers = dict(line.split(": ", 1) for line in action.split("\r\n") if ": " in line)
        folded = {name.lower(): value for name, value in headers.items()}
        name = folded.get("action", "").lower()
        action_id = f"ActionID: {folded['actionid']}\r\n" if "actionid" in folded else ""
        status, more = SPECIAL.get(name, USUAL)
        reply = f"Response: {status}\r\n{action_id}{more}".encode()
        self.replies.append(reply + (self.server.lines if name == "command" else b"") + b"\r\n")
        if name == "login":
            self.logged_in = True
            self.replies.append(BOOTED)
        elif name == "coreshowchannels":
            block = Block(self.server.items.replace(b"@ID@", folded.get("actionid", "").encode()))
            self.items = self._list(block, action_id)
        self.closing |= name == "logoff"

    def _list(self, block: Block, action_id: str) -> Iterator[tuple[memoryview, int]]:
        size = self.server.list_size
        yield from block.slices(size)
        end = f"Event: CoreShowChannelsComplete\r\n{action_id}EventList: Complete\r\nListItems: {size}\r\n\r\n"
        yield memoryview(end.encode()), 1

    def begin_flood(self, count: int, rate: float) -> None:
        """Send that many events, so many a second."""
        self.begun, self.sent, self.rate = time.monotonic(), 0, rate
        self.flood = self._flood(count)

    def _flood(self, count: int) -> Iterator[tuple[memoryview, int]]:
        yield from self.server.events.slices(count)
        print("flooded", count, flush=True)
        yield memoryview(END_OF_FLOOD), 1

    def write(self) -> bool:
        """Send what the socket takes of one slice; tell whether there may be more to send now."""
        if not self.out and not self._next():
            return False
        self.out = self.out[self.sock.send(self.out) :]
        return True

    def _next(self) -> bool:
        if self.replies:
            self.out, self.replies = memoryview(b"".join(self.replies)), []
            return True
        if found := next(self.items, None):
            self.out = found[0]
            return True
        if self.rate and self.sent > (time.monotonic() - self.begun) * self.rate:
            return False
        if found := next(self.flood, None):
            self.out = found[0]
            self.sent += found[1]
            return True
        self.rate = 0.0
        return False


class Server:
    """All of it, in one thread."""

    def __init__(self, events: str, items: str, lines: str, list_size: str, line_count: str) -> None:
        self.events = Block(Path(events).read_bytes())
        self.items = Path(items).read_bytes()
        self.list_size = int(list_size)
        self.lines = b"".join(islice(cycle(Path(lines).read_bytes().splitlines(True)), int(line_count)))
        self.sessions: list[Session] = []

    def serve(self) -> None:
        """Serve until standard input ends."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        print(listener.getsockname()[1], flush=True)
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        while True:
            timed = any(each.rate for each in self.sessions)
            for key, mask in selector.select(0.001 if timed else None):
                if key.fileobj == 0:
                    text = os.read(0, 1024).decode()
                    if not text:
                        return
                    _, count, rate = text.split()
                    for each in self.sessions:
                        if each.logged_in:
                            each.begin_flood(int(count), float(rate))
                            selector.modify(each.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, each)
                elif key.data is None:
                    sock, _ = listener.accept()
                    sock.setblocking(False)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SNDBUF)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    session = Session(self, sock)
                    self.sessions.append(session)
                    selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, session)
                else:
                    self._serve(selector, key.data, mask)
            for each in self.sessions:
                if each.rate:
                    selector.modify(each.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, each)

    def _serve(self, selector: selectors.BaseSelector, session: Session, mask: int) -> None:
        try:
            lives = not mask & selectors.EVENT_READ or session.read()
            more = lives and session.write()
        except BlockingIOError:
            lives = more = True
        except OSError:
            lives = more = False
        if not lives or (session.closing and not more):
            selector.unregister(session.sock)
            session.sock.close()
            self.sessions.remove(session)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if more else 0)
        if wanted != selector.get_key(session.sock).events:
            selector.modify(session.sock, wanted, session)


if __name__ == "__main__":
    Server(*sys.argv[1:]).serve()
