"""PBX: the simulator's small telephone system, with its channels and their events.

Its state may be read on any thread; it changes on the simulator's thread only.
"""

from __future__ import annotations

import itertools
import random
import time
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .apps import run_dialplan
from .devices import Devices
from .flow import Steps, Task
from .state import (
    BUSY,
    CAUSES,
    DOWN,
    REFUSALS,
    RING,
    RINGING,
    UP,
    Bridge,
    Channel,
    Conference,
    Endpoint,
    Lot,
    Member,
    Pair,
    Queue,
    default_dialplan,
    escape,
)

if TYPE_CHECKING:
    from .simulator import Simulator

__all__ = ["PBX"]

EPOCH = 1_700_000_000  # prefix of unique ids, so that they are the same in each run


class PBX:
    """A telephone system: channels, bridges, queues, endpoints, a database and a dialplan.

    Args:
        simulator: sends its events.
        seed: seed of all random choices.

    """

    def __init__(self, simulator: Simulator, seed: int = 0) -> None:
        self.simulator = simulator
        self.random = random.Random(seed)
        self.pace = 1.0
        """Factor for all durations, above 0; set it before the first call."""
        self.channels: dict[str, Channel] = {}
        self.bridges: dict[str, Bridge] = {}
        self.queues: dict[str, Queue] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.conferences: dict[str, Conference] = {}
        self.lots = {"default": Lot("default", 701, 720)}
        self.database: dict[tuple[str, str], str] = {}
        self.variables: dict[str, str] = {}
        """Global variables."""
        self.dialplan = default_dialplan()
        self.calls = 0
        """Number of calls so far."""
        self._names = itertools.count()
        self._locals = itertools.count()
        self._ids = itertools.count()
        self._tasks: set[Task] = set()
        self.devices = Devices(self)
        for name in ("alice", "bob"):
            self.endpoints[name] = Endpoint(name, [f"sip:{name}@127.0.0.1:9"])
        login = int(time.time())
        support = Queue("support", strategy="leastrecent", timeout=5.0)
        support.members = {
            "Local/801@members/n": Member("Alice", "Local/801@members/n", login=login),
            "Local/802@members/n": Member("Bob O'Brien", "Local/802@members/n", penalty=5, login=login),
        }
        self.queues = {"support": support, "empty": Queue("empty")}

    # Configuration

    def add_extension(self, exten: str, *steps: tuple[str, str] | str, context: str = "default") -> None:
        """Add an extension, or replace it.

        ::

            pbx.add_extension("300", "Answer()", "Dial(PJSIP/1101,20)", "Hangup()")

        Args:
            exten: what is dialled.
            steps: applications with their data, as ``"Wait(5)"`` or ``("Wait", "5")``. One that the simulator does
                not have does nothing.
            context: where it is.

        """
        found = [step if isinstance(step, tuple) else _read_step(step) for step in steps]
        self.dialplan.setdefault(context, {})[exten] = found

    def add_endpoint(
        self,
        name: str,
        *,
        outcome: str = "answered",
        rings: float = 0.01,
        answers: float = 0.03,
        talks: float | None = None,
        context: str = "default",
    ) -> Endpoint:
        """Add a telephone, or replace it, and set the outcome of calls to ``PJSIP/name``.

        Args:
            name: without ``PJSIP/``.
            outcome: ``"answered"``, ``"no answer"`` (it rings until the caller gives up), ``"busy"``, ``"rejected"``,
                ``"congestion"``, ``"failed"`` (no common codec), ``"unreachable"`` (it answers 404), or
                ``"unregistered"``. An :class:`~pyami_sync.calls.Outcome` is accepted, too.
            rings: seconds until it rings, or refuses.
            answers: seconds that it rings before it answers.
            talks: seconds after which it hangs up; :data:`None` for never.
            context: context of the calls that it makes.

        Raises:
            ValueError: no such outcome.

        """
        endpoint = Endpoint(name, [f"sip:{name}@127.0.0.1:9"], rings, answers, talks, context=context)
        if outcome in REFUSALS:
            endpoint.refuses, endpoint.tech_cause = REFUSALS[outcome]
        elif outcome == "no answer":
            endpoint.answers = None
        elif outcome == "unregistered":
            endpoint.contacts = []
        elif outcome != "answered":
            raise ValueError(f"a telephone's outcome can't be {outcome!r}")
        self.endpoints[name] = endpoint
        return endpoint

    def add_queue(
        self, name: str, *members: str, strategy: str = "ringall", timeout: float = 15.0, exten: str | None = None
    ) -> Queue:
        """Add a queue, or replace it.

        Args:
            name: of the queue.
            members: interfaces of its static members, such as ``"PJSIP/1101"``.
            strategy: ``"ringall"`` or ``"leastrecent"``.
            timeout: seconds that a member's telephone rings.
            exten: an extension of the context ``default`` for calls to the queue.

        """
        queue = Queue(name, strategy=strategy, timeout=timeout)
        login = self.wall_clock()
        queue.members = {member: Member(member, member, login=login) for member in members}
        self.queues[name] = queue
        if exten is not None:
            self.add_extension(exten, "Answer()", f"Queue({name})")
        return queue

    # Ground

    def wall_clock(self) -> int:
        """Seconds since 1970."""
        return int(time.time())

    @property
    def now(self) -> float:
        """The moment, in seconds of its own clock, which runs ``1 / pace`` times as fast as others."""
        return self.simulator.loop.now / self.pace

    def since(self, moment: float) -> int:
        """Whole seconds since a moment."""
        return int(self.now - moment + 1e-6)

    def emit(self, name: str, *parts: Iterable[Pair]) -> None:
        """Send an event with these groups of headers."""
        self.simulator.publish(name, [(key, str(value)) for part in parts for key, value in part])

    def spawn(self, steps: Steps[Any]) -> Task:
        """Run a generator as a task."""

        def run() -> Steps[None]:
            try:
                yield from steps
            finally:
                self._tasks.discard(task)

        task = Task(self.simulator.loop, run(), self.pace)
        self._tasks.add(task)
        return task.start()

    def close(self) -> None:
        """Stop all tasks, without events."""
        for task in list(self._tasks):
            task.stop()

    # Channels

    def new_channel(
        self,
        name: str,
        context: str,
        exten: str,
        *,
        state: int = DOWN,
        linked: Channel | None = None,
        endpoint: Endpoint | None = None,
        uniqueid: str = "",
    ) -> Channel:
        """Create a channel and send its events."""
        system = self.simulator.system_name
        number = next(self._ids)
        uniqueid = uniqueid or f"{system + '-' if system else ''}{EPOCH}.{number}"
        linkedid = linked.linkedid if linked is not None else uniqueid
        channel = Channel(name, uniqueid, linkedid, context, exten, self.now, state, endpoint=endpoint)
        self.channels[name] = channel
        self.emit("Newchannel", channel.snapshot())
        return channel

    def dial(
        self, target: str, *, linked: Channel | None = None, uniqueid: str = "", other_uniqueid: str = ""
    ) -> Channel | None:
        """Create the channel, or the pair of a Local channel, that calls a device; it does not ring yet.

        :data:`None` when there is no such device, or when an id is taken.
        """
        technology, _, rest = target.partition("/")
        resource = rest.partition("/")[0]
        if technology.lower() == "local":
            exten, _, context = resource.partition("@")
            context = context or "default"
            name = f"Local/{exten}@{context}-{next(self._locals):08x}"
            other = other_uniqueid or (uniqueid and f"{uniqueid};2")
            beginning = bool(other) and uniqueid.lower().startswith(other.lower())  # the first half is there by then
            if self._taken(uniqueid) or self._taken(other) or beginning:
                return None
            first = self.new_channel(f"{name};1", context, exten, linked=linked, uniqueid=uniqueid)
            second = self.new_channel(f"{name};2", context, exten, state=RING, linked=first, uniqueid=other)
            first.peer, second.peer = second, first
            return first
        endpoint = self.endpoints.get(resource) if technology.lower() == "pjsip" else None
        if endpoint is None or not endpoint.contacts or self._taken(uniqueid):
            return None
        name = f"PJSIP/{endpoint.name}-{next(self._names):08x}"
        return self.new_channel(name, endpoint.context, "s", linked=linked, endpoint=endpoint, uniqueid=uniqueid)

    def _taken(self, uniqueid: str) -> bool:
        """Return True if a given id is refused; in Asterisk 22 also if it is the beginning of one in use."""
        taken = (channel.uniqueid.lower() for channel in self.channels.values())
        return bool(uniqueid) and any(each.startswith(uniqueid.lower()) for each in taken)

    def incoming(self, device: str, context: str, exten: str, endpoint: Endpoint | None = None) -> Channel:
        """Create the channel of a call from a device."""
        return self.new_channel(f"{device}-{next(self._names):08x}", context, exten, endpoint=endpoint)

    def local_bridge(self, channel: Channel) -> None:
        """Send the event that the halves of a Local channel are joined."""
        peer = channel.peer
        if peer is not None:
            self.emit(
                "LocalBridge",
                channel.snapshot("LocalOne"),
                peer.snapshot("LocalTwo"),
                [("Context", peer.context), ("Exten", peer.exten), ("LocalOptimization", "No")],
            )

    def ring(self, channel: Channel) -> None:
        """Let a dialled device behave as configured: ring, answer, refuse."""
        if channel.peer is not None:
            self.run(channel.peer, run_dialplan(self, channel.peer))
        elif channel.endpoint is not None:
            self.run(channel, self._device(channel, channel.endpoint))

    def run(self, channel: Channel, steps: Steps[Any], *, requests: bool = True) -> None:
        """Run steps on a channel; at their end it is hung up.

        Args:
            channel: the channel.
            steps: the steps.
            requests: whether the dialplan asks for the hangup, and says so.

        """

        def life() -> Steps[None]:
            yield from steps
            if channel.gone:
                return
            cause = channel.cause or (16 if requests else 0)
            if requests:
                self.emit("SoftHangupRequest", channel.snapshot(), [("Cause", cause)])
            self.hangup(channel, cause)

        task = self.spawn(life())
        if not task.stopped:
            channel.tasks.append(task)

    def _device(self, channel: Channel, endpoint: Endpoint) -> Steps[None]:
        yield endpoint.rings
        refusal = endpoint.refuses or (17 if endpoint.busy else 0)
        if refusal:
            channel.cause, channel.tech_cause = refusal, endpoint.tech_cause
            self.fail(channel, {17: "BUSY", 34: "CONGESTION"}.get(refusal, "NOANSWER"))
            return
        self.set_state(channel, RINGING)
        yield channel.changed if endpoint.answers is None else endpoint.answers
        self.set_state(channel, UP)
        if endpoint.talks is None:
            while True:
                yield channel.changed
        yield endpoint.talks
        self.emit("HangupRequest", channel.snapshot(), [("Cause", 16)])
        self.hangup(channel, 16)

    def set_state(self, channel: Channel, state: int) -> None:
        """Change a channel's state, and that of the other half of a Local channel with it."""
        if channel.state == state or channel.gone:
            return
        channel.state = state
        self.emit("Newstate", channel.snapshot())
        peer = channel.peer
        if peer is not None and channel.name.endswith(";2") and state in (RINGING, UP) and peer.state != UP:
            peer.state = state
            self.emit("Newstate", peer.snapshot())
            peer.changed.fire()
        self.devices.changed(channel)
        channel.changed.fire()

    def ringing(self, channel: Channel) -> None:
        """Report to the caller of a channel that it rings."""
        heard = channel.peer or channel
        if heard.state in (DOWN, RING):
            heard.state = RINGING
            self.emit("Newstate", heard.snapshot())
            heard.changed.fire()

    def fail(self, channel: Channel, status: str) -> None:
        """Report to the caller of a channel why it is not answered."""
        heard = channel.peer or channel
        heard.failure = status
        if status == "BUSY" and channel.peer is not None:
            channel.state = BUSY
            self.emit("Newstate", channel.snapshot())
        heard.changed.fire()

    def set_caller(self, channel: Channel, number: str, name: str) -> None:
        """Set the caller of a channel, and of the other half of a Local channel."""
        for each in (channel, channel.peer):
            if each is not None:
                each.number, each.caller = number, name
                self.emit(
                    "NewCallerid",
                    each.snapshot(),
                    [("CID-CallingPres", "0 (Presentation Allowed, Not Screened)")],
                )
                each.connected_number, each.connected = number, name
                self.emit("NewConnectedLine", each.snapshot())

    def set_variable(self, channel: Channel | None, name: str, value: str) -> None:
        """Set a variable of a channel, or a global one."""
        if channel is None:
            self.variables[name] = value
            head: list[Pair] = [("Channel", "none"), ("Uniqueid", "none")]
        else:
            channel.variables[name.lstrip("_")] = value
            head = channel.snapshot()
        self.emit("VarSet", head, [("Variable", name), ("Value", escape(value))])

    def execute(self, channel: Channel, application: str, data: str, exten: str | None = None) -> None:
        """Send the event that a channel runs an application."""
        channel.application, channel.data = application, data
        self.emit(
            "Newexten",
            channel.snapshot(),
            [
                ("Extension", channel.exten if exten is None else exten),
                ("Application", application),
                ("AppData", data),
            ],
        )

    def hangup(self, channel: Channel, cause: int = 16) -> None:
        """End a channel with its task, remove it from its bridge, and end the other half of a Local channel."""
        if channel.gone:
            return
        channel.gone = True
        channel.cause = cause
        peer = channel.peer
        if peer is not None and not peer.gone:
            self.emit("HangupRequest", peer.snapshot(), [("Cause", cause)])
        tasks, channel.tasks = channel.tasks, []
        for task in tasks:
            task.stop()
        self.leave(channel)
        tech: list[Pair] = (
            [("TechCause", channel.tech_cause)] if channel.tech_cause and self.simulator.major >= 22 else []
        )
        self.emit("Hangup", channel.snapshot(), [("Cause", cause), ("Cause-txt", CAUSES.get(cause, "Unknown")), *tech])
        self.channels.pop(channel.name, None)
        self.devices.changed(channel)
        channel.changed.fire()
        if peer is not None and not peer.gone:
            if peer.tasks:
                self.emit("SoftHangupRequest", peer.snapshot(), [("Cause", 16)])
            self.hangup(peer, cause)

    # Bridges

    def new_bridge(
        self,
        kind: str = "basic",
        technology: str = "simple_bridge",
        creator: str = "<unknown>",
        name: str = "<unknown>",
    ) -> Bridge:
        """Create a bridge."""
        uniqueid = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        bridge = self.bridges[uniqueid] = Bridge(uniqueid, kind, technology, creator, name)
        self.emit("BridgeCreate", bridge.snapshot())
        return bridge

    def enter(self, bridge: Bridge, channel: Channel) -> None:
        """Put a channel into a bridge, and remove it from any other one."""
        self.leave(channel)
        bridge.channels.append(channel)
        channel.bridge = bridge
        self.emit("BridgeEnter", bridge.snapshot(), channel.snapshot())

    def leave(self, channel: Channel) -> None:
        """Remove a channel from its bridge, if it is in one; an empty bridge ends."""
        bridge = channel.bridge
        if bridge is None:
            return
        channel.bridge = None
        bridge.channels.remove(channel)
        self.emit("BridgeLeave", bridge.snapshot(), channel.snapshot())
        for other in bridge.channels:
            other.changed.fire()
        if not bridge.channels and not bridge.permanent:
            self.bridges.pop(bridge.uniqueid, None)
            self.emit("BridgeDestroy", bridge.snapshot())

    def talk(self, caller: Channel, called: Channel) -> Steps[None]:
        """Join two channels until one of them leaves; then the called one is hung up."""
        bridge = self.new_bridge()
        try:
            self.enter(bridge, called)
            self.enter(bridge, caller)
            self.set_variable(called, "BRIDGEPEER", caller.name)
            self.set_variable(caller, "BRIDGEPEER", called.name)
            while called.bridge is bridge and caller.bridge is bridge:
                yield caller.changed
        finally:
            stays = called.bridge is bridge
            if caller.bridge is bridge:
                self.leave(caller)
            if stays:
                self.hangup(called)

    # Looking up

    def find(self, name: str) -> Channel | None:
        """Return a channel by its name, without case, or by its unique id."""
        for channel in self.channels.values():
            if channel.name.lower() == name.lower() or channel.uniqueid == name:
                return channel
        return None

    def matching(self, accept: Callable[[str], object]) -> list[Channel]:
        """Return the channels whose names a function accepts, the newest first."""
        return [channel for channel in reversed(list(self.channels.values())) if accept(channel.name)]


def _read_step(text: str) -> tuple[str, str]:
    """Split ``"Wait(5)"`` into name and data."""
    name, bracket, rest = text.partition("(")
    if bracket and not rest.endswith(")"):
        raise ValueError(f"an application is written as 'Name(data)', not {text!r}")
    return name.strip(), rest.removesuffix(")")
