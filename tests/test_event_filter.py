"""``event_filter="auto"`` at work: filters are there before a subscription is answered, and after each login."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyami_sync import ActionError, AMIClient, ClusterPool, ReconnectPolicy, connect, events
from pyami_sync.testing import Simulator, User

from .support.peer import ANSWERS, Peer, eventually, run_timers_at_once

QUICK = ReconnectPolicy(initial=0.01, maximum=0.02)
NO_FILTER = "Response: Error\nMessage: Permission denied\n\n"


@pytest.fixture
def sim():
    with Simulator(timestamps=True) as made:
        yield made


@pytest.fixture
def ami(sim):
    with connect(sim.url, event_filter="auto", reconnect=QUICK, keepalive=None) as client:
        yield client


def filters(sim):
    return [each for each in sim.actions if each.name == "Filter"]


def flood(sim, *names):
    for name in names:
        sim.emit(name, Channel="x", Variable="A", Queue="q")


def received(ami, sim, *names):
    """Return how many of these events reach the client."""
    before = ami.stats().events_received
    flood(sim, *names)
    ami.ping()  # its answer comes behind them
    return ami.stats().events_received - before


class TestWidening:
    def test_only_what_is_wanted_is_sent(self, ami, sim):
        assert received(ami, sim, "Hangup", "Newexten", "VarSet") == 0
        with ami.events("Hangup") as stream:
            assert received(ami, sim, "Newexten", "Hangup", "HangupRequest", "VarSet") == 1
            assert stream.get(5).name == "Hangup"
        assert ami.stats().event_filter == ("fullybooted", "hangup", "originateresponse")

    def test_every_way_to_listen(self, ami, sim):
        seen = threading.Event()
        ami.on(events.Newchannel, lambda event: seen.set())
        flood(sim, "Newchannel")
        assert seen.wait(5)
        with ami.expect("Hangup", where=lambda event: True) as found:
            flood(sim, "Hangup")
        assert found.result().name == "Hangup"
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(ami.wait_for, "Queue*", timeout=10)
            eventually(lambda: "queue*" in (ami.stats().event_filter or ()))
            flood(sim, "QueueMemberAdded")
            assert waiting.result().name == "QueueMemberAdded"
        with ami.events() as stream:
            flood(sim, "DeviceStateChange")
            assert stream.get(5).name == "DeviceStateChange"
        assert ami.stats().event_filter is None  # everything, until the next login

    def test_a_header_with_a_plain_value_is_filtered_by(self, ami, sim):
        with ami.events("VarSet", where={"Variable": "ORDER"}) as stream:
            sim.emit("VarSet", Variable="OTHER", Value="1")
            sim.emit("VarSet", Variable="ORDER", Value="2")
            assert stream.get(5)["Value"] == "2"
        assert ami.stats().events_received == 2  # with FullyBooted

    def test_values_that_pile_up_end_in_the_name(self, ami, sim):
        for number in range(40):
            with ami.expect("Hangup", where={"Uniqueid": f"{number}"}):
                sim.emit("Hangup", Uniqueid=f"{number}")
        found = ami.stats().event_filter
        assert "hangup" in found
        assert len(filters(sim)) < 20

    def test_what_is_there_is_not_added_again(self, ami, sim):
        with ami.events("Hangup"):
            pass
        count = len(filters(sim))
        with ami.events("HANGUP"), ami.events(events.Hangup, where={"Channel": "x"}), ami.events("OriginateResponse"):
            assert len(filters(sim)) == count

    def test_threads_that_want_the_same_share_a_filter(self, ami, sim):
        count = len(filters(sim))
        sim.delay("Filter", 0.2)
        barrier = threading.Barrier(16)

        def listen():
            barrier.wait()
            with ami.events("Hangup") as stream:
                assert ami.stats().event_filter is not None
                barrier.wait()
                return stream.get(10).name

        with ThreadPoolExecutor(17) as threads:
            waiting = [threads.submit(listen) for _ in range(16)]
            eventually(lambda: "hangup" in ami.stats().event_filter)
            eventually(lambda: sum(each.selectors.text == "Hangup" for each in ami.subscriptions) == 16)
            flood(sim, "Hangup")
            assert {each.result() for each in waiting} == {"Hangup"}
        assert len(filters(sim)) == count + 1

    def test_lists_are_whole(self, ami, sim):
        assert len(ami.send("ListCommands")) > 1
        assert ami.send("QueueStatus").complete is not None
        assert ami.send("CoreShowChannels").complete is not None

    def test_on_the_engine_thread_nothing_waits(self, ami, sim):
        sim.delay("Filter", 0.2)
        made = []
        ami.engine.call_soon(lambda: made.append(ami.events("Hangup")))
        eventually(lambda: made)
        assert "hangup" not in ami.stats().event_filter
        eventually(lambda: "hangup" in ami.stats().event_filter)
        flood(sim, "Hangup")
        with made[0] as stream:
            assert stream.get(5).name == "Hangup"

    def test_other_options(self, sim):
        with connect(sim.url + "?event_filter=auto") as ami:
            assert ami.options.event_filter == "auto"
        with pytest.raises(ValueError, match="event_filter is 'auto' or None"):
            AMIClient("x", event_filter="always")
        with connect(sim.url) as ami:
            count = len(filters(sim))
            with ami.events("Hangup"):
                assert ami.stats().event_filter is None
                assert len(filters(sim)) == count


class TestLogins:
    def test_filters_are_there_before_events_flow(self, sim):
        ami = AMIClient.from_url(sim.url, event_filter="auto", event_mask="call")
        ami.on("Hangup", print)
        with ami:
            names = [each.name for each in sim.actions]
            assert names[:2] == ["Challenge", "Login"]
            assert names.index("Events") > max(at for at, name in enumerate(names) if name == "Filter")
            assert sim.actions[1]["Events"] == "off"
            assert sim.actions[names.index("Events")]["EventMask"] == "call"

    def test_a_login_narrows_and_restores(self, ami, sim):
        with ami.events("Reconnected") as gaps:
            with ami.events(), ami.events("Newexten"):
                pass
            assert ami.stats().event_filter is None
            with ami.events("Hangup") as stream:
                sim.drop()
                gaps.get(10)
                assert ami.stats().event_filter == ("fullybooted", "hangup", "originateresponse")
                assert received(ami, sim, "Newexten", "Hangup") == 1
                assert stream.get(5).name == "Hangup"

    def test_the_users_own_filters_stay(self, ami, sim):
        with ami.events("Reconnected") as gaps:
            ami.send("Filter", Operation="Add", Filter="!Channel: secret")
            sim.drop()
            gaps.get(10)
        sent = [each.get("Filter") for each in filters(sim)]
        assert sent.count("!Channel: secret") == 2

    def test_a_reconnect_with_filters_of_the_user_does_not_wait_for_a_boot(self, sim):
        with connect(sim.url, reconnect=QUICK) as ami, ami.events("Reconnected") as gaps:
            ami.ping()  # behind FullyBooted
            ami.send("Filter", Operation="Add", Filter="Event: Hangup")
            sim.drop()
            assert gaps.get(10).attempts == 1

    def test_a_restart_of_the_server_is_noticed_as_ever(self, ami, sim):
        """FullyBooted passes at each login, although no other event does until the filters are there."""
        with ami.events("FullyBooted") as stream:
            sim.drop()
            assert stream.get(10).name == "FullyBooted"
        assert ami._session.plan.boot_seen

    def test_without_the_right_to_filter_everything_is_sent(self, caplog):
        with Simulator(users={"guest": User("x", write="call")}) as sim:
            with (
                connect(f"ami://guest:x@127.0.0.1:{sim.port}", event_filter="auto", reconnect=QUICK) as ami,
                ami.events() as every,
            ):
                assert ami.stats().event_filter is None
                with ami.events("Hangup") as stream:
                    flood(sim, "Newexten", "Hangup")
                    assert stream.get(5).name == "Hangup"
                    sim.drop()
                while every.get(10).name != "Reconnected":
                    pass
            assert len([each for each in caplog.records if "refuses filters" in each.message]) == 1


class TestFaults:
    """A peer that is played: each step can be held back or refused."""

    def open(self, peer, **options):
        return AMIClient(**peer.options(event_filter="auto", reconnect=QUICK, **options)).open()

    def test_one_that_is_refused_later_fails_its_subscription(self):
        with Peer() as peer, self.open(peer) as ami:
            peer.answers["filter"] = NO_FILTER
            with pytest.raises(ActionError, match="Permission denied"):
                ami.events("Hangup")
            assert len(ami.subscriptions) == 0

    def test_one_that_is_refused_at_a_later_login_lets_everything_through(self):
        with Peer(greeting=b"Asterisk Call Manager/11.0.0\r\n") as peer, self.open(peer) as ami:
            ami.on("Hangup", print)

            def answer(link, action):
                return NO_FILTER if "Hangup" in action.get("MatchCriteria", "") else "Response: Success\n\n"

            peer.answers["filter"] = answer
            with ami.events("Reconnected") as gaps:
                peer.link.close()
                gaps.get(10)
            assert [each["Filter"] for each in peer.actions if each["Action"] == "Filter"][-1] == "^Event: "
            assert ami.stats().event_filter is None

    def test_a_subscription_begins_when_all_of_its_filters_are_there(self):
        """Before that it would see some of its events, and not those between them."""
        with Peer(greeting=b"Asterisk Call Manager/11.0.0\r\n") as peer, self.open(peer) as ami:
            peer.answers["filter"] = lambda link, action: (
                "Event: Newchannel\nPrivilege: call,all\n\nResponse: Success\nActionID: {id}\n\n"
            )
            with ami.events("Newchannel", "Hangup") as stream:
                assert stream.pending == 0
                peer.link.say("Event: Hangup\n\n")
                assert stream.get(5).name == "Hangup"

    def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(self, caplog):
        with Peer() as peer, self.open(peer, timeout=0.05) as ami:
            peer.answers["filter"] = None
            with ami.events("Hangup") as stream:
                assert "has not confirmed an event filter" in caplog.text
                peer.link.say("Event: Hangup\n\n")
                assert stream.get(5).name == "Hangup"

    def test_a_filter_whose_time_is_up_before_it_is_sent(self, monkeypatch):
        with Peer() as peer, self.open(peer, timeout=0.05) as ami:
            peer.answers["filter"] = None
            run_timers_at_once(ami.engine, monkeypatch)
            with ami.events("Hangup"):
                eventually(lambda: ami.stats().pending == 0)

    def test_a_link_that_is_lost_meanwhile_is_no_error(self, caplog):
        caplog.set_level(logging.WARNING)
        with Peer() as peer, self.open(peer) as ami:
            peer.answers["filter"] = lambda link, action: link.close()
            with ThreadPoolExecutor() as threads:
                waiting = threads.submit(ami.events, "Hangup")
                peer.wait_for("Filter", 2)
                del peer.answers["filter"]
                with waiting.result() as stream:
                    eventually(lambda: "hangup" in (ami.stats().event_filter or ()))
                    peer.link.say("Event: Hangup\n\n")
                    assert stream.get(5).name == "Hangup"
            assert "has not confirmed" not in caplog.text

    @pytest.mark.parametrize("step", ["challenge", "login", "filter", "events"])
    def test_a_subscription_in_the_midst_of_a_login_is_not_forgotten(self, step):
        """Whatever the login was at, the filters that it leaves behind let through what was asked for meanwhile."""
        with Peer(greeting=b"Asterisk Call Manager/11.0.0\r\n") as peer:
            ami = AMIClient(**peer.options(event_filter="auto", reconnect=QUICK))
            made = []
            # On the peer's thread: it does not wait, as there is no session yet.
            peer.answers[step] = self.then(peer, step, lambda: made.append(ami.on("Newexten", print)))
            with ami:
                assert made
                assert "newexten" in ami.stats().event_filter
                assert any("(Newexten)" in each.get("MatchCriteria", "") for each in peer.actions)

    def then(self, peer, step, act):
        def answer(link, action):
            del peer.answers[step]
            act()
            usual = ANSWERS.get(step, "Response: Success\n\n")
            return usual(link, action) if callable(usual) else usual

        return answer


def test_a_cluster(sim):
    with (
        Simulator() as other,
        ClusterPool({"a": sim.url, "b": other.url}, event_filter="auto") as pool,
        pool.events("Hangup") as merged,
        pool["b"].events("Newexten") as own,
    ):
        flood(sim, "Newexten", "Hangup")
        assert merged.get(5).node == "a"
        flood(other, "Newexten", "Hangup")
        assert (own.get(5).name, merged.get(5).node) == ("Newexten", "b")
        assert "newexten" not in pool["a"].stats().event_filter
        assert "newexten" in pool["b"].stats().event_filter
        pool.add_node("c", other.url)
        eventually(lambda: "hangup" in (pool["c"].stats().event_filter or ()))
