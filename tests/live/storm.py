"""Random storms on a real server, and the comparison of the model with it whenever the server is quiet.

By hand, for as many storms as wanted::

    python -m tests.live.storm 22 --storms 1000 --seed 1
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import re
import time
from collections.abc import Callable

from pyami_sync import AMIClient, Event
from pyami_sync.exceptions import ActionError, AMIError
from pyami_sync.live import Call, Change, Live
from tests.faults.proxy import Proxy

from .oracle import Truth
from .records import against_cdr, against_cel, within
from .server import StormServer

QUIET = 0.6  # seconds without an event that count as quiet: the model asks for figures of queues within 0.3
PASSING = ("talk", "slow", "ring", "busy", "cong", "gone", "dial-talk", "dial-slow", "dial-ring", "dial-busy")
PASSING += ("dial-many", "dial-sip", "dial-sip-busy", "dial-deep", "queue-one", "queue-two")
LASTING = ("rest", "music", "dial-rest", "dial-sip-rest", "queue-rest", "park", "confer-a", "confer-b")
MEMBERS = tuple(f"Local/m{number}@storm/n" for number in range(1, 5))


class Storm:
    """Random actions against one server.

    Args:
        server: it runs.
        ami: sends the actions.
        live: the model, from which channels to act on are taken.
        seed: makes the same choices again (a server's own timing varies, though).

    """

    def __init__(self, server: StormServer, ami: AMIClient, live: Live, seed: int) -> None:
        self.server = server
        self.ami = ami
        self.live = live
        self.random = random.Random(seed)
        self.done: collections.Counter[str] = collections.Counter()
        self.actions: list[tuple[int, Callable[[], None]]] = [
            (30, self.call_passing),
            (12, self.call_lasting),
            (8, self.hang_up),
            (6, self.redirect),
            (4, self.redirect_both),
            (5, self.bridge),
            (5, self.blind_transfer),
            (4, self.attended_transfer),
            (3, self.park),
            (3, self.unpark),
            (5, self.pause),
            (4, self.add_or_remove),
            (2, self.penalty),
            (3, self.mute),
            (2, self.kick),
            (2, self.record),
            (2, self.hold),
            (3, self.device),
            (2, self.caller_id),
            (1, self.reload),
            (1, self.dtmf_transfer),
        ]

    def run(self, count: int, pause: float) -> None:
        """Do so many random things, with random pauses of at most `pause` seconds between them."""
        weights = [weight for weight, _ in self.actions]
        for _ in range(count):
            action = self.random.choices(self.actions, weights)[0][1]
            # What the action is about may have ended meanwhile: a refusal is part of a storm.
            with contextlib.suppress(AMIError, IndexError):
                action()
                self.done[action.__name__] += 1
            time.sleep(self.random.uniform(0, pause))

    def end(self) -> None:
        """Hang up everything."""
        with contextlib.suppress(AMIError):
            self.ami.send("Hangup", Channel="/.*/")

    # What happens

    def originate(self, exten: str) -> None:
        first = self.random.choice(("talk", "slow", "rest", exten))
        way = self.random.choice(("", "/n", "/n"))
        number = self.random.randrange(100, 999)
        technology = self.random.random()
        channel = f"Local/{first}@storm{way}"
        if technology < 0.15:
            channel = f"PJSIP/trunk/sip:{first}@127.0.0.1:{self.server._pjsip_port}"
        where = {"Context": "storm", "Exten": exten, "Priority": "1"}
        caller = f'"Caller {number}" <555{number}>'
        self.ami.send("Originate", Channel=channel, Async="true", Timeout="4000", CallerID=caller, **where)

    def call_passing(self) -> None:
        self.originate(self.random.choice(PASSING))

    def call_lasting(self) -> None:
        if len(self.live.channels) < 60:
            self.originate(self.random.choice(LASTING))

    def channel(self, *, bridged: bool = False, local: bool = True) -> str:
        channels = [
            each
            for each in self.live.channels.values()
            if (each.bridge is not None or not bridged) and (local or not each.local)
        ]
        return self.random.choice(sorted(each.channel for each in channels))

    def hang_up(self) -> None:
        self.ami.send("Hangup", Channel=self.channel(), Cause=str(self.random.choice((16, 17, 21, 31))))

    def redirect(self) -> None:
        where = {"Context": "storm", "Exten": self.random.choice(PASSING + LASTING), "Priority": "1"}
        self.ami.send("Redirect", Channel=self.channel(), **where)

    def redirect_both(self) -> None:
        channel = self.channel(bridged=True)
        bridge = self.live.bridges[self.live.channels[channel].bridge or ""]
        others = [self.live.channels[each].channel for each in bridge.channels if each in self.live.channels]
        other = self.random.choice([each for each in others if each != channel])
        first, second = self.random.choice(PASSING + LASTING), self.random.choice(LASTING)
        more = {"ExtraChannel": other, "ExtraContext": "storm", "ExtraExten": second, "ExtraPriority": "1"}
        self.ami.send("Redirect", Channel=channel, Context="storm", Exten=first, Priority="1", **more)

    def bridge(self) -> None:
        self.ami.send("Bridge", Channel1=self.channel(), Channel2=self.channel(), Tone="no")

    def blind_transfer(self) -> None:
        exten = self.random.choice(PASSING + LASTING)
        self.ami.send("BlindTransfer", Channel=self.channel(bridged=True), Context="storm", Exten=exten)

    def attended_transfer(self) -> None:
        exten = self.random.choice(("slow", "rest", "talk", "ring"))
        self.ami.send("Atxfer", Channel=self.channel(bridged=True), Context="storm", Exten=exten)

    def dtmf_transfer(self) -> None:
        self.ami.send("CancelAtxfer", Channel=self.channel(bridged=True))

    def park(self) -> None:
        channel = self.channel(bridged=True)
        self.ami.send("Park", Channel=channel, Timeout="3600000")

    def unpark(self) -> None:
        parked = self.random.choice(sorted(self.live.parked.values(), key=lambda call: call.parking_space))
        where = {"Context": "storm", "Exten": str(parked.parking_space), "Priority": "1"}
        self.ami.send("Originate", Channel="Local/rest@storm/n", Async="true", **where)

    def pause(self) -> None:
        paused = self.random.choice(("true", "false"))
        reason = self.random.choice(("", "lunch", "a call back"))
        self.ami.send("QueuePause", Interface=self.random.choice(MEMBERS), Paused=paused, Reason=reason)

    def add_or_remove(self) -> None:
        queue, interface = self.random.choice(("one", "two", "nobody")), self.random.choice(MEMBERS)
        action = self.random.choice(("QueueAdd", "QueueRemove"))
        more = {"Penalty": str(self.random.randrange(5)), "MemberName": "Dyn"} if action == "QueueAdd" else {}
        self.ami.send(action, Queue=queue, Interface=interface, **more)
        if queue == "nobody" and action == "QueueAdd":
            self.ami.send("QueueRemove", Queue=queue, Interface=interface)

    def penalty(self) -> None:
        penalty = str(self.random.randrange(9))
        self.ami.send("QueuePenalty", Interface=self.random.choice(MEMBERS), Penalty=penalty)

    def mute(self) -> None:
        conference = self.random.choice(sorted(self.live.conferences))
        member = self.random.choice(self.live.conferences[conference].members)
        action = self.random.choice(("ConfbridgeMute", "ConfbridgeUnmute"))
        self.ami.send(action, Conference=conference, Channel=member.channel)

    def kick(self) -> None:
        conference = self.random.choice(sorted(self.live.conferences))
        member = self.random.choice(self.live.conferences[conference].members)
        self.ami.send("ConfbridgeKick", Conference=conference, Channel=member.channel)

    def record(self) -> None:
        conference = self.random.choice(sorted(self.live.conferences))
        action = self.random.choice(("ConfbridgeStartRecord", "ConfbridgeStopRecord"))
        self.ami.send(action, Conference=conference)

    def hold(self) -> None:
        application = self.random.choice(("Hold", "Unhold"))
        # There is no action for it: a device signals it, as this does.
        self.ami.send("Setvar", Channel=self.channel(), Variable="STORM", Value=application)

    def device(self) -> None:
        state = self.random.choice(("INUSE", "NOT_INUSE", "RINGING", "BUSY"))
        name = self.random.choice(("rest", "talk"))
        self.ami.send("Setvar", Variable=f"DEVICE_STATE(Custom:{name})", Value=state)

    def caller_id(self) -> None:
        value = f"Renamed {self.random.randrange(100)}"
        self.ami.send("Setvar", Channel=self.channel(), Variable="CALLERID(name)", Value=value)

    def reload(self) -> None:
        self.ami.send("Reload", Module=self.random.choice(("app_queue", "res_parking", "pbx_config", "app_confbridge")))


class Watch:
    """Knows when the server is quiet, over a session of its own."""

    def __init__(self, ami: AMIClient) -> None:
        self.ami = ami
        self.last = time.monotonic()
        ami.on("*", self._seen)

    def _seen(self, event: Event) -> None:
        # Items of lists have no privilege.
        if "Privilege" in event and event.name not in ("RTCPSent", "RTCPReceived", "SuccessfulAuth", "TestEvent"):
            self.last = time.monotonic()

    def quiet(self, timeout: float) -> bool:
        """Wait until nothing has come for a while; False when it does not become quiet."""
        deadline = time.monotonic() + timeout
        while (left := self.last + QUIET - time.monotonic()) > 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(left)
        return True

    def compare(self, live: Live, timeout: float = 30.0) -> list[str] | None:
        """Return the differences at a quiet moment, or None when there was none in time.

        Servers change some things without an event, which the model looks up; what differs must go on to do so.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.quiet(deadline - time.monotonic()):
                return None
            before = self.last
            first = self._look(live)
            if first:
                time.sleep(1.0 + 2 * live._one._pause)  # on a busy machine it looks less often
                again = self._look(live)
                first = None if again is None else [each for each in first if each in again]
            if first is not None and self.last == before and live.health == "consistent":
                return first
        return None

    def _look(self, live: Live) -> list[str] | None:
        """Return the differences of now; None if something has ended between two of the lists."""
        try:
            truth = Truth(self.ami)
        except ActionError:
            return None
        time.sleep(0.1)
        return self.differences(truth, live)

    def differences(self, truth: Truth, live: Live) -> list[str]:
        """Return in what the model differs from the lists."""
        return truth.differences(live.view())


def weather(
    server: StormServer,
    seed: int,
    storms: int,
    *,
    count: int = 12,
    pause: float = 0.15,
    report: Callable[[str], None] = print,
    restarts: bool = True,
    watching: Callable[[AMIClient], Watch] | None = None,
) -> tuple[int, int]:
    """Let storms come over a server, and compare the model with it at every quiet moment.

    Returns:
        How many comparisons there were, and how many differences.

    """
    checked = found = 0
    options = {"username": "patient", "secret": "patient-secret", "port": server.port, "timeout": 20.0}
    random_ = random.Random(seed)
    with (
        Proxy(server.port) as proxy,
        AMIClient("127.0.0.1", **{**options, "port": proxy.port}) as ami,
        AMIClient("127.0.0.1", **options) as looker,
        AMIClient("127.0.0.1", **options, event_mask="off") as actor,
        ami.live(records=1_000_000) as live,
    ):
        unseen: set[str] = set()
        lost: list[float] = []
        gaps: list[tuple[float, float]] = []
        ami.on("ConnectionLost", lambda event: lost.append(time.time()))
        ami.on("Reconnected", lambda event: gaps.append((lost[-1], time.time())))
        live.on(Call, lambda change: note_unseen(change, unseen))
        watch = (watching or Watch)(looker)
        for number in range(storms):
            storm = Storm(server, actor, live, seed + number)
            storm.run(count, pause)
            kind = random_.random()
            if kind < 0.10:
                proxy.cut(random_.randrange(20_000))
                storm.run(count // 2, 0.1)
                proxy.drop()
                storm.run(count // 2, 0.1)
            elif kind < 0.12 and restarts:
                server.kill()
                server.start()
                live.wait(lambda view: view.health == "consistent" and not view.channels, timeout=20)
            if random_.random() < 0.5:
                storm.end()
            differences = watch.compare(live, 4.0)
            if differences is None:
                storm.end()
                differences = watch.compare(live)
            if differences is None:
                report(f"storm {seed + number}: never quiet, health {live.health}")
                found += 1
                continue
            checked += 1
            if number % 50 == 49:
                report(f"{number + 1} storms, {checked} comparisons, {found} differences")
            if differences:
                found += len(differences)
                report(f"storm {seed + number}: {len(differences)} differences, {dict(storm.done)}")
                for each in differences[:6]:
                    report(f"    {each}")
                for line in evidence(live, differences):
                    report(f"        {line}")
            if number % 10 == 9 or differences:
                storm.end()
        storm.end()
        watch.quiet(10.0)
        time.sleep(1.5)  # detail records are written behind the end of a call
        complete = [record for record in live.records if record.complete]
        unseen |= {leg.uniqueid for record in live.records if not record.complete for leg in record.legs}
        unseen |= within(server.cel, gaps)
        report(f"{len(complete)} of {len(live.records)} calls were seen completely: compared with the server's files")
        for each in (
            *against_cel(complete, server.cel, unseen),
            *against_cdr(complete, server.cdr, unseen, server.cel),
        ):
            found += 1
            report(f"    {each}")
    return checked, found


def note_unseen(change: Change[Call], unseen: set[str]) -> None:
    """Note the channels of calls that were there while events were missing."""
    call = change.after
    if call is not None and not call.from_start:
        unseen |= {leg.uniqueid for leg in call.legs}


EVIDENCE = ("Timestamp", "Uniqueid", "Channel", "ChannelStateDesc", "CallerIDNum", "Queue", "BridgeUniqueid")
EVIDENCE += ("DestChannel", "DestCallerIDNum", "TransfereeChannel", "Newname", "Application", "Extension")


def evidence(live: Live, differences: list[str]) -> list[str]:
    """Return the last events that name what the first difference is about that names something unique."""
    for difference in differences:
        for word in re.findall(r"[0-9a-f-]{36}|\w+-\d+\.\d+|\w+/[\w@/-]+-[0-9a-f]{8}(?:;\d)?", difference):
            channel, bridge = live.channels.get(word), live.bridges.get(word)
            keys = [word.encode(), *([channel.uniqueid.encode()] if channel is not None else [])]
            found: list[str] = []
            for event in list(live._history):
                marker = event.name in ("ConnectionLost", "Reconnected", "FullyBooted") and bool(found)
                if marker or any(key in event.to_bytes() for key in keys):
                    found.append(f"{event.name} {' '.join(event.get(name, '') for name in EVIDENCE)}")
            return [repr(channel or bridge), *found[-40:]]
    return []


def show(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", type=int, choices=(16, 22))
    parser.add_argument("--storms", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--no-restarts", action="store_true")
    chosen = parser.parse_args()
    began = time.monotonic()
    with StormServer(chosen.version) as server:
        checked, found = weather(
            server, chosen.seed, chosen.storms, count=chosen.count, report=show, restarts=not chosen.no_restarts
        )
    seconds = time.monotonic() - began
    seeds = f"{chosen.seed}..{chosen.seed + chosen.storms - 1}"
    print(f"Asterisk {chosen.version}: {chosen.storms} storms (seeds {seeds}), {checked} comparisons, ", end="")
    print(f"{found} differences, {seconds:.0f} s")


if __name__ == "__main__":
    main()
