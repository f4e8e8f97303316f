"""Server-side filters compiled from subscriptions: nothing that anybody wants is ever kept out."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from pyami_sync import Event, events
from pyami_sync.session.filters import EVERY, MOST_BYTES, Want, filter_actions, wants_of
from pyami_sync.subscriptions.selectors import Selector, Selectors, Where, header_filter
from pyami_sync.testing.filters import Filters
from pyami_sync.vocabulary.model import ListComplete, TypedEvent, event_class
from pyami_sync.wire.protocol import AMIVersion

VERSIONS = ["1.3", "2.10.6", "5.0.4", "7.0.3", "9.0.0", "11.0.0", None]


def wants(*selectors: Selector, where: Where = None) -> frozenset[Want]:
    return wants_of(Selectors(selectors), where)


def frames(wanted: Iterable[Want], version: str | None = "11.0.0") -> list[dict[str, str]]:
    made = filter_actions(wanted, None if version is None else AMIVersion.parse(version))
    return [{name: value for name, value in action.items() if name != "Action"} for _, action in made]


def server(wanted: Iterable[Want], version: str | None) -> Filters:
    """Return the filters that a server of that version then has; one before Asterisk 18.26 ignores the criteria."""
    filters = Filters()
    knows = version is not None and AMIVersion.parse(version) >= (7, 0, 3)
    for each in frames(wanted, version):
        filters.add(each["Filter"], each.get("MatchCriteria") if knows else None)
    return filters


def text(name: str, **headers: str) -> bytes:
    lines = [f"Event: {name}", "Privilege: call,all", "Timestamp: 1.5"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    return "".join(f"{line}\r\n" for line in lines).encode()


class TestWhatIsWanted:
    @pytest.mark.parametrize("selectors", [(), ("*",), (Event,), (TypedEvent,), ("*Caller*",), ("[HQ]*",), ("Üben",)])
    def test_what_cannot_be_narrowed_is_every_event(self, selectors: tuple[Any, ...]) -> None:
        assert wants(*selectors) == {EVERY}

    def test_names_globs_and_classes(self) -> None:
        assert wants("HangUp", events.Newchannel, "Queue*r") == {Want("hangup"), Want("newchannel"), Want("queue*")}

    def test_a_group_of_classes_is_the_names_of_its_members(self) -> None:
        assert Want("queuestatuscomplete") in wants(ListComplete)

    def test_markers_are_no_events_of_a_server(self) -> None:
        assert wants("ConnectionLost", events.Reconnected) == set()

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ({"Variable": "ORDER"}, {Want("varset", "variable", "ORDER")}),
            ({"Channel": "Local/*", "Variable": ["A", "B"]}, {Want("varset", "variable", x) for x in "AB"}),
            ({"Priority": 3}, {Want("varset", "priority", "3")}),
            ({"Channel": None}, {Want("varset")}),
            ({"Variable": "a b"}, {Want("varset")}),
            ({"Variable": "a[b]"}, {Want("varset")}),
            ({"Flag": True}, {Want("varset")}),
            ({"Variable": [str(number) for number in range(13)]}, {Want("varset")}),
            (lambda event: True, {Want("varset")}),
        ],
    )
    def test_values_of_headers(self, where: Where, expected: set[Want]) -> None:
        assert wants("VarSet", where=where) == expected


class TestActions:
    def test_a_new_server_compares_the_name_first(self) -> None:
        (frame,) = frames({Want("newexten")})
        assert frame["MatchCriteria"] == "action(include),name(Newexten),method(regex)"
        assert frame["Filter"] == "^Event: [Nn][Ee][Ww][Ee][Xx][Tt][Ee][Nn][^ -~]"

    def test_a_name_that_nobody_knows_is_compared_without_case(self) -> None:
        (frame,) = frames({Want("mine")})
        assert frame == {"Operation": "Add", "Filter": "^Event: [Mm][Ii][Nn][Ee][^ -~]"}

    def test_before_that_names_share_expressions(self) -> None:
        found = frames({Want(f"event{number}") for number in range(100)}, "5.0.4")
        assert 1 < len(found) < 10
        assert all(len(each["Filter"]) <= MOST_BYTES for each in found)

    def test_basic_expressions_know_no_alternatives(self) -> None:
        found = frames({Want("a"), Want("b"), Want("c*")}, "1.3")
        assert [each["Filter"] for each in found] == ["^Event: [Aa][^ -~]", "^Event: [Bb][^ -~]", "^Event: [Cc]"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_known_event_passes_the_filter_of_its_name_and_no_other_does(version: str | None) -> None:
    names = [cls.event_name for cls in vars(events).values() if isinstance(cls, type) and issubclass(cls, TypedEvent)]
    for name in [name for name in names if name.isidentifier() and wants(name)]:
        filters = server(wants(name), version)
        assert filters.accept(text(name, Channel="x"))
        assert not filters.accept(text(name + "X", Channel=f"Event: {name}"))
        assert not filters.accept(text("X" + name))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_filter_never_keeps_out_what_a_subscription_accepts(version: str | None) -> None:
    chance = random.Random(20)
    names = ["Hangup", "VarSet", "QueueMemberAdded", "QueueMemberStatus", "Mine", "mine2", "UserEvent", "Newexten"]
    globs = ["Queue*", "Q?eue*", "*", "queuemember*", "Mi*2", "[MV]*"]
    values = ["A", "a.b", "1+1", "x,y", "(z)", "a b", "", "A*", None, 7, True]
    accepted = kept_out = 0
    for _ in range(1500):
        selectors: list[Selector] = chance.choices([*names, "NewExten", *globs, events.UserEvent, events.Newexten], k=2)
        where: Where = None
        if chance.random() < 0.7:
            where = {
                header: chance.choice([chance.choice(values), chance.sample(values[:8], 2)])
                for header in chance.sample(["Variable", "variable", "Foo-Bar", "Priority"], chance.randint(1, 2))
            }
        wanted = wants(*selectors, where=where)
        filters = server(wanted, version) if wanted else None
        accepts = (lambda event: True) if where is None else header_filter(where)  # type: ignore[arg-type]
        choice = Selectors(selectors)
        for name in [*names, "Other"]:
            headers = {key: str(chance.choice(values)) for key in ("Variable", "FOO-bar", "Priority", "Data")}
            raw = text(name, **headers)
            event = Event.from_bytes(raw + b"\r\n")
            if choice.want(name, event_class(name.encode())) and accepts(event):
                accepted += 1
                assert filters is not None
                assert filters.accept(raw), (selectors, where, raw)
            elif filters is not None and not filters.accept(raw):
                kept_out += 1
    assert accepted > 1000
    assert kept_out > 1000  # or it would prove nothing
