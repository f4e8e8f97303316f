"""AGICall: the call that a script controls."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from ..exceptions import AMIError
from .commands import Commands
from .errors import HungUp
from .running import DEFAULT
from .wire import Environment, Reply, render

__all__ = ["STATUS_VARIABLE", "AGICall", "AGITransport", "Variables"]

logger = logging.getLogger("pyami_sync.agi")

STATUS_VARIABLE = "AGISCRIPT"
"""The channel variable with the result of a script."""
CLEANUP = 5.0  # seconds that setting that variable may take


class AGITransport(Protocol):
    """Sends AGI commands to a channel. One script uses it, on one thread at a time."""

    kind: str
    """``fast`` or ``async``."""
    limit: int
    """Most bytes of a command."""

    @property
    def hung_up(self) -> bool:
        """True if the call is known to be over for the script; sends nothing."""

    def execute(self, line: bytes, command: str, timeout: float | None, *, free_text: bool = False) -> Reply:
        """Send a command and wait for its answer.

        Args:
            line: the command, rendered.
            command: its name, for messages.
            timeout: seconds; :data:`None` for no limit.
            free_text: whether the answer may contain text with line ends.

        Raises:
            HungUp: the call is over.
            CommandTimeout: no answer in time.
            ConnectionClosed: the link was lost, or the server of the scripts was stopped.

        """

    def leave(self, timeout: float) -> None:
        """Have the channel continue in the dialplan; does nothing if it has left the script already."""


class _Log(logging.LoggerAdapter[logging.Logger]):
    """Adds the unique id of the call to the beginning of each log record."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        # The logger formats this together with the message's arguments, so it must not contain a percent sign.
        return f"[{str((self.extra or {}).get('uniqueid', '')).replace('%', '_')}] {msg}", kwargs


class Variables:
    """The variables of a channel: ``call.variables["ORDER"] = "7"``.

    Names may be functions, too: ``call.variables["CALLERID(num)"]``. Each access sends a command; iteration is not
    supported.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def __getitem__(self, name: str) -> str:
        value = self._commands.get_variable(name)
        if value is None:
            raise KeyError(name)
        return value

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return a variable's value, or the default if it is not set."""
        value = self._commands.get_variable(name)
        return default if value is None else value

    def __setitem__(self, name: str, value: str | int) -> None:
        self._commands.set_variable(name, value)

    def __delitem__(self, name: str) -> None:
        self._commands.set_variable(name, "")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._commands.get_variable(name) is not None

    def __iter__(self) -> Any:
        raise TypeError("AGI can't list the variables of a channel; ask for each by its name")

    def update(self, values: Mapping[str, str | int]) -> None:
        """Set several variables."""
        for name, value in values.items():
            self[name] = value


class AGICall(Commands):
    """A call under the control of a script: its data, and every AGI command as a method.

    A script runs on a thread of its own and uses its call there; no other thread may use it at the same time.

    Args:
        transport: sends the commands.
        environment: the data of the call from the server.
        path: path of the script in the dialplan.
        arguments: the script's arguments in the dialplan.
        timeout: seconds for a command that does not play, listen or record; :data:`None` for no limit.
        media_timeout: seconds for one that does, in addition to the time that it is to listen.

    """

    def __init__(
        self,
        transport: AGITransport,
        environment: Environment,
        path: str,
        arguments: Sequence[str] = (),
        *,
        timeout: float | None = 10.0,
        media_timeout: float | None = 300.0,
    ) -> None:
        self._transport = transport
        self.environment = environment.values
        """The data of the call from the server, by names without ``agi_`` such as ``callerid`` or ``dnid``."""
        self.path = path
        """Path of the script in the dialplan, such as ``ivr/en``."""
        self.arguments = tuple(arguments)
        """The script's arguments in the dialplan."""
        self.params: dict[str, str] = {}
        """The values of the names in the route, and of the query after ``?``."""
        self.timeout = timeout
        self.media_timeout = media_timeout
        self.variables = Variables(self)
        """The channel's variables, as a mapping."""
        self.log = _Log(logger, {"uniqueid": self.uniqueid, "channel": self.channel, "script": path})
        """A logger that adds the call's unique id to the beginning of each line."""

    @property
    def channel(self) -> str:
        """Name of the channel when the script began."""
        return self.environment.get("channel", "")

    @property
    def uniqueid(self) -> str:
        """Unique id of the channel."""
        return self.environment.get("uniqueid", "")

    @property
    def caller_id(self) -> str:
        """Number of the caller; empty when it is not known."""
        return self._known("callerid")

    @property
    def caller_name(self) -> str:
        """Name of the caller; empty when it is not known."""
        return self._known("calleridname")

    @property
    def language(self) -> str:
        """Language of the channel, such as ``en``."""
        return self.environment.get("language", "")

    @property
    def context(self) -> str:
        """Context of the dialplan that called the script."""
        return self.environment.get("context", "")

    @property
    def extension(self) -> str:
        """Extension of the dialplan that called the script."""
        return self.environment.get("extension", "")

    @property
    def dialed(self) -> str:
        """The number that the caller dialled; empty when it is not known."""
        return self._known("dnid")

    def _known(self, name: str) -> str:
        value = self.environment.get(name, "")
        return "" if value == "unknown" else value

    @property
    def transport(self) -> str:
        """``fast`` for FastAGI, ``async`` for AsyncAGI."""
        return self._transport.kind

    @property
    def hung_up(self) -> bool:
        """True if the call is known to be over; sends nothing."""
        return self._transport.hung_up

    def __repr__(self) -> str:
        return f"<AGICall {self.path!r} on {self.channel} ({self.uniqueid})>"

    def _execute(self, command: str, arguments: Sequence[str], timeout: float | None, free_text: bool) -> Reply:
        line = render(command, arguments, self._transport.limit)
        return self._transport.execute(line, command, timeout, free_text=free_text)

    # Common tasks

    def play(self, *sounds: str, escape_digits: str = "", timeout: float | None = DEFAULT) -> str:
        """Play sounds one after the other; return the key that ended them, or an empty str."""
        for each in sounds:
            digit = self.stream_file(each, escape_digits, timeout=timeout).digit
            if digit:
                return digit
        return ""

    def menu(
        self,
        prompt: str | Sequence[str],
        *,
        digits: int = 1,
        timeout: float = 5.0,
        tries: int = 3,
        choices: Collection[str] | None = None,
        invalid: str | None = None,
    ) -> str:
        """Play a menu until the caller chooses; return the keys, or an empty str after all tries.

        Args:
            prompt: the sound, or several; the first key ends it.
            digits: most keys of a choice; ``#`` ends it, too.
            timeout: seconds to wait for a key.
            tries: how many times it is played.
            choices: the valid choices; by default all.
            invalid: a sound that is played after any other choice.

        """
        for _ in range(tries):
            pressed = self.get_data(prompt, max_digits=digits, timeout=timeout)
            if pressed and (choices is None or pressed in choices):
                return pressed
            if pressed and invalid is not None:
                self.play(invalid)
        return ""

    def record(
        self,
        name: str,
        format: str = "wav",
        *,
        longest: float | None = None,
        silence: int | None = None,
        escape_digits: str = "#",
        beep: bool = True,
    ) -> float:
        """Record the caller to a file on the server, after a beep; return the length in seconds, at 8 kHz."""
        recording = self.record_file(name, format, escape_digits, longest, beep=beep, silence=silence)
        return recording.endpos / 8000

    def go_to(self, context: str, extension: str = "s", priority: int | str = 1) -> None:
        """Have the dialplan continue at this place when the script returns."""
        self.set_context(context)
        self.set_extension(extension)
        self.set_priority(priority)

    def leave(self) -> None:
        """Return the call to the dialplan now; every further command raises :exc:`CallLeft`."""
        self._transport.leave(CLEANUP)

    def finish(self, status: str) -> None:
        """Set the variable ``AGISCRIPT`` to the script's result, and return the call to the dialplan."""
        try:
            if not self.hung_up:
                self.set_variable(STATUS_VARIABLE, status, timeout=CLEANUP)
        except HungUp:
            pass
        except AMIError as exc:
            self.log.warning("the dialplan could not be told how the script ended (%s): %s", status, exc)
        self._transport.leave(CLEANUP)
