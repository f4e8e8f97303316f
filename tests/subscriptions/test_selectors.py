"""Which events a subscriber wants."""

from __future__ import annotations

import pytest

from pyami_sync import events
from pyami_sync.subscriptions.selectors import Selectors, header_filter
from pyami_sync.vocabulary import markers
from pyami_sync.vocabulary.model import ListComplete, TypedEvent, event_class
from pyami_sync.wire.message import Event


def wants(*selectors, name="Hangup"):
    return Selectors(selectors).want(name, event_class(name.encode()))


class TestSelectors:
    @pytest.mark.parametrize(
        "selectors",
        [
            *((), ("Hangup",), ("hangup",), ("HANGUP", "X"), ("Hang*",), ("h?ngup",), ("[gh]angup",), ("*",)),
            *((events.Hangup,), (Event,), (TypedEvent,), ("X", events.Hangup)),
        ],
    )
    def test_wanted(self, selectors):
        assert wants(*selectors)

    @pytest.mark.parametrize(
        "selectors", [("Hangu",), ("Hangups",), ("Queue*",), (events.Newchannel,), (ListComplete,)]
    )
    def test_not_wanted(self, selectors):
        assert not wants(*selectors)

    def test_groups_of_classes(self):
        assert wants(ListComplete, name="QueueStatusComplete")
        assert not wants(ListComplete, name="QueueMember")

    def test_events_without_a_class(self):
        assert wants("MyOwn*", name="MyOwnEvent")
        assert wants(Event, name="MyOwnEvent")
        assert not wants(TypedEvent, name="MyOwnEvent")

    def test_names_are_not_patterns_for_regular_expressions(self):
        assert not wants("Hang.p")
        assert not wants("Hangup*x*", name="Hangup")

    @pytest.mark.parametrize("bad", ["", None, 5, b"Hangup", int, ["Hangup"]])
    def test_other_things(self, bad):
        with pytest.raises(TypeError, match="selector"):
            Selectors((bad,))

    def test_texts(self):
        assert Selectors(()).text == "any event"
        assert Selectors(("Hangup", "Queue*", events.Newchannel)).text == "Hangup, Queue*, Newchannel"

    @pytest.mark.promise(11)
    @pytest.mark.parametrize(
        ("selectors", "wanted"),
        [
            ((), True),
            (("*",), True),
            ((Event,), True),
            (("connectionlost",), True),
            ((markers.ConnectionLost,), True),
            (("Connection*",), False),
            (("Hangup",), False),
            ((TypedEvent,), False),
            ((markers.Reconnected,), False),
        ],
    )
    def test_markers_are_only_for_those_who_want_all_or_name_them(self, selectors, wanted):
        assert Selectors(selectors).want_marker("ConnectionLost", markers.ConnectionLost) is wanted


class TestWhere:
    EVENT = Event(
        [
            *(("Event", "A"), ("Queue", "support"), ("Variable", "a=1"), ("Variable", "b=2"), ("N", "5")),
            *(("Flag", "yes"), ("Address", "[2001:db8::1]:5060"), ("Empty", ""), ("Text", "two\nlines")),
        ]
    )

    @pytest.mark.parametrize(
        "where",
        [
            {},
            {"Queue": "support"},
            {"queue": "support"},
            {"Queue": "sup*"},
            {"Queue": "s?pport"},
            {"Queue": "[s]upport"},
            {"Queue": ["sales", "support"]},
            {"Queue": ("sales", "supp*")},
            {"Queue": {"support"}},
            {"Queue": (each for each in ["support"])},
            {"Variable": "a=1"},
            {"Variable": "b=2"},
            {"N": 5},
            {"N": [4, 5]},
            {"Flag": True},
            {"Absent": None},
            {"Absent": None, "Queue": "support"},
            {"Address": "[2001:db8::1]:5060"},
            {"Empty": ""},
            {"Text": "two*"},
            {"Queue": "*"},
        ],
    )
    def test_accepted(self, where):
        accepts = header_filter(where)
        assert accepts(self.EVENT)
        assert accepts(self.EVENT)  # also the second time: nothing is used up

    @pytest.mark.parametrize(
        "where",
        [
            {"Queue": "Support"},
            {"Queue": "sup"},
            {"Queue": "*x"},
            {"Queue": []},
            {"Queue": ["sales"]},
            {"Queue": None},
            {"Absent": "*"},
            {"Absent": ""},
            {"Absent": []},
            {"N": 6},
            {"Flag": False},
            {"Variable": "c=3"},
            {"Queue": "support", "N": 6},
            {"Empty": "?"},
            {"Empty": None},
        ],
    )
    def test_not_accepted(self, where):
        assert not header_filter(where)(self.EVENT)
