"""The cluster: nodes come and go, calls to one or all, one stream of events."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pyami_sync import (
    Action,
    ActionError,
    ActionTimeout,
    AMIClient,
    ClusterPool,
    ConnectionClosed,
    ConnectionLost,
    EventsLost,
    InvalidAction,
    LoginRejected,
    NoNodeAvailable,
    ReconnectPolicy,
    Response,
    State,
    UnknownNode,
    actions,
    events,
)
from pyami_sync.testing import Simulator
from tests.cluster.waiting import until

FAST = ReconnectPolicy(initial=0.02, maximum=0.1)


@pytest.fixture
def sims() -> Iterator[dict[str, Simulator]]:
    """Three servers, by the ids that they get."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Simulator(system_name=f"sys-{name}")) for name in "abc"}


@pytest.fixture
def pool(sims: dict[str, Simulator]) -> Iterator[ClusterPool]:
    """The three as one."""
    nodes: dict[str, Any] = {name: {"url": sim.url, "tags": ["eu"]} for name, sim in sims.items()}
    nodes["c"]["tags"] = ["us", "prod"]
    with ClusterPool(nodes, timeout=5.0, reconnect=FAST) as made:
        yield made


def texts(answers: dict[str, Any]) -> dict[str, str]:
    return {node: type(answer).__name__ for node, answer in answers.items()}


class TestCalls:
    def test_an_action_goes_to_the_node_that_is_named(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        answer = pool.send_to("b", "QueueStatus")
        assert answer.node == "b"
        sims["b"].assert_sent("QueueStatus", times=1)
        for other in "ac":
            sims[other].assert_not_sent("QueueStatus")

    def test_typed_actions_and_errors_know_their_node(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        assert pool.send_to("a", actions.Ping()).ok
        sims["a"].on("Foo", {"Response": "Error", "Message": "no"})
        with pytest.raises(ActionError) as caught:
            pool.send_to("a", "Foo")
        assert caught.value.node == "a"
        assert not pool.send_to("a", "Foo", check=False).ok

    def test_an_unknown_node_is_named(self, pool: ClusterPool) -> None:
        with pytest.raises(UnknownNode, match="'x'"):
            pool.send_to("x", "Ping")
        with pytest.raises(UnknownNode):
            pool["x"]

    def test_each_node_has_a_client(self, pool: ClusterPool) -> None:
        client = pool["a"]
        assert isinstance(client, AMIClient)
        assert client.ping() < 5
        assert client.state is State.CONNECTED
        assert (len(pool), list(pool), "a" in pool, "x" in pool) == (3, ["a", "b", "c"], True, False)
        assert list(pool.nodes) == ["a", "b", "c"]

    def test_headers_do_not_go_with_an_action_object(self, pool: ClusterPool) -> None:
        with pytest.raises(TypeError, match="headers"):
            pool.broadcast(Action("Ping"), Foo="1")  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="not int"):
            pool.send_any(5)  # type: ignore[call-overload]


class TestBroadcast:
    def test_every_node_is_accounted_for(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        sims["b"].on("CoreStatus", {"Response": "Error", "Message": "no"})
        sims["c"].silence("CoreStatus")
        pool.add_node("dead", "ami://admin:secret@127.0.0.1:1")
        started = time.monotonic()
        answers = pool.broadcast("CoreStatus", timeout=0.5)
        assert 0.4 < time.monotonic() - started < 3
        assert texts(answers) == {"a": "Response", "b": "ActionError", "c": "ActionTimeout", "dead": "ConnectionLost"}
        assert [answer.node for answer in answers.values()] == ["a", "b", "c", "dead"]
        assert answers["dead"].sent is False

    def test_errors_may_come_as_responses(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        sims["b"].on("Foo", {"Response": "Error", "Message": "no"})
        answer = pool.broadcast("Foo", where=lambda node: node.id == "b", check=False)["b"]
        assert isinstance(answer, Response)
        assert not answer.ok

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ("eu", ["a", "b"]),
            ({"us", "prod"}, ["c"]),
            ({"us", "eu"}, []),
            (State.CONNECTED, ["a", "b", "c"]),
            (State.CLOSED, []),
            ({"tags": "eu", "id": ["b", "c"]}, ["b"]),
            ({"state": "connected", "tags": ["us"]}, ["c"]),
            (lambda node: node.id > "a", ["b", "c"]),
            (None, ["a", "b", "c"]),
        ],
    )
    def test_it_goes_to_those_that_match(self, pool: ClusterPool, where: Any, expected: list[str]) -> None:
        assert list(pool.broadcast("Ping", where=where)) == expected

    def test_what_cannot_be_sent_is_sent_to_none(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        with pytest.raises(InvalidAction):
            pool.broadcast("Foo", Bar="1\r\nAction: Logoff")
        with pytest.raises(InvalidAction):
            pool.broadcast("Foo", ActionID="x" * 65)
        for sim in sims.values():
            sim.assert_not_sent("Foo")

    def test_lists_are_collected_at_each_node(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        answers = pool.broadcast("CoreShowChannels")
        assert all(isinstance(each, Response) and each.complete is not None for each in answers.values())

    def test_a_link_lost_meanwhile_is_an_answer(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        sims["b"].silence("Foo")
        threading.Thread(target=lambda: (sims["b"].actions.wait_for("Foo"), sims["b"].drop())).start()
        answer = pool.broadcast("Foo")["b"]
        assert isinstance(answer, ConnectionLost)
        assert answer.sent


class TestEvents:
    def test_one_stream_holds_each_nodes_events_in_order(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        with pool.events("Foo") as merged, pool["a"].events("Foo") as own:
            for number in range(300):
                for sim in sims.values():
                    sim.emit("Foo", N=number)
            taken = [merged.get(5) for _ in range(900)]
            for name in sims:
                assert [int(event["N"]) for event in taken if event.node == name] == list(range(300))
            assert [(e.node, int(e["N"])) for e in (own.get(5) for _ in range(300))] == [("a", n) for n in range(300)]

    def test_callbacks_wait_for_and_expect(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        seen = []
        done = threading.Event()

        @pool.on("Foo")
        def foo(event: Any) -> None:
            seen.append((event.node, pool.send_to(event.node, "Ping").ok))  # blocking calls are fine here
            if len(seen) == 3:
                done.set()

        for sim in sims.values():
            sim.emit("Foo")
        assert done.wait(5)
        assert sorted(seen) == [("a", True), ("b", True), ("c", True)]
        with pool.expect("Bar", where={"N": "2"}) as future:
            sims["b"].emit("Bar", N=1)
            sims["c"].emit("Bar", N=2)
            assert future.result(5).node == "c"
        listening = len(pool.subscriptions)

        def emit() -> None:
            until(lambda: len(pool.subscriptions) > listening)
            sims["a"].emit("Baz")

        thread = threading.Thread(target=emit)
        thread.start()
        assert pool.wait_for("Baz", timeout=5).node == "a"
        thread.join()

    def test_loss_and_return_are_marked(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        with pool.events() as stream, pool.events("Foo") as narrow:
            sims["b"].drop()
            until(lambda: sims["b"].accepted == 2 and pool.nodes["b"].connected)
            sims["b"].emit("Foo")
            found = [stream.get(5)]
            while found[-1].name != "Foo":
                found.append(stream.get(5))
            named = [event for event in found if event.name != "FullyBooted"]
            assert [type(event) for event in named[:2]] == [events.ConnectionLost, events.Reconnected]
            assert {event.node for event in named} == {"b"}  # another one may say only now that it has booted
            assert narrow.get(5).name == "Foo"

    def test_a_node_that_is_late_is_marked_when_it_comes(self, sims: dict[str, Simulator]) -> None:
        sims["a"].stop_listening()
        with ClusterPool({"a": sims["a"].url, "b": sims["b"].url}, reconnect=FAST) as pool:
            with pool.events("Reconnected", "ConnectionLost") as stream:
                assert not pool.nodes["a"].connected
                sims["a"].listen_again()
                marker = stream.get(10)
                assert (marker.node, marker.name) == ("a", "Reconnected")

    @pytest.mark.parametrize("overflow", ["error", "drop_oldest"])
    def test_overflow_tells_the_share_of_each_node(
        self, pool: ClusterPool, sims: dict[str, Simulator], overflow: Any
    ) -> None:
        with pool.events("Foo", maxsize=10, overflow=overflow) as stream, pool.events("Foo", "Bar") as all_of_it:
            for name, count in (("a", 8), ("b", 5), ("c", 20)):
                for _ in range(count):
                    sims[name].emit("Foo")
                sims[name].emit("Bar")
                while all_of_it.get(5).name != "Bar":
                    pass
            assert stream.lost == 23
            if overflow == "error":
                assert stream.lost_by_node == {"b": 3, "c": 20}
                assert [stream.get(1).node for _ in range(10)] == ["a"] * 8 + ["b"] * 2
                with pytest.raises(EventsLost) as caught:
                    stream.get(1)
                assert (caught.value.count, caught.value.lost_by_node) == (23, {"b": 3, "c": 20})
            else:
                assert stream.lost_by_node == {"a": 8, "b": 5, "c": 10}
                assert [stream.get(1).node for _ in range(10)] == ["c"] * 10

    def test_a_callback_that_raises_is_told(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        told: list[Any] = []
        pool.on_error(lambda exc, subscription, event: told.append((str(exc), event.node)))

        @pool.on("Foo")
        def foo(event: Any) -> None:
            raise ValueError("boom")

        sims["c"].emit("Foo")
        until(lambda: told)
        assert told == [("boom", "c")]

    def test_a_callback_that_blocks_delays_no_node(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        release = threading.Event()
        pool.on("Foo", lambda event: release.wait(20))
        try:
            sims["a"].emit("Foo")
            with pool.events("Bar") as stream:
                sims["a"].emit("Bar")
                sims["b"].emit("Bar")
                assert {stream.get(5).node, stream.get(5).node} == {"a", "b"}
            assert all(isinstance(each, Response) for each in pool.broadcast("Ping").values())
        finally:
            release.set()


class TestNodesComeAndGo:
    def test_added_nodes_take_part(self, pool: ClusterPool) -> None:
        with Simulator() as sim:
            with pool.events("Foo") as stream:
                node = pool.add_node("d", sim.url, tags=["new"])
                assert node.connected
                assert list(pool.broadcast("Ping", where="new")) == ["d"]
                sim.emit("Foo")
                assert stream.get(5).node == "d"
                with pytest.raises(ValueError, match="has a node 'd'"):
                    pool.add_node("d", sim.url)
            pool.remove_node("d")

    def test_what_is_subscribed_before_a_node_connects_gets_its_first_event(self, pool: ClusterPool) -> None:
        streams = []
        with Simulator() as sim:
            pool.add_node("d", sim.url, prepare=lambda client: streams.append(client.events()))
            with streams[0] as stream:
                assert stream.get(5).name == "FullyBooted"
            pool.remove_node("d")

    def test_a_node_is_prepared_before_it_connects(self, pool: ClusterPool) -> None:
        states = []
        with Simulator() as sim:
            pool.add_node("d", sim.url, prepare=lambda client: states.append((client.state, sim.sessions)))
            pool.remove_node("d")
        assert states == [(State.CLOSED, [])]

    def test_removal_ends_its_events_with_a_marker(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        client = pool["b"]
        named = ("Foo", "ConnectionLost")
        with pool.events(*named) as merged, client.events(*named) as own:
            sims["b"].emit("Foo", N=1)
            assert merged.get(5)["N"] == "1"
            pool.remove_node("b")
            last = merged.get(5)
            assert isinstance(last, events.ConnectionLost)
            assert (last.node, last.reason) == ("b", "the node was removed from the cluster")
            assert [event.name for event in own] == ["Foo", "ConnectionLost"]  # and it ends
            sims["a"].emit("Foo", N=2)
            assert merged.get(5).node == "a"
        assert list(pool.broadcast("Ping")) == ["a", "c"]
        with pytest.raises(ConnectionClosed, match="removed"):
            client.send("Ping")
        with pytest.raises(UnknownNode):
            pool.remove_node("b")
        sims["b"].wait_for_sessions(0)

    def test_removal_lets_actions_finish(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        sims["b"].delay("Foo", 0.3)
        sims["b"].on("Foo", {"Response": "Success"})
        future = pool["b"].submit("Foo")
        sims["b"].actions.wait_for("Foo")
        pool.remove_node("b", timeout=10)
        assert future.done()
        assert future.result(0).ok

    def test_removal_fails_them_when_the_time_is_over(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        sims["b"].silence("Foo")
        future = pool["b"].submit("Foo")
        started = time.monotonic()
        pool.remove_node("b", timeout=0.2)
        assert time.monotonic() - started < 5
        with pytest.raises(ConnectionLost):
            future.result(0)

    def test_others_miss_nothing_while_nodes_come_and_go(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        come_and_go(pool, sims, seconds=1.5)

    @pytest.mark.slow
    def test_others_miss_nothing_for_a_minute(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        come_and_go(pool, sims, seconds=60)


def come_and_go(pool: ClusterPool, sims: dict[str, Simulator], seconds: float) -> None:
    """Add and remove nodes all the time, under events and actions; check that nobody else notices."""
    threads, subscribers = threading.active_count(), len(pool.subscriptions)
    over = threading.Event()
    sent = dict.fromkeys(sims, 0)
    failures: list[Any] = []

    def emit() -> None:
        while not over.wait(0.001):
            for name, sim in sims.items():
                sim.emit("Foo", N=sent[name])
                sent[name] += 1

    def call() -> None:
        while not over.is_set():
            failures.extend(a for a in pool.broadcast("Ping", where="eu").values() if not isinstance(a, Response))
            failures.extend(() if pool.send_any("Ping", where="us").ok else ["send_any"])

    with ExitStack() as stack, pool.events("Foo", maxsize=1_000_000) as stream:
        guests = [stack.enter_context(Simulator()) for _ in range(3)]
        workers = [threading.Thread(target=each) for each in (emit, call)]
        for worker in workers:
            worker.start()
        deadline, rounds = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            names = [f"guest{number}" for number, _ in enumerate(guests)]
            for name, sim in zip(names, guests, strict=True):
                pool.add_node(name, sim.url)
                sim.emit("Foo", N=-1)
            for name in names:
                pool.remove_node(name)
            rounds += 1
        over.set()
        for worker in workers:
            worker.join()
        for sim in sims.values():
            sim.emit("Foo", N="end")
        following, ended = dict.fromkeys(sims, 0), 0
        while ended < len(sims):
            event = stream.get(10)
            if event.node in following:
                if event["N"] == "end":
                    ended += 1
                    assert following[event.node] == sent[event.node]
                else:
                    assert int(event["N"]) == following[event.node]
                    following[event.node] += 1
        for sim in guests:
            sim.wait_for_sessions(0)
    assert rounds > 3
    assert not failures
    assert stream.lost == 0
    assert list(pool) == ["a", "b", "c"]
    assert len(pool.subscriptions) == subscribers
    until(lambda: threading.active_count() <= threads + 12, what="callback threads are idle ones at most")


class TestLife:
    def test_it_opens_with_its_first_use(self, sims: dict[str, Simulator]) -> None:
        pool = ClusterPool(timeout=5.0)
        try:
            pool.add_node("a", sims["a"].url)
            assert pool.nodes["a"].state is State.CLOSED
            assert pool.send_any("Ping").node == "a"
        finally:
            pool.close()
        pool = ClusterPool({name: sim.url for name, sim in sims.items()}, timeout=5.0)
        try:
            assert texts(pool.broadcast("Ping")) == dict.fromkeys("abc", "Response")
        finally:
            pool.close()

    def test_open_tells_when_too_few_are_there(self, sims: dict[str, Simulator]) -> None:
        nodes = {"a": sims["a"].url, "dead": "ami://admin:secret@127.0.0.1:1"}
        with pytest.raises(NoNodeAvailable, match="1 of 2") as caught:
            ClusterPool(nodes).open(required=2)
        assert list(caught.value.errors) == ["dead"]
        with ClusterPool(nodes).open(required=1) as pool:
            assert pool["a"].ping() < 5

    def test_close_ends_everything(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        stream = pool.events()
        waiting = threading.Thread(target=lambda: list(stream))
        waiting.start()
        pool.close()
        pool.close()
        waiting.join(5)
        assert not waiting.is_alive()
        for sim in sims.values():
            sim.wait_for_sessions(0)
        for use in (lambda: pool.broadcast("Ping"), lambda: pool.send_any("Ping"), lambda: pool.send_to("a", "Ping")):
            with pytest.raises(ConnectionClosed):
                use()
        with pytest.raises(ConnectionClosed):
            pool.open()
        assert list(pool.events()) == []
        assert pool.wait_closed(0)

    def test_close_lets_actions_finish(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        sims["b"].on("Foo", {"Response": "Success"})
        sims["b"].delay("Foo", 0.2)
        sims["c"].silence("Foo")
        finishing, hanging = pool["b"].submit("Foo"), pool["c"].submit("Foo")
        pool.close(drain=1.0)
        assert finishing.result(0).ok
        assert isinstance(hanging.exception(0), ConnectionLost)

    def test_a_callback_may_close_it(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        pool.on("Foo", lambda event: pool.close())
        sims["a"].emit("Foo")
        assert pool.wait_closed(5)
        until(lambda: not [each for each in threading.enumerate() if each.name.startswith("pyami-cluster")])

    def test_a_rejected_login_is_not_repeated(self, sims: dict[str, Simulator]) -> None:
        sims["a"].refuse_logins()
        with ClusterPool({"a": sims["a"].url, "b": sims["b"].url}, reconnect=FAST) as pool:
            assert isinstance(pool.health()["a"].last_error, LoginRejected)
            assert pool.nodes["a"].state is State.CLOSED
            assert sims["a"].accepted == 1
            sims["a"].refuse_logins(False)
            assert pool["a"].open().ping() < 5  # it can be opened by hand
            assert isinstance(pool.broadcast("Ping")["a"], Response)

    def test_a_node_need_not_come_back(self, sims: dict[str, Simulator]) -> None:
        with ClusterPool({"a": sims["a"].url}, reconnect=False) as pool:
            sims["a"].drop()
            until(lambda: pool.nodes["a"].state is State.CLOSED)
            assert isinstance(pool.broadcast("Ping")["a"], ConnectionLost)

    def test_actions_wait_for_a_node_that_comes_back(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        sims["a"].stop_listening()
        sims["a"].drop()
        until(lambda: not pool.nodes["a"].connected)
        threading.Timer(0.1, sims["a"].listen_again).start()
        assert pool.send_to("a", "Ping").ok

    def test_a_stalled_node_delays_no_other(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        sims["a"].stall()
        with pool.events("Foo") as stream:
            sims["b"].emit("Foo")
            assert stream.get(5).node == "b"
        answers = pool.broadcast("Ping", timeout=0.3)
        assert texts(answers) == {"a": "ActionTimeout", "b": "Response", "c": "Response"}
        for _ in range(30):
            assert pool.send_any("Ping", where=lambda node: node.id != "a").ok
        sims["a"].resume()

    def test_blocked_callbacks_delay_no_return(self, sims: dict[str, Simulator]) -> None:
        release = threading.Event()
        with ClusterPool({"a": sims["a"].url}, callback_threads=1, reconnect=FAST, timeout=10.0) as pool:
            blocked = threading.Event()
            pool.on("Foo", lambda event: (blocked.set(), release.wait(30)))
            sims["a"].emit("Foo")
            try:
                assert blocked.wait(10)
                sims["a"].drop()
                until(lambda: sims["a"].accepted == 2)
                assert pool.send_to("a", "Ping").ok
            finally:
                release.set()

    def test_threads_do_not_grow_with_the_nodes(self, pool: ClusterPool, sims: dict[str, Simulator]) -> None:
        pool.broadcast("Ping")
        names = {each.name for each in threading.enumerate() if each.name.startswith("pyami-cluster")}
        for number in range(20):
            pool.add_node(f"more{number}", sims["a"].url)
        pool.broadcast("Ping")
        more = {each.name for each in threading.enumerate() if each.name.startswith("pyami-cluster")} - names
        assert len(more) <= 12, more  # callback threads come and go, up to their limit


def test_a_forked_child_has_sessions_of_its_own() -> None:
    script = """
        import os, sys, threading, time
        from pyami_sync import ClusterPool, Response
        from pyami_sync.testing import Simulator

        with Simulator() as a, Simulator() as b, ClusterPool({"a": a.url, "b": b.url}, timeout=10) as pool:
            stream = pool.events("Foo")
            child = os.fork()
            if not child:
                answers = pool.broadcast("Ping")
                ok = all(isinstance(each, Response) for each in answers.values())
                ok = ok and pool.send_any("Ping").ok and pool["b"].ping() < 10
                pool.close()
                os._exit(0 if ok else 1)
            a.wait_until(lambda: a.accepted == 2 and len(a.sessions) == 1, 20)
            assert os.waitpid(child, 0)[1] == 0
            assert all(isinstance(each, Response) for each in pool.broadcast("Ping").values())
            assert (a.accepted, b.accepted) == (2, 2)
            a.emit("Foo")
            assert stream.get(5).node == "a"
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_exit_without_close_does_not_hang() -> None:
    script = """
        from pyami_sync import ClusterPool
        from pyami_sync.testing import Simulator

        sim = Simulator().start()
        pool = ClusterPool({"a": sim.url, "dead": "ami://admin:secret@127.0.0.1:1"}).open()
        pool.on("Foo", print)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_a_timeout_is_kept_even_if_nothing_answers(sims: dict[str, Simulator]) -> None:
    with ClusterPool({name: sim.url for name, sim in sims.items()}) as pool:
        for sim in sims.values():
            sim.stall()
        started = time.monotonic()
        answers = pool.broadcast("Ping", timeout=0.3)
        assert time.monotonic() - started < 3
        assert all(isinstance(each, ActionTimeout) for each in answers.values())
