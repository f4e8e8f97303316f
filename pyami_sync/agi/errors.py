"""The exceptions of call scripts.

::

    AMIError
    └─ AGIError                  base of everything below
        ├─ HungUp                the call is over for the script: clean up and return
        │   └─ CallLeft          the channel continues in the dialplan, without the script
        ├─ CommandFailed         the server refused a command, or could not carry it out
        ├─ CommandTimeout        no answer to a command in time (also a TimeoutError)
        ├─ InvalidCommand        raised before a byte is sent (also a ValueError)
        └─ ScriptNotFound        no route has that path

A lost link raises :exc:`~pyami_sync.ConnectionLost`, as everywhere in this library, and a server that breaks the
protocol :exc:`~pyami_sync.RemoteProtocolError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import AMIError

if TYPE_CHECKING:
    from .wire import Reply

__all__ = ["AGIError", "CallLeft", "CommandFailed", "CommandTimeout", "HungUp", "InvalidCommand", "ScriptNotFound"]


class AGIError(AMIError):
    """Base class of the exceptions of call scripts."""


class HungUp(AGIError):
    """The call is over for the script.

    Raised by every command after the hang-up, and also after the channel was redirected to another extension. Catch
    it to clean up, or let it end the script, which is not an error and is not logged as one.
    """

    def __init__(self, reason: str = "the call was hung up") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class CallLeft(HungUp):
    """The channel was not hung up, but continues in the dialplan; the script does not control it any more."""


class CommandFailed(AGIError):
    """The server refused a command, or could not carry it out.

    Attributes:
        command: the command, without its arguments.
        reply: the whole answer.

    """

    def __init__(self, command: str, reason: str, reply: Reply | None = None) -> None:
        super().__init__(command, reason)
        self.command = command
        self.reason = reason
        self.reply = reply

    def __str__(self) -> str:
        return f"{self.command} failed: {self.reason}"


class CommandTimeout(AGIError, TimeoutError):
    """No answer to a command came in time; it may still be running.

    Attributes:
        command: the command, without its arguments.
        timeout: seconds that the script waited.

    """

    def __init__(self, command: str, timeout: float | None) -> None:
        super().__init__(command, timeout)
        self.command = command
        self.timeout = timeout

    def __str__(self) -> str:
        within = "in time" if self.timeout is None else f"within {self.timeout:g} s"
        return f"no answer to the AGI command {self.command} {within}; it may still be running"


class InvalidCommand(AGIError, ValueError):
    """A command that must not be sent; raised before any byte of it is sent."""


class ScriptNotFound(AGIError, LookupError):
    """No route has that path.

    Attributes:
        path: the path in the dialplan.

    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"no script has the path {self.path!r}"
