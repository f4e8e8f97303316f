"""The server's side of AGI, without I/O: runs the commands of a script on a simulated channel.

Everything runs on the simulator's thread, except for reads by a test.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...engine.waiting import Waiters
from ..state import UP, Channel

if TYPE_CHECKING:
    from ..pbx import PBX

__all__ = ["COMMANDS", "Command", "Line", "Listening", "split_arguments"]

SAMPLES = 8000
DEAD = {
    *("asyncagi break", "database del", "database deltree", "database get", "database put", "exec", "noop"),
    *("get full variable", "get variable", "set variable", "speech destroy", "speech unload grammar", "verbose"),
}
"""Commands that can also be run on a channel that was hung up."""

FAILING = ("STREAM FILE", "CONTROL STREAM FILE", "SAY ", "GOSUB")

Answer = Callable[[str], None]
Command = Callable[..., "str | Listening"]

COMMANDS: dict[str, tuple[int, int, Command]] = {}
"""Least and most arguments, and what is done, by name; filled by :mod:`pyami_sync.testing.agi.commands`."""


def split_arguments(line: str) -> list[str]:
    """Return the words of a command, read as Asterisk does."""
    words: list[str] = []
    word: list[str] | None = None
    quoted = escaped = False
    for character in line:
        if character == '"' and not escaped:
            quoted = not quoted
            if quoted and word is None:
                word = []
        elif character in " \t" and not quoted and not escaped:
            if word is not None:
                words.append("".join(word))
            word = None
        elif character == "\\" and not escaped:
            escaped = True
        else:
            word = [] if word is None else word
            word.append(character)
            escaped = False
    if word is not None:
        words.append("".join(word))
    return words


@dataclass
class Listening:
    """A command that waits for what the caller does.

    Args:
        keys: keys that end it.
        most: number of keys after which it ends.
        ended: the answer when keys ended it.
        timed_out: the answer when they did not.
        hung_up: the answer when the caller hung up.

    """

    keys: str
    most: int
    ended: Callable[[str], str]
    timed_out: Callable[[str], str]
    hung_up: str = "200 result=-1"
    got: str = ""

    def press(self, digits: str) -> tuple[str | None, str]:
        """Press keys; return the answer, if they end the command, and the remaining keys."""
        for place, digit in enumerate(digits):
            if digit in self.keys:
                return self.ended(self.got if self.most else digit), digits[place + 1 :]
            if self.most:
                self.got += digit
                if len(self.got) == self.most:
                    return self.ended(self.got), digits[place + 1 :]
        return None, ""


class Line:
    """A channel under the control of a script.

    Args:
        pbx: the telephone system that it is part of.
        channel: the channel.
        apps: results of applications that the script runs, by name: a number, or a function of their data.
        fast: whether it is FastAGI, where early commands interrupt the running one, and HANGUP is sent.

    """

    def __init__(
        self, pbx: PBX, channel: Channel, apps: Mapping[str, int | Callable[[str], int]] | None = None, *, fast: bool
    ) -> None:
        self.pbx = pbx
        self.channel = channel
        self.fast = fast
        self.apps = {name.lower(): result for name, result in (apps or {}).items()}
        self.heard: list[str] = []
        """What the caller has heard so far: names of sounds, and ``digits:12`` and so on for spoken values."""
        self.transcript: list[tuple[str, str]] = []
        """Commands and their answers."""
        self.pending: Listening | None = None
        """The command that waits for keys."""
        self.digits = ""
        """Pressed keys that no command has used yet."""
        self.over = False
        """True once the script has lost control of the channel."""
        self.hung_up = False
        self.failed = False
        """True if a command has failed in a way that counts as a failure of the script."""
        self.moved = False
        """True if the script has set where the dialplan is to continue."""
        self.changed = Waiters()
        self._commands: deque[tuple[str, Answer]] = deque()
        self._running: tuple[str, Answer] | None = None
        self._context, self._exten, self._priority = channel.context, channel.exten, channel.priority

    def environment(self, request: str, arguments: list[str]) -> str:
        """Return the environment that the server sends to a script."""
        channel = self.channel
        head = [("request", request)]
        if self.fast:
            head = [("network", "yes"), ("network_script", request.partition("://")[2].partition("/")[2]), *head]
        pairs = [
            *head,
            ("channel", channel.name),
            ("language", "en"),
            ("type", channel.name.partition("/")[0]),
            ("uniqueid", channel.uniqueid),
            ("version", self.pbx.simulator.version),
            ("callerid", channel.number or "unknown"),
            ("calleridname", channel.caller or "unknown"),
            *((name, "0") for name in ("callingpres", "callingani2", "callington", "callingtns")),
            ("dnid", channel.exten or "unknown"),
            ("rdnis", "unknown"),
            ("context", channel.context),
            ("extension", channel.exten),
            ("priority", str(channel.priority)),
            ("enhanced", "0.0"),
            ("accountcode", channel.account),
            ("threadid", "140000000000000"),
            *((f"arg_{number}", text) for number, text in enumerate(arguments, 1)),
        ]
        return "".join(f"agi_{name}: {value}\n" for name, value in pairs) + "\n"

    # What comes from the script

    def command(self, text: str, answer: Answer) -> None:
        """Run a command; it is answered when it is complete, perhaps later."""
        if self.fast and self.pending is not None:
            self.pending = self._running = None  # interrupted: this is how Asterisk does it, without an answer
        self._commands.append((text, answer))
        self._go_on()

    def _go_on(self) -> None:
        while self._commands and self._running is None and not self.over:
            self._running = self._commands.popleft()
            result = self._run(self._running[0])
            if isinstance(result, Listening):
                self.pending = result
                if self.hung_up:
                    self._answer(result.hung_up)
                elif self.digits:
                    self.press("")
            else:
                self._answer(result)
        self.changed.notify_all()

    def _answer(self, reply: str) -> None:
        self.pending = None
        running, self._running = self._running, None
        if running is not None:
            text, answer = running
            self.transcript.append((text, reply))
            if reply.startswith("200 result=-1") and text.upper().startswith(FAILING) and not self.hung_up:
                self.failed = True
            answer(reply)
        self.changed.notify_all()

    # What the caller does

    def press(self, digits: str) -> None:
        """Press keys; those that the listening command does not use are kept for the next one."""
        self.digits += digits
        if self.pending is not None and self.digits:
            reply, self.digits = self.pending.press(self.digits)
            if reply is not None:
                self._answer(reply)
                self._go_on()

    def silence(self) -> None:
        """Let the listening command time out."""
        if self.pending is not None:
            self._answer(self.pending.timed_out(self.pending.got))
            self._go_on()

    def hang_up(self) -> None:
        """Hang up: the listening command ends, and only the commands in :data:`DEAD` work from now on."""
        self.hung_up = True
        if self.pending is not None:
            self._answer(self.pending.hung_up)
        self._go_on()

    def end(self) -> None:
        """End the script's control, and move the channel to the place that it has set."""
        if self.over:
            return
        self.over = True
        self.pending = self._running = None
        self._commands.clear()
        if self.moved:
            self.channel.context, self.channel.exten = self._context, self._exten
            self.channel.priority = self._priority
        self.changed.notify_all()

    # Commands

    def _run(self, text: str) -> str | Listening:
        words = split_arguments(text)
        for count in (3, 2, 1):
            name = " ".join(words[:count]).lower()
            if len(words) >= count and name in COMMANDS:
                break
        else:
            return "510 Invalid or unknown command"
        if self.hung_up and name not in DEAD:
            return "511 Command Not Permitted on a dead channel or intercept routine"
        least, most, function = COMMANDS[name]
        arguments = words[count:]
        if not least <= len(arguments) <= most:
            return self.usage(name)
        return function(self, *arguments)

    def usage(self, name: str) -> str:
        """Return the answer to wrong arguments."""
        return f"520-Invalid command syntax.  Proper usage follows:\nUsage: {name.upper()}\n\n520 End of proper usage."

    def hear(self, sound: str, keys: str = "") -> str | Listening:
        """Play a sound to the caller, until its end or a key."""
        self.heard.append(sound)
        self.changed.notify_all()
        if not keys:
            return f"200 result=0 endpos={SAMPLES}"
        return Listening(
            keys,
            0,
            ended=lambda digit: f"200 result={ord(digit)} endpos={SAMPLES // 2}",
            timed_out=lambda got: f"200 result=0 endpos={SAMPLES}",
            hung_up="200 result=-1 endpos=0",
        )

    def move(self, context: str | None = None, exten: str | None = None, priority: int | None = None) -> str:
        """Set where the dialplan is to continue."""
        self.moved = True
        self._context = self._context if context is None else context
        self._exten = self._exten if exten is None else exten
        self._priority = self._priority if priority is None else priority
        return "200 result=0"

    @property
    def place(self) -> str:
        """Where the dialplan continues: ``context,extension,priority``."""
        return f"{self._context},{self._exten},{self._priority}"

    def answer_call(self) -> None:
        """Answer the channel."""
        if self.channel.state != UP:
            self.pbx.set_state(self.channel, UP)
