"""Hundreds of small AMI servers in a few processes, each node a port of its own.

A :class:`Farm` starts the processes and talks to them; ``python -m tests.cluster.nodes`` is one of them. They
know just enough for a session (greeting, login, Ping, settings) and send numbered events at a given rate.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import itertools
import json
import os
import pathlib
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

ROOT = pathlib.Path(__file__).parents[2]
SECRET = "secret"
BURST = 10  # events that a node sends at a time
# As a server spells it; the number is what a test looks at.
EVENT = (
    b"Event: Newexten\r\nPrivilege: dialplan,all\r\nSystemName: %b\r\nChannel: PJSIP/trunk-0000%04x\r\n"
    b"ChannelState: 6\r\nChannelStateDesc: Up\r\nCallerIDNum: 1101\r\nCallerIDName: Alice\r\nLanguage: en\r\n"
    b"Context: from-trunk\r\nExten: 1000\r\nPriority: 3\r\nUniqueid: %b-1700000000.17\r\nExtension: 1000\r\n"
    b"Application: Wait\r\nAppData: 1\r\nNumber: %d\r\n\r\n"
)


def raise_file_limit(wanted: int) -> None:
    """Let this process have so many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


class Node:
    """One server: a listening port and the sessions on it."""

    def __init__(self, name: str, selector: selectors.BaseSelector) -> None:
        self.name = name
        self.sent = 0  # events, per session all the same
        self.actions: dict[str, int] = {}
        self.stalled = False
        self.sessions: dict[socket.socket, Session] = {}
        self._selector = selector
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=8)
        self.listener.setblocking(False)
        selector.register(self.listener, selectors.EVENT_READ, self.accept)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def accept(self, mask: int) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = self.sessions[sock] = Session(self, sock, self._selector)
        self._selector.register(sock, selectors.EVENT_READ, session.ready)
        session.send(b"Asterisk Call Manager/11.0.0\r\n")

    def stall(self, stalled: bool) -> None:
        """Read, answer and accept nothing any more, as a machine behind a dead route; or go on."""
        if self.stalled is stalled:
            return
        self.stalled = stalled
        for sock, serve in [(self.listener, self.accept), *((sock, s.ready) for sock, s in self.sessions.items())]:
            if stalled:
                self._selector.unregister(sock)
            else:
                self._selector.register(sock, selectors.EVENT_READ, serve)

    def drop(self) -> None:
        """Reset all connections."""
        for session in list(self.sessions.values()):
            session.end()

    def emit(self, count: int) -> None:
        """Send events to all who are logged in."""
        name = self.name.encode()
        first = self.sent
        self.sent += count
        burst = b"".join(EVENT % (name, number & 0xFFFF, name, number) for number in range(first, first + count))
        for session in list(self.sessions.values()):
            if session.logged_in:
                session.send(burst)


class Session:
    """One connection."""

    def __init__(self, node: Node, sock: socket.socket, selector: selectors.BaseSelector) -> None:
        self.logged_in = False
        self._node = node
        self._sock = sock
        self._selector = selector
        self._in = b""
        self._out = bytearray()
        self._challenge = str(100_000 + id(self) % 899_999)

    def ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if mask & selectors.EVENT_READ:
            try:
                chunk = self._sock.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            if not chunk:
                self.end()
                return
            *whole, self._in = (self._in + chunk).split(b"\r\n\r\n")
            for frame in whole:
                lines = (line.partition(b":") for line in frame.split(b"\r\n"))
                self._act({name.decode().lower(): value.strip().decode() for name, _, value in lines})

    def send(self, data: bytes) -> None:
        waits = bool(self._out)
        self._out += data
        if not waits:
            self._flush()

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.end()
            return
        del self._out[:sent]
        if not self._node.stalled:
            writing = selectors.EVENT_WRITE if self._out else 0
            self._selector.modify(self._sock, selectors.EVENT_READ | writing, self.ready)

    def end(self) -> None:
        if self._node.sessions.pop(self._sock, None) is not None:
            if not self._node.stalled:
                self._selector.unregister(self._sock)
            self._sock.close()

    def _act(self, action: dict[str, str]) -> None:
        name = action.get("action", "").lower()
        self._node.actions[name] = self._node.actions.get(name, 0) + 1
        self.send(self._answer(name, action, action.get("actionid", "")).encode())
        if name == "login":
            self.logged_in = True

    def _answer(self, name: str, action: dict[str, str], action_id: str) -> str:
        head = f"Response: Success\r\nActionID: {action_id}\r\n"
        if name == "challenge":
            return f"{head}Challenge: {self._challenge}\r\n\r\n"
        if name == "login":
            key = hashlib.md5((self._challenge + SECRET).encode()).hexdigest()
            if action.get("key") != key:
                return f"Response: Error\r\nActionID: {action_id}\r\nMessage: Authentication failed\r\n\r\n"
            return f"{head}Message: Authentication accepted\r\n\r\n"
        if name == "ping":
            return f"{head}Ping: Pong\r\nTimestamp: {time.time():.6f}\r\n\r\n"
        if name == "coresettings":
            return f"{head}AsteriskVersion: 22.10.1\r\nSystemName: {self._node.name}\r\n\r\n"
        return f"{head}Message: done\r\n\r\n"


class Process:
    """What runs in each process: many nodes in one selector, told what to do by lines of JSON."""

    def __init__(self, prefix: str, count: int) -> None:
        raise_file_limit(4 * count + 64)
        self._selector = selectors.DefaultSelector()
        self._nodes = {(node := Node(f"{prefix}{each:03}", self._selector)).name: node for each in range(count)}
        self._order = itertools.count()
        self._due: list[tuple[float, int, Node, float, int]] = []  # when, order, node, period, bursts left
        self._late = 0.0
        self._in = b""
        self._running = True

    def run(self) -> None:
        self._say({name: node.port for name, node in self._nodes.items()})
        os.set_blocking(0, False)
        self._selector.register(0, selectors.EVENT_READ, self._read_commands)
        while self._running:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, mask in self._selector.select(wait):
                key.data(mask)
            self._emit_due()

    def _emit_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            when, _, node, period, left = heapq.heappop(self._due)
            node.emit(BURST)
            self._late = max(self._late, now - when)
            if left > 1:
                heapq.heappush(self._due, (when + period, next(self._order), node, period, left - 1))

    def _read_commands(self, mask: int) -> None:
        chunk = os.read(0, 65536)
        if not chunk:
            self._running = False
            return
        *lines, self._in = (self._in + chunk).split(b"\n")
        for line in lines:
            order = json.loads(line)
            self._say(getattr(self, "do_" + order.pop("do"))(**order))

    def _say(self, what: Any) -> None:
        print(json.dumps(what), flush=True)

    def do_flood(self, rate: float, seconds: float) -> None:
        """Have each node send so many events a second, spread evenly."""
        period = BURST / rate
        bursts = max(1, round(seconds / period))
        start = time.monotonic() + 0.05
        self._late = 0.0
        for number, node in enumerate(self._nodes.values()):
            first = start + period * number / len(self._nodes)
            heapq.heappush(self._due, (first, next(self._order), node, period, bursts))

    def do_status(self) -> dict[str, Any]:
        """Whether all has been sent, how much, and how late."""
        waiting = sum(len(session._out) for node in self._nodes.values() for session in node.sessions.values())
        return {
            "busy": bool(self._due) or waiting > 0,
            "late": self._late,
            "sent": {name: node.sent for name, node in self._nodes.items()},
            "sessions": {name: len(node.sessions) for name, node in self._nodes.items()},
            "actions": {name: node.actions for name, node in self._nodes.items()},
        }

    def do_stall(self, names: list[str], stalled: bool) -> None:
        """Stall some nodes, or let them go on."""
        for name in names:
            self._nodes[name].stall(stalled)

    def do_drop(self, names: list[str]) -> None:
        """Reset all connections of some nodes."""
        for name in names:
            self._nodes[name].drop()


class Farm:
    """Nodes in processes of their own; a context manager.

    Args:
        count: how many nodes.
        processes: over how many processes.

    """

    def __init__(self, count: int, processes: int = 2) -> None:
        self.ports: dict[str, int] = {}
        self._processes: list[subprocess.Popen[str]] = []
        self._names: list[set[str]] = []
        share = -(-count // processes)
        raise_file_limit(2 * count + 256)
        for number in range(processes):
            command = [sys.executable, "-m", __name__, f"n{number}-", str(min(share, count - number * share))]
            self._processes.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
        for process in self._processes:
            ports = self._hear(process)
            self.ports.update(ports)
            self._names.append(set(ports))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def urls(self) -> dict[str, str]:
        """Where the nodes are, for a :class:`~pyami_sync.ClusterPool`."""
        return {name: f"ami://admin:{SECRET}@127.0.0.1:{port}" for name, port in self.ports.items()}

    def flood(self, rate: float, seconds: float) -> None:
        """Have each node send so many events a second for so long; comes back at once."""
        self._tell_all(do="flood", rate=rate, seconds=seconds)

    def stall(self, names: Iterable[str], stalled: bool = True) -> None:
        """Have nodes neither read nor answer any more, or go on."""
        self._tell_those("stall", names, stalled=stalled)

    def drop(self, names: Iterable[str]) -> None:
        """Have nodes reset their connections."""
        self._tell_those("drop", names)

    def status(self) -> dict[str, Any]:
        """What the nodes have done so far."""
        merged: dict[str, Any] = {"busy": False, "late": 0.0, "sent": {}, "sessions": {}, "actions": {}}
        for answer in self._tell_all(do="status"):
            merged["busy"] |= answer["busy"]
            merged["late"] = max(merged["late"], answer["late"])
            for key in ("sent", "sessions", "actions"):
                merged[key].update(answer[key])
        return merged

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.communicate()  # the end of its input is the end of it

    def _tell_those(self, do: str, names: Iterable[str], **more: Any) -> None:
        wanted = set(names)
        for process, mine in zip(self._processes, self._names, strict=True):
            self._tell(process, do=do, names=sorted(wanted & mine), **more)
        for process in self._processes:
            self._hear(process)

    def _tell_all(self, **order: Any) -> list[Any]:
        for process in self._processes:
            self._tell(process, **order)
        return [self._hear(process) for process in self._processes]

    def _tell(self, process: subprocess.Popen[str], **order: Any) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()

    def _hear(self, process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        return json.loads(process.stdout.readline())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve many small AMI servers; orders come on standard input.")
    parser.add_argument("prefix")
    parser.add_argument("count", type=int)
    given = parser.parse_args()
    Process(given.prefix, given.count).run()
