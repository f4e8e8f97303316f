"""The application AGI of the simulated dialplan, over the AMI and over FastAGI."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ..apps import app, goto
from ..flow import Steps
from ..state import Channel
from . import commands
from .line import COMMANDS, Line

if TYPE_CHECKING:
    from ..pbx import PBX

__all__ = ["async_command", "run_agi"]

assert commands.COMMANDS is COMMANDS  # its import has filled them

CONNECT = 2.0  # seconds; on the simulator's thread, so that only servers of this machine are of use

lines: dict[tuple[int, str], Line] = {}
"""Channels in AsyncAGI, by simulator and unique id; the simulators' threads change it."""


def _key(pbx: PBX, channel: Channel) -> tuple[int, str]:
    return id(pbx), channel.uniqueid


def async_command(pbx: PBX, channel: Channel, text: str, command_id: str) -> bool:
    """Queue a command of the action AGI; return False when the channel is not in AsyncAGI."""
    line = lines.get(_key(pbx, channel))
    if line is None or line.over:
        return False

    def answer(reply: str) -> None:
        head = [("CommandId", command_id)] if command_id else []
        result = quote(reply + "\n", safe="-_.~", encoding="utf-8", errors="surrogateescape")
        pbx.emit("AsyncAGIExec", channel.snapshot(), [*head, ("Result", result)])
        # Asterisk ends the script's control with a command that fails.
        if text.upper().startswith("ASYNCAGI BREAK") or line.hung_up or line.failed:
            line.end()
            channel.changed.fire()

    # As on a real server, what a command causes comes after the answer to the action.
    pbx.simulator.loop.call_later(0.0, lambda: line.command(text, answer))
    return True


def _async_agi(pbx: PBX, channel: Channel, line: Line, arguments: list[str]) -> Steps[None]:
    lines[_key(pbx, channel)] = line
    env = quote(line.environment("async", arguments), safe="-_.~", encoding="utf-8", errors="surrogateescape")
    pbx.emit("AsyncAGIStart", channel.snapshot(), [("Env", env)])
    try:
        while not line.over:
            yield channel.changed
    finally:
        # Also when the channel is hung up in the middle.
        if not line.over:
            line.hang_up()
            line.end()
        del lines[_key(pbx, channel)]
        pbx.emit("AsyncAGIEnd", channel.snapshot())


class _Peer:
    """The connection to a FastAGI server; on the simulator's thread."""

    def __init__(self, pbx: PBX, line: Line, url: str, arguments: list[str]) -> None:
        self._loop = pbx.simulator.loop
        self._line = line
        self._buffer = b""
        parts = urlsplit(url)
        self._sock = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 4573), CONNECT)
        self._send(line.environment(url, arguments))
        self._loop.watch(self._sock, selectors.EVENT_READ, self._readable)

    def _send(self, text: str) -> None:
        with suppress(OSError):
            self._sock.sendall(text.encode("utf-8", "surrogateescape"))

    def _readable(self, events: int) -> None:
        try:
            data = self._sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *complete, self._buffer = (self._buffer + data).split(b"\n")
        for raw in complete:
            was = self._line.hung_up
            self._line.command(raw.decode("utf-8", "surrogateescape"), lambda reply: self._send(reply + "\n"))
            if self._line.hung_up and not was:
                self.tell_hangup()

    def tell_hangup(self) -> None:
        """Report to the script that the call was hung up; it may continue."""
        self._send("HANGUP\n")

    def close(self) -> None:
        """End the connection; the channel goes on in the dialplan."""
        self._loop.watch(self._sock, 0, self._readable)
        self._sock.close()
        self._line.end()
        self._line.channel.changed.fire()


def _fast_agi(pbx: PBX, channel: Channel, line: Line, url: str, arguments: list[str]) -> Steps[None]:
    try:
        peer = _Peer(pbx, line, url, arguments)
    except OSError:
        pbx.set_variable(channel, "AGISTATUS", "FAILURE")
        line.end()
        return
    try:
        while not line.over:
            yield channel.changed
    finally:
        if not line.over:  # the channel was hung up: report it to the script, which closes the connection later
            line.hang_up()
            peer.tell_hangup()


def run_agi(
    pbx: PBX,
    channel: Channel,
    data: str,
    apps: Mapping[str, int | Callable[[str], int]] | None = None,
    began: Callable[[Line], object] | None = None,
) -> Steps[Line]:
    """Run a script on a channel until it is through; the line says how it ended, and whether it has moved the channel.

    Args:
        pbx: the telephone system.
        channel: the channel.
        data: ``agi:async`` or a URL such as ``agi://127.0.0.1:4573/ivr``, and arguments.
        apps: results of applications that the script may run.
        began: is given the line at first.

    """
    request, *arguments = data.split(",")
    fast = request.startswith("agi://")
    line = Line(pbx, channel, apps, fast=fast)
    if began is not None:
        began(line)
    if fast:
        yield from _fast_agi(pbx, channel, line, request, arguments)
    else:
        yield from _async_agi(pbx, channel, line, arguments)
    pbx.set_variable(channel, "AGISTATUS", "HANGUP" if line.hung_up else "FAILURE" if line.failed else "SUCCESS")
    if line.hung_up:
        pbx.hangup(channel)
    return line


@app("AGI")
def agi(pbx: PBX, channel: Channel, data: str) -> Steps[None]:
    """Run a script in the dialplan."""
    line = yield from run_agi(pbx, channel, data)
    if line.moved and not line.hung_up:
        yield from goto(pbx, channel, line.place)
