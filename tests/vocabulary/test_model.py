"""Base classes of the vocabulary, and the way from a name to a class."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from pyami_sync import Event, Response, actions, events
from pyami_sync.vocabulary import model
from pyami_sync.vocabulary.fields import Field
from pyami_sync.vocabulary.model import ListResponse, TypedEvent, event_class, fields_of


@pytest.mark.parametrize("name", [b"Newexten", b"NewExten", b"newexten", b"NEWEXTEN"])
def test_class_of_an_event_whatever_its_case(name: bytes) -> None:
    assert event_class(name) is events.Newexten


@pytest.mark.parametrize("name", [b"", b"Unheard", b"\xff", b"TypedEvent", b"ChannelEvent", b"ListComplete", b"Event"])
def test_unknown_events_are_plain(name: bytes) -> None:
    assert event_class(name) is Event


@pytest.mark.parametrize("name", [b"ConnectionLost", b"Reconnected"])
def test_no_server_can_send_a_marker(name: bytes) -> None:
    assert event_class(name) is Event


def test_odd_names() -> None:
    assert event_class(b"AOC-D") is events.AOC_D
    assert event_class(b"DataGet Tree") is events.DataGetTree


def test_names_from_outside_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MOST_NAMES", 100)
    for number in range(1000):
        event_class(b"Odd%d" % number)
    assert len(model._classes) <= 102
    assert event_class(b"Hangup") is events.Hangup


def test_events_have_no_state_of_their_own() -> None:
    for name in events.__all__:
        cls = getattr(events, name)
        if isinstance(cls, type):
            assert vars(cls).get("__slots__") == (), name
            assert not hasattr(Event.__new__(cls), "__dict__"), name


def test_fields_of_a_class_and_its_groups() -> None:
    found = fields_of(events.BridgeEnter)
    assert {"channel", "bridge_uniqueid", "swap_uniqueid", "privilege", "system_name"} <= set(found)
    assert all(isinstance(field, Field) for field in found.values())
    assert fields_of(Event) == {}


def test_typed_events_copy_and_pickle() -> None:
    event = events.Hangup.from_bytes(b"Event: Hangup\r\nCause: 16")
    for other in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert type(other) is events.Hangup
        assert other == event


def test_list_response_is_generic_only_to_type_checkers() -> None:
    made = ListResponse[events.QueueMember]([("Response", "Success")], events=[Event([("Event", "X")])])
    assert isinstance(made, Response)
    assert pickle.loads(pickle.dumps(made)).events == made.events
    assert actions.QueueStatus.response_class is ListResponse
    assert actions.QueueAdd.response_class is Response


def test_patterns_match_by_keyword_only() -> None:
    event: Event = events.Hangup.from_bytes(b"Event: Hangup\r\nChannel: PJSIP/a-1\r\nCause: 16")
    match event:
        case events.Hangup(cause=17):
            pytest.fail("matched the wrong cause")
        case events.Hangup(cause=16, channel=channel):
            assert channel == "PJSIP/a-1"
        case _:
            pytest.fail("did not match")
    with pytest.raises(TypeError):
        match event:
            case events.Hangup("PJSIP/a-1"):  # type: ignore[misc]
                pass


def test_base_fields() -> None:
    raw = b"Event: X\r\nPrivilege: call,all\r\nSequenceNumber: 7\r\nSystemName: a22"
    event = TypedEvent.from_bytes(raw)
    assert (event.privilege, event.sequence_number, event.system_name) == ("call,all", 7, "a22")


def test_variables_of_a_varset_have_the_one_just_set_and_no_escapes() -> None:
    event = events.VarSet.from_bytes(
        b'Event: VarSet\r\nChannel: a\r\nVariable: FOO\r\nValue: b\\n\\"c\\"\r\n'
        b"ChanVariable(IAX2/10.0.0.1:4569-00000001): foo=d\\\\e\r\n\r\n"
    )
    assert event.value == event.variables["FOO"] == 'b\n"c"'
    assert event.variables["foo"] == "d\\e"


def test_texts_of_a_presence_have_no_escapes() -> None:
    event = events.PresenceStateChange.from_bytes(
        b'Event: PresenceStateChange\r\nPresentity: x\r\nStatus: away\r\nSubtype: a\\nb\r\nMessage: c\\"d\r\n\r\n'
    )
    assert (event.subtype, event.message) == ("a\nb", 'c"d')


def test_import_is_quick(tmp_path: Path) -> None:
    """The package and the whole vocabulary cost less than 100 ms of processor time over what any client needs."""
    code = (
        "import socket, ssl, threading, concurrent.futures, time; begin = time.process_time();"
        "import pyami_sync; middle = time.process_time(); import pyami_sync.events, pyami_sync.actions;"
        "print(middle - begin, time.process_time() - begin)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    environment |= {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    times: list[tuple[float, float]] = []
    for _ in range(24):  # the first compiles; caches are cold on a loaded machine
        if times and min(every for _, every in times) < 0.08:
            break
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
        first, second = done.stdout.split()
        times.append((float(first), float(second)))
    package, everything = (1000 * min(found) for found in zip(*times, strict=True))
    print(f"the package: {package:.1f} ms; with events and actions: {everything:.1f} ms")
    assert everything < 100
