"""The AGI protocol without I/O: parses environments and answers from bytes, and renders commands as bytes.

Asterisk splits a command line at blanks outside quotes, and removes a backslash before any character. A line feed
ends the command, and a line that is too long is cut in two, of which the second is run as another command: so
commands with a line feed, or too long ones, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from ..exceptions import RemoteProtocolError
from .errors import InvalidCommand

__all__ = [
    "ASYNC_LINE",
    "FAST_LINE",
    "MAX_ANSWER",
    "Answers",
    "Environment",
    "Reply",
    "decode_result",
    "decode_text",
    "parse_environment",
    "quote",
    "render",
]

FAST_LINE = 8190
"""Most bytes of a FastAGI command, without its line end; Asterisk's buffer has 8192."""
ASYNC_LINE = 1013
"""Most bytes of an AsyncAGI command, which follows ``Command: `` in a line of an action."""
MAX_ARGUMENTS = 64
MAX_ENVIRONMENT = 65_536
MAX_ANSWER = 1_048_576
"""Most bytes of one answer, and of one line."""

_result = re.compile(r"(\d{3})[ -](?:result=(\S*) ?)?(.*)", re.DOTALL)
_endpos = re.compile(r"endpos=(-?\d+)")
_cut_escape = re.compile(r"%[0-9A-Fa-f]?\Z")
_name = re.compile(r"agi_(\w+)\Z")
_special = re.compile(r'[\r\n\0"\\]')
_bad = re.compile(r"[\r\n\0]")


def decode_text(raw: bytes) -> str:
    """Decode a server's text; bytes that are not UTF-8 are kept (``surrogateescape``)."""
    return raw.decode("utf-8", "surrogateescape")


# Commands


def quote(argument: str) -> str:
    """Return an argument in quotes, with backslashes where they are needed.

    Raises:
        InvalidCommand: it contains CR, LF or NUL, which end a command.

    """
    if _special.search(argument) is None:
        return f'"{argument}"'
    found = _bad.search(argument)
    if found is not None:
        what = {"\r": "a carriage return", "\n": "a line feed", "\0": "NUL"}[found[0]]
        raise InvalidCommand(
            f"an argument of an AGI command must be one line; this one holds {what} at {found.start()}"
        )
    return '"' + argument.replace("\\", "\\\\").replace('"', '\\"') + '"'


def render(command: str, arguments: Iterable[str], limit: int) -> bytes:
    """Return a command as bytes, without a line end.

    Args:
        command: its name.
        arguments: its arguments, not yet quoted.
        limit: most bytes, :data:`FAST_LINE` or :data:`ASYNC_LINE`.

    Raises:
        InvalidCommand: an argument is not valid, or the command is too long.

    """
    quoted = [quote(each) for each in arguments]
    if len(quoted) > MAX_ARGUMENTS:
        raise InvalidCommand(f"{command} has {len(quoted)} arguments; at most {MAX_ARGUMENTS} can be sent")
    try:
        line = " ".join((command, *quoted)).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidCommand(f"an argument of {command} is not text that can be encoded as UTF-8") from None
    if len(line) > limit:
        raise InvalidCommand(f"{command} with its arguments takes {len(line)} bytes; the server reads at most {limit}")
    return line


# Environments


@dataclass(frozen=True)
class Environment:
    """The data of a call that the server sends when the script begins.

    Args:
        values: the variables, without ``agi_``.
        arguments: the arguments of the application AGI, in order.
        cut: whether the server has cut the environment (AsyncAGI: at 1024 bytes).

    """

    values: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    cut: bool = False


def parse_environment(lines: Iterable[bytes], *, cut: bool = False) -> Environment:
    """Return the environment parsed from lines such as ``agi_channel: PJSIP/alice-00000001``.

    Other lines are ignored. If a name occurs twice, the first one counts, because the server's variables precede the
    arguments, which may contain a caller's input.
    """
    values: dict[str, str] = {}
    arguments: dict[int, str] = {}
    for raw in lines:
        name, colon, value = decode_text(raw).rstrip("\r").partition(":")
        found = _name.match(name.strip().lower())
        if not colon or found is None:
            continue
        value = value.removeprefix(" ")
        key = found[1]
        if key.startswith("arg_") and key[4:].isascii() and key[4:].isdigit():
            arguments.setdefault(int(key[4:][:6]), value)
        else:
            values.setdefault(key, value)
    return Environment(values, tuple(arguments[number] for number in sorted(arguments)), cut)


# Answers


@dataclass(frozen=True)
class Reply:
    """The answer to a command.

    Args:
        code: 200 for success, 510 for an unknown command, 511 for a dead channel, 520 for wrong arguments.
        result: the text after ``result=``; empty if there is none.
        rest: the text after the result.

    """

    code: int
    result: str = ""
    rest: str = ""

    @property
    def value(self) -> str | None:
        """The text in parentheses, up to the last one, such as a variable's value."""
        if not self.rest.startswith("("):
            return None
        end = self.rest.rfind(")")
        return self.rest[1:] if end < 0 else self.rest[1:end]

    @property
    def note(self) -> str:
        """The first word in parentheses, such as ``timeout``; empty if there is none."""
        return self.rest[1:].partition(")")[0] if self.rest.startswith("(") else ""

    @property
    def endpos(self) -> int:
        """Where playing or recording ended, in samples; 0 if the answer does not contain it."""
        found = _endpos.search(self.rest)
        return int(found[1][:18]) if found is not None else 0

    @property
    def number(self) -> int:
        """The result as a number.

        Raises:
            RemoteProtocolError: it is not valid.

        """
        try:
            return int(self.result[:20])
        except ValueError:
            raise RemoteProtocolError(f"the server answered with the result {self.result!r}, not a number") from None


def parse_reply(raw: bytes) -> Reply:
    """Return the answer in a line, or in a text with further lines.

    Raises:
        RemoteProtocolError: it is not valid.

    """
    found = _result.match(decode_text(raw))
    if found is None:
        raise RemoteProtocolError(f"the server sent {raw[:80]!r} where the answer to an AGI command must be")
    code, result, rest = found.groups()
    return Reply(int(code), result or "", rest)


def decode_result(text: str) -> bytes:
    """Return the bytes of a percent-encoded header, ``Env`` or ``Result``; a character that was cut is dropped."""
    return unquote_to_bytes(_cut_escape.sub("", text).encode("utf-8", "surrogateescape"))


def parse_block(raw: bytes) -> Reply:
    """Return the answer in a complete text: a whole AsyncAGI result, or the text before a mark.

    ``100 Trying`` before it, empty lines, and the usage text of a 520 are handled; the value of a variable may
    contain any number of lines.
    """
    text = raw.lstrip(b"\r\n")
    while text.startswith(b"100"):
        text = text.partition(b"\n")[2].lstrip(b"\r\n")
    if text.startswith(b"520-"):
        return _usage(text.split(b"\n"))
    lines = text.split(b"\n")
    first = lines[0]
    if b" (" not in first:
        # Without a value, an answer is one line. (EXEC answers with its result, and if that is 1, with a usage text.)
        text = first
    return parse_reply(text.rstrip(b"\r\n"))


def _usage(lines: list[bytes]) -> Reply:
    text = b"\n".join(line for line in lines[1:] if not line.startswith(b"520 "))
    return Reply(520, "", decode_text(text.strip()))


class Answers:
    """Parses the bytes of a FastAGI peer: an environment, then answers, with ``HANGUP`` lines between them.

    Bytes are fed as they arrive; nothing is sent from here.
    """

    def __init__(self) -> None:
        self.hung_up = False
        """True if a ``HANGUP`` line has arrived."""
        self._buffer = bytearray()
        self._scanned = 0  # there is no line end before this position
        self._environment: list[bytes] | None = []
        self._environment_size = 0
        self._block: list[bytes] = []  # lines of an incomplete 520 usage text

    def feed(self, data: bytes) -> None:
        """Add received bytes.

        Raises:
            RemoteProtocolError: more than :data:`MAX_ANSWER` bytes wait to be parsed.

        """
        self._buffer += data
        if len(self._buffer) > MAX_ANSWER:
            raise RemoteProtocolError(f"the AGI peer sent an answer of more than {MAX_ANSWER} bytes")

    @property
    def buffered(self) -> bool:
        """True if bytes have come that are not read yet."""
        return bool(self._buffer)

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    def environment(self) -> Environment | None:
        """Return the environment; :data:`None` until its end, an empty line, has arrived.

        Raises:
            RemoteProtocolError: it is too long, or not an AGI environment.

        """
        lines = self._environment
        if lines is None:
            raise RuntimeError("the environment has been read already")
        while (line := self._line()) is not None:
            if not line:
                if not lines:
                    continue  # an empty line before the environment
                self._environment = None
                return parse_environment(lines)
            if not lines and not line.lower().startswith(b"agi_"):
                raise RemoteProtocolError(f"the peer began with {line[:80]!r}: that is no AGI of Asterisk")
            self._environment_size += len(line)
            if self._environment_size > MAX_ENVIRONMENT:
                raise RemoteProtocolError(f"the AGI environment is longer than {MAX_ENVIRONMENT} bytes")
            lines.append(line)
        if len(self._buffer) > MAX_ENVIRONMENT:
            raise RemoteProtocolError(f"the AGI environment is longer than {MAX_ENVIRONMENT} bytes")
        return None

    def reply(self) -> Reply | None:
        """Return the next answer; :data:`None` until it is complete.

        Empty lines and ``100 Trying`` are skipped, the lines of a usage text are joined, and ``HANGUP`` is noted.

        Raises:
            RemoteProtocolError: a line is not valid at this place.

        """
        while (line := self._line()) is not None:
            if self._block:
                self._gather(line)
                if line.startswith(b"520 "):
                    block, self._block = self._block, []
                    return _usage(block)
            elif line == b"HANGUP":
                self.hung_up = True
            elif line.startswith(b"520-"):
                self._block = [line]
            elif line and not line.startswith(b"100"):
                return parse_reply(line)
        return None

    def _gather(self, line: bytes) -> None:
        self._block.append(line)
        if len(self._block) > 2_000:
            raise RemoteProtocolError("the AGI peer sent a usage text without end")

    def answered(self) -> bool:
        """Return True if at least the beginning of an answer has arrived; removes nothing."""
        start = 0
        while (end := self._buffer.find(b"\n", start)) >= 0:
            line = bytes(self._buffer[start:end]).rstrip(b"\r")
            if line and line != b"HANGUP" and not line.startswith(b"100"):
                return True
            start = end + 1
        return False

    def marked_reply(self, mark: bytes) -> Reply | None:
        """Return the answer that precedes the answer to a mark; :data:`None` until the latter has arrived.

        The value of a variable may contain line ends, and lines that look like answers: only the answer to the next
        command, which contains a random text (the mark), shows where it ends.

        Raises:
            RemoteProtocolError: there is no answer before the mark.

        """
        answer = b"200 result=1 (" + mark + b")"
        start = 0
        while True:
            end = self._buffer.find(b"\n", start)
            if end < 0:
                return None
            line = bytes(self._buffer[start:end]).rstrip(b"\r")
            if line == answer:
                break
            start = end + 1
        block = bytes(self._buffer[:start])
        del self._buffer[: end + 1]
        self._scanned = 0
        while block.startswith((b"HANGUP\n", b"\n")):
            self.hung_up = self.hung_up or block.startswith(b"HANGUP\n")
            block = block.partition(b"\n")[2]
        while block.endswith(b"\nHANGUP\n"):
            self.hung_up = True
            block = block.removesuffix(b"HANGUP\n")
        return parse_block(block)

    def skip_past(self, mark: bytes) -> bool:
        """Drop everything up to the answer to a mark; return True if that has arrived."""
        answer = b"200 result=1 (" + mark + b")"
        while (line := self._line()) is not None:
            if line == answer:
                self._block = []
                return True
            if line == b"HANGUP":
                self.hung_up = True
        return False
