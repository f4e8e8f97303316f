"""Bytes in, raw messages out.

How AMI delimits messages, and why the rule here is the only one that holds:

* A message ends at the first CR LF CR LF. Values may hold bare LF (about sixty places in Asterisk put one
  at the end of ``Message``, and variables are passed through raw), so a bare LF ends nothing.
* CR and LF between messages are noise; some actions end in two blank lines.
* The answer to ``Command`` of Asterisk up to 13 begins with ``Response: Follows`` and holds console text,
  blank lines included, up to ``--END COMMAND--`` CR LF CR LF; the marker may be glued to the last line.

Speed comes from doing almost nothing per message: a chunk is searched for its oddities as a whole and split
in one call; the cost is linear in the bytes, also for one message that arrives in a million pieces.
"""

from __future__ import annotations

import re

from .exceptions import RemoteProtocolError

__all__ = ["Framer"]

BLANK = b"\r\n\r\n"
END_COMMAND = b"--END COMMAND--\r\n\r\n"
NOISE = b"\r\n"
is_follows = re.compile(rb"response:[ ]*follows\r\n", re.IGNORECASE).match
is_follows_frame = re.compile(rb"response:[ ]*follows(?:\r\n|\Z)", re.IGNORECASE).match  # of one cut off already


def is_odd(frame: bytes) -> bool:
    """Whether a piece between blank lines is no whole message by itself, or has noise before it."""
    return not frame.startswith(b"Response: Success\r\n") and (
        not frame or frame[0] in NOISE or bool(is_follows_frame(frame))
    )


class Framer:
    """Cut a stream of bytes into raw messages.

    Not thread-safe: it belongs to the thread that reads the socket.

    Args:
        max_frame: most bytes in one message.
        max_line: most bytes in one line.
        max_headers: most lines in one message.

    """

    __slots__ = ("_line", "_parts", "_size", "_tail", "_until", "max_frame", "max_headers", "max_line", "only_events")

    def __init__(self, max_frame: int = 128 << 20, max_line: int = 16 << 20, max_headers: int = 2_000_000) -> None:
        self.max_frame = max_frame
        self.max_line = max_line
        self.max_headers = max_headers
        self.only_events = True
        """Whether every message that the last :meth:`feed` gave begins with ``Event: ``."""
        self._parts: list[bytes] = []  # the message that is not complete yet, as it came
        self._size = 0  # bytes in _parts
        self._line = 0  # bytes of its last line so far
        self._tail = b""  # its last bytes: the terminator may lie across the border
        self._until = BLANK  # what ends it

    @property
    def pending(self) -> int:
        """Bytes held of a message that is not complete."""
        return self._size

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take bytes as they came; give the messages that they complete.

        A message is given without the blank line that ended it.

        Raises:
            RemoteProtocolError: a limit was passed; the stream can't be used any further.

        """
        # The last byte of a terminator is always new, so a few old bytes are enough to find one that lies
        # across the border, and bytes that complete nothing are looked at once: the cost stays linear.
        if self._until not in (self._tail + chunk if self._size else chunk):
            self._hold(chunk)
            return []
        if self._size:
            self._parts.append(chunk)
            chunk = b"".join(self._parts)
            self._parts = []
            self._size = self._line = 0
            self._tail = b""
            self._until = BLANK
        frames = chunk.split(BLANK)
        rest = frames.pop()
        odd = [frame for frame in frames if frame[:7] != b"Event: "]
        # A Success is no oddity; without the rest of the look at it a round trip is shorter.
        self.only_events = not odd
        if odd and any(map(is_odd, odd)):
            frames, rest = self._cut(chunk)
        if len(chunk) > self.max_line or len(chunk) >> 1 > self.max_headers or len(chunk) > self.max_frame:
            for frame in frames:
                self._check(frame)
        if rest:
            self._hold(rest)
        return frames

    def _cut(self, chunk: bytes) -> tuple[list[bytes], bytes]:
        """Cut, message by message, a chunk with noise or old ``Command`` answers; return also its rest."""
        frames = []
        start, size = 0, len(chunk)
        while start < size:
            if chunk[start] in NOISE:
                start += 1
                continue
            # The marker of a command's output stays in its message; the blank line behind it does not.
            until = END_COMMAND if is_follows(chunk, start) else BLANK
            end = chunk.find(until, start)
            if end < 0:
                break
            end += len(until) - len(BLANK)
            frames.append(chunk[start:end])
            start = end + len(BLANK)
        return frames, chunk[start:]

    def _hold(self, chunk: bytes) -> None:
        """Keep bytes of a message whose end has not come."""
        if not self._size:
            # Stray line ends before a message are no part of it.
            chunk = chunk.lstrip(NOISE)
            if not chunk:
                return
            if is_follows(chunk):
                self._until = END_COMMAND
        self._parts.append(chunk)
        self._size += len(chunk)
        self._tail = (self._tail + chunk[-len(END_COMMAND) :])[-len(END_COMMAND) :]
        newline = chunk.rfind(b"\n")
        self._line = len(chunk) - newline - 1 if newline >= 0 else self._line + len(chunk)
        if self._line > self.max_line:
            raise RemoteProtocolError(f"the server sent a line of more than {self.max_line} bytes")
        if self._size > self.max_frame:
            raise RemoteProtocolError(f"the server sent a message of more than {self.max_frame} bytes")

    def _check(self, frame: bytes) -> None:
        """Hold a complete message, one that came in one piece, to the limits."""
        if len(frame) > self.max_frame:
            raise RemoteProtocolError(f"the server sent a message of more than {self.max_frame} bytes")
        if len(frame) >> 1 > self.max_headers and frame.count(b"\n") >= self.max_headers:
            raise RemoteProtocolError(f"the server sent a message of more than {self.max_headers} headers")
        if len(frame) > self.max_line and max(map(len, frame.split(b"\n"))) > self.max_line:
            raise RemoteProtocolError(f"the server sent a line of more than {self.max_line} bytes")
