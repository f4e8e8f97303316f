"""Every action that a server has, sent without parameters, ends in what the server really said."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator

import pytest

from pyami_sync import ActionError, ActionTimeout, AMIClient
from pyami_sync.vocabulary.catalogue.answers import ANSWERS
from tests.asterisk.plugin import AsteriskFactory
from tests.asterisk.raw import RawSession

from .conftest import Target
from .facts import ENDS_THE_SESSION, NEVER_ANSWERED

TIMEOUT = 8.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How an action ended: comparable between the library and the raw bytes."""

    kind: str
    message: str = ""
    items: tuple[str, ...] = ()
    complete: str = ""


def names_of_actions(raw: RawSession) -> list[str]:
    """Ask the server for its actions, past the library."""
    lines = raw.ask("ListCommands").decode().split("\r\n")
    return [line.partition(":")[0] for line in lines if "  (Priv: " in line or " (Priv: " in line]


def from_wire(answer: bytes, action: str) -> Outcome:
    """Read the bytes of an answer; naive on purpose."""
    rule = ANSWERS.get(action.lower())
    between = rb"\r\n(?=Event: )|(?:\r\n){2,}" if rule is not None and rule.glued else rb"(?:\r\n){2,}"
    messages = [each for each in re.split(between, answer.strip(b"\r\n")) if each]
    events = [each for each in messages if each.startswith(b"Event: ") and b"\r\nActionID: raw-" in each + b"\r\n"]
    if rule is not None and rule.items_without_id:
        events = [each for each in messages if each.startswith(b"Event: ")]
    names = [each.split(b"\r\n")[0][7:].decode() for each in events]
    head = next((each for each in messages if each.startswith(b"Response: ")), b"")
    found = re.search(rb"\r\nMessage: ([^\r]*)", head)
    message = found[1].decode().strip() if found else ""
    if head.startswith(b"Response: Error"):
        empty = rule is not None and any(message.lower().startswith(text) for text in rule.empty)
        return Outcome("response" if empty else "error", message)
    closed = names.pop() if names and (b"EventList: Complete" in events[-1] or "Complete" in names[-1]) else ""
    return Outcome("response", message, tuple(names), closed)


def from_library(ami: AMIClient, action: str) -> Outcome:
    """Send it and say how it ended."""
    try:
        response = ami.send(action, timeout=TIMEOUT)
    except ActionTimeout:
        return Outcome("timeout")
    except ActionError as exc:
        return Outcome("error", exc.response.message)
    complete = response.complete.name if response.complete is not None else ""
    return Outcome("response", response.message, tuple(event.name for event in response.events), complete)


@pytest.fixture(params=["simulator", *(pytest.param(v, marks=pytest.mark.asterisk) for v in (16, 22))])
def fresh(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A server of its own: some of the actions reload it."""
    if request.param == "simulator":
        yield request.getfixturevalue("simulator_target")
        return
    factory: AsteriskFactory = request.getfixturevalue("asterisk_factory")
    server = factory(request.param)
    yield Target(f"asterisk{request.param}", server.port, server.tls_port, server.ca_file, server)
    server.kill()  # in good order it would take a second


@pytest.mark.filterwarnings("ignore:timeout=8 is how long")  # of the actions that have a header Timeout
@pytest.mark.promise(1)
def test_every_action_without_parameters(fresh: Target) -> None:
    differ: dict[str, tuple[Outcome, Outcome]] = {}
    waited: set[str] = set()
    with fresh.witness("admin") as raw, fresh.client(event_mask="off", keepalive=None) as ami:
        actions = [name for name in names_of_actions(raw) if name.lower() not in ENDS_THE_SESSION]
        assert len(actions) > (60 if fresh.server is None else 140)
        for action in actions:
            if action.lower() in NEVER_ANSWERED:
                continue
            # The other session asks right behind, so that both find the server in the same state.
            got = from_library(ami, action)
            if got.kind == "timeout":
                waited.add(action)
                continue
            expected = from_wire(raw.ask(action), action)
            if got != expected:
                differ[action] = got, expected
        assert ami.stats().connects == 1
    assert not waited
    assert not differ, "\n".join(f"{name}: {got}\n  wire: {wire}" for name, (got, wire) in differ.items())


@pytest.mark.filterwarnings("ignore:timeout=0.5 is how long")
@pytest.mark.promise(1)
def test_those_never_answered_end_in_time(fresh: Target) -> None:
    for action in NEVER_ANSWERED:
        with fresh.client(event_mask="off", keepalive=None) as ami, pytest.raises(ActionTimeout) as info:
            # A busy server may have an event for it; then it answers, and the next one waits.
            for _ in range(20):
                ami.send(action, timeout=0.5)
        assert info.value.sent


def test_wait_event_gathers_what_happens(fresh: Target) -> None:
    with fresh.client(event_mask="user", keepalive=None) as ami, fresh.client(event_mask="off") as other:
        for _ in range(20):
            future = ami.submit("WaitEvent", Timeout=20)
            while not future.done():
                other.send("UserEvent", UserEvent="Waited")
                with contextlib.suppress(TimeoutError):
                    future.exception(0.05)
            response = future.result()
            assert response.complete is not None
            assert response.complete.name == "WaitEventComplete"
            if response.events:  # an event that the mask keeps out ends the wait, too
                break
        assert {event.name for event in response.events} == {"UserEvent"}
        assert ami.ping() > 0
