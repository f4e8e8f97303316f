"""Mutated traffic against calls, futures, streams and callbacks.

``PYAMI_FUZZ`` is the number of messages (4,000 for each seed), ``PYAMI_FUZZ_SEED`` a seed to repeat.
"""

from __future__ import annotations

import os
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pyami_sync import AMIClient, AMIError, Event, EventsLost, ReconnectPolicy, Response
from pyami_sync.wire.protocol import Limits
from tests.faults.fuzz import ACTIONS, ENDS, FRAME, HEADERS, ITEMS, LINE, Fuzzer
from tests.support.peer import eventually

MESSAGES = int(os.environ.get("PYAMI_FUZZ", "4000"))
SEEDS = [20_261_128, int(os.environ.get("PYAMI_FUZZ_SEED", random.SystemRandom().randrange(1 << 32)))]
THREADS, CALLS = 4, 12
SLACK = 20.0  # seconds that a call may be late on a machine that does much else
GROWTH = 4 << 20  # bytes


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
        self.outcomes: dict[str, int] = {}

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
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if time.monotonic() - began > timeout + SLACK:
            self.wrong.append(f"{name} took {time.monotonic() - began:.1f} s of {timeout} s")

    def judge(self, name: str, token: str, messages: list[Response | Event | None]) -> None:
        """Note whatever is another call's."""
        for message in messages:
            if message is not None and echo(message) != token:
                self.wrong.append(f"{name} with token {token} was given {message!r}")


@contextmanager
def together(functions: list[Callable[[], None]]) -> Iterator[None]:
    """Run functions in threads of their own, and wait for all."""
    threads = [threading.Thread(target=each) for each in functions]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a call never ends"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.timeout(120 + MESSAGES / 20)
def test_mutated_traffic(seed: int) -> None:
    print(f"PYAMI_FUZZ_SEED={seed}")
    chance, fuzzer = random.Random(seed), Fuzzer(seed)
    limits = Limits(frame=FRAME, line=LINE, headers=HEADERS, list_items=ITEMS)
    policy = ReconnectPolicy(initial=0.001, maximum=0.01)
    ami = AMIClient(**fuzzer.peer.options(limits=limits, reconnect=policy, timeout=30.0))
    callback_seqs: list[int] = []
    asked_by_callbacks: list[str] = []
    ends: dict[str, int] = {}
    outcomes: dict[str, int] = {}

    def on_event(event: Event) -> None:
        if event.get("Seq"):
            callback_seqs.append(int(event["Seq"]))
            if int(event["Seq"]) % 50 == 0:  # a callback may use its own client
                asked_by_callbacks.append(type(_outcome(ami)).__name__)

    try:
        with ami, ami.events(maxsize=1_000_000) as stream, ami.events(maxsize=50) as slow:
            forgotten = ami.events(maxsize=50, overflow="drop_oldest")
            ami.on()(on_event)
            sessions = 0
            while fuzzer.messages < MESSAGES:
                sessions += 1
                fuzzer.chaos, fuzzer.seqs = False, []
                token = f"honest-{sessions}"
                for name in ACTIONS:  # the session is fine, whatever was before
                    answer = ami.send(name, Token=token)
                    assert {token} == {echo(each) for each in (answer, *answer.events)}
                fuzzer.orderly, fuzzer.chaos = sessions % 3 == 2, True
                calls = Calls(ami, chance.getrandbits(64))
                # Of an ActionID of its own a thread must have had the end before it uses it again.
                own = [f"own-{each}" if fuzzer.orderly and each % 2 else None for each in range(THREADS)]
                with together([lambda own_id=each: _many(calls, own_id) for each in own]):  # type: ignore[misc]
                    pass
                assert not calls.wrong, calls.wrong[:5]
                for outcome, count in calls.outcomes.items():
                    outcomes[outcome] = outcomes.get(outcome, 0) + count
                fuzzer.chaos = False
                ami.send("UserEvent", UserEvent="Sync", Sync=str(sessions), Token="sync")
                seqs = []
                while True:
                    event = stream.get(30)
                    if event.get("Seq"):
                        seqs.append(int(event["Seq"]))
                    if event.get("Sync") == str(sessions):
                        break
                assert seqs == fuzzer.seqs
                eventually(lambda: callback_seqs[-1:] == seqs[-1:], 30)
                assert callback_seqs == seqs
                callback_seqs.clear()
                how = chance.choice(ENDS)
                ends[how] = ends.get(how, 0) + 1
                fuzzer.end(how)
                assert fuzzer.swallowed < 16 << 20, f"an endless {how} was taken without an end"
                assert stream.get(30).name == "ConnectionLost"
                assert stream.get(30).name == "Reconnected"
                assert ami.stats().losses == sessions
                if sessions == 2:  # all caches are filled
                    tracemalloc.start()
                    at_first = tracemalloc.get_traced_memory()[0]
            with pytest.raises(EventsLost):
                while True:
                    slow.get(0)
            assert forgotten.lost
            del calls, seqs, event
            fuzzer._said.clear()
            grown = tracemalloc.get_traced_memory()[0] - at_first
            assert grown < GROWTH, f"{grown} bytes were kept of {sessions} sessions"
    finally:
        tracemalloc.stop()
        fuzzer.close()
    print(f"{fuzzer.messages} messages, {sessions} sessions, {outcomes}, ends {ends}, {grown} bytes kept")
    assert outcomes["answer"] > sum(outcomes.values()) / 3


def _many(calls: Calls, own_id: str | None) -> None:
    for _ in range(CALLS):
        calls.make(own_id)


def _outcome(ami: AMIClient) -> Response | AMIError:
    try:
        return ami.send("Ping", timeout=5, Token="callback")
    except AMIError as exc:
        return exc
