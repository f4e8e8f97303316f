"""A deliberately naive AMI session on a plain socket: the independent witness of what the server really sent.

It shares no code with the library, parses nothing, and keeps every byte.
"""

from __future__ import annotations

import itertools
import pathlib
import socket
import ssl
import time
from types import TracebackType
from typing import Self

END = b"\r\n\r\n"


class RawError(Exception):
    """What was waited for did not come; the text ends with what came instead."""


class RawSession:
    """One connection; `capture` is all that was received, `sent` all that was sent."""

    def __init__(self, port: int, *, ca_file: pathlib.Path | None = None, timeout: float = 10.0) -> None:
        """Connect to 127.0.0.1, with TLS when `ca_file` is given, and read the greeting line."""
        self.timeout = timeout
        self.capture = b""
        self.sent = b""
        self.closed = False
        self._mark = 0
        self._ids = itertools.count(1)
        plain = socket.create_connection(("127.0.0.1", port), timeout)
        self._socket = plain
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if ca_file is not None:
                context = ssl.create_default_context(cafile=ca_file)
                self._socket = context.wrap_socket(plain, server_hostname="localhost")
            self.greeting = self.read_until(b"\r\n")
        except BaseException:
            plain.close()
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket without a word (the server takes that as well as a Logoff)."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send the bytes as they are."""
        self.sent += data
        self._socket.sendall(data)

    def action(self, name: str, *headers: tuple[str, str], action_id: str | None = None) -> str:
        """Send one action and return its ActionID; headers may repeat."""
        identity = f"raw-{next(self._ids)}" if action_id is None else action_id
        lines = [f"Action: {name}", f"ActionID: {identity}", *(f"{key}: {value}" for key, value in headers)]
        self.send("\r\n".join(lines).encode() + END)
        return identity

    def login(self, user: str = "admin", secret: str | None = None, *, events: str | None = "off") -> bytes:
        """Log in with the plain secret (by default that of the harness) and return the answer."""
        headers = [("Username", user), ("Secret", f"{user}-secret" if secret is None else secret)]
        if events is not None:
            headers.append(("Events", events))
        self.action("Login", *headers, action_id="raw-login")
        return self.read_until(END)

    def ask(self, name: str, *headers: tuple[str, str], timeout: float | None = None) -> bytes:
        """Send an action and a Ping behind it; return all that came before the Ping's answer.

        The server handles one action after the other, so this holds the whole answer whatever its form. When
        the server closes the connection instead, what came before that is returned, and `closed` is true.
        """
        self.action(name, *headers)
        fence = f"fence-{next(self._ids)}"
        self.send(f"Action: Ping\r\nActionID: {fence}\r\n\r\n".encode())
        start = f"Response: Success\r\nActionID: {fence}\r\n".encode()
        begin = self._mark
        try:
            self.read_until(start, timeout=timeout)
        except RawError:
            if not self.closed:
                raise
            self._mark = len(self.capture)
            return self.capture[begin:]
        answer = self.capture[begin : self._mark - len(start)]
        self.read_until(END)
        return answer

    def read_until(self, wanted: bytes, *, timeout: float | None = None) -> bytes:
        """Read up to and including `wanted`, and return what came since the last read."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        scanned = self._mark
        while (found := self.capture.find(wanted, scanned)) < 0:
            scanned = max(self._mark, len(self.capture) - len(wanted) + 1)
            if not self._receive(deadline):
                why = "the server closed the connection" if self.closed else "time is up"
                got = self.capture[self._mark :][-2000:]
                raise RawError(f"{why} while waiting for {wanted!r}; got {got!r}")
        begin, self._mark = self._mark, found + len(wanted)
        return self.capture[begin : self._mark]

    def read_silence(self, quiet: float = 0.3, *, timeout: float | None = None) -> bytes:
        """Read until nothing comes for `quiet` seconds, or the end; return what came since the last read."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while self._receive(min(deadline, time.monotonic() + quiet)):
            if time.monotonic() >= deadline:
                break
        begin, self._mark = self._mark, len(self.capture)
        return self.capture[begin:]

    def read_to_end(self, *, timeout: float | None = None) -> bytes:
        """Read until the server closes; return what came since the last read."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while self._receive(deadline):
            pass
        if not self.closed:
            raise RawError("the server did not close the connection")
        begin, self._mark = self._mark, len(self.capture)
        return self.capture[begin:]

    def _receive(self, deadline: float) -> bool:
        """Take in one piece; False when the deadline has passed or the connection has ended."""
        left = deadline - time.monotonic()
        if self.closed or left <= 0:
            return False
        self._socket.settimeout(left)
        try:
            piece = self._socket.recv(65536)
        except TimeoutError:
            return False
        except ConnectionError:
            piece = b""
        if not piece:
            self.closed = True
            return False
        self.capture += piece
        return True
