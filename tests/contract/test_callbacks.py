"""User code beside the client: it may ask, sleep, raise and lag, and nobody else notices."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from pyami_sync import AMIClient, Event, EventsLost

from .conftest import Target


def burst(ami: AMIClient, count: int) -> None:
    """Cause so many numbered events."""
    for future in [ami.submit("UserEvent", UserEvent="Burst", Number=number) for number in range(count)]:
        future.result(30)


@pytest.mark.promise(6)
def test_an_action_in_a_callback_answers(target: Target) -> None:
    answers: list[str] = []
    done = threading.Event()
    with target.client(event_mask="user") as ami:

        @ami.on("UserEvent")
        def ask(event: Event) -> None:
            ami.send("Setvar", Variable="NESTED", Value=event["Number"])
            answers.append(ami.send("Getvar", Variable="NESTED")["Value"])
            if event["Number"] == "0" and event["UserEvent"] == "Burst":
                with ami.expect("UserEvent", where={"UserEvent": "Nested"}) as nested:
                    ami.send("UserEvent", UserEvent="Nested", Number="again")
                    nested.result(20)
            if len(answers) == 11:
                done.set()

        burst(ami, 10)
        assert done.wait(30)
    assert sorted(answers) == sorted([*map(str, range(10)), "again"])


@pytest.mark.promise(6)
def test_a_slow_callback_delays_nobody(target: Target) -> None:
    started, release, others = threading.Event(), threading.Event(), threading.Event()
    seen: list[str] = []
    with target.client(event_mask="user") as ami:

        def slow(event: Event) -> None:
            started.set()
            release.wait(30)

        def quick(event: Event) -> None:
            seen.append(event["Number"])
            if len(seen) == 200:
                others.set()

        ami.on("UserEvent", slow)
        ami.on("UserEvent", quick)
        burst(ami, 200)
        assert started.wait(20)
        trips = sorted(ami.ping() for _ in range(50))
        assert others.wait(20)
        assert not release.is_set()
        release.set()
    assert seen == [str(number) for number in range(200)]
    assert trips[25] < 0.5


@pytest.mark.promise(6)
def test_a_raising_callback_changes_nothing(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    told: list[BaseException] = []
    done = threading.Event()
    with target.client(event_mask="user") as ami, caplog.at_level(logging.ERROR, "pyami_sync"):

        def raising(event: Event) -> None:
            seen.append(event["Number"])
            if len(seen) == 20:
                done.set()
            raise LookupError(event["Number"])

        ami.on("UserEvent", raising)
        ami.on_error(lambda exc, subscription, event: told.append(exc))
        burst(ami, 20)
        assert done.wait(20)
        assert ami.ping() > 0
    assert seen == [str(number) for number in range(20)]
    assert [str(exc) for exc in told] == seen[: len(told)]
    assert sum("LookupError" in (record.exc_text or "") for record in caplog.records) >= 19


@pytest.mark.promise(8)
def test_an_unread_stream_loses_only_its_own_and_says_how_many(target: Target) -> None:
    with target.client(event_mask="user") as ami:
        with (
            ami.events("UserEvent", maxsize=10) as lagging,
            ami.events("UserEvent", maxsize=10, overflow="drop_oldest") as newest,
            ami.events("UserEvent") as whole,
        ):
            burst(ami, 300)
            assert [whole.get(20)["Number"] for _ in range(300)] == [str(number) for number in range(300)]
            kept, lost = [], 0
            while len(kept) + lost < 300:
                try:
                    kept.append(int(lagging.get(5)["Number"]))
                except EventsLost as exc:
                    lost += exc.count
            assert kept == list(range(10))
            assert lost == lagging.lost == 290
            assert [int(newest.get(5)["Number"]) for _ in range(10)] == list(range(290, 300))
            assert newest.lost == 290
            burst(ami, 1)
            assert lagging.get(20)["Number"] == "0"


def test_close_in_a_callback_ends_the_session(target: Target) -> None:
    ami = target.client(event_mask="user").open()
    ended = threading.Event()
    with ami.events() as stream:

        @ami.on("UserEvent")
        def close(event: Event) -> None:
            ami.close()
            ended.set()

        ami.send("UserEvent", UserEvent="Close", check=False)
        assert ended.wait(20)
        assert [event.name for event in stream] in (["UserEvent"], ["FullyBooted", "UserEvent"])
    assert ami.wait_closed(5)
    started = time.monotonic()
    ami.close()
    assert time.monotonic() - started < 5
