"""Getting at events: on, events, wait_for, expect."""

from __future__ import annotations

import threading
import typing

import pytest

from pyami_sync import events
from pyami_sync.engine.futures import ExpectedEvent
from pyami_sync.engine.workers import Workers
from pyami_sync.exceptions import ConnectionClosed, ConnectionLost, WaitTimeout
from pyami_sync.subscriptions.dispatch import Subscriptions
from pyami_sync.subscriptions.listener import DEFAULT, Listener
from pyami_sync.subscriptions.subscribers import EventStream, Subscription
from pyami_sync.vocabulary.model import event_class
from pyami_sync.wire.message import Event
from pyami_sync.wire.origin import Origin

from ..support.peer import eventually


class Station(Listener):
    """Something that has events: those that the test publishes."""

    def __init__(self):
        from pyami_sync.engine.deadline import Deadline

        self.workers = Workers("pyami-test")
        self.errors = []
        self.subscriptions = Subscriptions(
            self.workers.submit, event_class, lambda *args: self.errors.append(args), lambda doing: None
        )
        self.over = False
        self.timeout = 0.05
        self.close = lambda: self.workers.close(Deadline(10))

    def _default_timeout(self):
        return self.timeout

    def _over(self):
        return self.over

    def publish(self, *numbers, name="Tick"):
        frames = [f"Event: {name}\r\nN: {n}".encode() for n in numbers]
        self.subscriptions.publish(frames, Origin())


@pytest.fixture
def station():
    made = Station()
    yield made
    made.close()


class TestOn:
    def test_as_a_decorator(self, station):
        seen = []

        @station.on("Tick", where={"N": ["1", "3"]})
        def handler(event):
            seen.append(event["N"])

        assert isinstance(handler, Subscription)
        station.publish(1, 2, 3)
        eventually(lambda: seen == ["1", "3"])
        handler.cancel()
        station.publish(1)
        assert len(station.subscriptions) == 0

    def test_as_a_call(self, station):
        seen = []
        subscription = station.on("Tick", "Tock", lambda event: seen.append(event.name))
        station.publish(1)
        station.publish(2, name="Tock")
        station.publish(3, name="Tack")
        eventually(lambda: seen == ["Tick", "Tock"])
        assert subscription.selectors.text == "Tick, Tock"

    def test_of_everything(self, station):
        seen = []
        station.on(seen.append)
        station.publish(1)
        eventually(lambda: len(seen) == 1)

    def test_a_class_is_a_selector_not_a_callback(self, station):
        seen = []
        register = station.on(events.Hangup)
        register(seen.append)
        station.publish(1, name="Hangup")
        eventually(lambda: [type(each) for each in seen] == [events.Hangup])

    def test_options(self, station):
        subscription = station.on("Tick", print, maxsize=7, overflow="drop_oldest")
        assert (subscription.maxsize, subscription.overflow) == (7, "drop_oldest")

    @pytest.mark.parametrize("bad", [5, None, ["Tick"]])
    def test_selectors_are_checked_before_decorating(self, station, bad):
        with pytest.raises(TypeError, match="selector"):
            station.on(bad)


class TestEvents:
    def test_a_stream(self, station):
        with station.events("Tick", where=lambda event: event["N"] != "2", timeout=0.01, maxsize=5) as stream:
            assert isinstance(stream, EventStream)
            station.publish(1, 2, 3)
            assert [event["N"] for event in stream] == ["1", "3"]
        assert len(station.subscriptions) == 0

    def test_of_a_session_that_is_over(self, station):
        station.over = True
        assert list(station.events()) == []


class TestWaitFor:
    def test_an_event(self, station):
        def publish():
            eventually(lambda: len(station.subscriptions) == 1)
            station.publish(1, 2)

        thread = threading.Thread(target=publish)
        thread.start()
        assert station.wait_for("Tick", where={"N": "2"}, timeout=10)["N"] == "2"
        thread.join()
        assert len(station.subscriptions) == 0

    def test_none_in_the_default_time(self, station):
        with pytest.raises(WaitTimeout, match=r"within 0\.05 s"):
            station.wait_for("Tick")
        assert repr(DEFAULT) == "default"

    def test_a_session_that_is_over(self, station):
        station.over = True
        with pytest.raises(ConnectionClosed):
            station.wait_for("Tick")


@pytest.fixture(params=["mapping", "predicate", "none"])
def where(request):
    return {"mapping": {"N": "2"}, "predicate": lambda event: event["N"] == "2", "none": None}[request.param]


class TestExpect:
    def test_armed_before(self, station, where):
        with station.expect("Tick", where=where) as expected:
            station.publish(*([1, 2, 3] if where else [2]))
            event = expected.result(timeout=10)
        assert event["N"] == "2"
        assert len(station.subscriptions) == 0

    def test_only_one(self, station, where):
        with station.expect("Tick", where=where) as expected:
            station.publish(2, 2, 2)
            expected.result(10)
            station.publish(2)

    def test_none_in_time(self, station, where):
        with station.expect("Hangup", where=where) as expected:
            station.publish(2)
            with pytest.raises(WaitTimeout, match="Hangup"):
                expected.result(timeout=0.02)
        assert len(station.subscriptions) == 0

    def test_leaving_the_block_waits_for_it(self, station, where):
        station.timeout = 10
        timer = threading.Timer(0.05, station.publish, (2,))
        with station.expect("Tick", where=where) as expected:
            timer.start()
        assert expected.result(0)["N"] == "2"
        assert expected.result()["N"] == "2"
        assert len(station.subscriptions) == 0
        timer.join()

    @pytest.mark.parametrize("options", [{}, {"timeout": 0.01}])
    def test_leaving_the_block_without_it_raises(self, station, where, options):
        with pytest.raises(WaitTimeout, match="Tick"), station.expect("Tick", where=where, **options) as expected:
            pass
        assert expected.cancelled()
        assert len(station.subscriptions) == 0

    def test_an_exception_in_the_block_cancels_it(self, station, where):
        with pytest.raises(ZeroDivisionError), station.expect("Tick", where=where) as expected:
            raise ZeroDivisionError
        assert expected.cancelled()
        assert len(station.subscriptions) == 0

    def test_a_timeout_of_centuries(self, station, where):
        timer = threading.Timer(0.05, station.publish, (2,))
        timer.start()
        with station.expect("Tick", where=where, timeout=1e10) as expected:
            pass
        assert expected.result(1e10)["N"] == "2"
        timer.join()

    @pytest.mark.parametrize("exc", [None, ConnectionLost("reset")])
    def test_the_end_of_the_session_ends_it(self, station, where, exc):
        with station.expect("Tick", where=where) as expected:
            station.subscriptions.finish(exc)
            with pytest.raises(ConnectionClosed) as caught:
                expected.result(timeout=10)
            assert not isinstance(caught.value, WaitTimeout)

    def test_a_session_that_is_over(self, station, where):
        station.over = True
        with station.expect("Tick", where=where) as expected:
            with pytest.raises(ConnectionClosed):
                expected.result(timeout=10)

    def test_a_link_that_may_return_ends_it_only_on_request(self, station, where):
        for fail_on_loss in (True, False):
            with station.expect_event(("Tick",), where, fail_on_loss=fail_on_loss) as expected:
                station.subscriptions.finish(ConnectionLost("reset"), only_loss_sensitive=True)
                if fail_on_loss:
                    assert isinstance(expected.exception(10), ConnectionLost)
                else:
                    station.publish(2)
                    assert expected.result(10)["N"] == "2"

    def test_an_event_that_came_before_the_end_counts(self, station):
        begun, go = threading.Event(), threading.Event()

        def slow(event):
            begun.set()
            assert go.wait(10)
            return event["N"] == "3"

        with station.expect("Tick", where=slow) as expected:
            station.publish(1, 2, 3)
            assert begun.wait(10)
            station.subscriptions.finish(ConnectionLost("reset"))
            go.set()
            assert expected.result(10)["N"] == "3"

    def test_a_predicate_runs_on_a_callback_thread(self, station):
        threads = []

        def predicate(event):
            threads.append(threading.current_thread().name)
            return True

        with station.expect(where=predicate) as expected:
            station.publish(1)
            assert isinstance(expected.result(10), Event)
        assert threads[0].startswith("pyami-test-")

    def test_a_predicate_that_raises_is_reported(self, station):
        with station.expect(where=lambda event: 1 / 0) as expected:
            station.publish(1)
            eventually(lambda: station.errors)
            expected.cancel()
        assert isinstance(station.errors[0][0], ZeroDivisionError)

    def test_cancelling(self, station, where):
        with station.expect("Tick", where=where) as expected:
            assert expected.cancel()
            station.publish(2)


def test_the_types_of_streams_and_expectations_can_be_written_down():
    for generic in (EventStream, ExpectedEvent):
        assert typing.get_origin(generic[Event]) is generic
        assert typing.get_args(generic[Event]) == (Event,)


class TestAbstract:
    def test_a_bare_listener_knows_nothing(self):
        with pytest.raises(NotImplementedError):
            Listener()._over()
        with pytest.raises(NotImplementedError):
            Listener()._default_timeout()
