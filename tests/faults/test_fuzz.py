"""Mutated traffic against calls, futures, streams and callbacks.

``PYAMI_FUZZ`` is the number of messages (5,000 for each seed), ``PYAMI_FUZZ_SEED`` a seed to repeat.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import threading
import time
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from pyami_sync import AMIClient, AMIError, Event, EventsLost, EventStream, ReconnectPolicy, Response
from pyami_sync.wire.protocol import Limits
from tests.faults.fuzz import ACTIONS, ENDS, FRAME, HEADERS, ITEMS, LINE, MOST_SENT, Fuzzer
from tests.support.peer import eventually

MESSAGES = int(os.environ.get("PYAMI_FUZZ", "5000"))
SEED = 20_261_128
THREADS, CALLS = 4, 12
SLACK = 20.0  # seconds that a call may be late on a machine that does much else
GROWTH = 2 << 20  # bytes


def echo(message: Response | Event) -> str | None:
    """Return whose answer a message is; in the old form of a command's output this is the first line."""
    if isinstance(message, Response) and message.status == "Follows":
        return message.output[0].removeprefix("Echo: ")
    return message.get("Echo")


class Calls:
    """What makes calls and judges their answers."""

    def __init__(self, ami: AMIClient, seed: int) -> None:
        self.ami = ami
        self.random = random.Random(seed)
        self.wrong: list[str] = []
        self.outcomes: Counter[str] = Counter()

    def make(self, own_id: str | None) -> None:
        """Make one call in one of two ways, and judge its outcome."""
        token, timeout = f"{self.random.getrandbits(64):016x}", self.random.choice([0.02, 0.2, 0.5])
        name = self.random.choice(ACTIONS)
        headers: dict[str, Any] = {"Token": token} if own_id is None else {"Token": token, "ActionID": own_id}
        began = time.monotonic()
        try:
            if self.random.randrange(3):
                answer = self.ami.send(name, timeout=timeout, check=False, **headers)
            else:
                answer = self.ami.submit(name, timeout=timeout, **headers).result(timeout + SLACK)
            outcome = "answer"
            self.judge(name, token, [answer, *answer.events, answer.complete])
        except AMIError as exc:
            outcome = type(exc).__name__
            self.judge(name, token, [getattr(exc, "response", None), *(getattr(exc, "partial", None) or [])])
        except BaseException as exc:
            self.wrong.append(f"{name}: {exc!r}")
            raise
        self.outcomes[outcome] += 1
        if time.monotonic() - began > timeout + SLACK:
            self.wrong.append(f"{name} took {time.monotonic() - began:.1f} s of {timeout} s")

    def judge(self, name: str, token: str, messages: list[Response | Event | None]) -> None:
        """Note whatever is another call's."""
        for message in messages:
            if message is not None and echo(message) != token:
                self.wrong.append(f"{name} with token {token} was given {message!r}")


def storm(ami: AMIClient, seed: int, *, own_ids: bool) -> Counter[str]:
    """Make calls from some threads, half of them with an ActionID of their own for all; return their outcomes."""
    calls = Calls(ami, seed)

    def work(own_id: str | None) -> None:
        for _ in range(CALLS):
            calls.make(own_id)

    threads = [
        threading.Thread(target=work, args=(f"own-{number}" if own_ids and number % 2 else None,))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a call never ends"
    assert not calls.wrong, calls.wrong[:5]
    return calls.outcomes


def check_honest(ami: AMIClient, token: str) -> None:
    """See that all is well in a session whose server answers as it should."""
    for name in ACTIONS:
        answer = ami.send(name, Token=token)
        assert {token} == {echo(each) for each in (answer, *answer.events)}


def take(ami: AMIClient, stream: EventStream[Event], until: str) -> list[int]:
    """Return the numbers of the events that came so far."""
    ami.send("UserEvent", UserEvent="Sync", Sync=until, Token="sync")
    seqs = []
    while True:
        event = stream.get(30)
        if event.get("Seq"):
            seqs.append(int(event["Seq"]))
        if event.get("Sync") == until:
            return seqs


class Listener:
    """A callback that notes the numbers of events, and now and then asks something itself."""

    def __init__(self, ami: AMIClient) -> None:
        self.ami = ami
        self.seqs: list[int] = []
        self.errors: Counter[str] = Counter()  # not the exceptions, whose tracebacks hold a connection

    def __call__(self, event: Event) -> None:
        if event.get("Seq"):
            self.seqs.append(int(event["Seq"]))
            if self.seqs[-1] % 50 == 0:
                try:
                    assert echo(self.ami.send("Ping", timeout=1.0, check=False, Token="callback")) == "callback"
                except AMIError as exc:
                    self.errors[type(exc).__name__] += 1

    def check(self, seqs: list[int]) -> None:
        """See that it got these, and forget them."""
        eventually(lambda: len(self.seqs) >= len(seqs), 60)
        assert self.seqs == seqs
        self.seqs.clear()


@pytest.mark.parametrize("known", [True, False], ids=["the-same-again", "another"])
@pytest.mark.timeout(120 + MESSAGES / 20)
def test_mutated_traffic(known: bool, caplog: pytest.LogCaptureFixture) -> None:
    other = random.SystemRandom().randrange(1 << 32)
    seed = SEED if known else int(os.environ.get("PYAMI_FUZZ_SEED", other))
    print(f"PYAMI_FUZZ_SEED={seed}")
    caplog.set_level(logging.CRITICAL, "pyami_sync")  # captured warnings hold exceptions, and these hold connections
    chance, fuzzer = random.Random(seed), Fuzzer(seed)
    limits = Limits(frame=FRAME, line=LINE, headers=HEADERS, list_items=ITEMS)
    policy = ReconnectPolicy(initial=0.001, maximum=0.01)
    ami = AMIClient(**fuzzer.peer.options(limits=limits, reconnect=policy, timeout=30.0))
    outcomes: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    listener = Listener(ami)
    sessions = at_first = 0
    try:
        with ami, ami.events(maxsize=1_000_000) as stream, ami.events(maxsize=50) as slow:
            forgotten = ami.events(maxsize=50, overflow="drop_oldest")
            ami.on()(listener)
            while fuzzer.messages < MESSAGES or sessions < 3:
                sessions += 1
                fuzzer.chaos, fuzzer.seqs = False, []
                check_honest(ami, f"honest-{sessions}")
                fuzzer.orderly, fuzzer.chaos = sessions % 3 == 2, True
                outcomes += storm(ami, chance.getrandbits(64), own_ids=fuzzer.orderly)
                fuzzer.chaos = False
                seqs = take(ami, stream, str(sessions))
                assert seqs == fuzzer.seqs
                listener.check(seqs)
                how = chance.choice(ENDS)
                ends[how] += 1
                fuzzer.end(how)
                assert fuzzer.swallowed < MOST_SENT / 2, f"an endless {how} was taken without an end"
                assert [stream.get(30).name for _ in range(2)] == ["ConnectionLost", "Reconnected"]
                assert ami.stats().losses == sessions
                if sessions == 2:  # all caches are filled
                    tracemalloc.start()
                    at_first = tracemalloc.get_traced_memory()[0]
            with pytest.raises(EventsLost):
                while True:
                    slow.get(0)
            assert forgotten.lost
            fuzzer.forget()
            seqs.clear()
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - at_first
            assert grown < GROWTH, f"{grown} bytes were kept of {sessions} sessions"
    finally:
        tracemalloc.stop()
        fuzzer.close()
    print(f"{fuzzer.messages} messages, {sessions} sessions, {dict(outcomes)}, ends {dict(ends)}, {grown} bytes kept")
    assert outcomes["answer"] > sum(outcomes.values()) / 10  # a loaded machine leaves fewer of them
