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

from ..exceptions import RemoteProtocolError

__all__ = ["Framer"]

BLANK = b"\r\n\r\n"
END_COMMAND = b"--END COMMAND--\r\n\r\n"
NOISE = b"\r\n"
EVENT = b"Event: "
NONE = (b"", b"")
is_follows = re.compile(rb"response:[ ]*follows\r\n", re.IGNORECASE).match
is_follows_frame = re.compile(rb"response:[ ]*follows(?:\r\n|\Z)", re.IGNORECASE).match  # of one cut off already


class Framer:
    """Cut a stream of bytes into raw messages.

    Not thread-safe: it belongs to the thread that reads the socket.

    Args:
        max_frame: most bytes in one message.
        max_line: most bytes in one line, its CR included.
        max_headers: most lines in one message.

    """

    __slots__ = (
        "_line",
        "_parts",
        "_tail",
        "_until",
        "harmless",
        "max_frame",
        "max_headers",
        "max_line",
        "pending",
        "range",
    )

    def __init__(self, max_frame: int = 128 << 20, max_line: int = 16 << 20, max_headers: int = 2_000_000) -> None:
        self.max_frame = max_frame
        self.max_line = max_line
        self.max_headers = max_headers
        self.range = NONE
        """The least and the greatest, in the order of bytes, of the messages that the last :meth:`feed` gave, empty if
        it gave none. What both of these begin with, all of them begin with, which spares looking at each."""
        self.harmless = min(max_frame, max_line, 2 * max_headers)
        """Bytes up to which no message passes a limit."""
        self._parts: list[bytes] = []  # the message that is not complete yet, as it came
        self.pending = 0
        """Bytes held of a message that is not complete."""
        self._line = 0  # bytes of its last line so far
        self._tail = b""  # its last bytes: the terminator may lie across the border
        self._until = BLANK  # what ends it

    def feed(self, chunk: bytes) -> list[bytes]:
        """Process bytes as they came; return the messages that they complete.

        A message is returned without the blank line that ended it.

        Raises:
            RemoteProtocolError: a limit was passed; the stream can't be used any further.

        """
        if not self.pending:
            return self._split(chunk)
        # What is held has no terminator in it: only the new bytes are searched, and those at the border.
        until = self._until
        end = (self._tail + chunk[: len(until) - 1]).find(until)
        if end >= 0:
            end -= len(self._tail)
        else:
            end = chunk.find(until)
            if end < 0:
                self._hold(chunk)
                self.range = NONE
                return []
        end += len(until)
        first = self._release(chunk[:end])
        if until is BLANK and is_follows_frame(first):
            # Too little had come to see it; its end is another one.
            return self._split(first + BLANK + chunk[end:])
        frames = self._split(chunk[end:])
        least, greatest = self.range if frames else (first, first)
        self.range = min(first, least), max(first, greatest)
        frames.insert(0, first)
        return frames

    def _split(self, chunk: bytes) -> list[bytes]:
        """Cut bytes that begin a message; hold those of the last one if it is not complete."""
        frames = chunk.split(BLANK)
        rest = frames.pop()
        # One pass in C each; a list of odd ones would cost twice as much, for each event of a flood.
        least, greatest = self.range = (min(frames), max(frames)) if frames else NONE
        if frames and not (least.startswith(EVENT) and greatest.startswith(EVENT)):
            for frame in frames:
                if not frame or frame[0] in NOISE or (frame[9:17] != b" Success" and is_follows_frame(frame)):
                    frames, rest = self._cut(chunk)
                    self.range = (min(frames), max(frames)) if frames else NONE
                    break
        if len(chunk) > self.harmless:
            for frame in frames:
                self._check(frame)
        if rest:
            self._hold(rest)
        return frames

    def _release(self, last: bytes) -> bytes:
        """The message that was held, with its last bytes and without its blank line."""
        self._note_lines(last)
        parts, self._parts = self._parts, []
        parts.append(last)
        while len(parts[-1]) < len(BLANK):  # the blank line came in pieces
            last = parts.pop()
            parts[-1] += last
        parts[-1] = parts[-1][: -len(BLANK)]
        frame = b"".join(parts)
        self.pending = self._line = 0
        self._tail = b""
        self._until = BLANK
        if len(frame) > self.harmless:
            self._check_size(frame)
        return frame

    def _cut(self, chunk: bytes) -> tuple[list[bytes], bytes]:
        """Cut, message by message, a chunk with noise or old ``Command`` answers; return also its rest."""
        frames = []
        start, size = 0, len(chunk)
        while start < size:
            if chunk[start] in NOISE:
                start += 1
                continue
            # The marker of a command's output stays in its message; the blank line after it does not.
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
        if not self.pending:
            # Stray line ends before a message are no part of it.
            chunk = chunk.lstrip(NOISE)
            if not chunk:
                return
            if is_follows(chunk):
                self._until = END_COMMAND
        self._parts.append(chunk)
        self.pending += len(chunk)
        self._tail = (self._tail + chunk[-len(END_COMMAND) :])[-len(END_COMMAND) :]
        self._note_lines(chunk)
        if self.pending > self.max_frame:
            raise RemoteProtocolError(f"the server sent a message of more than {self.max_frame} bytes")

    def _note_lines(self, piece: bytes) -> None:
        """Hold the lines of a message to their limit piece by piece: to split all of a long one costs as much again."""
        begun, first = self._line, piece.find(b"\n")
        longest = begun + (len(piece) if first < 0 else first)
        self._line = begun + len(piece) if first < 0 else len(piece) - piece.rfind(b"\n") - 1
        if longest > self.max_line or self._line > self.max_line:
            raise self._long_line()
        if len(piece) > self.max_line and max(map(len, piece.split(b"\n"))) > self.max_line:
            raise self._long_line()

    def _check(self, frame: bytes) -> None:
        """Hold a complete message, one that came in one piece, to the limits."""
        self._check_size(frame)
        if len(frame) >= self.max_line and max(map(len, (frame + b"\r").split(b"\n"))) > self.max_line:
            raise self._long_line()

    def _check_size(self, frame: bytes) -> None:
        if len(frame) > self.max_frame:
            raise RemoteProtocolError(f"the server sent a message of more than {self.max_frame} bytes")
        if len(frame) >> 1 > self.max_headers and frame.count(b"\n") >= self.max_headers:
            raise RemoteProtocolError(f"the server sent a message of more than {self.max_headers} headers")

    def _long_line(self) -> RemoteProtocolError:
        return RemoteProtocolError(f"the server sent a line of more than {self.max_line} bytes")
