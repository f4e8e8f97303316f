"""SIP telephones that do as their user name says: a user agent server on one UDP port of 127.0.0.1.

``PJSIP/phone/sip:busy@127.0.0.1:PORT`` is busy. The names:

=====================  =====================================================================
``answer``             rings and answers; stays until the other side hangs up
``answer-0.5``         the same, but hangs up 0.5 seconds after the answer
``ring``               rings until the caller cancels
``forward-NAME``       302: moved to NAME at these telephones
a name of REFUSALS     refuses with that status
=====================  =====================================================================

A suffix ``.anything`` tells several of one kind apart.
"""

from __future__ import annotations

import heapq
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

REFUSALS = {
    "busy": "486 Busy Here",
    "reject": "603 Decline",
    "unallocated": "404 Not Found",
    "congestion": "503 Service Unavailable",
    "codec": "488 Not Acceptable Here",
    "away": "480 Temporarily Unavailable",
    "gone": "410 Gone",
    "forbidden": "403 Forbidden",
}

SDP = (
    "v=0\r\no=- 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n{way}"
)


class Dialog:
    """One call of a telephone."""

    def __init__(self, invite: str, source: tuple[str, int], tag: str) -> None:
        self.source = source
        self.call_id = header(invite, "Call-ID")
        self.caller = header(invite, "From")
        self.called = header(invite, "To") + f";tag={tag}"
        self.target = re.sub(r".*<(.*?)>.*", r"\1", header(invite, "Contact"))
        self.invite = invite
        self.answered = False
        self.cseq = 0


class Phones:
    """The telephones; a context manager. `seen` has the user names in the order of their INVITEs."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.seen: list[str] = []
        self.dialogs: dict[str, Dialog] = {}
        self._answers: dict[str, bytes] = {}  # of each transaction, to send again when it is asked again
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count(1)
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="test-phones")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.socket.close()

    def device(self, user: str) -> str:
        """Return what to dial for a telephone of that name."""
        return f"PJSIP/phone/sip:{user}@127.0.0.1:{self.port}"

    def hold(self, user: str, hold: bool = True) -> None:
        """Let an answered telephone press its hold key."""
        with self._lock:
            dialog = next(each for each in self.dialogs.values() if each.answered and self._user(each.invite) == user)
            self._request(dialog, "INVITE", self._sdp(2 + hold, "a=sendonly\r\n" if hold else "a=sendrecv\r\n"))

    def hangup(self, user: str) -> None:
        """Let an answered telephone hang up."""
        with self._lock:
            dialog = next(each for each in self.dialogs.values() if each.answered and self._user(each.invite) == user)
            self._request(dialog, "BYE")
            del self.dialogs[dialog.call_id]

    def _run(self) -> None:
        while not self._closed:
            self.socket.settimeout(self._due())
            try:
                data, source = self.socket.recvfrom(65536)
            except TimeoutError:
                continue
            with self._lock:
                self._receive(data.decode("utf-8", "replace"), source)

    def _due(self) -> float:
        """Run the timers that are due; return the seconds until the next."""
        with self._lock:
            while self._timers:
                left = self._timers[0][0] - time.monotonic()
                if left > 0:
                    return left
                heapq.heappop(self._timers)[2]()
            return 5.0

    def _later(self, seconds: float, job: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._count), job))

    @staticmethod
    def _user(message: str) -> str:
        found = re.match(r"\w+ sip:([^@;>]+)@", message)
        return found[1] if found else ""

    def _receive(self, message: str, source: tuple[str, int]) -> None:
        method = message.partition(" ")[0]
        if method == "SIP/2.0":
            if header(message, "CSeq").endswith("INVITE") and message.startswith("SIP/2.0 2"):
                dialog = self.dialogs.get(header(message, "Call-ID"))
                if dialog is not None:
                    self._request(dialog, "ACK", cseq=int(header(message, "CSeq").split()[0]))
            return
        if method == "ACK" or not method:
            return
        key = header(message, "Via").partition("branch=")[2] + method
        if key in self._answers:
            self.socket.sendto(self._answers[key], source)
            return
        if method == "INVITE":
            self._invite(message, source, key)
            return
        self._reply(message, source, key, "200 OK")
        dialog = self.dialogs.get(header(message, "Call-ID"))
        if method == "CANCEL" and dialog is not None and not dialog.answered:
            self._reply(dialog.invite, source, "", "487 Request Terminated", dialog)
        if method in ("CANCEL", "BYE"):
            self.dialogs.pop(header(message, "Call-ID"), None)

    def _invite(self, message: str, source: tuple[str, int], key: str) -> None:
        if ";tag=" in header(message, "To"):  # in a call: the other side changes its media
            self._reply(message, source, key, "200 OK", None, self._sdp(2))
            return
        user = self._user(message)
        self.seen.append(user)
        kind = user.partition(".")[0] if not user.startswith("answer-") else user
        dialog = Dialog(message, source, f"t{next(self._count)}")
        if kind in REFUSALS:
            self._reply(message, source, key, REFUSALS[kind], dialog)
            return
        if kind.startswith("forward-"):
            contact = f"Contact: <sip:{kind.partition('-')[2]}@127.0.0.1:{self.port}>\r\n"
            self._reply(message, source, key, "302 Moved Temporarily", dialog, extra=contact)
            return
        self.dialogs[dialog.call_id] = dialog
        self._reply(message, source, key, "180 Ringing", dialog)
        if kind == "ring":
            return
        dialog.answered = True
        self._reply(message, source, key, "200 OK", dialog, self._sdp(1))
        seconds = kind.partition("-")[2]
        if seconds:
            self._later(float(seconds), lambda: self._hang_up(dialog))

    def _hang_up(self, dialog: Dialog) -> None:
        if self.dialogs.pop(dialog.call_id, None) is not None:
            self._request(dialog, "BYE")

    def _sdp(self, version: int, way: str = "") -> str:
        return SDP.format(version=version, port=self.port + 1 if self.port < 65535 else 40000, way=way)

    def _reply(
        self,
        message: str,
        source: tuple[str, int],
        key: str,
        status: str,
        dialog: Dialog | None = None,
        body: str = "",
        extra: str = "",
    ) -> None:
        vias = "".join(f"Via: {value}\r\n" for value in re.findall(r"(?im)^Via:\s*(.*?)\r$", message))
        lines = (
            f"SIP/2.0 {status}\r\n{vias}From: {header(message, 'From')}\r\n"
            f"To: {dialog.called if dialog is not None else header(message, 'To')}\r\n"
            f"Call-ID: {header(message, 'Call-ID')}\r\nCSeq: {header(message, 'CSeq')}\r\n"
        )
        if not extra and status[0] in "12":
            extra = f"Contact: <sip:phone@127.0.0.1:{self.port}>\r\n"
        if body:
            extra += "Content-Type: application/sdp\r\n"
        raw = f"{lines}{extra}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        if key and not status.startswith("1"):
            self._answers[key] = raw
        self.socket.sendto(raw, source)

    def _request(self, dialog: Dialog, method: str, body: str = "", cseq: int = 0) -> None:
        if not cseq:
            dialog.cseq += 1
        lines = (
            f"{method} {dialog.target} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{next(self._count)}x{self.port}\r\n"
            f"Max-Forwards: 70\r\nFrom: {dialog.called}\r\nTo: {dialog.caller}\r\nCall-ID: {dialog.call_id}\r\n"
            f"CSeq: {cseq or dialog.cseq} {method}\r\nContact: <sip:phone@127.0.0.1:{self.port}>\r\n"
        )
        if body:
            lines += "Content-Type: application/sdp\r\n"
        self.socket.sendto(f"{lines}Content-Length: {len(body)}\r\n\r\n{body}".encode(), dialog.source)


def header(message: str, name: str) -> str:
    """Return the first value of a header."""
    found = re.search(rf"(?im)^{re.escape(name)}:\s*(.*?)\r?$", message)
    return found[1] if found else ""
