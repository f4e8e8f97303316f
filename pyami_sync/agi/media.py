"""AGI commands that play, record, listen and say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from .arguments import keys, milliseconds, number, short, sound
from .errors import HungUp, InvalidCommand
from .running import DEFAULT, CommandRunner

__all__ = ["MediaCommands", "Playback", "Recording", "Speech", "SpeechMatch"]

_number = re.compile(r"[0-9][0-9*#]*\Z", re.ASCII)
_match = re.compile(r'score(\d+)=(-?\d+) text\1="(.*?)" grammar\1=(\S*)')


class Playback(NamedTuple):
    """The result of playing a sound."""

    digit: str
    """The key that ended it; empty if it was played to its end."""
    endpos: int
    """Where it ended, in samples."""


class Recording(NamedTuple):
    """The result of recording."""

    digit: str
    """The key that ended it; empty if it ended by time or silence."""
    endpos: int
    """Its length in samples."""
    reason: str
    """``dtmf``, or ``timeout`` also after silence."""


class SpeechMatch(NamedTuple):
    """One result of a speech engine."""

    score: int
    text: str
    grammar: str


class Speech(NamedTuple):
    """The result of speech recognition."""

    reason: str
    """``speech``, ``digit`` or ``timeout``."""
    digit: str
    endpos: int
    matches: tuple[SpeechMatch, ...]


class MediaCommands(CommandRunner):
    """AGI commands that play, record, listen and say, as methods; see :class:`~pyami_sync.agi.commands.Commands`."""

    # Playing and listening

    def stream_file(
        self, name: str, escape_digits: str = "", offset: int = 0, *, timeout: float | None = DEFAULT
    ) -> Playback:
        """Play a sound until its end, or until one of the keys is pressed.

        A sound that does not exist raises :exc:`CommandFailed`; over AsyncAGI the call leaves the script then, so
        that further commands raise :exc:`CallLeft`.
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
        """Play a sound that the caller can skip through and pause by keys; times are in seconds, ``endpos`` in
        milliseconds.
        """
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
        """Wait ``timeout`` seconds (:data:`None`: no limit) for a key; return it, or an empty str."""
        return self._digit(self._media("WAIT FOR DIGIT", milliseconds("timeout", timeout), listens=timeout))

    def receive_char(self, timeout: float | None = None) -> str:
        """Wait ``timeout`` seconds (:data:`None`: no limit) for a character of a text channel; return it, or ``""``."""
        return self._digit(self._media("RECEIVE CHAR", _zero_for_ever(timeout), listens=timeout))

    def receive_text(self, timeout: float | None = None) -> str | None:
        """Wait ``timeout`` seconds (:data:`None`: no limit) for a text on a text channel; None if none came."""
        limit = None if timeout is None or self.media_timeout is None else self.media_timeout + timeout
        reply = self._run("RECEIVE TEXT", _zero_for_ever(timeout), timeout=limit, free_text=True)
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
            name: path without extension, relative to the server's sounds directory.
            format: format and extension, such as ``wav`` or ``gsm``.
            escape_digits: keys that end it.
            longest: most seconds; :data:`None` for no limit.
            offset: samples to keep of an existing file.
            beep: whether to play a beep first.
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
            prompt: the sound, or several; the first key ends it.
            max_digits: number of keys after which it ends, at most 255.
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
        """Spell a text; return the key that ended it, or an empty str, as all ``say_`` methods do.

        ``case`` determines for which letters upper or lower case is said.
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
        """Say a number; ``gender`` is ``f``, ``m``, ``n`` or another one of the language."""
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
            format: as in voicemail.conf: ``ABdY 'digits/at' IMp``; by default that of the language.
            zone: a time zone, such as ``Europe/Paris``; only with a format.
            timeout: seconds to wait for the answer.

        """
        if zone and not format:
            raise InvalidCommand("a zone needs a format: the server has no other way to tell them apart")
        more = [short("a format", format, 128)] if format else []
        if zone:
            more.append(short("a zone", zone))
        return self._say("SAY DATETIME", number("a moment", moment), keys(escape_digits), *more, timeout=timeout)

    # Text, images, TDD

    def send_text(self, text: str, *, timeout: float | None = DEFAULT) -> None:
        """Send a text to a channel that supports it."""
        self._media("SEND TEXT", text, timeout=timeout, why="the text could not be sent")

    def send_image(self, name: str, *, timeout: float | None = DEFAULT) -> None:
        """Send an image, named without extension, to a channel that supports it."""
        self._media("SEND IMAGE", short("an image", name, 255), timeout=timeout, why="the image could not be sent")

    def tdd_mode(self, mode: Literal["on", "off", "mate"], *, timeout: float | None = DEFAULT) -> bool:
        """Switch TDD mode (telecommunications devices for the deaf); return True if the channel supports it."""
        if mode not in ("on", "off", "mate"):
            raise InvalidCommand(f"a TDD mode is on, off or mate, not {mode!r}")
        return self._run("TDD MODE", mode, timeout=timeout).result == "1"

    # Speech recognition, for servers with a speech engine

    def speech_create(self, engine: str = "", *, timeout: float | None = DEFAULT) -> bool:
        """Create a speech object. Return True on success, like all ``speech_`` methods but :meth:`speech_recognize`."""
        return self._run("SPEECH CREATE", engine, timeout=timeout).result == "1"

    def speech_set(self, name: str, value: str, *, timeout: float | None = DEFAULT) -> bool:
        """Set an option of the engine."""
        return self._run("SPEECH SET", short("a setting", name), value, timeout=timeout).result == "1"

    def speech_destroy(self, *, timeout: float | None = DEFAULT) -> bool:
        """Destroy the speech object."""
        return self._run("SPEECH DESTROY", timeout=timeout).result == "1"

    def speech_load_grammar(self, grammar: str, path: str, *, timeout: float | None = DEFAULT) -> bool:
        """Load a grammar from a file on the server."""
        given = (short("a grammar", grammar), short("a path", path, 255))
        return self._run("SPEECH LOAD GRAMMAR", *given, timeout=timeout).result == "1"

    def speech_unload_grammar(self, grammar: str, *, timeout: float | None = DEFAULT) -> bool:
        """Unload a grammar."""
        return self._run("SPEECH UNLOAD GRAMMAR", short("a grammar", grammar), timeout=timeout).result == "1"

    def speech_activate_grammar(self, grammar: str, *, timeout: float | None = DEFAULT) -> bool:
        """Activate a grammar."""
        return self._run("SPEECH ACTIVATE GRAMMAR", short("a grammar", grammar), timeout=timeout).result == "1"

    def speech_deactivate_grammar(self, grammar: str, *, timeout: float | None = DEFAULT) -> bool:
        """Deactivate a grammar."""
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


def _zero_for_ever(timeout: float | None) -> str:
    """Return the milliseconds for a command that takes 0 for no limit."""
    return "0" if timeout is None else milliseconds("timeout", max(timeout, 0.001))
