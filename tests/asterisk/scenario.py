"""Bring a running server into a known state, over plain sockets of its own.

Each function returns what a client should then see, and returns only when the server itself (its console, or
a raw session) shows it.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable

from .raw import RawSession
from .server import AsteriskServer

PREFIX = "scenario"
"""Starts every ActionID that is sent from here."""


class ScenarioError(AssertionError):
    """The server did not reach the wanted state in time."""


@dataclasses.dataclass(frozen=True)
class Populated:
    """What there is more than before; `channels` counts both halves of each Local channel."""

    calls: int
    channels: int


@dataclasses.dataclass(frozen=True)
class Callers(Populated):
    """Callers who wait in `queue`, in no particular order."""

    queue: str


@dataclasses.dataclass(frozen=True)
class Parked(Populated):
    """One call in a parking lot."""

    lot: str
    space: str


@dataclasses.dataclass(frozen=True)
class Conference(Populated):
    """A ConfBridge conference with one participant for each call."""

    name: str


@dataclasses.dataclass(frozen=True)
class Agent(Populated):
    """An agent of app_agent_pool who is logged in and waits for calls."""

    agent: str


@dataclasses.dataclass(frozen=True)
class Calls:
    """Short calls that were made and are over; the lists hold the ActionIDs of the Originates."""

    succeeded: list[str]
    failed: list[str]
    wire: bytes
    """All that a session with every event on received, from the first Originate to the last hangup."""


def wait_until(true: Callable[[], bool], what: str, *, timeout: float = 15.0) -> None:
    """Poll until `true` says so, and fail with `what` when it never does."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise ScenarioError(f"not in {timeout:g} s: {what}")
        time.sleep(0.03)


def channel_count(server: AsteriskServer) -> int:
    """Return how many channels the console of the server counts."""
    found = re.search(r"^(\d+) active channels?$", server.cli("core show channels count"), re.MULTILINE)
    if found is None:
        raise ScenarioError("the console does not tell the number of channels")
    return int(found[1])


def channels_answered(server: AsteriskServer) -> int:
    """Return how many channels are in the state "Up"."""
    return sum("!Up!" in line for line in server.cli("core show channels concise").splitlines())


def channels_up(server: AsteriskServer, count: int) -> Populated:
    """Set up `count` answered calls that stay up; each is a Local channel, and so two channels."""
    _originate(server, count, "100")
    return Populated(count, 2 * count)


def bridged_calls(server: AsteriskServer, count: int) -> Populated:
    """Set up `count` answered calls, each through a bridge to a second Local channel: four channels each."""
    _originate(server, count, "110", channels=4)
    return Populated(count, 4 * count)


def queue_callers(server: AsteriskServer, count: int, queue: str = "empty") -> Callers:
    """Let `count` callers wait in a queue where nobody answers."""
    before = _waiting(server, queue)
    _originate(server, count, {"empty": "501", "support": "500"}[queue])
    wait_until(lambda: _waiting(server, queue) == before + count, f"{count} callers in queue {queue}")
    return Callers(count, 2 * count, queue)


def parked_call(server: AsteriskServer) -> Parked:
    """Park one call in the default lot."""
    before = _parked(server)
    _originate(server, 1, "700")
    wait_until(lambda: len(_parked(server)) == len(before) + 1, "one parked call more")
    (space,) = _parked(server) - before
    return Parked(1, 2, "default", space)


def conference(server: AsteriskServer, count: int) -> Conference:
    """Put `count` participants into the conference ``room1``."""
    before = _participants(server)
    _originate(server, count, "600")
    wait_until(lambda: _participants(server) == before + count, f"{count} participants in room1")
    return Conference(count, 2 * count, "room1")


def agent_logged_in(server: AsteriskServer, agent: str = "1001") -> Agent:
    """Log an agent in (``1001`` or ``1002``) and wait until the pool says so."""
    _originate(server, 1, agent)
    wait_until(lambda: agent in server.cli("agent show online"), f"agent {agent} online")
    return Agent(1, 2, agent)


def place_calls(server: AsteriskServer, count: int, *, timeout: float = 60.0) -> Calls:
    """Make `count` short calls one after the other, six at a time, and wait until they are over.

    They answer, dial on and bridge, fail, and raise user events by turns, as the recorded traffic does.
    """
    kinds = (("106", "107"), ("102", "106"), ("106", "2001"), ("104", "2001"), ("107", "106"), ("106", "102"))
    deadline = time.monotonic() + timeout
    succeeded: list[str] = []
    failed: list[str] = []
    before = channel_count(server)
    with server.session("patient", events="on") as raw:
        begin = len(raw.capture)
        for first in range(0, count, len(kinds)):
            batch = range(first, min(first + len(kinds), count))
            for number in batch:
                resource, extension = kinds[number % len(kinds)]
                _call(raw, f"Local/{resource}@default", f"{PREFIX}-{number}", extension, number)
            for number in batch:
                _read_to(raw, f"ActionID: {PREFIX}-{number}\r\nResponse: ", begin, deadline)
        wait_until(lambda: channel_count(server) <= before, "the calls are over", timeout=timeout)
        raw.ask("Ping")
        wire = raw.capture[begin:]
    for number in range(count):
        identity = f"{PREFIX}-{number}"
        answered = f"ActionID: {identity}\r\nResponse: Success\r\nChannel: ".encode() in wire
        (succeeded if answered else failed).append(identity)
    return Calls(succeeded, failed, wire)


def clear(server: AsteriskServer) -> None:
    """Hang every channel up and wait until none is left; what the configuration made stays."""
    server.cli("channel request hangup all")
    wait_until(lambda: channel_count(server) == 0, "no channel is left")


def _originate(server: AsteriskServer, count: int, extension: str, *, channels: int = 2) -> None:
    """Start `count` calls that stay, and wait until all of their channels are up."""
    before = channels_answered(server)
    with server.session("patient") as raw:
        for number in range(count):
            headers = (("Channel", f"Local/{extension}@default/n"), ("Application", "Wait"), ("Data", "3600"))
            caller = ("CallerID", f'"Caller {number}" <555{number:04}>')
            answer = raw.ask("Originate", *headers, caller, ("Async", "true"))
            if b"Response: Success" not in answer:
                raise ScenarioError(f"Originate was refused: {answer!r}")
    wanted = before + channels * count
    wait_until(lambda: channels_answered(server) >= wanted, f"{wanted} channels up", timeout=15 + count / 20)


def _call(raw: RawSession, channel: str, identity: str, extension: str, number: int) -> None:
    where = (("Channel", channel), ("Context", "default"), ("Exten", extension), ("Priority", "1"))
    caller = ("CallerID", f'"Caller {number}" <555{number:04}>')
    raw.action("Originate", *where, caller, ("Async", "true"), ("Timeout", "20000"), action_id=identity)


def _read_to(raw: RawSession, wanted: str, begin: int, deadline: float) -> None:
    """Read on unless `wanted` came already."""
    if wanted.encode() not in raw.capture[begin:]:
        raw.read_until(wanted.encode(), timeout=deadline - time.monotonic())


def _waiting(server: AsteriskServer, queue: str) -> int:
    found = re.search(rf"^{queue} +has (\d+) calls", server.cli(f"queue show {queue}"), re.MULTILINE)
    return int(found[1]) if found is not None else 0


def _parked(server: AsteriskServer) -> set[str]:
    with server.session() as raw:
        answer = raw.ask("ParkedCalls", ("ParkingLot", "default"))
    return set(re.findall(r"^ParkingSpace: (\d+)\r$", answer.decode("utf-8", "replace"), re.MULTILINE))


def _participants(server: AsteriskServer) -> int:
    with server.session() as raw:
        return raw.ask("ConfbridgeList", ("Conference", "room1")).count(b"Event: ConfbridgeList\r\n")
