"""Many threads on one connection: each gets the answer to its own question, and nobody misses an event."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Callable

import pytest

from pyami_sync import ActionError, AMIClient, Event, Response

from .conftest import Target

THREADS = 64


@dataclasses.dataclass
class Tally:
    """What went wrong, with the question it went wrong at; and how much went right."""

    wrong: list[str] = dataclasses.field(default_factory=list)
    right: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def add(self, right: int, wrong: list[str]) -> None:
        """Add one thread's account."""
        with self.lock:
            self.right += right
            self.wrong += wrong


class Asker:
    """Asks questions whose answers show whose they are."""

    def __init__(self, ami: AMIClient, number: int) -> None:
        self.ami = ami
        self.name = f"T{number}"
        self.random = random.Random(number)
        self.count = 0
        self.questions: list[Callable[[str], bool]] = [
            self.variable,
            self.database,
            self.tree,
            self.ping,
            self.queue,
            self.unknown,
            self.refused,
            self.command,
            self.future,
            self.cancelled,
        ]

    def ask(self, questions: int, tally: Tally) -> None:
        """Ask so many questions and report."""
        right = 0
        wrong: list[str] = []
        while self.count < questions:
            question = self.random.choice(self.questions)
            unique = f"{self.name}-{self.count}"
            self.count += 1
            try:
                fits = question(unique)
            except Exception as exc:
                wrong.append(f"{question.__name__} {unique}: {exc!r}")
                continue
            if fits:
                right += 1
            else:
                wrong.append(f"{question.__name__} {unique}")
        tally.add(right, wrong)

    def variable(self, unique: str) -> bool:
        """Read back a variable of this thread's own, just set."""
        self.ami.send("Setvar", Variable=self.name, Value=unique)
        return self.ami.send("Getvar", Variable=self.name)["Value"] == unique

    def database(self, unique: str) -> bool:
        """Read back a database entry, just put."""
        self.ami.send("DBPut", Family=self.name, Key="key", Val=unique)
        response = self.ami.send("DBGet", Family=self.name, Key="key")
        return [event["Val"] for event in response.events] == [unique] and response.complete is not None

    def tree(self, unique: str) -> bool:
        """List this thread's entries in the database."""
        self.ami.send("DBPut", Family=f"{self.name}/tree", Key="a", Val=unique)
        self.ami.send("DBPut", Family=f"{self.name}/tree", Key="b", Val=unique + "b")
        got = [event["Val"] for event in self.ami.send("DBGetTree", Family=f"{self.name}/tree").events]
        return sorted(got) == [unique, unique + "b"]

    def ping(self, unique: str) -> bool:
        """Ping."""
        return self.ami.send("Ping")["Ping"] == "Pong"

    def queue(self, unique: str) -> bool:
        """List one of two queues."""
        queue = self.random.choice(("support", "empty"))
        return {event["Queue"] for event in self.ami.send("QueueStatus", Queue=queue).events} == {queue}

    def unknown(self, unique: str) -> bool:
        """Be told that there is no such action, by its name."""
        with pytest.raises(ActionError) as info:
            self.ami.send(f"Nonesuch{unique}")
        return f"Nonesuch{unique}." in info.value.response.message

    def refused(self, unique: str) -> bool:
        """Be refused for a reason that only this question gives."""
        response: Response = self.ami.send("Getvar", check=False)
        return not response.ok and response.message == "No variable specified"

    def command(self, unique: str) -> bool:
        """Be told on the console that there is no such command, by its name."""
        (line,) = self.ami.command(f"nonesuch {unique}")
        return f"'nonesuch {unique}'" in line

    def future(self, unique: str) -> bool:
        """Several at a time, in order."""
        values = [f"{unique}-{number}" for number in range(4)]
        futures = []
        for value in values:
            self.ami.submit("Setvar", Variable=f"{self.name}F", Value=value)
            futures.append(self.ami.submit("Getvar", Variable=f"{self.name}F"))
        return [future.result(60)["Value"] for future in futures] == values

    def cancelled(self, unique: str) -> bool:
        """Give up on one answer; it is not the next one's."""
        given_up = self.ami.submit("Getvar", Variable="NOT_THIS")
        following = self.ami.submit("Setvar", Variable=f"{self.name}C", Value=unique)
        given_up.cancel()
        return following.result(60).message == "Variable Set" and (
            self.ami.send("Getvar", Variable=f"{self.name}C")["Value"] == unique
        )


def crowd(ami: AMIClient, questions: int, *, threads: int = THREADS, limit: float = 300.0) -> Tally:
    """Let the threads ask; fail when one hangs."""
    tally = Tally()
    askers = [
        threading.Thread(target=Asker(ami, number).ask, args=(questions, tally), daemon=True)
        for number in range(threads)
    ]
    for thread in askers:
        thread.start()
    deadline = time.monotonic() + limit
    for thread in askers:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert not [thread.name for thread in askers if thread.is_alive()]
    return tally


def check_crowd(target: Target, questions: int, *, tls: bool) -> None:
    with target.client(tls=tls, event_mask="off", timeout=120) as ami:
        tally = crowd(ami, questions)
        stats = ami.stats()
    assert not tally.wrong, tally.wrong[:10]
    assert tally.right == THREADS * questions
    assert stats.pending == 0
    assert stats.losses == 0
    assert set(stats.actions) <= {"ok", "error", "cancelled"}


@pytest.mark.promise(2)
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_crowd(target: Target, tls: bool) -> None:
    check_crowd(target, 12, tls=tls)


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_crowd_at_length(target: Target, tls: bool) -> None:
    check_crowd(target, 500, tls=tls)


def place(ami: AMIClient, number: int) -> None:
    """Start one short call; every third one fails."""
    channel, application = (("106", "NoOp"), ("107", "NoOp"), ("104", "NoOp"))[number % 3]
    ami.originate(f"Local/{channel}@default", Application=application, CallerID=f'"C {number}" <{number}>')


def check_events(target: Target, calls: int, questions: int, *, tls: bool) -> None:
    """Ask while calls make events; compare what three kinds of subscribers got with a naive witness."""
    called_back: list[bytes] = []
    streamed: list[bytes] = []
    waited: dict[str, Event] = {}
    over = threading.Event()

    def take(event: Event) -> None:
        called_back.append(event.to_bytes())
        if event.get("UserEvent") == "CrowdEnds":
            over.set()

    with target.client(tls=tls, timeout=120) as ami, target.client(event_mask="off", timeout=120) as admin:
        if tls and target.sim is not None:
            pytest.skip("the simulator serves TLS with a telephone system of its own")
        ami.on(take)
        with ami.events() as stream, target.witness(events="on") as raw:

            def iterate() -> None:
                for event in stream:
                    streamed.append(event.to_bytes())
                    if event.get("UserEvent") == "CrowdEnds":
                        return

            def wait(number: int) -> None:
                where = {"CallerIDNum": str(number)}
                waited[str(number)] = ami.wait_for("OriginateResponse", where=where, timeout=120)

            def call() -> None:
                for number in range(calls):
                    place(admin, number)

            def witness() -> None:
                raw.timeout = 120
                raw.read_until(b"\r\nUserEvent: CrowdEnds\r\n")
                raw.read_until(b"\r\n\r\n")

            waiting = range(1, calls, 5)
            others = [threading.Thread(target=iterate, daemon=True), threading.Thread(target=witness, daemon=True)]
            others += [threading.Thread(target=wait, args=(number,), daemon=True) for number in waiting]
            for thread in others:
                thread.start()
            subscribed = len(waiting) + 2
            deadline = time.monotonic() + 30
            while len(ami.subscriptions) < subscribed and time.monotonic() < deadline:
                time.sleep(0.005)
            admin.send("UserEvent", UserEvent="CrowdBegins")
            caller = threading.Thread(target=call, daemon=True)
            caller.start()
            tally = crowd(ami, questions)
            caller.join(120)
            deadline = time.monotonic() + 60
            while len(admin.send("CoreShowChannels").events) or len(waited) < len(waiting):
                assert time.monotonic() < deadline, f"{len(waited)} of {len(waiting)} waits are over"
                time.sleep(0.02)
            admin.send("UserEvent", UserEvent="CrowdEnds")
            for thread in others:
                thread.join(60)
            assert over.wait(60)
            stats = ami.stats()
            wire = [each + b"\r\n\r\n" for each in raw.capture.split(b"\r\n\r\n") if each.startswith(b"Event: ")]
    assert not tally.wrong, tally.wrong[:10]
    assert tally.right == THREADS * questions
    assert stats.events_lost == 0
    assert stats.losses == 0
    wire, called_back, streamed = (between_marks(each) for each in (wire, called_back, streamed))
    assert len(wire) > calls * 5
    assert streamed == wire
    assert called_back == wire
    assert len({each["Uniqueid"] for each in waited.values()}) > 0
    assert all(event.to_bytes() in set(wire) for event in waited.values())
    assert all(number == event["CallerIDNum"] for number, event in waited.items())


def between_marks(messages: list[bytes]) -> list[bytes]:
    """Return the events between the two marks, without the lists' items, which only the asker gets."""
    queued = [each for each in messages if b"\r\nPrivilege: " in each]
    (begin,) = (place for place, each in enumerate(queued) if b"\r\nUserEvent: CrowdBegins\r\n" in each)
    (end,) = (place for place, each in enumerate(queued) if b"\r\nUserEvent: CrowdEnds\r\n" in each)
    return queued[begin : end + 1]


@pytest.mark.promise(7)
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_events_reach_everybody_in_order(target: Target, tls: bool) -> None:
    check_events(target, 40, 4, tls=tls)


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_events_reach_everybody_in_order_at_length(target: Target, tls: bool) -> None:
    check_events(target, 400, 500, tls=tls)
