"""The shell: views, changes, waiting, gaps and ends, on a simulated server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from pyami_sync import AMIClient, ClusterPool, EventsLost, WaitTimeout, connect
from pyami_sync.exceptions import ConcurrencyError, ConnectionClosed, UnknownNode
from pyami_sync.live import Call, CallRecord, Channel, Live, Queue, event_mask
from pyami_sync.testing import Simulator, User

MEMBER = "Local/801@members/n"


def pause(ami: AMIClient, on: bool = True) -> None:
    ami.send("QueuePause", Interface=MEMBER, Paused=str(on).lower())


def originate(ami: AMIClient, exten: str = "100") -> None:
    ami.originate("Local/100@default/n", Context="default", Exten=exten, Priority="1", wait=True)


def test_it_shows_what_is_there_when_it_begins(ami_client):
    originate(ami_client)
    with ami_client.live() as live:
        assert live.health == "consistent"
        assert {each.state for each in live.channels.values()} == {"Up"}
        (call,) = live.calls.values()
        assert not call.from_start
        assert {leg.channel for leg in call.legs} == {each.name for each in live.channels.values()}
        assert set(live.queues) == {"empty", "support"}
        name = next(iter(live.channels.values())).name
        assert live.channels[name].name == name
        assert live.channels.get("none") is None
        with pytest.raises(KeyError):
            live.channels["none"]


def test_changes_come_in_order_with_what_was_before(ami_client):
    with ami_client.live("queues") as live, live.changes(Queue) as changes:
        for on in (True, False, True):
            pause(ami_client, on)
        seen = [changes.get(timeout=5) for _ in range(3)]
        for change, on in zip(seen, (True, False, True), strict=True):
            assert change.before.member(MEMBER).paused is not on
            assert change.after.member(MEMBER).paused is on
            assert change.event.name == "QueueMemberPause"
            assert not change.inferred
        assert live.view().version >= 3


def test_callbacks_get_their_kind_and_may_use_the_client(ami_client):
    got: list[str] = []
    done = threading.Event()
    with ami_client.live() as live:

        @live.on(CallRecord)
        def ended(change):
            got.append(ami_client.send("Ping")["Ping"])
            assert isinstance(change.after, CallRecord)
            done.set()

        live.on(Channel, lambda change: 1 / 0)  # logged, and harms nobody
        originate(ami_client, "106")
        ami_client.send("Hangup", Channel="/.*/")
        assert done.wait(10)
        assert got == ["Pong"]
        ended.cancel()
        live.wait(lambda view: not view.calls, timeout=10)
        assert live.records


def test_waiting_sees_changes_and_time(ami_client):
    with ami_client.live("queues") as live:
        threading.Timer(0.1, pause, (ami_client,)).start()
        view = live.wait(lambda view: view.queues["support"].member(MEMBER).paused, timeout=10)
        assert view.queues["support"].member(MEMBER).paused
        ami_client.originate("Local/100@default/n", Application="Queue", Data="empty")
        view = live.wait(lambda view: view.queues["empty"].longest_wait > 0.4, timeout=10)
        assert view.queues["empty"].waiting[0].position == 1
        with pytest.raises(WaitTimeout):
            live.wait(lambda view: False, timeout=0.1)


def test_a_slow_taker_is_told_what_it_lost(ami_client):
    with ami_client.live("queues") as live, live.changes(Queue, maxsize=2) as changes:
        for number in range(6):
            pause(ami_client, number % 2 == 0)
        live.wait(lambda view: changes.lost == 4, timeout=10)
        assert [changes.get(timeout=1).kind for _ in range(2)] == [Queue, Queue]
        with pytest.raises(EventsLost) as caught:
            changes.get(timeout=1)
        assert caught.value.count == 4
        pause(ami_client, True)
        assert changes.get(timeout=5).after.member(MEMBER).paused


def test_a_lost_link_is_a_gap_and_then_repaired(ami_simulator):
    with connect(ami_simulator.url) as ami, ami.live() as live:
        originate(ami)
        live.wait(lambda view: len(view.channels) >= 2, timeout=10)
        before = set(live.channels)
        records = live.changes(CallRecord)
        ami_simulator.stop_listening()
        ami_simulator.drop()
        live.wait(lambda view: view.health == "gap", timeout=10)
        assert set(live.channels) == before
        ami_simulator.listen_again()
        view = live.wait(lambda view: view.health == "consistent", timeout=20)
        assert set(view.channels) == before
        assert not any(call.from_start for call in view.calls.values())
        ami.send("Hangup", Channel="/.*/")
        record = records.get(timeout=10).after
        assert not record.complete
        assert {leg.cause for leg in record.legs} != {None}  # their ends were seen


def test_lost_events_of_its_own_make_it_look_again(ami_client, monkeypatch):
    with ami_client.live("queues") as live:
        loads = live._one.loads
        with live._one.lock:
            live._one.gap()
            assert live._one.view().health == "gap"
        live.wait(lambda view: view.health == "consistent", timeout=10)
        assert live._one.loads == loads + 1


def test_views_stay_what_they_were(ami_client):
    with ami_client.live("queues") as live:
        before = live.view()
        pause(ami_client)
        live.wait(lambda view: view.queues["support"].member(MEMBER).paused, timeout=10)
        assert not before.queues["support"].member(MEMBER).paused


def test_it_ends_with_the_client_or_by_itself(ami_simulator):
    with connect(ami_simulator.url) as ami:
        live = ami.live("queues")
        changes = live.changes()
        live.close()
        live.close()
        assert list(changes) == []
        assert list(live.changes()) == []
        with pytest.raises(ConnectionClosed):
            live.wait(lambda view: False, timeout=5)
        assert ami.ping() > 0
        second = ami.live("queues", audit=60)
        changes = second.changes()
    assert list(changes) == []
    second._thread.join(5)
    assert second.health == "closed"
    assert set(second.queues) == {"empty", "support"}  # what was, with its age
    assert second.view().age > 0
    with pytest.raises(ConnectionClosed):
        second.wait(lambda view: False, timeout=5)
    second.close()


def test_it_may_be_closed_in_a_callback(ami_client):
    closed = threading.Event()
    live = ami_client.live("queues")

    def close(change):
        live.close()
        closed.set()

    live.on(Queue, close)
    pause(ami_client)
    assert closed.wait(10)


def test_areas_are_checked_and_an_engine_thread_may_not_block(ami_client):
    with pytest.raises(ValueError, match="no 'agents'"):
        ami_client.live("agents")
    raised: list[BaseException] = []
    done = threading.Event()

    def on_engine() -> None:
        try:
            ami_client.live("queues")
        except BaseException as exc:
            raised.append(exc)
        done.set()

    ami_client.engine.call_soon(on_engine)
    assert done.wait(10)
    assert isinstance(raised[0], ConcurrencyError)


def test_a_session_with_the_models_own_mask_is_enough(ami_simulator):
    with connect(ami_simulator.url, event_mask=event_mask("queues")) as ami, ami.live("queues") as live:
        pause(ami)
        live.wait(lambda view: view.queues["support"].member(MEMBER).paused, timeout=10)
        assert not live.channels


def test_an_audit_is_checked_and_ends(ami_client):
    with pytest.raises(ValueError, match="audit must be a positive number"):
        ami_client.live("queues", audit=0)
    with ami_client.live("queues", audit=0.05) as live:
        live._wait(lambda: live._one.audits > 1, 10)
        assert live.drift == 0


def test_a_cluster_has_a_model_of_each_node():
    with Simulator() as one, Simulator() as two, Simulator() as late:
        with ClusterPool({"one": one.url, "two": two.url}) as pool, pool.live("queues", "calls") as live:
            assert set(live) == {"one", "two"}
            changes = live.changes(Queue)
            pause(pool["two"])
            assert changes.get(timeout=5).node == "two"
            views = live.wait(lambda views: views["two"].queues["support"].member(MEMBER).paused, timeout=10)
            assert not views["one"].queues["support"].member(MEMBER).paused
            pool.add_node("late", late.url)
            views = live.wait(lambda views: "late" in views and views["late"].health == "consistent", timeout=10)
            assert set(views["late"].queues) == {"empty", "support"}
            assert set(live.health.values()) == {"consistent"}
            with pytest.raises(UnknownNode):
                live["none"]
            pool.remove_node("late")
            assert set(live) == {"one", "two"}
            pool.add_node("late", late.url)
            live.wait(lambda views: "late" in views and views["late"].health == "consistent", timeout=10)


def test_explain_draws_the_ladder_of_a_call(ami_client):
    with ami_client.live() as live:
        with live.changes(CallRecord) as ended:
            originate(ami_client, "107")
            record = ended.get(timeout=20).after
        text = live.explain(record)
        for word in ("DialBegin", "BridgeEnter", "talking", "Hangup", "ended:"):
            assert word in text
        assert live.explain(record.legs[0].channel) == text
        assert live.explain("none") == ""


def test_a_channel_that_a_list_does_not_show_is_kept_until_its_hangup_had_time(ami_client):
    """A list can be newer than what was told: the Hangup on its way brings the cause."""
    with ami_client.live("calls") as live:
        originate(ami_client)
        live.wait(lambda view: len(view.channels) >= 2, timeout=10)
        tracker = live._one
        with tracker.lock:
            lists = {"calls": {"CoreShowChannels": [], "BridgeList": []}}
            tracker.reducer.merge(lists, None, inferred=True)
        assert len(live.channels) >= 2
        with live.changes(CallRecord) as ended:
            ami_client.send("Hangup", Channel="/.*/", Cause="21")
            record: CallRecord = ended.get(timeout=10).after
        assert record.complete
        assert None not in {leg.cause for leg in record.legs}


def test_the_model_shows_itself(ami_client):
    with ami_client.live() as live:
        assert repr(live) == "<Live consistent: 0 channels, 2 queues>"
        assert isinstance(live, Live)
        assert json.dumps(sorted(live.queues)) == '["empty", "support"]'
        assert Call.__doc__


def test_a_session_that_is_not_open_is_told_at_once(ami_simulator):
    client = AMIClient.from_url(ami_simulator.url)
    with pytest.raises(ConnectionClosed):
        client.live()
    assert len(client.subscriptions) == 0


def test_lists_that_are_refused_are_told():
    users = {"reader": User("reader-secret", read="all", write="call")}
    with Simulator(users=users) as simulator:
        with AMIClient("127.0.0.1", simulator.port, username="reader", secret="reader-secret") as ami:
            with ami.live("calls", "queues") as live:
                assert live.refused == {"CoreShowChannels"}
                assert set(live.queues) == {"empty", "support"}


def test_an_event_that_breaks_the_reducer_costs_only_itself(ami_client, monkeypatch, caplog):
    with ami_client.live("queues") as live:
        handlers = live._one.reducer.handlers
        monkeypatch.setitem(handlers, "QueueMemberPenalty", (lambda draft, headers: 1 / 0,))
        ami_client.send("QueuePenalty", Interface=MEMBER, Penalty=4)
        pause(ami_client)
        live.wait(lambda view: view.queues["support"].member(MEMBER).paused, timeout=10)
        assert "could not apply" in caplog.text


FORK = """
import os, sys
from pyami_sync import connect
from pyami_sync.live import Queue
with connect(sys.argv[1]) as ami, ami.live("queues") as live:
    pid = os.fork()
    if not pid:
        view = live.view()
        assert view.health == "closed" and set(view.queues) == {"empty", "support"}, view
        with ami.live("queues") as own:  # over a connection of its own
            assert own.health == "consistent"
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    ami.send("QueuePause", Interface="Local/801@members/n", Paused="true")
    live.wait(lambda view: view.queues["support"].member("Local/801@members/n").paused, timeout=10)
print("both")
"""


def test_a_forked_child_has_a_closed_model_and_may_make_its_own(ami_simulator):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, ami_simulator.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "both\n", done.stderr
