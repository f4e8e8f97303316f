"""AGI on the wire, without I/O: environments and answers come in as bytes, commands go out as bytes.

Asterisk splits a command line at blanks outside quotes, and drops a backslash in front of any character. It takes
a line feed as the end of the command, and cuts a line that is too long in two, running the rest as a command of its
own: so nothing with a line feed, and nothing too long, is ever rendered.
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
"""Most bytes of a FastAGI command, without its line end: Asterisk reads into a buffer of 8192."""
ASYNC_LINE = 1013
"""Most bytes of an AsyncAGI command: with ``Command: `` in front of it the line of an action is full."""
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
    """Return text of a server; bytes that are not UTF-8 are kept (``surrogateescape``)."""
    return raw.decode("utf-8", "surrogateescape")


# Commands


def quote(argument: str) -> str:
    """Return an argument as it is written in a command line: in quotes, with backslashes where they are needed.

    Raises:
        InvalidCommand: it holds CR, LF or NUL, which end a command.

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
        command: its name, from this library.
        arguments: quoted each.
        limit: most bytes, :data:`FAST_LINE` or :data:`ASYNC_LINE`.

    Raises:
        InvalidCommand: an argument can't be sent, or the whole is too long.

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
    """What the server tells of a call as its script begins.

    Args:
        values: the variables, without ``agi_``.
        arguments: of the application AGI, in order.
        cut: whether the server had more to say than it can send (AsyncAGI: 1024 bytes).

    """

    values: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    cut: bool = False


def parse_environment(lines: Iterable[bytes], *, cut: bool = False) -> Environment:
    """Return the environment of lines such as ``agi_channel: PJSIP/alice-00000001``.

    Lines that are something else are left out. Of a name that comes twice the first counts: the server's own
    come before the arguments, which a caller may have had a hand in.
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
    """An answer to a command.

    Args:
        code: 200 for success; 510 an unknown command, 511 not on a dead channel, 520 wrong arguments.
        result: what follows ``result=``; empty when the answer has none.
        rest: the text behind that.

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
        """The first word in parentheses, such as ``timeout``; empty when there is none."""
        return self.rest[1:].partition(")")[0] if self.rest.startswith("(") else ""

    @property
    def endpos(self) -> int:
        """Where playing or recording ended, in samples; 0 when the answer does not say."""
        found = _endpos.search(self.rest)
        return int(found[1][:18]) if found is not None else 0

    @property
    def number(self) -> int:
        """The result as a number.

        Raises:
            RemoteProtocolError: it is none.

        """
        try:
            return int(self.result[:20])
        except ValueError:
            raise RemoteProtocolError(f"the server answered with the result {self.result!r}, not a number") from None


def parse_reply(raw: bytes) -> Reply:
    """Return the answer that one line, or one text with further lines, holds.

    Raises:
        RemoteProtocolError: it is none.

    """
    found = _result.match(decode_text(raw))
    if found is None:
        raise RemoteProtocolError(f"the server sent {raw[:80]!r} where the answer to an AGI command must be")
    code, result, rest = found.groups()
    return Reply(int(code), result or "", rest)


def decode_result(text: str) -> bytes:
    """Return the bytes of a percent-encoded header, ``Env`` or ``Result``; a character cut in two is left out."""
    return unquote_to_bytes(_cut_escape.sub("", text).encode("utf-8", "surrogateescape"))


def parse_block(raw: bytes) -> Reply:
    """Return the answer in a text that is known to hold one: a whole AsyncAGI result, or what came before a mark.

    ``100 Trying`` in front of it, empty lines, and the usage text of a 520 behind the first line are dealt with; the
    value of a variable may hold any number of lines.
    """
    text = raw.lstrip(b"\r\n")
    while text.startswith(b"100"):
        text = text.partition(b"\n")[2].lstrip(b"\r\n")
    if text.startswith(b"520-"):
        return _usage(text.split(b"\n"))
    lines = text.split(b"\n")
    first = lines[0]
    if b" (" not in first:
        # Without a value, an answer is one line. (EXEC answers with its result and then, if that is 1, with a usage.)
        text = first
    return parse_reply(text.rstrip(b"\r\n"))


def _usage(lines: list[bytes]) -> Reply:
    text = b"\n".join(line for line in lines[1:] if not line.startswith(b"520 "))
    return Reply(520, "", decode_text(text.strip()))


class Answers:
    """What comes from a FastAGI peer: an environment, then answers, with ``HANGUP`` lines between them.

    Bytes are fed in as they arrive; nothing is sent from here.
    """

    def __init__(self) -> None:
        self.hung_up = False
        """True if a ``HANGUP`` line has come."""
        self._buffer = bytearray()
        self._scanned = 0  # no line end before this place
        self._environment: list[bytes] | None = []
        self._environment_size = 0
        self._block: list[bytes] = []  # a 520 usage text that has begun

    def feed(self, data: bytes) -> None:
        """Add bytes that came.

        Raises:
            RemoteProtocolError: more than :data:`MAX_ANSWER` bytes wait to be read.

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
        """Return the environment; :data:`None` while its end, an empty line, has not come.

        Raises:
            RemoteProtocolError: it is too long, or no AGI environment at all.

        """
        lines = self._environment
        if lines is None:
            raise RuntimeError("the environment has been read already")
        while (line := self._line()) is not None:
            if not line:
                if not lines:
                    continue  # an empty line in front of it all
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
        """Return the next answer; :data:`None` while it is not complete.

        Empty lines and ``100 Trying`` are passed over, a usage text is gathered, ``HANGUP`` is noted.

        Raises:
            RemoteProtocolError: a line is nothing that may come here.

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
        """Return True if an answer, or the beginning of one, has come; nothing is taken out."""
        start = 0
        while (end := self._buffer.find(b"\n", start)) >= 0:
            line = bytes(self._buffer[start:end]).rstrip(b"\r")
            if line and line != b"HANGUP" and not line.startswith(b"100"):
                return True
            start = end + 1
        return False

    def marked_reply(self, mark: bytes) -> Reply | None:
        """Return the answer before the line that answers to a mark; :data:`None` while that has not come.

        The value of a variable may hold line ends, and lines that look like answers: only the answer to the next
        command, with something in it that nobody could know before, shows where it ends.

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
        """Drop everything up to the answer to a mark; return whether it has come."""
        answer = b"200 result=1 (" + mark + b")"
        while (line := self._line()) is not None:
            if line == answer:
                self._block = []
                return True
            if line == b"HANGUP":
                self.hung_up = True
        return False
