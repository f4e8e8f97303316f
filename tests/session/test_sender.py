"""Sending and submitting actions, against a server that says exactly what it is told to."""

from __future__ import annotations

import collections
import concurrent.futures
import random
import signal
import threading
import time

import pytest

from pyami_sync import AMIClient, ReconnectPolicy, State, connect, events
from pyami_sync.exceptions import (
    ActionError,
    ActionTimeout,
    ConnectionLost,
    InvalidAction,
    WaitTimeout,
)
from pyami_sync.session import sender as calling
from pyami_sync.session.sender import Sender
from pyami_sync.testing import Simulator
from pyami_sync.wire.action import Action

from ..support.peer import Peer, eventually, run_timers_at_once

LIST = (
    "Response: Success\nActionID: {id}\nEventList: start\n\n"
    "Event: CoreShowChannel\nActionID: {id}\nChannel: a\n\nEvent: CoreShowChannel\nActionID: {id}\nChannel: b\n\n"
)
COMPLETE = "Event: CoreShowChannelsComplete\nActionID: {id}\nEventList: Complete\nListItems: 2\n\n"
QUICK = ReconnectPolicy(initial=0.01, maximum=0.05)


@pytest.fixture
def peer():
    with Peer() as made:
        yield made


@pytest.fixture
def ami(peer):
    with AMIClient(**peer.options()) as client:
        yield client


class TestSending:
    def test_by_name(self, ami, peer):
        response = ami.send("QueueAdd", Queue="support", Paused=True, Variable={"a": "1,2"})
        assert response.ok
        assert peer.actions[-1].to_dict() == {
            "Action": "QueueAdd",
            "ActionID": response.action_id,
            "Queue": "support",
            "Paused": "yes",
            "Variable": "a=1\\,2",
        }

    def test_a_name_of_another_class_of_text_spoils_no_other(self, ami, peer):
        class Odd(str):
            def __format__(self, spec):
                return "Odd"

        ami.send(Odd("Status"))
        assert peer.actions[-1]["Action"] == "Odd"
        ami.send("Status")
        assert peer.actions[-1]["Action"] == "Status"

    def test_names_alone_do_not_pile_up(self, ami, peer, monkeypatch):
        monkeypatch.setattr(calling, "_bare", {})
        monkeypatch.setattr(calling, "MOST_BARE", 3)
        for n in range(6):
            ami.send(f"Action{n % 5}")
        assert [each["Action"] for each in peer.actions[-6:]] == [f"Action{n % 5}" for n in range(6)]
        assert len(calling._bare) == 3

    def test_a_name_alone_in_two_encodings(self, peer):
        for encoding in ("utf-8", "latin-1", "utf-8"):
            with AMIClient(**peer.options(encoding=encoding)) as ami:
                ami.send("Grüße")
                assert b"Action: " + "Grüße".encode(encoding) + b"\r\n" in peer.actions[-1].to_bytes()

    def test_a_timeout_that_is_no_number(self, ami):
        with pytest.raises(ValueError, match="NaN"):
            ami.send("Ping", timeout=float("nan"))
        with pytest.raises(ValueError, match="NaN"):
            ami.submit("Ping", timeout=float("nan"))

    def test_other_things(self, ami):
        with pytest.raises(TypeError, match="not int"):
            ami.send(5)
        with pytest.raises(TypeError, match="headers go with"):
            ami.send(Action("Ping"), X="1")

    def test_a_list(self, ami, peer):
        peer.answers["coreshowchannels"] = LIST + COMPLETE
        response = ami.send("CoreShowChannels")
        assert [item["Channel"] for item in response.events] == ["a", "b"]
        assert response.complete["ListItems"] == "2"

    def test_a_list_cut_short_by_time(self, ami, peer):
        peer.answers["coreshowchannels"] = LIST
        with pytest.raises(ActionTimeout) as caught:
            ami.send("CoreShowChannels", timeout=0.2)
        assert len(caught.value.partial) == 2

    def test_a_list_cut_short_by_the_end(self, ami, peer):
        peer.answers["coreshowchannels"] = lambda link, action: (link.say(LIST, action), link.close())[1]
        with pytest.raises(ConnectionLost) as caught:
            ami.send("CoreShowChannels")
        assert len(caught.value.partial) == 2

    def test_an_error(self, ami, peer):
        peer.answers["hangup"] = "Response: Error\nMessage: No such channel\n\n"
        with pytest.raises(ActionError, match="Hangup failed: No such channel"):
            ami.send("Hangup", Channel="x")
        assert ami.send("Hangup", Channel="x", check=False).message == "No such channel"
        with pytest.raises(ActionError):
            ami.submit("Hangup", Channel="x").result(10)
        assert ami.submit("Hangup", Channel="x", check=False).result(10).message == "No such channel"

    def test_silence(self, ami, peer):
        peer.answers["ping"] = None
        with pytest.raises(ActionTimeout, match=r"no answer to Ping within 0\.05 s"):
            ami.ping(timeout=0.05)

    def test_a_late_answer_is_nobody_s(self, ami, peer):
        held = []
        peer.answers["slow"] = lambda link, action: held.append(action)
        with pytest.raises(ActionTimeout):
            ami.send("Slow", timeout=0.05)
        future = ami.submit("Slow")
        eventually(lambda: len(held) == 2)
        peer.link.say("Response: Success\nN: late\n\n", held[0])
        peer.link.say("Response: Success\nN: right\n\n", held[1])
        assert future.result(10)["N"] == "right"

    @pytest.mark.parametrize("bad", ["x\r\nAction: Y", "x\nAction: Y", "x\0"])
    def test_injections_send_nothing(self, ami, peer, bad):
        before = len(peer.link.received)
        for attempt in (
            lambda: ami.send("Ping", X=bad),
            lambda: ami.send(f"Ping{bad}"),
            lambda: ami.send("Ping", **{bad: "x"}),
            lambda: ami.submit("Ping", X=bad),
            lambda: ami.send(Action.from_bytes(b"Action: Ping\r\nX: " + bad.replace("\r\n", "\n").encode())),
            lambda: ami.originate(bad),
            lambda: ami.command(bad),
            lambda: ami.originate("x", Variable={"a": bad}),
        ):
            with pytest.raises(InvalidAction):
                attempt()
        ami.ping()
        assert peer.link.received[before:].count(b"Action:") == 1

    def test_many_threads_get_their_own_answers(self, ami, peer):
        peer.answers["echo"] = lambda link, action: f"Response: Success\nN: {action['N']}\n\n"
        wrong = []

        def run(base):
            for n in range(base, base + 50):
                if ami.send("Echo", N=n)["N"] != str(n):
                    wrong.append(n)

        threads = [threading.Thread(target=run, args=(k * 1000,)) for k in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert wrong == []

    def test_ids_differ_from_session_to_session(self, peer):
        prefixes = set()
        for _ in range(3):
            with connect(**peer.options()) as ami:
                prefixes.add(ami.send("Ping").action_id.rpartition("-")[0])
        assert len(prefixes) == 3

    def test_ping_and_command(self, ami, peer):
        assert ami.ping() > 0
        peer.answers["command"] = "Response: Success\nOutput: a\nOutput: \nOutput:   b\n\n"
        assert ami.command("core show x") == ["a", "", "  b"]
        peer.answers["command"] = "Response: Error\nOutput: No such command\n\n"
        assert ami.command("nonsense") == ["No such command"]
        peer.answers["command"] = "Response: Error\nMessage: Permission denied\n\n"
        with pytest.raises(ActionError, match="lacks the write class"):
            ami.command("core show x")

    def test_the_server_s_version_is_asked_once(self, ami, peer):
        peer.answers["coresettings"] = "Response: Success\nAsteriskVersion: 22.1\n\n"
        assert ami.server_version == ami.server_version == "22.1"
        assert peer.names().count("CoreSettings") == 1

    def test_ctrl_c(self, ami, peer):
        peer.answers["slow"] = None
        main = threading.get_ident()
        interrupter = threading.Thread(target=lambda: (peer.wait_for("Slow"), signal.pthread_kill(main, signal.SIGINT)))
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            ami.send("Slow", timeout=20)
        interrupter.join()
        assert ami.stats().pending == 0
        assert ami.ping() > 0


class TestFutures:
    def test_time_that_is_up_before_the_action_is_sent(self, ami, peer, monkeypatch):
        peer.answers["slow"] = None
        run_timers_at_once(ami.engine, monkeypatch)
        assert isinstance(ami.submit("Slow", timeout=0.01).exception(5), ActionTimeout)
        assert ami.stats().pending == 0

    def test_expiring(self, ami, peer):
        peer.answers["slow"] = None
        future = ami.submit("Slow", timeout=0.05)
        with pytest.raises(ActionTimeout):
            future.result(10)
        assert ami.stats().actions == {"timeout": 1}

    def test_cancelling(self, ami, peer):
        peer.answers["slow"] = None
        future = ami.submit("Slow")
        action = peer.wait_for("Slow")
        assert future.cancel()
        assert ami.stats().pending == 0
        peer.link.say("Response: Success\n\n", action)
        assert ami.ping() > 0
        assert future.cancelled()
        assert ami.stats().actions["cancelled"] == 1

    def test_done_callbacks_may_use_the_client(self, ami):
        found, done = [], threading.Event()
        ami.submit("Ping").add_done_callback(lambda future: (found.append(ami.ping()), done.set()))
        assert done.wait(10)

    def test_done_callbacks_run_at_the_end_too(self, peer):
        seen = []
        peer.answers["slow"] = None
        with AMIClient(**peer.options()) as ami:
            futures = [ami.submit("Slow") for _ in range(20)]
            for future in futures:
                future.add_done_callback(seen.append)
        assert len(seen) == 20
        assert all(isinstance(future.exception(), ConnectionLost) for future in futures)

    def test_many(self, ami):
        futures = [ami.submit("Ping") for _ in range(300)]
        assert concurrent.futures.wait(futures, 20).not_done == set()
        assert all(future.result().ok for future in futures)

    def test_an_invalid_one_leaves_nothing(self, ami):
        with pytest.raises(InvalidAction):
            ami.submit(Action("X", A=["v"] * 127))
        eventually(lambda: not [entry for entry in ami.engine._timers._heap if entry[2].callback])
        assert ami.stats().pending == 0


class TestOriginate:
    def test_without_waiting(self, ami, peer):
        assert ami.originate("Local/1", Context="c", Exten="1", Priority=1, Async=False).ok
        assert peer.actions[-1]["Async"] == "true"
        assert peer.actions[-1].get_all("Async") == ["true"]

    def test_waiting(self, ami, peer):
        def answer(link, action):
            event = "Event: OriginateResponse\nPrivilege: call,all\nActionID: {id}\nResponse: Failure\nReason: 5\n\n"
            link.say(event.replace("{id}", "foreign"))
            link.say("Response: Success\n\n", action)
            return event

        peer.answers["originate"] = answer
        event = ami.originate("Local/1", wait=True, Application="Wait")
        assert type(event) is events.OriginateResponse
        assert event["Reason"] == "5"
        assert event.outcome == "busy"

    @pytest.mark.parametrize(
        ("headers", "text"),
        [
            ("Response: Success\nReason: 4", "answered"),
            ("Response: Failure\nReason: 3", "no answer"),
            ("Response: Failure\nReason: 0", "failed"),
            ("Response: Failure\nReason: 99", "failed (reason 99)"),
        ],
    )
    def test_the_outcome_in_words(self, headers, text):
        raw = f"Event: OriginateResponse\n{headers}".replace("\n", "\r\n").encode()
        assert events.OriginateResponse.from_bytes(raw).outcome == text

    def test_it_waits_as_long_as_the_phone_may_ring(self, peer, monkeypatch):
        monkeypatch.setattr(calling, "RING_MARGIN", 0.1)
        with connect(**peer.options(timeout=0.2)) as ami:
            started = time.monotonic()
            with pytest.raises(WaitTimeout):  # from the end of the ringing, not from its begin
                ami.originate("Local/1", wait=True, ring=1.0, Application="Wait")
            assert time.monotonic() - started >= 1.2

    def test_ring_is_sent_in_milliseconds(self, ami, peer):
        for ring, sent in ((30.0, "30000"), (7, "7000"), (0.25, "250")):
            ami.originate("Local/1", ring=ring)
            assert peer.actions[-1]["Timeout"] == sent

    @pytest.mark.parametrize("ring", [0, -1, float("nan"), float("inf"), "30"])
    def test_a_ring_that_is_no_time(self, ami, ring):
        with pytest.raises(InvalidAction, match="ring"):
            ami.originate("Local/1", ring=ring)

    def test_ring_and_timeout_exclude_each_other(self, ami):
        with pytest.raises(InvalidAction, match="both"):
            ami.originate("Local/1", ring=3, Timeout=3000)

    def test_a_timeout_that_was_meant_in_seconds_brings_a_warning(self, ami):
        with pytest.warns(UserWarning, match=r"milliseconds.*0\.03 s; ring=30"):
            ami.originate("Local/1", Timeout=30)
        ami.originate("Local/1", Timeout=30_000)  # without one, which would be an error

    def test_no_outcome_in_time(self, ami):
        with pytest.raises(WaitTimeout, match="OriginateResponse"):
            ami.originate("Local/1", wait=True, timeout=0.1)

    def test_refused(self, ami, peer):
        peer.answers["originate"] = "Response: Error\nMessage: Extension does not exist.\n\n"
        with pytest.raises(ActionError, match="Extension"):
            ami.originate("Local/1", wait=True)

    def test_the_link_is_lost_while_it_rings(self, peer):
        with connect(**peer.options(reconnect=QUICK)) as ami:
            peer.answers["originate"] = lambda link, action: (link.say("Response: Success\n\n", action), link.close())[
                1
            ]
            with pytest.raises(ConnectionLost):
                ami.originate("Local/1", wait=True)


class TestObserving:
    def test_begin_and_end_of_each_action(self, ami, peer):
        seen, ended = [], threading.Event()
        peer.answers["hangup"] = "Response: Error\nMessage: no\n\n"

        def observe(action):
            seen.append(("begin", action.name, threading.current_thread()))

            def end(response, exc):
                seen.append(("end", response and response.status, type(exc)))
                if len(seen) == 10:
                    ended.set()

            return end

        stop = ami.on_action(observe)
        ami.ping()
        with pytest.raises(ActionError):
            ami.send("Hangup")
        ami.submit("Ping").result(10)
        eventually(lambda: len(seen) == 6)
        with pytest.raises(ActionError):
            ami.submit("Hangup").result(10)
        eventually(lambda: len(seen) == 8)
        with pytest.raises(InvalidAction):
            ami.submit(Action("X", A=["v"] * 127))
        assert ended.wait(10)
        assert [each[:2] for each in seen[:2]] == [("begin", "Ping"), ("end", "Success")]
        assert seen[3] == ("end", None, ActionError)
        assert [each[2] for each in seen if each[0] == "begin"] == [threading.current_thread()] * 5
        stop()
        ami.ping()
        assert len(seen) == 10

    def test_the_time_in_a_timeout_is_what_the_caller_allowed(self, ami, peer):
        peer.answers["slow"] = None
        with pytest.raises(ActionTimeout) as caught:
            ami.send("Slow", timeout=0.05)
        assert caught.value.timeout == 0.05
        assert ami.submit("Slow", timeout=0.05).exception(10).timeout == 0.05


class TestAbstract:
    def test_a_bare_caller_knows_nothing(self):
        with pytest.raises(NotImplementedError):
            Sender()._submit(print)
        with pytest.raises(NotImplementedError):
            Sender()._check("x")


def test_a_link_that_stays_down_is_named():
    with Simulator() as simulator:
        with connect(simulator.url, reconnect=ReconnectPolicy(initial=0.01, maximum=0.05)) as ami:
            simulator.stop_listening()
            simulator.drop()
            eventually(lambda: ami.state is State.RECONNECTING)
            with pytest.raises(ActionTimeout, match=r"not be sent within 0\.5 s.*\((connection lost|cannot)"):
                ami.send("Ping", timeout=0.5)


@pytest.mark.promise(1)
def test_a_crowd_with_hardly_any_time() -> None:
    """Answers and the ends of their callers' time cross all the while: every call ends, and is counted, once."""
    ends: list[str] = []
    wrong = []
    with Simulator() as sim, connect(sim.url) as ami:

        def calls(number: int) -> None:
            chosen = random.Random(number)
            for n in range(150):
                name = f"{number}-{n}"
                action = chosen.choice(("Ping", "Nonsense", "CoreShowChannels"))
                timeout = chosen.choice((0.0005, 0.002, 0.02, 15))
                try:
                    said = ami.send(action, timeout=timeout, check=False, ActionID=name)
                    ends.append("ok" if said.ok else "error")
                    if said.action_id != name:
                        wrong.append(name)
                except ActionTimeout:
                    ends.append("timeout")

        threads = [threading.Thread(target=calls, args=(number,), daemon=True) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        assert not wrong
        assert len(ends) == 24 * 150
        assert ami.stats().actions == collections.Counter(ends)
        assert ami.stats().pending == 0
