"""Who wants this event: order, bounded buffers, losses that are told at their place, strands, streams."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

import pytest

from pyami_sync import events
from pyami_sync.exceptions import ConcurrencyError, ConnectionClosed, ConnectionLost, EventsLost, WaitTimeout
from pyami_sync.subscriptions import dispatch, subscribers
from pyami_sync.subscriptions.dispatch import Subscriptions
from pyami_sync.subscriptions.selectors import Selectors
from pyami_sync.subscriptions.subscribers import EventStream, Expectation, Subscriber, Subscription
from pyami_sync.vocabulary import markers
from pyami_sync.vocabulary.model import event_class
from pyami_sync.wire.message import Event
from pyami_sync.wire.origin import Origin

ORIGIN = Origin("utf-8", 1000.0, None)


class Owner:
    """Subscriptions whose callback thread is played by the test."""

    def __init__(self):
        self.jobs: deque = deque()
        self.errors: list = []
        self.blocked_thread = None
        self.subscriptions = Subscriptions(self.jobs.append, event_class, self.report, self.check)

    def report(self, exc, subscription, event):
        self.errors.append((exc, subscription, event))

    def check(self, doing):
        if threading.current_thread() is self.blocked_thread:
            raise ConcurrencyError(doing)

    def run(self):
        """Do what callback threads would do."""
        while self.jobs:
            self.jobs.popleft()()

    def on(self, callback, *selectors, where=None, maxsize=100, overflow="error"):
        made = Subscription(callback, Selectors(selectors), where, maxsize, overflow, self.subscriptions)
        self.subscriptions.add(made)
        return made

    def stream(self, *selectors, where=None, maxsize=100, overflow="error", timeout=None):
        made = EventStream(Selectors(selectors), where, maxsize, overflow, self.subscriptions, timeout)
        self.subscriptions.add(made)
        return made

    def publish(self, *numbers, name="Tick", origin=ORIGIN, headers=b""):
        frames = [b"Event: %b\r\nN: %d%b" % (name.encode(), n, headers) for n in numbers]
        self.subscriptions.publish(frames, origin)


@pytest.fixture
def owner():
    return Owner()


def number(event):
    return int(event["N"])


def drain(stream):
    """What is in a stream: numbers, and the counts of losses as strings."""
    found = []
    while stream.pending:
        try:
            found.append(number(stream.get(0)))
        except EventsLost as exc:
            found.append(f"{exc.count} lost")
    return found


class TestRouting:
    def test_by_name(self, owner):
        ticks, all_events, queues = owner.stream("tick"), owner.stream(), owner.stream("Queue*")
        owner.publish(1, 2)
        owner.publish(3, name="QueueMemberAdded")
        assert drain(ticks) == [1, 2]
        assert drain(all_events) == [1, 2, 3]
        assert drain(queues) == [3]

    def test_by_class(self, owner):
        stream = owner.stream(events.Hangup)
        owner.subscriptions.publish([b"Event: Hangup\r\nCause: 16", b"event:HANGUP\r\nCause: 17"], ORIGIN)
        got = [stream.get(0), stream.get(0)]
        assert [type(each) for each in got] == [events.Hangup, events.Hangup]
        assert [each.cause for each in got] == [16, 17]

    def test_names_at_the_end_of_a_message(self, owner):
        stream = owner.stream("Tick")
        owner.subscriptions.publish([b"Event: Tick"], ORIGIN)
        assert stream.get(0).name == "Tick"

    def test_events_know_where_and_when(self, owner):
        stream = owner.stream()
        owner.publish(1, origin=Origin("latin-1", 1000.0, "pbx-1"), headers=b"\r\nX: \xe9")
        event = stream.get(0)
        assert (event.node, event.received_at.timestamp(), event["X"]) == ("pbx-1", 1000.0, "é")

    def test_one_event_is_one_object_for_all(self, owner):
        one, two = owner.stream(), owner.stream("Tick")
        owner.publish(1)
        assert one.get(0) is two.get(0)

    def test_what_nobody_wants_is_not_made(self, owner, monkeypatch):
        made = []
        owner.stream("Other")
        spread = dispatch._spread
        monkeypatch.setattr(dispatch, "_spread", lambda events, *more: made.extend(events) or spread(events, *more))
        owner.publish(1, name="Hangup")
        assert made == []
        owner.stream("Hangup")
        owner.publish(1, name="Hangup")
        assert [event.name for event in made] == ["Hangup"]

    def test_where_is_tested_before_the_buffer(self, owner):
        stream = owner.stream(where={"N": "2"}, maxsize=1)
        owner.publish(1, 2, 3)
        assert drain(stream) == [2]
        assert stream.lost == 0

    def test_adding_and_removing(self, owner):
        one, two = owner.stream(), owner.stream()
        assert len(owner.subscriptions) == 2
        assert list(owner.subscriptions) == [one, two]
        one.close()
        owner.publish(1)
        assert (one.pending, two.pending) == (0, 1)
        one.close()
        owner.subscriptions.remove(one)
        assert list(owner.subscriptions) == [two]

    def test_nobody_listens(self, owner):
        owner.publish(1)
        assert owner.subscriptions._table.by_prefix == {}, "an event that nobody can want was looked at"

    def test_names_from_outside_do_not_pile_up(self, owner, monkeypatch):
        monkeypatch.setattr(dispatch, "KNOWN_NAMES", 10)
        monkeypatch.setattr(dispatch, "KNOWN_PREFIXES", 20)
        stream = owner.stream()
        for n in range(50):
            owner.publish(n, name=f"Name{n}")
        assert len(owner.subscriptions._table.by_prefix) <= 20
        assert len(owner.subscriptions._table._by_name) <= 10
        assert drain(stream) == list(range(50))

    @pytest.mark.parametrize("length", [*range(25, 34), 200])
    def test_names_longer_than_what_leads_to_a_route(self, owner, length):
        one, other = "N" * length, "N" * (length - 1) + "X"
        stream, none = owner.stream(one), owner.stream("Other")
        owner.publish(1, name=one)
        owner.publish(2, name=other)
        owner.subscriptions.publish([b"Event: " + one.encode(), b"event:" + one.lower().encode() + b"\r\nN: 4"], ORIGIN)
        assert [event.get("N") for event in (stream.get(0), stream.get(0), stream.get(0))] == ["1", None, "4"]
        assert (stream.pending, none.pending) == (0, 0)

    def test_markers_only_for_those_who_want_them(self, owner):
        takers = {
            "all": owner.stream(),
            "named": owner.stream("ConnectionLost"),
            "class": owner.stream(markers.ConnectionLost),
            "where": owner.stream(where={"Reason": "reset"}),
            "other where": owner.stream(where={"Channel": "x"}),
            "hangup": owner.stream("Hangup"),
            "glob": owner.stream("Conn*"),
        }
        owner.subscriptions.publish_marker(markers.ConnectionLost.make("reset"))
        assert {name for name, taker in takers.items() if taker.pending} == {"all", "named", "class", "where"}
        assert type(takers["all"].get(0)) is markers.ConnectionLost


class TestOptions:
    @pytest.mark.parametrize("maxsize", [0, -1, 2.5, "10", None])
    def test_maxsize(self, owner, maxsize):
        with pytest.raises(ValueError, match="maxsize"):
            owner.stream(maxsize=maxsize)

    def test_overflow(self, owner):
        with pytest.raises(ValueError, match="overflow"):
            owner.stream(overflow="block")

    def test_the_base_class_is_nothing_by_itself(self):
        bare = Subscriber(Selectors(()), None, 1, "error")
        with pytest.raises(NotImplementedError):
            bare.wake()
        with pytest.raises(NotImplementedError):
            bare.finish(None)


@pytest.mark.promise(8)
class TestOverflow:
    def test_the_newest_are_lost_and_told_at_their_place(self, owner):
        stream = owner.stream(maxsize=3)
        owner.publish(1, 2, 3, 4, 5)
        owner.publish(6)
        assert stream.pending == 4
        assert drain(stream) == [1, 2, 3, "3 lost"]
        assert stream.lost == 3
        owner.publish(7)
        assert drain(stream) == [7]

    def test_room_between_losses_makes_two_of_them(self, owner):
        stream = owner.stream(maxsize=2)
        owner.publish(1, 2, 3)
        assert number(stream.get(0)) == 1
        owner.publish(4)  # no room yet: the gap takes the place of one
        assert number(stream.get(0)) == 2
        owner.publish(5, 6, 7)
        assert drain(stream) == ["2 lost", 5, "2 lost"]
        assert stream.lost == 4

    def test_a_gap_that_has_been_told_grows_no_more(self, owner):
        stream = owner.stream(maxsize=1)
        owner.publish(1, 2)
        assert drain(stream) == [1, "1 lost"]
        owner.publish(3, 4)
        assert drain(stream) == [3, "1 lost"]

    def test_a_loss_while_the_gap_is_being_told(self, owner):
        # The taker has the gap in its hands; a loss then must not be added to it after it was counted.
        stream = owner.stream(maxsize=1)
        owner.publish(1, 2)
        stream._buffer.popleft()
        gap = stream._buffer.popleft()
        stream._buffer.append(Event({"N": "9"}))
        assert gap.take().count == 1
        owner.publish(3)
        assert drain(stream) == [9, "1 lost"]

    def test_drop_oldest(self, owner):
        stream = owner.stream(maxsize=3, overflow="drop_oldest")
        owner.publish(1, 2, 3, 4, 5)
        assert stream.lost == 2
        owner.publish(6)
        assert drain(stream) == [4, 5, 6]
        assert stream.lost == 3

    def test_drop_oldest_with_a_batch_bigger_than_the_buffer(self, owner):
        stream = owner.stream(maxsize=2, overflow="drop_oldest")
        owner.publish(*range(100))
        assert drain(stream) == [98, 99]
        assert stream.lost == 98

    def test_one_s_loss_is_nobody_else_s(self, owner):
        small, big = owner.stream(maxsize=1), owner.stream()
        owner.publish(*range(50))
        assert drain(big) == list(range(50))
        assert big.lost == 0
        assert small.lost == 49

    def test_losses_are_counted_for_each_node(self, owner):
        for overflow in ("error", "drop_oldest"):
            stream = owner.stream(maxsize=2, overflow=overflow)
            owner.publish(1, 2, 3, origin=Origin("utf-8", 1.0, "a"))
            owner.publish(4, 5, origin=Origin("utf-8", 1.0, "b"))
            owner.publish(6, origin=Origin("utf-8", 1.0, "a"))
            assert sum(stream.lost_by_node.values()) == stream.lost == 4
            assert set(stream.lost_by_node) == {"a", "b"}
            stream.close()

    @pytest.mark.parametrize("overflow", ["error", "drop_oldest"])
    def test_counts_are_exact_while_others_take(self, owner, overflow):
        stream = owner.stream(maxsize=7, overflow=overflow)
        total = 20_000
        taken, told = [], []
        over = threading.Event()

        def take():
            while True:
                try:
                    taken.append(number(stream.get(0)))
                except EventsLost as exc:
                    told.append(exc.count)
                except WaitTimeout:
                    if over.is_set() and not stream.pending:
                        return

        taker = threading.Thread(target=take)
        taker.start()
        for start in range(0, total, 5):
            owner.publish(*range(start, start + 5))
        over.set()
        taker.join(30)
        assert not taker.is_alive()
        assert taken == sorted(taken)
        assert len(taken) + stream.lost == total
        assert stream.delivered == len(taken)
        if overflow == "error":
            assert sum(told) == stream.lost


class TestStrands:
    def test_calls_are_in_order_and_share_one_job(self, owner):
        seen = []
        subscription = owner.on(lambda event: seen.append(number(event)))
        owner.publish(1, 2)
        owner.publish(3)
        assert seen == []
        assert len(owner.jobs) == 1
        owner.run()
        assert seen == [1, 2, 3]
        assert subscription.delivered == 3
        owner.publish(4)
        owner.run()
        assert seen[-1] == 4

    def test_a_long_backlog_lets_others_have_their_turn(self, owner, monkeypatch):
        monkeypatch.setattr(subscribers, "BURST", 10)
        seen = []
        owner.on(lambda event: seen.append("a"))
        owner.on(lambda event: seen.append("b"))
        owner.publish(*range(25))
        owner.run()
        assert "".join(seen) == "a" * 10 + "b" * 10 + "a" * 10 + "b" * 10 + "a" * 5 + "b" * 5

    def test_an_event_that_comes_while_the_last_one_is_handled(self, owner):
        seen = []

        def callback(event):
            seen.append(number(event))
            if number(event) < 5:
                owner.publish(number(event) + 1)

        owner.on(callback)
        owner.publish(1)
        owner.run()
        assert seen == [1, 2, 3, 4, 5]

    @pytest.mark.promise(7)
    def test_one_at_a_time_with_many_threads(self):
        jobs, signal, over = deque(), threading.Condition(), threading.Event()

        def submit(job):
            with signal:
                jobs.append(job)
                signal.notify()

        def work():
            while not over.is_set():
                with signal:
                    while not jobs and not over.is_set():
                        signal.wait(0.05)
                    job = jobs.popleft() if jobs else None
                if job:
                    job()

        table = Subscriptions(submit, event_class, lambda *args: pytest.fail(str(args)), lambda doing: None)
        inside, seen = [0, 0], ([], [])

        def callback(which):
            def handle(event):
                inside[which] += 1
                assert inside[which] == 1
                seen[which].append(number(event))
                inside[which] -= 1
                if len(seen[0]) == len(seen[1]) == 3000:
                    over.set()

            return handle

        for which in (0, 1):
            table.add(Subscription(callback(which), Selectors(()), None, 50_000, "error", table))
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for start in range(0, 3000, 3):
            table.publish([b"Event: T\r\nN: %d" % n for n in range(start, start + 3)], ORIGIN)
        assert over.wait(30)
        for thread in threads:
            thread.join()
        assert seen[0] == seen[1] == list(range(3000))

    @pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(2)])
    def test_one_that_raises(self, owner, error):
        seen = []

        def callback(event):
            if number(event) == 2:
                raise error
            seen.append(number(event))

        subscription = owner.on(callback)
        owner.publish(1, 2, 3)
        owner.run()
        assert seen == [1, 3]
        [(exc, reported, event)] = owner.errors
        assert exc is error
        assert reported is subscription
        assert number(event) == 2

    def test_a_job_that_is_torn_down_does_not_stop_the_rest(self, owner):
        class TornDown(BaseException):
            pass

        seen = []

        def callback(event):
            seen.append(number(event))
            if number(event) == 1:
                raise TornDown

        owner.on(callback)
        owner.publish(1, 2)
        with pytest.raises(TornDown):
            owner.run()
        owner.run()
        assert seen == [1, 2]

    def test_a_predicate_runs_where_the_callback_runs(self, owner):
        where, seen = [], []
        owner.on(lambda event: seen.append(number(event)), where=lambda event: where.append(1) or number(event) % 2)
        owner.publish(1, 2, 3)
        assert where == []
        owner.run()
        assert seen == [1, 3]

    def test_a_predicate_that_raises(self, owner):
        owner.on(lambda event: None, where=lambda event: 1 / 0)
        owner.publish(1)
        owner.run()
        assert isinstance(owner.errors[0][0], ZeroDivisionError)

    def test_losses_are_reported_at_their_place(self, owner):
        seen = []
        subscription = owner.on(lambda event: seen.append(number(event)), maxsize=2)
        owner.publish(1, 2, 3, 4)
        owner.run()
        owner.publish(5)
        owner.run()
        assert seen == [1, 2, 5]
        [(exc, reported, event)] = owner.errors
        assert (type(exc), exc.count, reported, event) == (EventsLost, 2, subscription, None)
        assert subscription.lost == 2

    def test_cancelling(self, owner):
        seen = []
        subscription = owner.on(lambda event: seen.append(number(event)))
        owner.publish(1)
        subscription.cancel()
        subscription.cancel()
        owner.publish(2)
        owner.run()
        assert seen == []
        assert not subscription.active
        assert len(owner.subscriptions) == 0

    def test_cancelling_itself(self, owner):
        seen = []
        subscription = owner.on(lambda event: (seen.append(number(event)), subscription.cancel()))
        owner.publish(1, 2, 3)
        owner.run()
        assert seen == [1]

    def test_with(self, owner):
        with owner.on(lambda event: None) as subscription:
            assert subscription.active
        assert not subscription.active

    def test_the_decorated_function_can_still_be_called(self, owner):
        assert owner.on(lambda event: event * 2)(21) == 42

    def test_repr(self, owner):
        assert repr(owner.on(drain, "Hangup")) == "<Subscription drain to Hangup>"

    def test_the_end_of_the_session_is_nothing_to_it(self, owner):
        seen = []
        owner.on(seen.append)
        owner.subscriptions.finish(ConnectionLost("x"))
        owner.publish(1)
        owner.run()
        assert len(seen) == 1

    def test_a_new_engine_calls_them_again(self, owner):
        # A job that the old engine's threads never began must not count as one under way for ever.
        seen = []
        owner.on(lambda event: seen.append(number(event)))
        stream = owner.stream()
        owner.publish(1)
        owner.jobs.clear()
        owner.publish(2)
        owner.run()
        assert seen == []
        owner.subscriptions.reopen()
        owner.publish(3)
        owner.run()
        assert seen == [3]
        assert drain(stream) == [1, 2, 3]


class TestStreams:
    def test_iterating_ends_after_silence(self, owner):
        stream = owner.stream(timeout=0.01)
        owner.publish(1, 2)
        assert [number(event) for event in stream] == [1, 2]
        assert stream.delivered == 2

    def test_waits_for_the_next_one(self, owner):
        stream = owner.stream()
        got = []
        taker = threading.Thread(target=lambda: got.append(number(stream.get(20))))
        taker.start()
        while not stream._waiters:
            time.sleep(0.001)
        owner.publish(7)
        taker.join(10)
        assert got == [7]

    def test_none_in_time(self, owner):
        stream = owner.stream("Hangup", "Queue*")
        with pytest.raises(WaitTimeout, match=r"Hangup, Queue\*") as caught:
            stream.get(0.01)
        assert caught.value.timeout == 0.01

    def test_the_deadline_holds_however_many_do_not_fit(self, owner):
        stream = owner.stream(where=lambda event: False)
        owner.publish(*range(50))
        with pytest.raises(WaitTimeout):
            stream.get(0.01)
        assert stream.delivered == 0

    def test_the_deadline_holds_in_a_flood_that_does_not_fit(self, owner):
        looked = []

        def reject(event):
            looked.append(event)
            assert len(looked) < 1000, "it looks for ever"
            owner.publish(1)

        stream = owner.stream(where=reject)
        owner.publish(1, 2, 3)
        with pytest.raises(WaitTimeout):
            stream.get(0)
        assert len(looked) == 4  # what had come when the first one was rejected, the time being up

    def test_a_predicate_runs_on_the_taking_thread(self, owner):
        threads = []
        stream = owner.stream(where=lambda event: threads.append(threading.current_thread()) or number(event) == 2)
        publisher = threading.Thread(target=owner.publish, args=(1, 2))
        publisher.start()
        publisher.join()
        assert threads == []
        assert number(stream.get(0)) == 2
        assert threads == [threading.current_thread()] * 2

    def test_a_predicate_that_raises_raises_there(self, owner):
        stream = owner.stream(where=lambda event: 1 / 0)
        owner.publish(1, 2)
        with pytest.raises(ZeroDivisionError):
            stream.get(0)

    def test_a_loss_does_not_end_it(self, owner):
        stream = owner.stream(maxsize=1, timeout=0)
        owner.publish(1, 2, 3)
        assert number(next(stream)) == 1
        with pytest.raises(EventsLost, match="2 events lost"):
            next(stream)
        owner.publish(4)
        assert [number(event) for event in stream] == [4]

    def test_closing_releases_who_waits(self, owner):
        stream = owner.stream()
        got = []
        taker = threading.Thread(target=lambda: got.append(list(stream)))
        taker.start()
        while not stream._waiters:
            time.sleep(0.001)
        stream.close()
        taker.join(10)
        assert got == [[]]
        with pytest.raises(ConnectionClosed, match="stream is closed"):
            stream.get(0)

    def test_with(self, owner):
        with owner.stream() as stream:
            owner.publish(1)
        assert list(stream) == []
        assert not stream.active
        assert len(owner.subscriptions) == 0

    def test_the_end_of_the_session_comes_behind_the_last_event(self, owner):
        stream = owner.stream()
        owner.publish(1, 2)
        owner.subscriptions.finish(None)
        assert [number(event) for event in stream] == [1, 2]

    def test_a_link_that_is_lost_for_good_is_told(self, owner):
        stream = owner.stream()
        owner.publish(1)
        owner.subscriptions.finish(ConnectionLost("reset"))
        owner.subscriptions.finish(None)  # what came first counts
        assert number(next(stream)) == 1
        with pytest.raises(ConnectionLost, match="reset"):
            next(stream)
        with pytest.raises(ConnectionLost, match="reset"):
            stream.get(0)

    def test_a_link_that_may_return_ends_nothing(self, owner):
        stream = owner.stream()
        owner.subscriptions.finish(ConnectionLost("reset"), only_loss_sensitive=True)
        with pytest.raises(WaitTimeout):
            stream.get(0)

    def test_waiting_is_refused_on_a_thread_that_must_not_block(self, owner):
        stream = owner.stream()
        owner.blocked_thread = threading.current_thread()
        with pytest.raises(ConcurrencyError):
            stream.get(1)
        owner.publish(1)
        assert number(stream.get(1)) == 1  # taking what is there blocks nobody

    def test_several_threads_share_the_events(self, owner):
        stream = owner.stream(maxsize=100_000)
        got = [[] for _ in range(4)]
        threads = [threading.Thread(target=lambda mine=mine: mine.extend(map(number, stream))) for mine in got]
        for thread in threads:
            thread.start()
        for start in range(0, 5000, 10):
            owner.publish(*range(start, start + 10))
        owner.subscriptions.finish(None)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert sorted(n for mine in got for n in mine) == list(range(5000))
        assert all(mine == sorted(mine) for mine in got)

    def test_repr(self, owner):
        stream = owner.stream("Tick", maxsize=1)
        owner.publish(1, 2, 3)
        assert repr(stream) == "<EventStream of Tick, 2 pending, 2 lost>"


class TestExpectations:
    def expect(self, owner, *selectors, where=None, fail_on_loss=False):
        made = Expectation(Selectors(selectors), where, owner.subscriptions, fail_on_loss)
        owner.subscriptions.add(made)
        return made

    def test_the_first_that_fits(self, owner):
        expectation = self.expect(owner, "Tick", where={"N": ["2", "3"]})
        owner.publish(1, 2, 3)
        owner.publish(2)
        assert number(expectation.future.result(0)) == 2
        assert len(owner.subscriptions) == 0
        assert expectation.delivered == 1

    def test_the_end_of_the_session(self, owner):
        expectation = self.expect(owner)
        owner.subscriptions.finish(None)
        owner.subscriptions.finish(None)
        with pytest.raises(ConnectionClosed):
            expectation.future.result(0)

    @pytest.mark.parametrize("sensitive", [True, False])
    def test_a_link_that_may_return(self, owner, sensitive):
        expectation = self.expect(owner, fail_on_loss=sensitive)
        owner.subscriptions.finish(ConnectionLost("reset"), only_loss_sensitive=True)
        assert expectation.future.done() is sensitive

    def test_cancelling_its_future_stops_it(self, owner):
        expectation = self.expect(owner)
        expectation.future.cancel()
        assert len(owner.subscriptions) == 0

    def test_event_and_end_at_the_same_moment(self, owner, caplog):
        caplog.set_level(logging.DEBUG)
        for _ in range(200):
            expectation = self.expect(owner)
            barrier = threading.Barrier(2)
            failures = []

            def finish(expectation=expectation, barrier=barrier, failures=failures):
                barrier.wait()
                try:
                    expectation.finish(None)
                except BaseException as exc:
                    failures.append(exc)

            thread = threading.Thread(target=finish)
            thread.start()
            barrier.wait()
            owner.publish(1)
            thread.join()
            assert failures == []
            assert expectation.future.done()
            owner.subscriptions.remove(expectation)
        assert caplog.text == ""


class TestForking:
    def test_a_child_keeps_subscribers_but_not_what_waits(self, owner):
        seen = []
        subscription, stream = owner.on(lambda event: seen.append(number(event))), owner.stream(maxsize=1)
        owner.publish(1, 2)
        subscription._unscheduled.clear()  # as if a thread of the parent's were about to deliver
        subscription._turn.clear()
        owner.subscriptions.after_fork()
        owner.jobs.clear()
        owner.publish(3)
        owner.run()
        assert seen == [3]
        assert drain(stream) == [3]
        owner.stream()
