"""An Asterisk that connects to a FastAGI server, played by a test byte by byte."""

from __future__ import annotations

import socket

ENVIRONMENT = b"""agi_network: yes
agi_network_script: %s
agi_request: agi://127.0.0.1/%s
agi_channel: PJSIP/peer-00000001
agi_uniqueid: %s
agi_callerid: unknown

"""


class Peer:
    """The server's end of one FastAGI call."""

    def __init__(self, port: int, script: str = "script", uniqueid: str = "1.1", *, environment: bool = True) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent has arrived then
        self._file = self.sock.makefile("rb")
        if environment:
            self.send(ENVIRONMENT % (script.encode(), script.encode(), uniqueid.encode()))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def command(self) -> str:
        """Wait for the next command; an empty text is the end of the connection."""
        return self._file.readline().decode().removesuffix("\n")

    def answer(self, reply: bytes = b"200 result=0") -> str:
        """Wait for the next command, and answer it."""
        command = self.command()
        self.send(reply + b"\n")
        return command

    def mark(self) -> str:
        """Answer the command that asks for a mark."""
        command = self.command()
        assert command.startswith('GET FULL VARIABLE "pyami-'), command
        self.send(b"200 result=1 (%s)\n" % command.split('"')[1].encode())
        return command

    def rest(self) -> list[str]:
        """Answer everything with 0 until the connection ends, and return the commands."""
        commands = []
        while command := self.command():
            commands.append(command)
            self.send(b"200 result=0\n")
        return commands

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
