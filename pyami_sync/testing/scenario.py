"""Scenario: random calls between telephones and into queues, the same for the same seed."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .apps import run_dialplan
from .flow import Steps, Task
from .pbx import PBX
from .state import RING, Channel, Endpoint, Member, Queue

__all__ = ["Play", "Scenario"]


@dataclass(frozen=True)
class Scenario:
    """The calls that :meth:`~pyami_sync.testing.Simulator.play` makes.

    All durations are in seconds and drawn between their two bounds.

    Args:
        calls_per_second: average number of calls that begin per second, at random times.
        queues: names of queues; or a mapping from names to the endpoints that are their members.
        agents: how many telephones are members of queues, if ``queues`` does not say which.
        endpoints: number of further telephones.
        calls: total number of calls; :data:`None` for no limit.
        into_queues: share of the calls that go into queues, from 0 to 1.
        answered: share of the called telephones that answer; the others ring, or are busy.
        rings: how long a telephone rings before it is answered.
        talks: how long they talk.
        patience: how long a caller waits in a queue, or for an answer.
        speed: factor by which it runs faster than real time.
        seed: two plays with the same seed make the same calls and events in the same order.

    """

    calls_per_second: float = 1.0
    queues: Sequence[str] | Mapping[str, Sequence[str]] = ("support", "sales")
    agents: int = 6
    endpoints: int = 10
    calls: int | None = None
    into_queues: float = 0.5
    answered: float = 0.85
    rings: tuple[float, float] = (0.5, 4.0)
    talks: tuple[float, float] = (2.0, 20.0)
    patience: tuple[float, float] = (5.0, 30.0)
    speed: float = 1.0
    seed: int = 0


@dataclass(eq=False)
class Play:
    """A running scenario."""

    scenario: Scenario
    pbx: PBX
    placed: int = 0
    """Number of calls that have begun."""
    _random: random.Random = field(init=False)
    _phones: list[Endpoint] = field(default_factory=list)
    _queues: list[str] = field(default_factory=list)
    _busy: int = 0
    _placing: Task | None = None
    _done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._random = random.Random(self.scenario.seed)

    # From any thread

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until all calls have been made and have ended.

        Raises:
            AssertionError: that did not happen within ``timeout`` seconds.

        """
        if not self._done.wait(timeout):
            raise AssertionError(f"{self.placed} calls placed and {self._busy} of them not over in {timeout:g} s")

    def stop(self) -> None:
        """Place no more calls; present calls continue."""
        self.pbx.simulator.loop.run(self._stop)

    # On the loop's thread

    def start(self) -> None:
        """Configure the telephone system and start."""
        scenario = self.scenario
        self.pbx.pace = 1.0 / scenario.speed
        self.pbx.random.seed(scenario.seed)
        self.pbx.endpoints.clear()
        self.pbx.queues.clear()
        self._phones = [self._phone(str(1001 + number)) for number in range(scenario.endpoints)]
        if isinstance(scenario.queues, Mapping):
            members = {name: list(names) for name, names in scenario.queues.items()}
        else:
            members = {name: [] for name in scenario.queues}
            for number in range(scenario.agents if members else 0):
                members[list(members)[number % len(members)]].append(f"agent{number + 1}")
        for number, (name, names) in enumerate(members.items()):
            queue = self.pbx.queues[name] = Queue(name, strategy="leastrecent")
            for agent in names:
                if agent not in self.pbx.endpoints:
                    self._phone(agent)
                interface = f"PJSIP/{agent}"
                queue.members[interface] = Member(agent.capitalize(), interface, login=self.pbx.wall_clock())
            exten = str(500 + number)
            self.pbx.dialplan["default"][exten] = [("Answer", ""), ("Queue", name)]
            self._queues.append(exten)
        self._placing = self.pbx.spawn(self._place())

    def _stop(self) -> None:
        if self._placing is not None:
            self._placing.stop()
        self._settle()

    def _phone(self, name: str) -> Endpoint:
        endpoint = self.pbx.endpoints[name] = Endpoint(name, [f"sip:{name}@127.0.0.1:5060"], rings=0.05)
        self.pbx.dialplan["default"][name] = [("Dial", f"PJSIP/{name},30")]
        return endpoint

    def _place(self) -> Steps[None]:
        while self.scenario.calls is None or self.placed < self.scenario.calls:
            yield self._random.expovariate(self.scenario.calls_per_second)
            self.placed += 1
            self._busy += 1
            self.pbx.calls += 1
            self.pbx.spawn(self._call(self.placed))
        self._settle()

    def _settle(self) -> None:
        if not self._busy and (self._placing is None or self._placing.stopped or self._all_placed):
            self._done.set()

    @property
    def _all_placed(self) -> bool:
        return self.scenario.calls is not None and self.placed >= self.scenario.calls

    def _call(self, number: int) -> Steps[None]:
        """Run one call, from its first ring to its end."""
        chance, scenario, pbx = self._random, self.scenario, self.pbx
        to_queue = bool(self._queues) and (len(self._phones) < 2 or chance.random() < scenario.into_queues)
        for endpoint in pbx.endpoints.values():
            # The telephones that are called by this call, or by its queue, behave in this way.
            endpoint.answers = chance.uniform(*scenario.rings) if chance.random() < scenario.answered else None
            endpoint.talks = chance.uniform(*scenario.talks)
        if to_queue:
            exten, name = chance.choice(self._queues), "trunk"
            caller = f"555{number % 10_000:04}", f"Caller {number}"
        else:
            first, second = chance.sample(self._phones, 2)
            exten, name = second.name, first.name
            second.busy = chance.random() > scenario.answered
            caller = first.name, f"Phone {first.name}"
        channel = self._arrive(name, exten, *caller)
        patience = chance.uniform(*scenario.patience)
        pbx.run(channel, run_dialplan(pbx, channel))
        until = pbx.now + patience
        while not channel.gone:
            left = until - pbx.now
            if left <= 0:
                if channel.bridge is None:
                    pbx.emit("HangupRequest", channel.snapshot(), [("Cause", 16)])
                    pbx.hangup(channel, 16)
                    break
                yield channel.changed
                continue
            yield (channel.changed, left)
        self._busy -= 1
        self._settle()

    def _arrive(self, name: str, exten: str, number: str, caller: str) -> Channel:
        """Create an incoming call."""
        pbx = self.pbx
        channel = pbx.incoming(f"PJSIP/{name}", "default", exten, pbx.endpoints.get(name))
        channel.number, channel.caller = number, caller
        channel.state = RING
        pbx.emit("Newstate", channel.snapshot())
        return channel
