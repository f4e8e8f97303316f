"""What may be said when: the greeting, the login, the server's version, how writes are cut.

No socket and no thread here: bytes go in, messages come out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..exceptions import ConnectError, RemoteProtocolError
from .action import Action
from .framing import Framer

__all__ = ["AMIVersion", "Greeting", "Limits", "Protocol", "challenge_action", "login_action", "tls_records"]

MAX_GREETING = 1024
TLS_RECORD = 1000
_greeting = re.compile(r"(?P<product>.*?call manager)/(?P<version>\d[\w.]*)", re.IGNORECASE).match
_foreign = {
    b"HTTP/": "an HTTP server answers on this port; AMI is on 5038, or 5039 with TLS",
    b"SSH-": "an SSH server answers on this port; AMI is on 5038, or 5039 with TLS",
    b"220 ": "a mail or FTP server answers on this port; AMI is on 5038, or 5039 with TLS",
    b"* OK": "an IMAP server answers on this port; AMI is on 5038, or 5039 with TLS",
    b"+OK": "a POP3 server answers on this port; AMI is on 5038, or 5039 with TLS",
    b"\x15\x03": "the server speaks TLS on this port; use amis:// or tls=True",
    b"\x16\x03": "the server speaks TLS on this port; use amis:// or tls=True",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server may send before it counts as broken (:exc:`~pyami_sync.RemoteProtocolError`)."""

    __module__ = "pyami_sync"  # its public path

    frame: int = 128 << 20
    """Bytes in one message."""
    line: int = 16 << 20
    """Bytes in one line."""
    headers: int = 2_000_000
    """Lines in one message."""
    list_items: int = 5_000_000
    """Items in the list of one action."""


class AMIVersion(tuple[int, ...]):
    """The version of the protocol, comparable (2.10 is later than 2.9)."""

    __module__ = "pyami_sync"  # its public path

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> AMIVersion:
        """Read a version; whatever is no number ends it."""
        return cls(map(int, re.findall(r"\d+", text.partition("/")[2] or text)[:4]))

    def __str__(self) -> str:
        return ".".join(map(str, self))


@dataclass(frozen=True, slots=True)
class Greeting:
    """The one line that a server says first."""

    text: str
    version: AMIVersion | None
    """:data:`None` when the line names none; everything else still works."""


class Protocol:
    """The server's half of one connection: its greeting, then messages.

    Not thread-safe: it belongs to the thread that reads the socket.

    Args:
        limits: how much to accept from the server.

    """

    __slots__ = ("_head", "framer", "greeting")

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.greeting: Greeting | None = None
        self.framer = Framer(limits.frame, limits.line, limits.headers)
        self._head = b""

    def receive(self, chunk: bytes) -> list[bytes]:
        """Process bytes as they came; return the messages that they complete, without their closing blank lines.

        The greeting is one line without a blank line after it, so it must not reach the framer.

        Raises:
            ConnectError: the first line shows that this is no AMI server.
            RemoteProtocolError: a limit was passed.

        """
        if self.greeting is not None:
            return self.framer.feed(chunk)
        head = self._head + chunk
        for mark, reason in _foreign.items():
            if head.startswith(mark):
                raise ConnectError(reason)
        line, found, rest = head.partition(b"\n")
        if len(line) > MAX_GREETING:
            raise RemoteProtocolError("no greeting in the first 1024 bytes: this is no AMI server")
        if not found:
            self._head = head
            return []
        text = line.rstrip(b"\r").decode("utf-8", "backslashreplace")
        match = _greeting(text)
        self.greeting = Greeting(text, AMIVersion.parse(match["version"]) if match else None)
        self._head = b""
        return self.framer.feed(rest) if rest else []


def challenge_action() -> Action:
    """Ask for the challenge of an MD5 login."""
    return Action("Challenge", AuthType="MD5")


def login_action(
    username: str, secret: str, *, challenge: str | None, event_mask: str | None, encoding: str = "utf-8"
) -> Action:
    """Make the login: by MD5 when a challenge is given, else in plain text.

    The key is the lower-case hex MD5 of the challenge followed by the secret (manager.c refuses upper case).
    """
    if challenge is None:
        proof: dict[str, str] = {"Secret": secret}
    else:
        digest = hashlib.md5((challenge + secret).encode(encoding, "surrogateescape"), usedforsecurity=False)
        proof = {"AuthType": "MD5", "Key": digest.hexdigest()}
    return Action("Login", {"Username": username, **proof, "Events": event_mask}, encoding=encoding)


def tls_records(frame: bytes, limit: int = TLS_RECORD) -> Iterator[bytes]:
    """Cut bytes to send into pieces that each fit a TLS record which the server reads at once.

    A server reads at most 1024 bytes of a record and then waits on the bare descriptor, which knows nothing
    of bytes that OpenSSL has already decrypted: the rest of a longer record lies unread until something more
    is sent. So no piece is longer, and each ends with a line, which leaves the server's line buffer empty.
    """
    start, size = 0, len(frame)
    while size - start > limit:
        end = frame.rfind(b"\n", start, start + limit) + 1
        if end <= start:
            # One line longer than the limit: it still fits the server's 1024 bytes, as lines are checked.
            end = frame.find(b"\n", start) + 1 or size
        yield frame[start:end]
        start = end
    if start < size:
        yield frame[start:]
