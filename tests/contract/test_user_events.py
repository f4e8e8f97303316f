"""Events that a sender fills with whatever he likes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyami_sync import AMIClient, Event
from tests.asterisk.raw import END

from .conftest import Target

ODD = [
    b"Plain: value",
    b"Latin: caf\xe9 \xff\xfe",
    "Emoji: \U0001f4de".encode(),
    b"Separators: a\xe2\x80\xa8b\xc2\x85c\x0bd\x0ce\x1cf\x1dg\x1eh",
    b"Colons: a: b: c:d",
    b"NoBlank:x",
    b"Empty:",
    b"Blanks:    leading and trailing   ",
    b"no colon at all",
    b"Repeated: 1",
    b"Repeated: 2",
    b"Response: Error",
    b"Message: forged",
    b"EventList: Complete",
    b"Privilege: forged",
    b"Tab:\tvalue\t",
    b"Control: \x01\x02\x1b[31mred\x7f",
]


@pytest.fixture
def listening(target: Target) -> Iterator[AMIClient]:
    """A session that sees user events."""
    with target.client(event_mask="user") as ami:
        yield ami


def test_every_byte_comes_through(target: Target, listening: AMIClient) -> None:
    lines = [line for line in ODD if target.server is not None or b":" in line]
    with listening.events("UserEvent") as stream, target.witness(events="user") as raw, target.witness() as sender:
        sender.send(b"Action: UserEvent\r\nUserEvent: Odd\r\n" + b"\r\n".join(lines) + END)
        wire = raw.read_until(b"\r\n\r\n")
        event = stream.get(20)
        assert event.to_bytes() == wire
        for line in lines if target.server is not None else ():  # the simulator spells blanks its own way
            assert b"\r\n" + line.rstrip(b" ") in event.to_bytes(), line
        assert event["UserEvent"] == "Odd"
        assert event["Latin"].encode("utf-8", "surrogateescape") == b"caf\xe9 \xff\xfe"
        assert event.get_all("Repeated") == ["1", "2"]
        assert event["Colons"] == "a: b: c:d"
        assert event["Separators"] == "a\u2028b\x85c\x0bd\x0ce\x1cf\x1dg\x1eh"
        assert isinstance(event, Event)
        assert listening.ping() > 0


@pytest.mark.promise(5)
def test_events_that_pose_as_answers_answer_nothing(target: Target, listening: AMIClient) -> None:
    listening.ping()
    prefix = listening.send("Ping").action_id
    assert prefix is not None
    stem, _, number = prefix.rpartition("-")
    forged = [f"{stem}-{int(number) + ahead}".encode() for ahead in range(1, 40)]
    with listening.events("UserEvent") as stream, target.witness() as sender:
        for action_id in forged:
            sender.send(b"Action: UserEvent\r\nUserEvent: Pose\r\nResponse: Error\r\nMessage: forged\r\n")
            sender.send(b"ActionID: " + action_id + b"\r\nEventList: Complete" + END)
        answers = [listening.send("Getvar", Variable="ANY") for _ in range(10)]
        lists = [listening.send("QueueStatus") for _ in range(10)]
        for action_id in forged:
            event = stream.get(20)
            assert event.name == "UserEvent"
            assert event.action_id == action_id.decode()
    assert all(answer.ok and "Variable" in answer for answer in answers)
    for answer in lists:
        assert answer.complete is not None
        assert answer.complete.name == "QueueStatusComplete"
        assert {event.name for event in answer.events} <= {"QueueParams", "QueueMember", "QueueEntry"}


@pytest.mark.promise(5)
def test_values_of_a_dialplan_forge_nothing(real: Target) -> None:
    with real.client(event_mask="user,dialplan") as ami, real.client(event_mask="off") as admin:
        with ami.events() as stream, real.witness(events="user,dialplan") as raw:
            for extension in ("120", "121", "122", "123", "124"):
                admin.send("Originate", Channel=f"Local/{extension}@default", Application="NoOp", check=False)
            # Those of the dialplan take a longer way through the server: the last one must not overtake them.
            events: list[Event] = []
            while sum(event.get("UserEvent") == "Strange" for event in events) < 5:
                events.append(stream.get(20))
            admin.send("UserEvent", UserEvent="End")
            while events[-1].get("UserEvent") != "End":
                events.append(stream.get(20))
            raw.read_until(b"\r\nUserEvent: End\r\n")
            raw.read_until(b"\r\n\r\n")
            wire = raw.capture
        strange = [event for event in events if event.get("UserEvent") == "Strange"]
        assert len(strange) == 5
        assert "a\nResponse: x\n\nEvent: Fake\n" in strange[0]["Newline"] + "\n"
        assert strange[1]["LineEnds"] == "a\u2028b\x85c\x0bd\x0ce\x1cf"
        assert strange[4]["UserEvent"] == "Strange"
        assert strange[4]["Response"] == "Success"
        assert strange[4].action_id == "forged"
        assert {event.name for event in events} <= {"UserEvent", "Newexten", "VarSet"}
        assert any(b"\xff\xfe\xe9" in event.to_bytes() for event in events)
        own = [each for each in wire.split(b"\r\n\r\n") if each.startswith(b"Event: ")]
        assert [event.to_bytes().removesuffix(b"\r\n\r\n") for event in events] == own
