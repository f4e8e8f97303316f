"""Every action that the simulator knows answers in good form, whatever it is asked."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from pyami_sync.testing import Simulator
from pyami_sync.testing.handlers import HANDLERS
from pyami_sync.testing.rights import event_classes
from pyami_sync.vocabulary import catalogue

from .conftest import Dial

ENDS = {"Logoff", "Login", "WaitEvent"}
HEADERS = {
    "Channel": "PJSIP/alice-00000000",
    "Queue": "support",
    "Interface": "Local/801@members/n",
    "Paused": "yes",
    "Penalty": "1",
    "RingInUse": "no",
    "Event": "X",
    "Family": "f",
    "Key": "k",
    "Variable": "V",
    "Mailbox": "1@default",
    "Conference": "room1",
    "Context": "default",
    "Exten": "100",
    "Priority": "1",
    "Endpoint": "alice",
    "Filename": "queues.conf",
    "Provider": "CustomPresence:x",
    "Command": "core show channels",
    "CommandID": "1",
    "Message": "hello",
    "Digit": "5",
    "Module": "app_queue",
    "LoadType": "reload",
    "Peer": "desk1",
    "Timeout": "600",
    "BridgeUniqueid": "none",
    "Channel1": "PJSIP/alice-00000000",
    "Channel2": "PJSIP/bob-00000001",
    "EventMask": "off",
    "Jabber": "x",
    "UserEvent": "x",
}


@pytest.mark.parametrize("asterisk", ["11", "13", "16", "20", "22", "23"])
@pytest.mark.parametrize("headers", [{}, HEADERS], ids=["bare", "full"])
def test_answers(asterisk: str, headers: dict[str, str], dial: Dial) -> None:
    with Simulator(asterisk=asterisk) as simulator:
        simulator.pbx.pace = 0.01
        raw = dial(simulator)
        for known in HANDLERS.values():
            if known.name in ENDS or simulator.major not in known.versions:
                continue
            if headers:
                raw.ask("Hangup", ("Channel", "/./"))
                raw.ask("Originate", ("Channel", "PJSIP/alice"), ("Application", "Echo"))
                channels = re.findall(r"^Channel: (.*)\r$", raw.ask("CoreShowChannels").decode(), re.MULTILINE)
                values = {**headers, **dict.fromkeys(("Channel", "Channel1", "Channel2"), channels[0])}
                answer = raw.ask(known.name, *values.items())
            else:
                answer = raw.ask(known.name)
            assert not simulator.errors, known.name
            if known.name == "IAXnetstats":
                continue
            head = re.match(
                rb"Response: (Success|Error|Follows)\r\n(Privilege: Command\r\n)?ActionID: raw-\d+\r\n", answer
            )
            assert head, f"{known.name}: {answer[:200]!r}"
            assert answer.endswith(b"\r\n\r\n")
            if b"EventList: start\r\n" in answer and not answer.rpartition(b"\r\n\r\n")[0].endswith(b"not found"):
                assert b"\r\nEventList: Complete\r\nListItems: " in answer, known.name


def test_rights_are_those_of_the_facts() -> None:
    facts = json.loads((pathlib.Path(catalogue.__file__).parent / "facts.json").read_text("utf-8"))
    rights = {action["name"].lower(): set(action.get("privileges", ())) for action in facts["actions"]}
    for name, known in HANDLERS.items():
        assert set(filter(None, known.classes.split(","))) == rights[name], known.name
    for event in facts["events"]:
        if event.get("role") == "event" and event.get("privileges"):
            assert set(event_classes(event["name"]).split(",")) == set(event["privileges"]), event["name"]


@pytest.mark.parametrize(
    "command",
    [
        "core show version",
        "core show uptime",
        "core show channels",
        "queue show",
        "queue show support",
        "database show",
        "dialplan show",
        "pjsip show endpoints",
    ],
)
def test_commands_say_something(sim: Simulator, dial: Dial, command: str) -> None:
    raw = dial(sim)
    raw.ask("DBPut", ("Family", "f"), ("Key", "k"), ("Val", "v"))
    raw.ask("Originate", ("Channel", "Local/501@default/n"), ("Application", "Echo"))
    answer = raw.ask("Command", ("Command", command))
    assert answer.startswith(b"Response: Success\r\n")
    assert answer.count(b"\r\nOutput: ") >= 1
