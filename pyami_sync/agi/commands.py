"""All AGI commands of Asterisk 16 and 22 as methods, with checked arguments and parsed answers (media: media.py)."""

from __future__ import annotations

import enum
import math

from ..exceptions import RemoteProtocolError
from .arguments import LONGEST, number, short
from .errors import CommandFailed, InvalidCommand
from .media import MediaCommands
from .running import DEFAULT

__all__ = ["ChannelState", "Commands"]


class ChannelState(enum.IntEnum):
    """The state of a channel."""

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


class Commands(MediaCommands):
    """AGI commands as methods.

    Each blocks the calling thread until the server has answered, at most ``timeout`` seconds (by default the call's
    ``timeout``, and for commands that play or record its ``media_timeout``). For commands that wait for the caller,
    ``timeout`` is the time that the server waits, and the answer may take ``media_timeout`` longer.

    All raise :exc:`HungUp` when the call is over, :exc:`CommandTimeout` without an answer in time,
    :exc:`CommandFailed` when the server refuses or fails, :exc:`InvalidCommand` for an invalid argument, and
    :exc:`~pyami_sync.ConnectionLost` when the link to the server was lost.
    """

    # The call itself

    def answer(self, *, timeout: float | None = DEFAULT) -> None:
        """Answer the call; does nothing if it is answered."""
        reply = self._run("ANSWER", timeout=timeout)
        if reply.result == "-1":
            self._failed("ANSWER", "the channel could not be answered", reply)

    def hangup(self, channel: str | None = None, *, timeout: float | None = DEFAULT) -> None:
        """Hang up this call, or another channel by its name; after its own, the next command raises :exc:`HungUp`."""
        names = () if channel is None else (short("a channel", channel, 255),)
        if self._run("HANGUP", *names, timeout=timeout).result == "-1":
            raise CommandFailed("HANGUP", "there is no such channel")

    def channel_status(self, channel: str | None = None, *, timeout: float | None = DEFAULT) -> ChannelState:
        """Return the state of this channel, or of another one."""
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
        """Have the server hang up after some seconds; 0 for never."""
        if not math.isfinite(seconds) or not 0 <= seconds <= LONGEST:
            raise InvalidCommand(f"a time to hang up after is a number of seconds, not {seconds!r}")
        self._run("SET AUTOHANGUP", f"{seconds:f}", timeout=timeout)

    def set_callerid(self, caller_id: str, *, timeout: float | None = DEFAULT) -> None:
        """Set the caller's number, or name and number: ``Shop <5550>``."""
        self._run("SET CALLERID", short("a caller ID", caller_id, 255), timeout=timeout)

    def set_context(self, context: str, *, timeout: float | None = DEFAULT) -> None:
        """Set the context for the dialplan after the script; see :meth:`~pyami_sync.agi.AGICall.go_to`."""
        self._run("SET CONTEXT", short("a context", context), timeout=timeout)

    def set_extension(self, extension: str, *, timeout: float | None = DEFAULT) -> None:
        """Set the extension at which the dialplan continues after the script."""
        self._run("SET EXTENSION", short("an extension", extension), timeout=timeout)

    def set_priority(self, priority: int | str, *, timeout: float | None = DEFAULT) -> None:
        """Set the priority or label at which the dialplan continues after the script."""
        text = short("a label", priority) if isinstance(priority, str) else number("a priority", priority, 1)
        self._run("SET PRIORITY", text, timeout=timeout)

    def set_music(self, on: bool, music_class: str = "default", *, timeout: float | None = DEFAULT) -> None:
        """Start or stop music on hold; it plays while the script continues."""
        self._run("SET MUSIC", *(("on", short("a class", music_class)) if on else ("off",)), timeout=timeout)

    def exec(self, application: str, *arguments: str, timeout: float | None = DEFAULT) -> int:
        """Run an application of the dialplan, such as ``Dial``; return its result, which is 0 for most applications.

        Args:
            application: its name.
            arguments: joined with commas, which the application parses: commas and quotes in them are not escaped, so
                be careful with text from a caller.
            timeout: seconds that it may take, by default the call's ``media_timeout``.

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
        """Run a subroutine of the dialplan; blocks until it returns."""
        label = short("a label", priority) if isinstance(priority, str) else number("a priority", priority, 1)
        given = [",".join(arguments)] if arguments else []
        place = (short("a context", context), short("an extension", extension), label)
        self._media("GOSUB", *place, *given, timeout=timeout, why="there is no such subroutine, or it failed")

    # Variables and the database

    def get_variable(self, name: str, *, timeout: float | None = DEFAULT) -> str | None:
        """Return the value of a variable or function; :data:`None` if it is not set."""
        reply = self._run("GET VARIABLE", short("a variable", name, 512), timeout=timeout, free_text=True)
        return (reply.value or "") if reply.result == "1" else None

    def get_full_variable(
        self, expression: str, channel: str | None = None, *, timeout: float | None = DEFAULT
    ) -> str | None:
        """Return a text with its variables and functions substituted: ``"${CALLERID(num)} in ${CONTEXT}"``.

        Args:
            expression: evaluated by the server; never build it from a caller's input.
            channel: name of another channel; the result is :data:`None` if there is no such channel.
            timeout: seconds to wait for the answer.

        """
        names = () if channel is None else (short("a channel", channel, 255),)
        reply = self._run("GET FULL VARIABLE", expression, *names, timeout=timeout, free_text=True)
        return (reply.value or "") if reply.result == "1" else None

    def set_variable(self, name: str, value: str | int, *, timeout: float | None = DEFAULT) -> None:
        """Set a variable of this channel, or a writable function such as ``CDR(userfield)``."""
        self._run("SET VARIABLE", short("a variable", name, 512), str(value), timeout=timeout)

    def database_get(self, family: str, key: str, *, timeout: float | None = DEFAULT) -> str | None:
        """Return a value of the server's database (AstDB); :data:`None` if there is none."""
        place = (short("a family", family, 255), short("a key", key, 255))
        reply = self._run("DATABASE GET", *place, timeout=timeout, free_text=True)
        return (reply.value or "") if reply.result == "1" else None

    def database_put(self, family: str, key: str, value: str, *, timeout: float | None = DEFAULT) -> None:
        """Write a value to the server's database (AstDB)."""
        place = (short("a family", family, 255), short("a key", key, 255))
        reply = self._run("DATABASE PUT", *place, value, timeout=timeout)
        if reply.result != "1":
            raise CommandFailed("DATABASE PUT", "the database refused it", reply)

    def database_del(self, family: str, key: str, *, timeout: float | None = DEFAULT) -> bool:
        """Delete a key of the server's database (AstDB); return True if it existed (Asterisk 16: always True)."""
        place = (short("a family", family, 255), short("a key", key, 255))
        return self._run("DATABASE DEL", *place, timeout=timeout).result == "1"

    def database_deltree(self, family: str, key_tree: str | None = None, *, timeout: float | None = DEFAULT) -> bool:
        """Delete a family, or the keys below one of its keys; return True if anything was deleted."""
        below = () if key_tree is None else (short("a key", key_tree, 255),)
        reply = self._run("DATABASE DELTREE", short("a family", family, 255), *below, timeout=timeout)
        return reply.result == "0"  # 0 means that something was deleted
