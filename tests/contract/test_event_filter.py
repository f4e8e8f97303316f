"""Filters made of subscriptions, on servers that evaluate them: nothing that anybody wants is kept out."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pyami_sync import AMIClient, Event, events
from pyami_sync.subscriptions.listener import EventStream
from pyami_sync.subscriptions.selectors import Selector
from tests.asterisk import scenario

from .conftest import Target

_marks = itertools.count(1)


@pytest.fixture
def filtered(target: Target) -> Iterator[AMIClient]:
    """A session that has its server filter events."""
    with target.client("patient", event_filter="auto") as ami:
        yield ami


@pytest.mark.parametrize(
    ("selector", "where", "passing", "kept_out"),
    [
        ("UserEvent", None, {"Order": "x"}, None),
        ("userevent", {"Order": "a.b+c"}, {"Order": "a.b+c"}, {"Order": "axb+c"}),
        ("UserEvent", {"ORDER": "7"}, {"order": "7"}, {"Order": "77"}),
        ("UserEvent", {"Order": ["A", "B"]}, {"Order": "B"}, {"Order": "C"}),
        (events.UserEvent, {"Order": "x@y:/,;=&#_-"}, {"Order": "x@y:/,;=&#_-"}, {"Order": "x"}),
        ("User*", None, {"Order": "x"}, None),
        ("Us[e]rEv?nt", {"Order": "A"}, {"Order": "A"}, None),
        ("*Event", None, {"Order": "x"}, None),
        (Event, None, {"Order": "x"}, None),
    ],
)
def test_what_a_filter_lets_through(
    target: Target,
    filtered: AMIClient,
    selector: Selector,
    where: Mapping[str, Any] | None,
    passing: dict[str, str],
    kept_out: dict[str, str] | None,
) -> None:
    with filtered.events(selector, where=where) as stream:
        before = filtered.stats().events_received
        if kept_out is not None:
            filtered.send("UserEvent", UserEvent="Shop", **kept_out)
            filtered.ping()
            assert filtered.stats().events_received == before
        filtered.send("UserEvent", UserEvent="Shop", **passing)
        assert stream.get(20)["UserEvent"] == "Shop"
        assert filtered.stats().events_received == before + 1


def test_nobody_who_wants_nothing_is_sent_anything(target: Target, filtered: AMIClient) -> None:
    before = filtered.stats().events_received
    filtered.send("UserEvent", UserEvent="Shop")
    filtered.ping()
    assert filtered.stats().events_received == before
    assert filtered.originate("Local/106@default", wait=True, Application="Wait", Data="0").outcome == "answered"
    for action in ("CoreShowChannels", "QueueStatus", "ParkedCalls", "BridgeList"):
        assert filtered.send(action).complete is not None


CHOICES: list[tuple[Selector, Any]] = [
    ("Hangup", None),
    (events.Newchannel, None),
    ("Dial*", None),
    ("Newexten", {"Application": ["Dial", "Wait"]}),
    ("VarSet", {"Variable": "DIALSTATUS"}),
    ("Newstate", lambda event: event["ChannelStateDesc"] == "Up"),
    ("Bridge*", {"BridgeNumChannels": 2}),
    ("UserEvent", None),
    ("OriginateResponse", {"Response": "Failure"}),
]


class Beside:
    """A filtered session, and an unfiltered one beside it with the same subscriptions."""

    def __init__(self, filtered: AMIClient, plain: AMIClient) -> None:
        self.filtered = filtered
        self.plain = plain
        self.compared = 0
        self.missing: list[str] = []
        self._lock = threading.Lock()

    def listen(self, choice: tuple[Selector, Any], act: Callable[[], object]) -> None:
        """Subscribe on both, and compare what comes from then until after ``act()``."""
        selector, where = choice
        mark = f"mark-{next(_marks)}"
        options: dict[str, Any] = {"maxsize": 1_000_000}
        wanted = (selector, "UserEvent")
        test = where if callable(where) or where is None else None
        with (
            self.plain.events(*wanted, **options) as everything,
            self.filtered.events(selector, where=where, **options) as seen,
            self.filtered.events("UserEvent", where={"Mark": mark}, **options) as marks,
        ):
            self.filtered.send("UserEvent", UserEvent="Mark", Mark=mark)
            act()
            marks.get(30)
            self.filtered.send("UserEvent", UserEvent="Mark", Mark=mark)
            marks.get(30)
            self.filtered.ping()  # whatever came before the mark has been published
            got = {event.to_bytes() for event in drain(seen)}
            between = self._between(everything, mark)
        kept = [event for event in between if accepted(event, selector, where, test)]
        with self._lock:
            self.compared += len(kept)
            self.missing += [f"{selector} {where}: {event!r}" for event in kept if event.to_bytes() not in got]

    def _between(self, stream: EventStream[Any], mark: str) -> list[Event]:
        found: list[Event] = []
        marks = 0
        while marks < 2:
            event = stream.get(30)
            if event.get("Mark") == mark:
                marks += 1
            elif marks:
                found.append(event)
        return found


def drain(stream: EventStream[Any]) -> Iterator[Event]:
    while stream.pending:
        yield stream.get(0)


def accepted(event: Event, selector: Selector, where: Any, test: Any) -> bool:
    from pyami_sync.subscriptions.selectors import Selectors, header_filter

    if not Selectors([selector]).want(event.name, type(event)):
        return False
    return bool(test(event)) if test is not None else where is None or header_filter(where)(event)


def test_a_storm_beside_an_unfiltered_session(real: Target) -> None:
    """Subscriptions come and go while calls are made; each gets all that one without filters gets."""
    assert real.server is not None
    with (
        real.client("patient", event_filter="auto") as filtered,
        real.client("patient") as plain,
        ThreadPoolExecutor(4) as threads,
    ):
        beside = Beside(filtered, plain)

        def come_and_go(seed: int) -> None:
            chance, pause = random.Random(seed), threading.Event()
            for choice in chance.sample(CHOICES, len(CHOICES)):
                beside.listen(choice, lambda: pause.wait(0.2 + chance.random()))

        working = [threads.submit(come_and_go, seed) for seed in range(3)]
        while not all(each.done() for each in working):
            beside.listen(("Hangup", None), lambda: scenario.place_calls(real.server, 12))  # type: ignore[arg-type]
        for each in working:
            each.result()
        assert not beside.missing
        assert beside.compared > 100
        fewer = filtered.stats().bytes_received / plain.stats().bytes_received
        assert fewer < 0.9  # although in the end all of CHOICES are in the filters, which never narrow


def test_a_storm_over_cut_links(real: Target) -> None:
    """After each reconnect everything that is wanted comes again, from the marker on."""
    assert real.server is not None
    server = real.server
    with real.client("patient", event_filter="auto") as filtered, real.client("patient") as plain:
        beside = Beside(filtered, plain)
        for number, choice in enumerate([("Hangup", None), ("Newexten", {"Application": "Dial"}), ("Dial*", None)]):
            with filtered.events("Reconnected") as gaps, filtered.events(*CHOICES[number][:1]):
                current = filtered._session.current
                assert current is not None
                current.transport.shutdown()
                gaps.get(30)
                beside.listen(choice, lambda: scenario.place_calls(server, 12))
        assert not beside.missing
        assert beside.compared > 20
