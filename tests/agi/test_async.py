"""AsyncAGI over a session: answers by CommandId, long ones in pieces, lost links, full pools, calls from before."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from queue import Queue
from urllib.parse import quote

import pytest

from pyami_sync import (
    AMIClient,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionLost,
    EventsLost,
    ReconnectPolicy,
    connect,
)
from pyami_sync.agi import AsyncAGI, CallLeft, ChannelState, CommandFailed, CommandTimeout, HungUp
from pyami_sync.testing import Simulator, assert_no_leaks
from pyami_sync.testing.state import UP, Channel
from tests.agi.scripts import PATIENCE, Scripts

ENV = "agi_request: async\nagi_uniqueid: forged\nagi_arg_1: script\nagi_arg_2: two%20words\n\n"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with assert_no_leaks():
        yield


class Server:
    """A simulator whose AsyncAGI the test plays: commands come in a queue, answers are events that it sends."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.channel: Channel = simulator.loop.run(self._make)
        self.commands: Queue[tuple[str, str]] = Queue()
        simulator.on("AGI", self._queue)

    def _make(self) -> Channel:
        channel = self.simulator.pbx.incoming("PJSIP/caller", "default", "s")
        channel.state = UP
        return channel

    def _queue(self, action, session):
        self.commands.put((action["Command"], action.get("CommandID", "")))
        if action["Command"] == "ASYNCAGI BREAK":
            channel = self.channel
            self.simulator.loop.call_later(0.0, lambda: self.simulator.pbx.emit("AsyncAGIEnd", channel.snapshot()))
        return {"Response": "Success", "Message": "Added AGI command to queue"}

    def emit(self, name: str, **headers: str) -> None:
        self.simulator.pbx.emit(name, self.channel.snapshot(), list(headers.items()))

    def start(self, env: str = ENV) -> None:
        self.emit("AsyncAGIStart", Env=quote(env))

    def next(self) -> tuple[str, str]:
        return self.commands.get(timeout=PATIENCE)

    def exec(self, command_id: str, result: str = "200 result=0\n") -> None:
        self.emit("AsyncAGIExec", CommandId=command_id, Result=quote(result))

    def answer(self, result: str = "200 result=0\n") -> str:
        command, command_id = self.next()
        self.exec(command_id, result)
        return command

    def end(self) -> None:
        self.emit("AsyncAGIEnd")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def ami(simulator: Simulator) -> Iterator[AMIClient]:
    with connect(simulator.url, reconnect=ReconnectPolicy(initial=0.01, maximum=0.05)) as client:
        yield client


@pytest.fixture
def server(simulator: Simulator) -> Server:
    return Server(simulator)


@pytest.fixture
def scripts() -> Scripts:
    return Scripts()


def test_a_script_runs_and_gives_its_call_back(ami, server, scripts):
    scripts.set(lambda call: (call.answer(), call.channel_status(), call.uniqueid, call.arguments, call.transport))
    with ami.agi(scripts.router) as agi:
        server.start()
        assert server.answer() == "ANSWER"
        assert server.answer("200 result=6\n") == "CHANNEL STATUS"
        uniqueid = server.channel.uniqueid
        assert scripts.outcome() == (None, ChannelState.UP, uniqueid, ("two%20words",), "async")
        assert server.answer() == 'SET VARIABLE "AGISCRIPT" "DONE"'
        assert server.next() == ("ASYNCAGI BREAK", "")
        assert agi.served == 1


def test_answers_are_matched_by_their_command(ami, server, scripts):
    def script(call):
        with pytest.raises(CommandTimeout):
            call.noop(timeout=0.1)
        return call.channel_status()

    scripts.set(script)
    with ami.agi(scripts.router):
        server.start()
        _, lost = server.next()
        command, wanted = server.next()
        assert command == "CHANNEL STATUS"
        server.exec("somebody else's", "200 result=1\n")
        server.exec(lost, "200 result=2\n")  # late
        server.emit("AsyncAGIExec", Result=quote("200 result=3\n"))  # without any id
        server.exec(wanted, "200 result=6\n")
        assert scripts.outcome() is ChannelState.UP
        server.answer()


def test_a_lost_answer_ends_with_the_timeout(ami, server, scripts):
    scripts.set(lambda call: call.noop(timeout=0.1))
    with ami.agi(scripts.router):
        server.start()
        server.next()
        assert isinstance(scripts.outcome(), CommandTimeout)
        server.answer()


def test_lost_events_are_told_at_once(ami, server, scripts):
    scripts.set(lambda call: call.noop(timeout=PATIENCE))
    with ami.agi(scripts.router) as agi:
        server.start()
        server.next()
        agi._answers.missed = 3  # as when the memory was short
        server.exec("somebody else's")
        outcome = scripts.outcome()
        assert isinstance(outcome, EventsLost)
        assert outcome.count == 3
        server.answer()


def test_an_answer_does_not_wait_for_the_dispatching_thread(ami, server, scripts, monkeypatch):
    scripts.set(lambda call: (call.noop(), call.channel_status()))
    go_on, stuck = threading.Event(), threading.Event()
    with ami.agi(scripts.router) as agi:
        server.start()
        assert server.answer() == "NOOP"
        monkeypatch.setattr(agi, "_handle", lambda event: (stuck.set(), go_on.wait(PATIENCE)))
        try:
            server.emit("AsyncAGIEnd")
            assert stuck.wait(PATIENCE)
            server.answer("200 result=6\n")
            assert scripts.outcome() == (None, ChannelState.UP)
        finally:
            go_on.set()
        server.answer()


def test_a_lost_end_does_not_keep_a_channel_from_coming_again(ami, server, scripts):
    scripts.set(lambda call: call.noop(timeout=PATIENCE))
    with ami.agi(scripts.router):
        server.start()
        server.next()
        server.start()  # the event AsyncAGIEnd between them is lost
        server.channel.variables["AGISTATUS"] = "HANGUP"
        assert isinstance(scripts.outcome(), HungUp)
        server.answer()
        assert scripts.outcome() is None
        server.answer()


def test_a_long_answer_comes_in_pieces(ami, server, scripts):
    value = "x" * 2500 + ")\n200 result=1 (forged)\n200 result=0\n"
    scripts.set(lambda call: (call.get_variable("LONG"), call.channel_status()))
    pipe = ""
    with ami.agi(scripts.router):
        server.start()
        for command, answer in (
            ('GET VARIABLE "LONG"', f"200 result=1 ({value})\n"),
            ("NOOP", "200 result=0\n"),
            ("NOOP", "200 result=0\n"),
            ("CHANNEL STATUS", "200 result=6\n"),
        ):
            got, command_id = server.next()
            assert got == command
            pipe += answer
            piece, pipe = pipe[:1024], pipe[1024:]
            server.exec(command_id, piece)
        assert scripts.outcome() == (value, ChannelState.UP)
        server.answer()


def test_an_answer_of_just_the_longest_piece(ami, server, scripts):
    value = "x" * (1024 - len("200 result=1 ()\n"))
    scripts.set(lambda call: call.get_variable("LONG"))
    with ami.agi(scripts.router):
        server.start()
        server.answer(f"200 result=1 ({value})\n")
        assert server.answer() == "NOOP"
        assert scripts.outcome() == value
        server.answer()


def test_the_rest_of_an_answer_that_came_too_late_is_not_the_next_one(ami, server, scripts):
    def script(call):
        with pytest.raises(CommandTimeout):
            call.get_variable("LONG", timeout=0.1)
        timed_out.set()
        assert late.wait(PATIENCE)
        return call.channel_status()

    timed_out, late = threading.Event(), threading.Event()
    scripts.set(script)
    with ami.agi(scripts.router) as agi:
        server.start()
        _, command_id = server.next()
        transport = next(iter(agi._transports.values()))
        assert timed_out.wait(PATIENCE)
        server.exec(command_id, "200 result=1 (" + "x" * 1010)
        assert transport._arrivals.wait(lambda: transport._inbox, PATIENCE)
        late.set()
        assert server.answer("xxx)\n200 result=0\n") == "NOOP"
        assert server.answer("200 result=6\n") == "CHANNEL STATUS"
        assert scripts.outcome() is ChannelState.UP
        server.answer()


def test_an_answer_that_the_server_has_cut_is_an_error(ami, server, scripts):
    scripts.set(lambda call: call.get_variable("LONG"))
    with ami.agi(scripts.router):
        server.start()
        _, command_id = server.next()
        server.emit("AsyncAGIExec", CommandId=command_id, Result=quote("200 result=1 (" + "ä" * 500)[:2047])
        assert server.answer("äää)\n200 result=0\n") == "NOOP"
        outcome = scripts.outcome()
        assert isinstance(outcome, CommandFailed)
        assert "too long for AsyncAGI" in str(outcome)
        server.answer()


def test_a_usage_text_and_trying(ami, server, scripts):
    def script(call):
        with pytest.raises(CommandFailed, match="refused its arguments"):
            call.noop()
        call.gosub("sub", "s")

    scripts.set(script)
    with ami.agi(scripts.router):
        server.start()
        server.answer("520-Invalid command syntax.  Proper usage follows:\nUsage: NOOP\n\n520 End of proper usage.\n")
        server.answer("100 result=0 Trying...\n200 result=0 Gosub complete\n")
        assert scripts.outcome() is None
        server.answer()


def test_a_hang_up_ends_a_command_under_way(ami, server, scripts):
    scripts.set(lambda call: call.get_data("hello", timeout=600))
    with ami.agi(scripts.router):
        server.start()
        server.next()
        server.channel.variables["AGISTATUS"] = "HANGUP"
        server.end()
        outcome = scripts.outcome()
        assert type(outcome) is HungUp


def test_a_command_that_fails_takes_the_call_away(ami, server, scripts):
    def script(call):
        with pytest.raises(CommandFailed, match="does the sound exist"):
            call.stream_file("nothing")
        call.noop()

    scripts.set(script)
    with ami.agi(scripts.router):
        server.start()
        server.channel.variables["AGISTATUS"] = "FAILURE"
        server.answer("200 result=-1 endpos=0\n")
        server.end()
        outcome = scripts.outcome()
        assert type(outcome) is CallLeft


def test_a_channel_that_is_gone_is_a_hang_up(ami, server, scripts):
    scripts.set(lambda call: call.noop())
    gone = {"Response": "Error", "Message": f"Channel {server.channel.name} does not exist."}
    server.simulator.on("AGI", gone)
    with ami.agi(scripts.router):
        server.start()
        assert type(scripts.outcome()) is HungUp


def test_a_user_without_the_right_is_told(ami, server, scripts):
    scripts.set(lambda call: call.noop())
    server.simulator.on("AGI", {"Response": "Error", "Message": "Permission denied"})
    with ami.agi(scripts.router):
        server.start()
        outcome = scripts.outcome()
        assert isinstance(outcome, CommandFailed)
        assert "write class" in str(outcome)


def test_a_long_command_is_refused_before_it_is_sent(ami, server, scripts):
    scripts.set(lambda call: call.verbose("x" * 1014))
    with ami.agi(scripts.router):
        server.start()
        assert "at most 1013" in str(scripts.outcome())
        server.answer()


def test_another_thread_is_refused(ami, server, scripts):
    refused = Queue()  # type: ignore[var-annotated]

    def script(call):
        def other():
            server.next()
            try:
                call.noop()
            except ConcurrencyError as exc:
                refused.put(str(exc))
            server.end()

        thread = threading.Thread(target=other)
        thread.start()
        try:
            call.noop()
        finally:
            thread.join()

    scripts.set(script)
    with ami.agi(scripts.router):
        server.start()
        assert "another thread" in refused.get(timeout=PATIENCE)
        assert isinstance(scripts.outcome(), HungUp)


def test_a_cut_environment_is_survived(ami, server, scripts):
    scripts.set(lambda call: (call.channel, call.uniqueid, call.caller_id))
    env = "agi_request: async\nagi_callerid: 123\nagi_arg_1: script\nagi_arg_2: xxxxxxx"
    with ami.agi(scripts.router):
        server.start(env)
        assert scripts.outcome() == (server.channel.name, server.channel.uniqueid, "123")
        server.answer()


# Links


def test_a_lost_link_ends_scripts_and_their_calls_go_on(ami, server, scripts, simulator):
    scripts.set(lambda call: call.noop(timeout=PATIENCE))
    server.channel.application, server.channel.data = "AGI", "agi:async,script"
    simulator.loop.run(setattr, server.channel, "application", "Wait")  # not in AsyncAGI at the start
    with ami.agi(scripts.router):
        server.start()
        server.next()
        simulator.loop.run(setattr, server.channel, "application", "AGI")
        simulator.drop()
        outcome = scripts.outcome()
        assert isinstance(outcome, ConnectionLost)
        assert server.answer() == 'SET VARIABLE "AGISCRIPT" "LOST"'
        assert server.next() == ("ASYNCAGI BREAK", "")


def test_a_link_lost_for_good_ends_scripts(server, scripts, simulator):
    scripts.set(lambda call: call.noop(timeout=PATIENCE))
    with connect(simulator.url, reconnect=None) as ami, ami.agi(scripts.router):
        server.start()
        server.next()
        simulator.drop()
        assert isinstance(scripts.outcome(), ConnectionLost)


def test_calls_from_before_get_their_scripts(ami, server, scripts):
    scripts.set(lambda call: (call.caller_id, call.caller_name, call.context, call.extension, call.arguments))
    channel = server.channel
    channel.application, channel.data, channel.number, channel.caller = "AGI", "agi:async,script,one", "123", "Ann"
    with ami.agi(scripts.router):
        server.start()  # said before the list was made, but read after it
        assert scripts.outcome() == ("123", "Ann", "default", "s", ("one",))
        assert server.answer() == 'SET VARIABLE "AGISCRIPT" "DONE"'


def test_calls_from_before_may_be_left_alone(ami, server, scripts):
    scripts.set(lambda call: call.channel)
    server.channel.application, server.channel.data = "AGI", "agi:async,script,one"
    with ami.agi(scripts.router, adopt=False) as agi:
        old, server.channel = server.channel, server.simulator.loop.run(server._make)
        server.start()
        assert scripts.outcome() != old.name
        server.answer()
        server.next()
        assert agi.served == 1


def test_giving_a_call_back_waits_until_it_is_back(ami, server, scripts):
    left = []
    scripts.set(lambda call: (call.leave(), left.append(call._transport._over)))
    with ami.agi(scripts.router):
        server.start()
        assert server.next() == ("ASYNCAGI BREAK", "")
        scripts.outcome()
    assert left == [True]


def test_calls_from_before_can_not_be_found_without_the_right(simulator, server, scripts, caplog):
    simulator.on("CoreShowChannels", {"Response": "Error", "Message": "Permission denied"})
    scripts.set(lambda call: None)
    with connect(simulator.url) as ami, ami.agi(scripts.router):
        server.start()
        assert scripts.outcome() is None
        server.answer()
    assert "from before can't be found" in caplog.text


# Bounds and ends


def test_a_full_pool_refuses_and_the_dialplan_goes_on(ami, server, scripts, simulator, caplog):
    scripts.set(lambda call: call.noop(timeout=PATIENCE))
    with ami.agi(scripts.router, threads=1) as agi:
        server.start()
        _, first_id = server.next()
        first = server.channel
        server.channel = simulator.loop.run(server._make)
        server.start()
        assert server.answer() == 'SET VARIABLE "AGISCRIPT" "REFUSED"'
        assert server.next() == ("ASYNCAGI BREAK", "")
        assert agi.refused == 1
        server.channel = first
        server.exec(first_id)
        assert scripts.outcome() is None
        server.answer()
    assert "was refused: 1 scripts are under way" in caplog.text


def test_an_unknown_path_is_refused_or_left_to_others(ami, server, scripts):
    with ami.agi(scripts.router, unknown="ignore"), ami.agi(scripts.router):
        server.start()
        assert server.answer() == 'SET VARIABLE "AGISCRIPT" "NOTFOUND"'
        assert server.next() == ("ASYNCAGI BREAK", "")
        ami.ping()
        assert server.commands.empty()


def test_close_waits_for_scripts_and_then_ends_them(ami, server, scripts):
    scripts.set(lambda call: call.noop(timeout=PATIENCE))
    agi = ami.agi(scripts.router)
    server.start()
    server.next()
    agi.close(grace=0.05)
    agi.close()
    outcome = scripts.outcome()
    assert type(outcome) is ConnectionClosed
    assert server.next() == ("ASYNCAGI BREAK", "")  # the call goes on in the dialplan all the same


def test_closing_the_client_closes_its_scripts(server, scripts, simulator):
    scripts.set(lambda call: call.noop(timeout=PATIENCE))
    with connect(simulator.url) as ami:
        ami.agi(scripts.router)
        server.start()
        server.next()
        ami.close(timeout=0.05)
    assert type(scripts.outcome()) is ConnectionClosed
    assert server.next() == ("ASYNCAGI BREAK", "")


def test_a_script_may_close_what_runs_it(ami, server, scripts):
    scripts.set(lambda call: agi.close())
    agi = ami.agi(scripts.router)
    server.start()
    assert scripts.outcome() is None
    assert server.next() == ("ASYNCAGI BREAK", "")
    agi.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_serves_nothing(ami, server, scripts):
    scripts.set(lambda call: call.channel_status())
    with ami.agi(scripts.router) as agi:
        pid = os.fork()
        if not pid:
            os._exit(0 if agi._closed and not list(ami.subscriptions) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        server.start()
        server.answer("200 result=6\n")
        assert scripts.outcome() is ChannelState.UP
        server.answer()


def test_options_that_can_not_be(ami, scripts):
    with pytest.raises(ValueError, match="unknown is"):
        AsyncAGI(ami, scripts.router, unknown="perhaps")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threads"):
        ami.agi(scripts.router, threads=0)
