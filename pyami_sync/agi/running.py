"""Runs one AGI command: time limit, and exceptions for the codes of its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from ..engine.deadline import DEFAULT
from ..exceptions import RemoteProtocolError
from .errors import CallLeft, CommandFailed, HungUp
from .wire import Reply

__all__ = ["DEFAULT", "CommandRunner"]


class CommandRunner:
    """Something that runs AGI commands and reads their answers."""

    timeout: float | None
    media_timeout: float | None

    def _execute(self, command: str, arguments: Sequence[str], timeout: float | None, free_text: bool) -> Reply:
        """Send a command and return its answer."""
        raise NotImplementedError

    def _run(self, command: str, *arguments: str, timeout: float | None = DEFAULT, free_text: bool = False) -> Reply:
        reply = self._execute(command, arguments, self.timeout if timeout is DEFAULT else timeout, free_text)
        if reply.code == 200:
            return reply
        if reply.code == 511:  # command not permitted on a dead channel
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
        """Run a command that may take long, and answers -1 if it failed or the call was hung up."""
        if timeout is DEFAULT:
            longest = self.media_timeout
            timeout = None if longest is None or listens is None else longest + listens
        reply = self._run(command, *arguments, timeout=timeout, free_text=free_text)
        if reply.result == "-1":
            self._failed(command, why, reply)
        return reply

    def _failed(self, command: str, why: str, reply: Reply) -> NoReturn:
        """Raise the exception for a result of -1: HungUp or CommandFailed, depending on the channel's status."""
        try:
            self._run("CHANNEL STATUS")
        except CallLeft:
            pass  # AsyncAGI ends when a command fails, and the call continues in the dialplan
        raise CommandFailed(command, why, reply)

    @staticmethod
    def _digit(reply: Reply) -> str:
        pressed = reply.number
        if not 0 <= pressed < 0x110000:
            raise RemoteProtocolError(f"the server answered with the key {pressed}")
        return chr(pressed) if pressed else ""
