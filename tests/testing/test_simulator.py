"""What the simulator says: greeting, login, rights, limits, masks, filters."""

from __future__ import annotations

import hashlib
import re
import socket
import threading

import pytest

from pyami_sync import Action, Event, Response
from pyami_sync.testing import Session, Simulator, User, assert_no_leaks
from tests.asterisk.raw import RawSession

from .conftest import Dial


def test_greeting_is_one_line(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim, login=False)
    assert raw.greeting == b"Asterisk Call Manager/11.0.0\r\n"
    assert raw.read_silence(0.05) == b""


@pytest.mark.parametrize(
    ("asterisk", "version"), [("11", b"1.3"), ("13", b"2.10.6"), ("16", b"5.0.4"), (22, b"11.0.0")]
)
def test_greeting_names_the_version(asterisk: str | int, version: bytes, dial: Dial) -> None:
    with Simulator(asterisk=asterisk) as simulator:
        assert dial(simulator, login=False).greeting == b"Asterisk Call Manager/" + version + b"\r\n"


def test_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there are 11, 13, 16"):
        Simulator(asterisk="7")


def test_plain_login_and_fully_booted(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim, login=False)
    raw.action("Login", ("Username", "ADMIN"), ("Secret", "secret"), action_id="7")
    answer = raw.read_until(b"Fully Booted\r\n\r\n")
    assert answer == (
        b"Response: Success\r\nActionID: 7\r\nMessage: Authentication accepted\r\n\r\n"
        b"Event: FullyBooted\r\nPrivilege: system,all\r\nUptime: 0\r\nLastReload: 0\r\nStatus: Fully Booted\r\n\r\n"
    )
    assert sim.sessions[0].username == "admin"


def test_fully_booted_has_no_uptime_before_14(dial: Dial) -> None:
    with Simulator(asterisk="13") as simulator:
        raw = dial(simulator, events=None)
        booted = raw.read_until(b"Fully Booted\r\n\r\n")
        assert booted == b"Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n"


def test_no_fully_booted_without_the_right(dial: Dial) -> None:
    with Simulator(users={"guest": User("x", read="call", write="")}) as simulator:
        raw = dial(simulator, user="guest", events=None)
        assert b"FullyBooted" not in raw.ask("Ping")


def test_md5_login(sim: Simulator) -> None:
    with RawSession(sim.port) as raw:
        raw.action("Challenge", ("AuthType", "MD5"), action_id="c")
        challenge = raw.read_until(b"\r\n\r\n")
        assert re.fullmatch(rb"Response: Success\r\nActionID: c\r\nChallenge: \d{9}\r\n\r\n", challenge)
        raw.action("Challenge", ("AuthType", "MD5"), action_id="c")
        assert raw.read_until(b"\r\n\r\n") == challenge
        digits = challenge.split(b"Challenge: ")[1].strip()
        key = hashlib.md5(digits + b"secret").hexdigest()
        raw.action("Login", ("AuthType", "MD5"), ("Username", "admin"), ("Key", key))
        assert b"Authentication accepted" in raw.read_until(b"\r\n\r\n")


@pytest.mark.parametrize("key", ["", "0" * 32, "upper"])
def test_md5_login_refuses_other_keys(sim: Simulator, key: str) -> None:
    with RawSession(sim.port) as raw:
        raw.action("Challenge", ("AuthType", "MD5"))
        digits = raw.read_until(b"\r\n\r\n").split(b"Challenge: ")[1].strip()
        if key == "upper":
            key = hashlib.md5(digits + b"secret").hexdigest().upper()
        raw.action("Login", ("AuthType", "MD5"), ("Username", "admin"), ("Key", key))
        assert b"Message: Authentication failed\r\n" in raw.read_to_end()


@pytest.mark.parametrize(("user", "secret"), [("admin", "wrong"), ("nobody", "secret"), ("admin", "Secret")])
def test_wrong_login_closes(sim: Simulator, user: str, secret: str) -> None:
    with RawSession(sim.port) as raw:
        raw.action("Login", ("Username", user), ("Secret", secret), action_id="1")
        assert raw.read_to_end() == b"Response: Error\r\nActionID: 1\r\nMessage: Authentication failed\r\n\r\n"


def test_second_login_is_not_checked(sim: Simulator, dial: Dial) -> None:
    assert b"Message: Already authenticated" in dial(sim).ask("Login", ("Username", "x"), ("Secret", "y"))


def test_before_login(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim, login=False)
    raw.action("Ping", action_id="1")
    assert raw.read_until(b"\r\n\r\n") == b"Response: Error\r\nActionID: 1\r\nMessage: Permission denied\r\n\r\n"
    raw.send(b"\r\n")
    assert raw.read_until(b"\r\n\r\n") == b"Response: Error\r\nMessage: Missing action in request\r\n\r\n"
    raw.action("Logoff")
    assert b"Response: Goodbye\r\n" in raw.read_to_end()


def test_unknown_action_and_rights(dial: Dial) -> None:
    with Simulator(users={"guest": User("x", read="call", write="call")}) as simulator:
        raw = dial(simulator, user="guest")
        assert raw.ask("nosuch").endswith(
            b"Message: Invalid/unknown command: nosuch. Use Action: ListCommands to show available commands.\r\n\r\n"
        )
        assert b"Message: Permission denied\r\n" in raw.ask("DBPut", ("Family", "f"), ("Key", "k"))
        commands = raw.ask("ListCommands")
        assert b"\r\nHangup: " in commands
        assert b"\r\nQueueStatus: " in commands
        assert b"\r\nDBPut: " not in commands


def test_list_commands_depends_on_the_version(dial: Dial) -> None:
    with Simulator(asterisk="16") as old, Simulator(asterisk="22") as new:
        assert b"\r\nSIPpeers: " in dial(old).ask("ListCommands")
        assert b"\r\nSIPpeers: " not in dial(new).ask("ListCommands")
        assert b"\r\nCoreShowChannelMap: " in dial(new).ask("ListCommands")
        assert b"Invalid/unknown command: CoreShowChannelMap" in dial(old).ask("CoreShowChannelMap")


def test_line_limits(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    value = "x" * (1022 - len("Filler: "))
    assert b"Ping: Pong" in raw.ask("Ping", ("Filler", value))
    assert raw.ask("Ping", ("Filler", value + "xx")) == (
        b"Response: Error\r\nActionID: raw-3\r\nMessage: Failed to parse message: line too long\r\n\r\n"
    )
    # One byte over: what is left of the line end reads as a blank line, and the rest as another message.
    raw.send(b"Action: Ping\r\nActionID: 9\r\nFiller: %b\r\nRest: y\r\n\r\n" % (value + "x").encode())
    assert raw.read_until(b"Missing action in request\r\n\r\n") == (
        b"Response: Error\r\nActionID: 9\r\nMessage: Failed to parse message: line too long\r\n\r\n"
        b"Response: Error\r\nMessage: Missing action in request\r\n\r\n"
    )


def test_header_limit(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    assert b"Ping: Pong" in raw.ask("Ping", *[("H", str(number)) for number in range(126)])
    assert b"Message: Too many lines in message or allocation failure" in raw.ask(
        "Ping", *[("H", str(number)) for number in range(127)]
    )


def test_reading_rules(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    raw.send(b"aCTION:   ping\nactionid:   lf \nActionID: second\n\n")
    assert raw.read_until(b"\r\n\r\n").startswith(b"Response: Success\r\nActionID: lf \r\nPing: Pong\r\nTimestamp: ")
    raw.send(b"Action : Ping\r\nActionID: 1\r\n\r\n")
    assert (
        raw.read_until(b"\r\n\r\n") == b"Response: Error\r\nActionID: 1\r\nMessage: Missing action in request\r\n\r\n"
    )
    raw.send(b"Action: Ping\0tail\r\nActionID: 2\r\n\r\n")
    assert b"Ping: Pong" in raw.read_until(b"\r\n\r\n")


@pytest.mark.parametrize("size", [1, 7, 1024])
def test_input_in_pieces(sim: Simulator, dial: Dial, size: int) -> None:
    raw = dial(sim)
    data = b"".join(b"Action: Ping\r\nActionID: %d\r\n\r\n" % number for number in range(40))
    for start in range(0, len(data), size):
        raw.send(data[start : start + size])
    answer = raw.read_until(b"ActionID: 39\r\nPing: Pong\r\n")
    assert re.findall(rb"ActionID: (\d+)\r\n", answer) == [str(number).encode() for number in range(40)]


@pytest.mark.parametrize(
    ("mask", "answer", "seen"),
    [
        ("on", "Events: On", "Hangup Newexten Reload"),
        ("off", "Events: Off", ""),
        ("call,log", "Events: On", "Hangup"),
        ("call, dialplan", "Events: On", "Hangup"),
        ("foo", "Events: Off", ""),
        ("-1", "Events: Off", ""),
        ("1", "Events: On", "Reload"),
        ("c,x", "Events: On", "Hangup"),
        (",x", "Events: On", "Hangup Newexten Reload"),
        ("", "Message: Invalid event mask", "Hangup Newexten Reload"),
    ],
)
def test_event_mask(sim: Simulator, dial: Dial, mask: str, answer: str, seen: str) -> None:
    raw = dial(sim, events="on")
    raw.read_until(b"Fully Booted\r\n\r\n")
    assert answer.encode() in raw.ask("Events", ("EventMask", mask))
    for name in ("Hangup", "Newexten", "Reload"):
        sim.emit(name)
    assert b" ".join(re.findall(rb"Event: (\w+)", raw.ask("Ping"))).decode() == seen


def test_read_rights_bound_the_mask(dial: Dial) -> None:
    with Simulator(users={"guest": User("x", read="agent", write="")}) as simulator:
        raw = dial(simulator, user="guest", events="on")
        simulator.emit("Hangup")
        simulator.emit("AgentConnect", {"Privilege": "agent,call,all"})
        simulator.emit("AgentComplete", Queue="q")
        found = raw.ask("Ping")
        assert found.startswith(b"Event: AgentComplete\r\nPrivilege: agent,all\r\nQueue: q\r\n\r\n")


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        ([("Filter", "Event: Hangup")], b"Hangup"),
        ([("Filter", "!Event: Hangup")], b"Newstate"),
        ([("MatchCriteria", "action(exclude),name(Hangup)")], b"Newstate"),
        ([("MatchCriteria", "header(Channel),method(ends_with)"), ("Filter", "-2")], b"Newstate"),
        ([("MatchCriteria", "name(Newstate)")], b"Newstate"),
    ],
)
def test_filter(sim: Simulator, dial: Dial, headers: list[tuple[str, str]], seen: bytes) -> None:
    raw = dial(sim, events="on")
    raw.read_until(b"Fully Booted\r\n\r\n")
    assert b"Response: Success\r\n" in raw.ask("Filter", ("Operation", "Add"), *headers)
    sim.emit("Hangup", Channel="PJSIP/a-1")
    sim.emit("Newstate", Channel="PJSIP/a-2")
    assert re.findall(rb"Event: (\w+)", raw.ask("Ping")) == [seen]


@pytest.mark.parametrize(
    "criteria", ["name(x),method(startsWith)", "method(exact)", "nonsense", "action(maybe),name(x)"]
)
def test_bad_filters_are_refused(sim: Simulator, dial: Dial, criteria: str) -> None:
    assert b"Response: Error\r\n" in dial(sim).ask("Filter", ("Operation", "Add"), ("MatchCriteria", criteria))


def test_events_come_between_answers(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim, events="on")
    raw.read_until(b"Fully Booted\r\n\r\n")
    answer = raw.ask("UserEvent", ("UserEvent", "Hi"), ("Response", "x"), ("no colon", "y"))
    assert answer.startswith(b"Response: Success\r\n")
    assert (
        b"\r\n\r\nEvent: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Hi\r\nActionID: raw-1\r\nResponse: x\r\n"
        in answer
    )


def test_scripted_replies(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    sim.on("Ping", b"anything\r\n\r\n", times=1)
    sim.on("Foo", {"Response": "Success", "Message": "first"}, times=2)
    sim.on("Foo", [Response({"Response": "Error"}), Event({"Event": "Last"})])

    @sim.on("Bar")
    def bar(action: Action, session: Session) -> dict[str, object]:
        return {"Response": "Success", "Message": f"{action.name} {session.username}", "Item": [1, 2], "Gone": None}

    raw.action("Ping")
    assert raw.read_until(b"\r\n\r\n") == b"anything\r\n\r\n"
    assert b"Ping: Pong" in raw.ask("Ping")
    for _ in range(2):
        assert b"Message: first\r\n" in raw.ask("Foo")
    assert raw.ask("foo") == b"Response: Error\r\nActionID: raw-8\r\n\r\nEvent: Last\r\nActionID: raw-8\r\n\r\n"
    assert raw.ask("Bar").endswith(b"Message: Bar admin\r\nItem: 1\r\nItem: 2\r\n\r\n")
    sim.off("Foo")
    assert b"Invalid/unknown command" in raw.ask("Foo")


def test_a_scripted_list_takes_the_action_id(sim: Simulator, dial: Dial) -> None:
    items = [Event({"Event": "Item", "N": str(number)}) for number in range(3)]
    done = Event({"Event": "ItemsComplete", "EventList": "Complete", "ListItems": "3"})
    sim.on("Items", Response({"Response": "Success", "EventList": "start"}, events=items, complete=done))
    assert dial(sim).ask("Items").count(b"\r\nActionID: raw-1\r\n") == 5


def test_a_reply_that_fails_is_told(dial: Dial) -> None:
    with Simulator() as simulator:
        simulator.on("Ping", lambda action, session: 1 / 0)
        raw = dial(simulator)
        raw.action("Ping")
        assert b"Message: The simulator failed: ZeroDivisionError" in raw.read_until(b"\r\n\r\n")
        assert isinstance(simulator.errors[0], ZeroDivisionError)


def test_recorder(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    raw.ask("QueueAdd", ("Queue", "support"), ("Interface", "PJSIP/alice"))
    assert sim.assert_sent("queueadd", Queue="support", interface="PJSIP/*")["Interface"] == "PJSIP/alice"
    assert sim.actions.names() == ["Login", "QueueAdd", "Ping"]
    sim.assert_not_sent("QueueRemove")
    sim.assert_sent("Ping", times=1)
    with pytest.raises(AssertionError, match=r"Queue is 'support', not 'sales'"):
        sim.assert_sent("QueueAdd", Queue="sales")
    with pytest.raises(AssertionError, match="it has no Penalty"):
        sim.assert_sent("QueueAdd", Penalty=1)
    with pytest.raises(AssertionError, match=r"2 time\(s\), but 1"):
        sim.assert_sent("QueueAdd", times=2)
    with pytest.raises(AssertionError, match=r"what came: Login, QueueAdd, Ping"):
        sim.assert_sent("Hangup")
    with pytest.raises(AssertionError, match="was sent 1 time"):
        sim.assert_not_sent("QueueAdd")
    sim.actions.clear()
    with pytest.raises(AssertionError, match="nothing was sent at all"):
        sim.assert_sent("Hangup")


def test_recorder_waits(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    threading.Timer(0.02, raw.action, ("Hangup", ("Channel", "x"))).start()
    assert sim.actions.wait_for("Hangup", 5.0, Channel="x")["Channel"] == "x"
    with pytest.raises(AssertionError, match=r"Hangup was not sent within 0.01 s"):
        sim.actions.wait_for("Hangup", 0.01, count=2)


def test_recorded_logins_hide_the_secret(sim: Simulator, dial: Dial) -> None:
    dial(sim)
    assert "secret" not in repr(sim.actions[0])


def test_emit_forms(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim, events="on")
    raw.read_until(b"Fully Booted\r\n\r\n")
    sim.emit("Hangup", {"Channel": "a", "Cause-txt": "x"}, Cause=16)
    sim.emit(Event({"Event": "Newstate", "Channel": "b"}))
    sim.emit({"Event": "Newexten", "Variable": ["a", "b"]})
    sim.emit(b"Event: Odd\r\nno colon\r\n\r\n")
    assert raw.ask("Ping").startswith(
        b"Event: Hangup\r\nPrivilege: call,all\r\nChannel: a\r\nCause-txt: x\r\nCause: 16\r\n\r\n"
        b"Event: Newstate\r\nChannel: b\r\n\r\n"
        b"Event: Newexten\r\nVariable: a\r\nVariable: b\r\n\r\n"
        b"Event: Odd\r\nno colon\r\n\r\n"
    )


def test_emit_to_one_session(sim: Simulator, dial: Dial) -> None:
    first, second = dial(sim, events="on"), dial(sim, events="on")
    sim.emit("Hangup", session=sim.wait_for_sessions(2)[1])
    assert b"Hangup" not in first.ask("Ping")
    assert b"Hangup" in second.ask("Ping")


def test_headers_of_every_event(dial: Dial) -> None:
    with Simulator(system_name="pbx", timestamps=True) as simulator:
        raw = dial(simulator, events="call")
        simulator.emit("Hangup", Cause=1)
        assert re.match(
            rb"Event: Hangup\r\nPrivilege: call,all\r\nTimestamp: \d+\.\d{6}\r\nSystemName: pbx\r\nCause: 1\r\n\r\n",
            raw.read_until(b"\r\n\r\n"),
        )


def test_command_in_both_forms(dial: Dial) -> None:
    with Simulator(asterisk="13") as old, Simulator(asterisk="22") as new:
        assert dial(old).ask("Command", ("Command", "queue show nope")) == (
            b"Response: Follows\r\nPrivilege: Command\r\nActionID: raw-1\r\n"
            b"No such queue: nope.\n--END COMMAND--\r\n\r\n"
        )
        raw = dial(new)
        assert raw.ask("Command", ("Command", "queue show nope")) == (
            b"Response: Success\r\nActionID: raw-1\r\nMessage: Command output follows\r\n"
            b"Output: No such queue: nope.\r\n\r\n"
        )
        assert raw.ask("Command", ("Command", "bogus")).startswith(b"Response: Error\r\n")
        assert b"\r\nOutput: \r\n\r\n" in raw.ask("Command", ("Command", "core reload"))
        assert b"Message: Command blacklisted" in raw.ask("Command", ("Command", "module unload x"))


def test_lists_before_13_have_no_event_list(dial: Dial) -> None:
    with Simulator(asterisk="11") as simulator:
        answer = dial(simulator).ask("QueueStatus")
        assert b"EventList" not in answer
        assert answer.endswith(b"Event: QueueStatusComplete\r\nActionID: raw-1\r\n\r\n")


def test_irregular_answers(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim)
    assert raw.ask("IAXnetstats") == b"\r\n"
    assert raw.ask("ModuleLoad").count(b"Response: Error\r\nActionID: raw-3\r\n") == 3
    assert re.findall(rb"\r\nEvent: PeerEntry\r\n(\w+)", raw.ask("IAXpeers")) == [b"Channeltype"] * 2
    assert b"EventList: Start\r\n" in raw.ask("FAXSessions")
    assert b"CallStarted: 1700000001\nLoggedInTime" in raw.ask("Agents")
    shown = raw.ask("ShowDialPlan", ("Context", "members"), ("Extension", "5"))
    assert re.findall(rb"(?:\A|\r\n\r\n)(\w+: \w+)", shown) == [
        b"Response: Success",
        b"Event: ListDialplan",
        b"Response: Error",
    ]
    assert raw.ask("QueueRule").endswith(b"\r\n\r\n\r\n")
    stats = raw.ask("FAXStats")
    assert stats.count(b"Event: ") == 1
    assert b"Complete\r\n" not in stats


def test_one_message_with_many_events(dial: Dial) -> None:
    with Simulator(asterisk="16") as simulator:
        answer = dial(simulator).ask("SKINNYdevices")
        assert answer.count(b"\r\n\r\n") == 2
        assert answer.count(b"Event: ") == 3


def test_wait_event(sim: Simulator, dial: Dial) -> None:
    raw = dial(sim, events="on")
    raw.read_until(b"Fully Booted\r\n\r\n")
    raw.action("WaitEvent", ("Timeout", "5"), action_id="w")
    sim.actions.wait_for("WaitEvent")
    sim.emit("Hangup")
    answer = raw.read_until(b"WaitEventComplete\r\nActionID: w\r\n\r\n")
    assert (
        answer.index(b"Waiting for Event completed.")
        < answer.index(b"Event: Hangup")
        < answer.index(b"WaitEventComplete")
    )


def test_many_simulators_at_once() -> None:
    with assert_no_leaks():
        many = [Simulator(system_name=f"n{number}").start() for number in range(200)]
        try:
            for simulator in many:
                with socket.create_connection((simulator.host, simulator.port), 5) as sock:
                    assert sock.recv(100).startswith(b"Asterisk Call Manager/")
        finally:
            for simulator in many:
                simulator.close()


def test_use_before_start() -> None:
    simulator = Simulator(port=0)
    with pytest.raises(RuntimeError, match="call start"):
        _ = simulator.url
    simulator.on("Ping", b"")
    simulator.close()
    assert "not started" in repr(simulator)


def test_url_and_life(sim: Simulator) -> None:
    assert sim.url == f"ami://admin:secret@127.0.0.1:{sim.port}"
    assert sim.start() is sim
    sim.close()
    sim.close()
    with pytest.raises(OSError):
        socket.create_connection((sim.host, sim.port), 1).close()


def test_port_in_use(sim: Simulator) -> None:
    with assert_no_leaks(), pytest.raises(OSError):
        Simulator(port=sim.port).start()
