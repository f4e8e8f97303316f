"""Events and answers that come late are noticed; clocks that differ, or are set, are none."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import pytest

from pyami_sync import AMIClient, connect, events
from pyami_sync.session.metrics import Metrics
from pyami_sync.session.watchdog import WINDOW, Clock, Watchdog
from pyami_sync.testing import Simulator
from pyami_sync.wire.action import Action
from pyami_sync.wire.response import Response

from ..support.peer import Peer, eventually

LIMIT = 5.0


class Place:
    """A watchdog with a clock, a server's clock, and a connection in the hands of a test."""

    def __init__(self, monkeypatch, offset=1000.0):
        self.now = 100.0
        self.offset = offset
        self.timers = []
        self.pings = []
        self.waiting = []
        self.markers = []
        monkeypatch.setattr("pyami_sync.session.watchdog.time.monotonic", lambda: self.now)
        monkeypatch.setattr("pyami_sync.connection.request.monotonic", lambda: self.now)
        self.connection = SimpleNamespace(
            sample_events=self.sample_events,
            close_exc=None,
            encoding="utf-8",
            node=None,
            make_key=lambda action: b"key",
            send=self.pings.append,
            pending=SimpleNamespace(requests=lambda: list(self.waiting)),
            engine=SimpleNamespace(call_at=self.call_at, call_soon=lambda job: job()),
        )
        publisher = SimpleNamespace(publish_marker=self.markers.append)
        self.metrics = Metrics()
        self.watchdog = Watchdog(self.connection, LIMIT, self.metrics, publisher, "pbx:5038")
        self.watchdog.start()

    def sample_events(self, when, look):
        self.sample_at, self.sample = when, look

    def call_at(self, when, job):
        timer = SimpleNamespace(when=when, job=job)
        timer.cancel = lambda: self.timers.remove(timer) if timer in self.timers else None
        self.timers.append(timer)
        return timer

    def after(self, seconds):
        """Let time pass."""
        until = self.now + seconds
        while due := sorted((each for each in self.timers if each.when <= until), key=lambda each: each.when):
            self.timers.remove(due[0])
            self.now = max(self.now, due[0].when)
            due[0].job()
        self.now = until

    def event(self, late=0.0, *more, every=1.0):
        """Have an event come that happened some seconds ago."""
        self.after(every)
        if self.now >= self.sample_at:
            at = self.now + self.offset - late
            self.sample([f"Event: Hangup\r\nPrivilege: call,all\r\nTimestamp: {at:.6f}\r\nX: y".encode()])

    def answer(self, late=0.0):
        """Answer the oldest Ping; the server read its clock some seconds ago."""
        ping = self.pings.pop(0)
        at = self.now + self.offset - late
        ping.resolve(Response({"Response": "Success", "Ping": "Pong", "Timestamp": f"{at:.6f}"}))

    def keepalive(self):
        beat = self.watchdog.beat(10.0)
        self.connection.send(beat)
        self.watchdog.sent(beat, list(self.waiting))

    @property
    def told(self):
        return [each.name for each in self.markers]


@pytest.fixture
def place(monkeypatch):
    return Place(monkeypatch)


class TestClock:
    def test_the_least_difference_is_no_lateness(self):
        clock = Clock()
        assert clock.late(-5000.0, 0.0) == 0.0
        assert clock.late(-4990.0, 1.0) == 10.0
        assert clock.late(-5001.0, 2.0) == 0.0

    def test_what_is_long_ago_is_forgotten(self):
        clock = Clock()
        clock.late(0.0, 0.0)
        assert clock.late(3.0, WINDOW * 1.5) == 3.0
        assert clock.late(3.0, WINDOW * 3) == 0.0


class TestEvents:
    @pytest.mark.parametrize("offset", [0.0, -86400.0, 1e9])
    def test_a_clock_that_differs_is_no_stall(self, monkeypatch, offset):
        place = Place(monkeypatch, offset)
        for late in (0.02, 0.0, 0.5, 3.0, 0.01):
            place.event(late)
        assert not place.pings
        assert not place.told

    def test_late_events_are_a_stall_once_a_ping_has_excluded_the_clock(self, place):
        place.event()
        place.event(8.0)
        assert not place.told
        place.answer()
        assert place.told == ["Stalled"]
        assert (place.markers[0].late, place.markers[0].what) == (pytest.approx(8.0), "events")
        assert place.watchdog.late == pytest.approx(8.0)
        place.event(12.0)
        place.event(0.1)
        assert place.told == ["Stalled", "Recovered"]
        assert place.markers[1].late == pytest.approx(12.0)
        assert place.metrics.stalls == 1
        assert place.metrics.stall_total == pytest.approx(place.markers[1].lasted)
        assert place.watchdog.late == pytest.approx(0.1)

    def test_a_server_whose_clock_is_set_back_is_no_stall(self, place):
        place.event()
        place.offset -= 3600
        place.event()
        place.after(0.2)
        place.answer(0.1)
        for _ in range(5):
            place.event(0.05)
        assert not place.told
        assert not place.pings
        place.event(9.0)
        place.answer()
        assert place.told == ["Stalled"]

    def test_a_server_whose_clock_is_set_forward_is_no_stall(self, place):
        place.event()
        place.offset += 3600
        place.event()
        assert not place.pings
        place.event(9.0)
        place.answer()
        assert place.told == ["Stalled"]

    def test_a_clock_that_is_set_back_during_a_stall_ends_it(self, place):
        place.event()
        place.event(9.0)
        place.answer()
        place.offset -= 3600
        place.event()
        place.keepalive()
        place.answer()
        assert place.told == ["Stalled", "Recovered"]
        place.event()
        assert place.told == ["Stalled", "Recovered"]

    def test_an_event_that_is_late_once_is_no_stall_if_the_next_one_is_not(self, place):
        place.event()
        place.event(8.0)
        place.event(0.0)
        place.answer()
        assert not place.told

    def test_answers_that_are_quick_end_a_stall_of_events(self, place):
        """If no more events come, they say that none waits: an answer comes after every event from before it."""
        place.event()
        place.event(8.0)
        place.answer()
        place.after(60)
        place.keepalive()
        place.after(0.1)
        place.answer(0.05)
        assert place.told == ["Stalled", "Recovered"]

    @pytest.mark.parametrize(
        "frame",
        [
            b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: x\r\nTimestamp: 1.0",
            b"Event: A\r\nPrivilege: user,all\r\nTimestamp: x",
            b"Event: A\r\nPrivilege: user,all",
            b"Event: A",
        ],
    )
    def test_only_the_servers_own_header_counts(self, place, frame):
        place.event()
        for _ in range(3):
            place.after(1)
            place.sample([frame])
        assert not place.pings

    def test_few_events_are_looked_at(self, place):
        place.event()
        at = place.sample_at
        place.event(100.0, every=0.1)
        assert place.sample_at == at


class TestAnswers:
    def test_a_ping_without_an_answer_is_a_stall_until_it_comes(self, place):
        place.keepalive()
        place.after(LIMIT + 2)
        assert place.told == ["Stalled"]
        assert place.markers[0].what == "answers"
        assert place.watchdog.late == pytest.approx(LIMIT + 2)
        place.answer(0.1)
        assert place.told == ["Stalled", "Recovered"]
        assert place.markers[1].late == pytest.approx(LIMIT + 2)
        assert place.watchdog.late == 0
        assert not place.timers

    def test_one_that_is_answered_leaves_no_timer(self, place):
        place.keepalive()
        place.answer()
        assert not place.timers
        place.after(60)
        assert not place.told

    def test_an_action_that_takes_its_time_is_no_stall(self, place):
        """A server runs one action after the other: a synchronous Originate keeps the Ping after it waiting."""
        place.waiting.append(originate := object())
        place.keepalive()
        place.after(LIMIT * 5)
        assert not place.told
        place.waiting.remove(originate)
        place.after(LIMIT - 0.1)
        place.answer()
        assert not place.told

    def test_a_delay_that_begins_late_is_noticed_by_both(self, place):
        place.event()
        place.event(8.0)
        place.after(LIMIT)
        assert place.told == ["Stalled"]
        place.after(8.0 - LIMIT)
        place.answer(8.0)
        place.event(8.0)
        assert place.told == ["Stalled"]
        place.event(0.0)
        assert place.told == ["Stalled", "Recovered"]

    def test_the_end_of_the_connection_ends_a_stall(self, place):
        place.keepalive()
        place.after(LIMIT)
        place.keepalive()
        place.watchdog.stop()
        assert place.metrics.stall_total == pytest.approx(LIMIT)
        assert not place.timers
        assert place.sample_at == math.inf


class TestClients:
    def test_a_server_that_stands_still(self, caplog):
        with (
            Simulator() as sim,
            connect(sim.url, keepalive=0.02, stall_after=0.1, keepalive_timeout=30.0) as ami,
            ami.events(events.Stalled, events.Recovered) as stream,
        ):
            ami.ping()
            sim.stall()
            assert stream.get(10).what == "answers"
            assert ami.stats().stalls == 1
            assert ami.stats().late >= 0.1
            sim.resume()
            assert stream.get(10).late >= 0.1
            assert ami.stats().stall_total > 0
            assert ami.stats().connects == 1
        assert "an answer is 0.1 s late" in caplog.text
        assert "in time again" in caplog.text

    def test_events_that_wait(self):
        """Answers are quick, events are old: as when a server's queue of events is long."""
        with Peer() as peer, AMIClient(**peer.options(stall_after=2.0)) as ami, ami.events() as stream:
            peer.answers["ping"] = lambda link, action: f"Response: Success\nPing: Pong\nTimestamp: {time.time()}\n\n"

            def event(late):
                ami._session.current._receiver.sample_at = 0.0
                peer.link.say(f"Event: A\nPrivilege: call,all\nTimestamp: {time.time() - late:.6f}\n\n")

            event(0.0)
            assert stream.get(10).name == "A"
            event(30.0)
            assert {stream.get(10).name, stream.get(10).name} == {"A", "Stalled"}
            event(0.0)
            assert {stream.get(10).name, stream.get(10).name} == {"A", "Recovered"}

    def test_off(self):
        with Peer() as peer, AMIClient(**peer.options(stall_after=None)) as ami:
            assert ami._session.current._receiver.sample_at == math.inf
            assert ami.stats().late == 0.0

    def test_a_user_of_the_action_hook_does_not_see_its_pings(self):
        with Peer() as peer, AMIClient(**peer.options(keepalive=0.01)) as ami:
            seen = []
            ami.on_action(seen.append)
            peer.wait_for("Ping", 2)
            ami.send(Action("Own"))
            assert [each.name for each in seen] == ["Own"]
        eventually(lambda: True)
