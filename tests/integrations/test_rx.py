"""Events as observables: order, ends, back-pressure."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from reactivex import operators as ops

from pyami_sync import Action, AMIClient, ConnectionLost, EventsLost, ReconnectPolicy, events
from pyami_sync.testing import Simulator

LIMIT = 10.0


class Seen:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.error: Exception | None = None
        self.completed = False
        self.ended = threading.Event()
        self.threads: set[str] = set()

    def on_next(self, item: Any) -> None:
        self.threads.add(threading.current_thread().name)
        self.items.append(item)

    def on_error(self, error: Exception) -> None:
        self.error = error
        self.ended.set()

    def on_completed(self) -> None:
        self.completed = True
        self.ended.set()


def test_gives_events_in_order_off_the_engine_thread(sim: Simulator, client: AMIClient) -> None:
    seen = Seen()
    client.observable("Foo").pipe(ops.map(lambda event: int(event["N"])), ops.take(500)).subscribe(seen)
    for number in range(500):
        sim.emit("Foo", N=number)
    assert seen.ended.wait(LIMIT)
    assert seen.items == list(range(500))
    assert seen.completed
    assert not any(name.endswith("-engine") for name in seen.threads)
    assert not client.stats().subscriptions


def test_selects_by_class_and_by_headers(sim: Simulator, client: AMIClient) -> None:
    seen = Seen()
    client.observable(events.Hangup, where={"Channel": "PJSIP/*"}).pipe(ops.take(1)).subscribe(seen)
    client.observable("Hangup", where=lambda event: event["Channel"] == "IAX2/y").pipe(ops.take(1)).subscribe(seen)
    sim.emit("Newchannel", Channel="PJSIP/x")
    sim.emit("Hangup", Channel="IAX2/y", Cause=16)
    sim.emit("Hangup", Channel="PJSIP/x", Cause=17)
    client.ping()
    assert seen.ended.wait(LIMIT)
    client.observable("Done").pipe(ops.take(1)).subscribe(done := Seen())
    sim.emit("Done")
    assert done.ended.wait(LIMIT)
    assert sorted(item.cause for item in seen.items) == [16, 17]


def test_is_cold_and_disposable(sim: Simulator, client: AMIClient) -> None:
    source = client.observable("Foo")
    assert not client.stats().subscriptions
    first, second = Seen(), Seen()
    disposable = source.subscribe(first)
    source.pipe(ops.take(2)).subscribe(second)
    assert len(client.stats().subscriptions) == 2
    with client.expect("Foo") as came:
        sim.emit("Foo", N=1)
        came.result(LIMIT)
    disposable.dispose()
    assert len(client.stats().subscriptions) == 1
    sim.emit("Foo", N=2)
    assert second.ended.wait(LIMIT)
    assert [item["N"] for item in second.items] == ["1", "2"]
    assert [item["N"] for item in first.items] in ([], ["1"])


def test_an_observer_may_use_the_client(sim: Simulator, client: AMIClient) -> None:
    seen = Seen()
    client.observable("Foo").pipe(ops.map(lambda event: client.ping()), ops.take(3)).subscribe(seen)
    for _ in range(3):
        sim.emit("Foo")
    assert seen.ended.wait(LIMIT)
    assert len(seen.items) == 3


def test_what_an_observer_raises_is_reported_and_harms_nobody(sim: Simulator, client: AMIClient) -> None:
    reported: list[BaseException] = []
    told = threading.Event()
    client.on_error(lambda exc, subscription, event: (reported.append(exc), len(reported) == 2 and told.set()))
    seen = Seen()
    client.observable("Foo").subscribe(lambda event: 1 / 0)
    client.observable("Foo").pipe(ops.take(2)).subscribe(seen)
    sim.emit("Foo")
    sim.emit("Foo")
    assert told.wait(LIMIT)
    assert seen.ended.wait(LIMIT)
    assert [type(exc) for exc in reported] == [ZeroDivisionError] * 2


def test_closing_the_client_completes(sim: Simulator) -> None:
    seen = Seen()
    with AMIClient.from_url(sim.url) as ami:
        ami.observable().subscribe(seen)
    assert seen.completed
    after = Seen()
    ami.observable().subscribe(after)
    assert after.completed


def test_may_be_subscribed_before_the_client_is_opened(sim: Simulator) -> None:
    seen = Seen()
    ami = AMIClient.from_url(sim.url)
    ami.observable("FullyBooted").pipe(ops.first()).subscribe(seen)
    with ami:
        assert seen.ended.wait(LIMIT)
    assert [item.name for item in seen.items] == ["FullyBooted"]


def test_closing_completes_after_the_event_under_way(sim: Simulator) -> None:
    begun, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def slow(event: Any) -> None:
        begun.set()
        assert go_on.wait(LIMIT)
        order.append("next")

    with AMIClient.from_url(sim.url) as ami:
        ami.observable("Foo").subscribe(slow, on_completed=lambda: order.append("completed"))
        sim.emit("Foo")
        sim.emit("Foo")
        assert begun.wait(LIMIT)
        threading.Timer(0.05, go_on.set).start()
    assert order == ["next", "completed"]


def test_closing_within_an_observer(sim: Simulator) -> None:
    seen = Seen()
    ami = AMIClient.from_url(sim.url).open()
    ami.observable("Foo").pipe(ops.do_action(lambda event: ami.close())).subscribe(seen)
    sim.emit("Foo")
    assert seen.ended.wait(LIMIT)
    assert len(seen.items) == 1
    assert seen.completed


def test_a_link_lost_for_good_is_an_error_behind_the_events(sim: Simulator) -> None:
    seen = Seen()
    with AMIClient.from_url(sim.url, reconnect=None) as ami:
        ami.observable("Foo").subscribe(seen)
        sim.emit("Foo")
        ami.ping()
        sim.drop()
        assert seen.ended.wait(LIMIT)
    assert len(seen.items) == 1
    assert isinstance(seen.error, ConnectionLost)


def test_a_link_that_comes_back_shows_markers(sim: Simulator) -> None:
    seen = Seen()
    with AMIClient.from_url(sim.url, reconnect=ReconnectPolicy(initial=0.01)) as ami:
        ami.observable("ConnectionLost", "Reconnected", "Foo").pipe(
            ops.take_while(lambda event: event.name != "Foo", inclusive=True)
        ).subscribe(seen)
        back = threading.Event()
        ami.on("Reconnected", lambda event: back.set())
        sim.drop()
        assert back.wait(LIMIT)
        sim.emit("Foo")
        assert seen.ended.wait(LIMIT)
    assert [item.name for item in seen.items] == ["ConnectionLost", "Reconnected", "Foo"]


@pytest.mark.parametrize("overflow", ["error", "drop_oldest"])
def test_a_slow_observer_overflows_only_its_own_buffer(sim: Simulator, client: AMIClient, overflow: Any) -> None:
    from pyami_sync.integrations.rx import observable

    go_on = threading.Event()
    slow, fast = Seen(), Seen()
    observable(client, "Foo", maxsize=10, overflow=overflow).pipe(
        ops.do_action(lambda event: go_on.wait(LIMIT)),
        ops.take_while(lambda event: event["N"] != "99", inclusive=True),
    ).subscribe(slow)
    observable(client, "Foo").pipe(ops.take(100)).subscribe(fast)
    for number in range(100):
        sim.emit("Foo", N=number)
    assert fast.ended.wait(LIMIT)
    assert len(fast.items) == 100
    lost = sum(each.lost for each in client.stats().subscriptions)
    assert lost in (89, 90)
    go_on.set()
    assert slow.ended.wait(LIMIT)
    if overflow == "error":
        assert isinstance(slow.error, EventsLost)
        assert slow.error.count == lost
        assert [item["N"] for item in slow.items] == [str(number) for number in range(100 - lost)]
    else:
        assert slow.completed
        assert [item["N"] for item in slow.items][-10:] == [str(number) for number in range(90, 100)]


def test_observing_a_list_until_it_completes(sim: Simulator, client: AMIClient) -> None:
    seen = Seen()
    wanted = Action("PJSIPShowEndpoints").with_action_id("list-1")
    client.observable(where={"ActionID": "list-1"}).pipe(
        ops.take_while(lambda event: event.name != "EndpointListComplete")
    ).subscribe(seen)
    response = client.send(wanted)
    assert seen.ended.wait(LIMIT)
    assert [item["ObjectName"] for item in seen.items] == ["alice", "bob"]
    assert len(response.events) == 2
