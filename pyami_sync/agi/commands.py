"""Every AGI command of Asterisk 16 and 22, with its arguments checked and its answer read."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, NoReturn

from ..exceptions import RemoteProtocolError
from .arguments import LONGEST, keys, milliseconds, number, short, sound
from .errors import CallLeft, CommandFailed, HungUp, InvalidCommand
from .wire import Reply

__all__ = ["ChannelState", "Commands", "Playback", "Recording", "Speech", "SpeechMatch"]

DEFAULT: Any = type("Default", (), {"__repr__": lambda self: "default"})()
"""Stands for the call's own timeout."""
_number = re.compile(r"[0-9][0-9*#]*\Z", re.ASCII)
_match = re.compile(r'score(\d+)=(-?\d+) text\1="(.*?)" grammar\1=(\S*)')


class ChannelState(enum.IntEnum):
    """What a channel is doing."""

    DOWN = 0
    RESERVED = 1
    OFF_HOOK = 2
    DIALING = 3
    RING = 4
    RINGING = 5
    UP = 6
    BUSY = 7
    DIALING_OFF_HOOK = 8
    PRE_RING = 9


class Playback(NamedTuple):
    """How playing a sound ended."""

    digit: str
    """The key that ended it; empty when it was played to its end."""
    endpos: int
    """Where it ended, in samples."""


class Recording(NamedTuple):
    """How recording ended."""

    digit: str
    """The key that ended it; empty when time or silence did."""
    endpos: int
    """Its length in samples."""
    reason: str
    """``dtmf``, or ``timeout`` also after silence."""


class SpeechMatch(NamedTuple):
    """One thing that a speech engine may have heard."""

    score: int
    text: str
    grammar: str


class Speech(NamedTuple):
    """What came of listening for speech."""

    reason: str
    """``speech``, ``digit`` or ``timeout``."""
    digit: str
    endpos: int
    matches: tuple[SpeechMatch, ...]


class Commands:
    """AGI commands as methods.

    Each blocks the calling thread until the server has answered, at most ``timeout`` seconds: the call's ``timeout``
    unless given, for commands that play or record its ``media_timeout``. Where the server itself is told how long to
    wait for the caller, that is ``timeout``, and the answer may take ``media_timeout`` longer.

    All raise :exc:`HungUp` when the call is over, :exc:`CommandTimeout` without an answer in time,
    :exc:`CommandFailed` when the server can't or won't, :exc:`InvalidCommand` for an argument that can't be sent,
    and :exc:`~pyami_sync.ConnectionLost` when the link to the server is gone.
    """

    timeout: float | None
    media_timeout: float | None

    def _execute(self, command: str, arguments: Sequence[str], timeout: float | None, free_text: bool) -> Reply:
        """Send a command and return its answer."""
        raise NotImplementedError

    def _run(self, command: str, *arguments: str, timeout: float | None = DEFAULT, free_text: bool = False) -> Reply:
        reply = self._execute(command, arguments, self.timeout if timeout is DEFAULT else timeout, free_text)
        if reply.code == 200:
            return reply
        if reply.code == 511:  # not on a dead channel
            raise HungUp
        if reply.code == 510:
            raise CommandFailed(command, "the server does not know this command", reply)
        if reply.code == 520:
            raise CommandFailed(command, "the server refused its arguments", reply)
        raise CommandFailed(command, f"the server answered {reply.code} {reply.rest}".rstrip(), reply)

    def _media(
        self,
        command: str,
        *arguments: str,
        timeout: float | None = DEFAULT,
        listens: float | None = 0.0,
        free_text: bool = False,
        why: str = "the server could not do it: does the sound exist?",
    ) -> Reply:
        """Run a command that takes its time, and answers -1 when it failed or the call was hung up."""
        if timeout is DEFAULT:
            longest = self.media_timeout
            timeout = None if longest is None or listens is None else longest + listens
        reply = self._run(command, *arguments, timeout=timeout, free_text=free_text)
        if reply.result == "-1":
            self._failed(command, why, reply)
        return reply

    def _failed(self, command: str, why: str, reply: Reply) -> NoReturn:
        """Raise what a result of -1 means: the channel's status tells a hang-up from another failure."""
        try:
            self._run("CHANNEL STATUS")
        except CallLeft:
            pass  # AsyncAGI ends with a command that fails; the call goes on in the dialplan
        raise CommandFailed(command, why, reply)

    @staticmethod
    def _digit(reply: Reply) -> str:
        pressed = reply.number
        if not 0 <= pressed < 0x110000:
            raise RemoteProtocolError(f"the server answered with the key {pressed}")
        return chr(pressed) if pressed else ""

    # The call itself

    def answer(self, *, timeout: float | None = DEFAULT) -> None:
        """Answer the call; does nothing when it is answered."""
        reply = self._run("ANSWER", timeout=timeout)
        if reply.result == "-1":
            self._failed("ANSWER", "the channel could not be answered", reply)

    def hangup(self, channel: str | None = None, *, timeout: float | None = DEFAULT) -> None:
        """Hang up this call, or another channel by its name; after its own, the next command raises :exc:`HungUp`."""
        names = () if channel is None else (short("a channel", channel, 255),)
        if self._run("HANGUP", *names, timeout=timeout).result == "-1":
            raise CommandFailed("HANGUP", "there is no such channel")

    def channel_status(self, channel: str | None = None, *, timeout: float | None = DEFAULT) -> ChannelState:
        """Return what this channel, or another one, is doing."""
        names = () if channel is None else (short("a channel", channel, 255),)
        reply = self._run("CHANNEL STATUS", *names, timeout=timeout)
        if reply.result == "-1":
            raise CommandFailed("CHANNEL STATUS", "there is no such channel", reply)
        try:
            return ChannelState(reply.number)
        except ValueError:
            raise RemoteProtocolError(f"the server answered with the channel state {reply.result}") from None

    def noop(self, text: str = "", *, timeout: float | None = DEFAULT) -> None:
        """Do nothing."""
        self._run("NOOP", *([text] if text else []), timeout=timeout)

    def verbose(self, text: str, level: int = 1, *, timeout: float | None = DEFAULT) -> None:
        """Write a line to the server's console and log, if they show this level (0 to 4)."""
        self._run("VERBOSE", text, number("a level", level, 0), timeout=timeout)

    def set_autohangup(self, seconds: float, *, timeout: float | None = DEFAULT) -> None:
        """Hang up by itself after so many seconds; 0 for never."""
        if not math.isfinite(seconds) or not 0 <= seconds <= LONGEST:
            raise InvalidCommand(f"a time to hang up after is a number of seconds, not {seconds!r}")
        self._run("SET AUTOHANGUP", f"{seconds:f}", timeout=timeout)

    def set_callerid(self, caller_id: str, *, timeout: float | None = DEFAULT) -> None:
        """Set the caller's number, or name and number: ``Shop <5550>``."""
        self._run("SET CALLERID", short("a caller ID", caller_id, 255), timeout=timeout)

    def set_context(self, context: str, *, timeout: float | None = DEFAULT) -> None:
        """Set the context that the dialplan goes on in after the script; see :meth:`~pyami_sync.agi.AGICall.go_to`."""
        self._run("SET CONTEXT", short("a context", context), timeout=timeout)

    def set_extension(self, extension: str, *, timeout: float | None = DEFAULT) -> None:
        """Set the extension that the dialplan goes on at after the script."""
        self._run("SET EXTENSION", short("an extension", extension), timeout=timeout)

    def set_priority(self, priority: int | str, *, timeout: float | None = DEFAULT) -> None:
        """Set the priority, or the label, that the dialplan goes on at after the script."""
        text = short("a label", priority) if isinstance(priority, str) else number("a priority", priority, 1)
        self._run("SET PRIORITY", text, timeout=timeout)

    def set_music(self, on: bool, music_class: str = "default", *, timeout: float | None = DEFAULT) -> None:
        """Start or stop music on hold; it plays while the script does something else."""
        self._run("SET MUSIC", *(("on", short("a class", music_class)) if on else ("off",)), timeout=timeout)

    def exec(self, application: str, *arguments: str, timeout: float | None = DEFAULT) -> int:
        """Run an application of the dialplan, such as ``Dial``; return its result, which is 0 for most.

        Args:
            application: its name.
            arguments: joined with commas. Text of a caller in them is read as the application does: commas and
                quotes are not escaped.
            timeout: seconds that it may take; the call's ``media_timeout`` unless given.

        """
        given = [",".join(arguments)] if arguments else []
        why = "the application failed"
        reply = self._media(
            "EXEC", short("an application", application), *given, timeout=timeout, free_text=True, why=why
        )
        if reply.result == "-2":
            raise CommandFailed("EXEC", f"there is no application {application}", reply)
        return reply.number

    def gosub(
        self,
        context: str,
        extension: str,
        priority: int | str = 1,
        *arguments: str,
        timeout: float | None = DEFAULT,
    ) -> None:
        """Run a subroutine of the dialplan, and come back when it returns."""
        label = short("a label", priority) if isinstance(priority, str) else number("a priority", priority, 1)
        given = [",".join(arguments)] if arguments else []
        place = (short("a context", context), short("an extension", extension), label)
        self._media("GOSUB", *place, *given, timeout=timeout, why="there is no such subroutine, or it failed")

    # Variables and the database

    def get_variable(self, name: str, *, timeout: float | None = DEFAULT) -> str | None:
        """Return a variable's or a function's value; :data:`None` when it is not set."""
        reply = self._run("GET VARIABLE", short("a variable", name, 512), timeout=timeout, free_text=True)
        return (reply.value or "") if reply.result == "1" else None

    def get_full_variable(
        self, expression: str, channel: str | None = None, *, timeout: float | None = DEFAULT
    ) -> str | None:
        """Return a text with its variables and functions put in: ``"${CALLERID(num)} in ${CONTEXT}"``.

        Args:
            expression: evaluated by the server; never build it from what a caller can choose.
            channel: another channel, by its name; :data:`None` is returned when there is none.
            timeout: seconds to wait for the answer.

        """
        names = () if channel is None else (short("a channel", channel, 255),)
        reply = self._run("GET FULL VARIABLE", expression, *names, timeout=timeout, free_text=True)
        return (reply.value or "") if reply.result == "1" else None

    def set_variable(self, name: str, value: str | int, *, timeout: float | None = DEFAULT) -> None:
        """Set a variable of this channel, or a writable function such as ``CDR(userfield)``."""
        self._run("SET VARIABLE", short("a variable", name, 512), str(value), timeout=timeout)

    def database_get(self, family: str, key: str, *, timeout: float | None = DEFAULT) -> str | None:
        """Return a value of the server's own database; :data:`None` when there is none."""
        place = (short("a family", family, 255), short("a key", key, 255))
        reply = self._run("DATABASE GET", *place, timeout=timeout, free_text=True)
        return (reply.value or "") if reply.result == "1" else None

    def database_put(self, family: str, key: str, value: str, *, timeout: float | None = DEFAULT) -> None:
        """Write a value to the server's own database."""
        place = (short("a family", family, 255), short("a key", key, 255))
        reply = self._run("DATABASE PUT", *place, value, timeout=timeout)
        if reply.result != "1":
            raise CommandFailed("DATABASE PUT", "the database refused it", reply)

    def database_del(self, family: str, key: str, *, timeout: float | None = DEFAULT) -> bool:
        """Delete a key of the server's own database; return True if there was one (Asterisk 16: always True)."""
        place = (short("a family", family, 255), short("a key", key, 255))
        return self._run("DATABASE DEL", *place, timeout=timeout).result == "1"

    def database_deltree(self, family: str, key_tree: str | None = None, *, timeout: float | None = DEFAULT) -> bool:
        """Delete a family, or what is below a key of it; return True if anything was deleted."""
        below = () if key_tree is None else (short("a key", key_tree, 255),)
        reply = self._run("DATABASE DELTREE", short("a family", family, 255), *below, timeout=timeout)
        return reply.result == "0"  # the server says 0 when it deleted something

    # Playing and listening

    def stream_file(
        self, name: str, escape_digits: str = "", offset: int = 0, *, timeout: float | None = DEFAULT
    ) -> Playback:
        """Play a sound until its end, or until one of the keys is pressed.

        A sound that does not exist raises :exc:`CommandFailed`; over AsyncAGI the server takes the call away from
        the script then, so that what follows raises :exc:`CallLeft`.
        """
        more = (keys(escape_digits), *([number("an offset", offset, 0)] if offset else []))
        reply = self._media("STREAM FILE", sound(name), *more, timeout=timeout)
        return Playback(self._digit(reply), reply.endpos)

    def control_stream_file(
        self,
        name: str,
        escape_digits: str = "",
        skip: float = 3.0,
        forward: str = "#",
        rewind: str = "*",
        pause: str = "",
        offset: float = 0.0,
        *,
        timeout: float | None = DEFAULT,
    ) -> Playback:
        """Play a sound that the caller can wind and pause by keys; times are in seconds, ``endpos`` in milliseconds."""
        skip_ms, offset_ms = milliseconds("skip", skip), milliseconds("an offset", offset)
        controls = (keys(escape_digits), skip_ms, keys(forward), keys(rewind), keys(pause), offset_ms)
        reply = self._media("CONTROL STREAM FILE", sound(name), *controls, timeout=timeout)
        return Playback(self._digit(reply), reply.endpos)

    def get_option(self, name: str, escape_digits: str = "", timeout: float = 5.0) -> Playback:
        """Play a sound and then wait ``timeout`` seconds for one of the keys."""
        given = (sound(name), keys(escape_digits), milliseconds("timeout", timeout))
        reply = self._media("GET OPTION", *given, listens=timeout)
        return Playback(self._digit(reply), reply.endpos)

    def wait_for_digit(self, timeout: float | None = 5.0) -> str:
        """Wait ``timeout`` seconds (:data:`None`: for ever) for a key; return it, or an empty text."""
        return self._digit(self._media("WAIT FOR DIGIT", milliseconds("timeout", timeout), listens=timeout))

    def receive_char(self, timeout: float = 0.0) -> str:
        """Wait ``timeout`` seconds, 0 for ever, for a character of a text channel; return it, or an empty text."""
        return self._digit(self._media("RECEIVE CHAR", milliseconds("timeout", timeout), listens=timeout or None))

    def receive_text(self, timeout: float = 0.0) -> str | None:
        """Wait ``timeout`` seconds, 0 for ever, for a text of a text channel; :data:`None` when none came."""
        limit = None if not timeout or self.media_timeout is None else self.media_timeout + timeout
        reply = self._run("RECEIVE TEXT", milliseconds("timeout", timeout), timeout=limit, free_text=True)
        return reply.value if reply.result == "1" else None

    def record_file(
        self,
        name: str,
        format: str = "wav",
        escape_digits: str = "#",
        longest: float | None = None,
        *,
        offset: int = 0,
        beep: bool = False,
        silence: int | None = None,
        timeout: float | None = DEFAULT,
    ) -> Recording:
        """Record the caller to a file on the server.

        Args:
            name: without its extension; relative to the server's sounds directory.
            format: and extension, such as ``wav`` or ``gsm``.
            escape_digits: keys that end it.
            longest: seconds; :data:`None` for no limit.
            offset: samples to keep of a file that is there.
            beep: play a beep first.
            silence: seconds of silence that end it.
            timeout: seconds to wait for the answer.

        """
        more = [number("an offset", offset, 0)] if offset else []
        if beep:
            more.append("BEEP")
        if silence is not None:
            more.append(f"s={number('silence', silence, 1)}")
        given = (sound(name), short("a format", format, 16), keys(escape_digits), milliseconds("longest", longest))
        why = "the server could not write the file, or not record"
        reply = self._media("RECORD FILE", *given, *more, timeout=timeout, listens=longest, why=why)
        digit = self._digit(reply) if reply.note == "dtmf" else ""
        if reply.note == "randomerror":  # a key during the beep
            return Recording(self._digit(reply), 0, "dtmf")
        return Recording(digit, reply.endpos, reply.note)

    def get_data(
        self,
        prompt: str | Sequence[str],
        *,
        max_digits: int = 255,
        timeout: float = 5.0,
    ) -> str:
        """Play a sound, or several, and collect keys; return them, without the ``#`` that may end them.

        Args:
            prompt: ends with the first key.
            max_digits: so many keys end it, too; at most 255.
            timeout: seconds to wait for the first key after the prompt, and between keys.

        """
        if not 1 <= max_digits <= 255:
            raise InvalidCommand(f"max_digits is a number from 1 to 255, not {max_digits!r}")
        given = (sound(prompt), milliseconds("timeout", timeout), str(max_digits))
        return self._media("GET DATA", *given, listens=timeout * max_digits).result

    # Saying

    def _say(self, command: str, *arguments: str, timeout: float | None) -> str:
        return self._digit(self._media(command, *arguments, timeout=timeout))

    def say_alpha(
        self,
        text: str,
        escape_digits: str = "",
        case: Literal["", "all", "lower", "upper", "none"] = "",
        *,
        timeout: float | None = DEFAULT,
    ) -> str:
        """Spell a text; return the key that ended it, or an empty text, as all ``say_`` methods do.

        ``case`` says of which letters the case is told.
        """
        more = [case[0]] if case else []
        return self._say("SAY ALPHA", short("a text", text, 255), keys(escape_digits), *more, timeout=timeout)

    def say_digits(self, digits: str | int, escape_digits: str = "", *, timeout: float | None = DEFAULT) -> str:
        """Say digits one by one."""
        text = str(digits)
        if len(text) > 255 or not _number.match(text):
            raise InvalidCommand(f"digits are up to 255 of 0123456789*#, beginning with a number, not {text[:40]!r}")
        return self._say("SAY DIGITS", text, keys(escape_digits), timeout=timeout)

    def say_number(
        self, value: int, escape_digits: str = "", gender: str = "", *, timeout: float | None = DEFAULT
    ) -> str:
        """Say a number; ``gender`` is ``f``, ``m``, ``n`` or what else its language knows."""
        more = [short("a gender", gender, 8)] if gender else []
        return self._say("SAY NUMBER", number("a number", value), keys(escape_digits), *more, timeout=timeout)

    def say_phonetic(self, text: str, escape_digits: str = "", *, timeout: float | None = DEFAULT) -> str:
        """Spell a text with the words of the phonetic alphabet."""
        return self._say("SAY PHONETIC", short("a text", text, 255), keys(escape_digits), timeout=timeout)

    def say_date(self, moment: int, escape_digits: str = "", *, timeout: float | None = DEFAULT) -> str:
        """Say the date of a moment, in seconds since 1970."""
        return self._say("SAY DATE", number("a moment", moment), keys(escape_digits), timeout=timeout)

    def say_time(self, moment: int, escape_digits: str = "", *, timeout: float | None = DEFAULT) -> str:
        """Say the time of day of a moment, in seconds since 1970."""
        return self._say("SAY TIME", number("a moment", moment), keys(escape_digits), timeout=timeout)

    def say_datetime(
        self,
        moment: int,
        escape_digits: str = "",
        format: str = "",
        zone: str = "",
        *,
        timeout: float | None = DEFAULT,
    ) -> str:
        """Say date and time of a moment, in seconds since 1970.

        Args:
            moment: seconds since 1970.
            escape_digits: keys that end it.
            format: as in voicemail.conf: ``ABdY 'digits/at' IMp``; the language's own unless given.
            zone: a time zone, such as ``Europe/Paris``; only with a format.
            timeout: seconds to wait for the answer.

        """
        if zone and not format:
            raise InvalidCommand("a zone needs a format: the server has no other way to tell them apart")
        more = [short("a format", format, 128)] if format else []
        if zone:
            more.append(short("a zone", zone))
        return self._say("SAY DATETIME", number("a moment", moment), keys(escape_digits), *more, timeout=timeout)

    # Text, images, the deaf

    def send_text(self, text: str, *, timeout: float | None = DEFAULT) -> None:
        """Send a text to a channel that can show it."""
        self._media("SEND TEXT", text, timeout=timeout, why="the text could not be sent")

    def send_image(self, name: str, *, timeout: float | None = DEFAULT) -> None:
        """Send an image, without its extension, to a channel that can show it."""
        self._media("SEND IMAGE", short("an image", name, 255), timeout=timeout, why="the image could not be sent")

    def tdd_mode(self, mode: Literal["on", "off", "mate"], *, timeout: float | None = DEFAULT) -> bool:
        """Switch a telecommunications device for the deaf; return True if the channel can do it."""
        if mode not in ("on", "off", "mate"):
            raise InvalidCommand(f"a TDD mode is on, off or mate, not {mode!r}")
        return self._run("TDD MODE", mode, timeout=timeout).result == "1"

    # Speech recognition, where the server has an engine for it

    def speech_create(self, engine: str = "", *, timeout: float | None = DEFAULT) -> bool:
        """Make a speech object; return True if there is such an engine, as all ``speech_`` methods but one do."""
        return self._run("SPEECH CREATE", engine, timeout=timeout).result == "1"

    def speech_set(self, name: str, value: str, *, timeout: float | None = DEFAULT) -> bool:
        """Change a setting of the engine."""
        return self._run("SPEECH SET", short("a setting", name), value, timeout=timeout).result == "1"

    def speech_destroy(self, *, timeout: float | None = DEFAULT) -> bool:
        """Drop the speech object."""
        return self._run("SPEECH DESTROY", timeout=timeout).result == "1"

    def speech_load_grammar(self, grammar: str, path: str, *, timeout: float | None = DEFAULT) -> bool:
        """Load a grammar from a file on the server."""
        given = (short("a grammar", grammar), short("a path", path, 255))
        return self._run("SPEECH LOAD GRAMMAR", *given, timeout=timeout).result == "1"

    def speech_unload_grammar(self, grammar: str, *, timeout: float | None = DEFAULT) -> bool:
        """Unload a grammar."""
        return self._run("SPEECH UNLOAD GRAMMAR", short("a grammar", grammar), timeout=timeout).result == "1"

    def speech_activate_grammar(self, grammar: str, *, timeout: float | None = DEFAULT) -> bool:
        """Listen for a grammar."""
        return self._run("SPEECH ACTIVATE GRAMMAR", short("a grammar", grammar), timeout=timeout).result == "1"

    def speech_deactivate_grammar(self, grammar: str, *, timeout: float | None = DEFAULT) -> bool:
        """Listen for a grammar no more."""
        return self._run("SPEECH DEACTIVATE GRAMMAR", short("a grammar", grammar), timeout=timeout).result == "1"

    def speech_recognize(self, prompt: str, timeout: int = 5, offset: int = 0) -> Speech | None:
        """Play a prompt and listen ``timeout`` seconds after it; :data:`None` without a speech object."""
        given = [sound(prompt), number("timeout", timeout, 0), *([number("an offset", offset, 0)] if offset else [])]
        reply = self._media("SPEECH RECOGNIZE", *given, listens=float(timeout), free_text=True)
        if reply.result != "1":
            return None
        if reply.note == "hangup":
            raise HungUp
        found = re.search(r"digit=(.)", reply.rest)
        matches = tuple(SpeechMatch(int(score), text, name) for _, score, text, name in _match.findall(reply.rest))
        return Speech(
            reply.note, found[1] if found is not None and reply.note == "digit" else "", reply.endpos, matches
        )
