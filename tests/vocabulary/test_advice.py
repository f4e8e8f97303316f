"""Hints at typos in headers."""

from __future__ import annotations

import warnings

import pytest

from pyami_sync import connect
from pyami_sync.testing import Simulator
from pyami_sync.vocabulary import advice
from pyami_sync.vocabulary.advice import advise


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch):
    monkeypatch.setattr(advice, "_seen", set())


@pytest.mark.parametrize(
    ("action", "header", "meant"),
    [
        ("QueueAdd", "Interfase", "Interface"),
        ("queueadd", "member_name", "MemberName"),
        ("Originate", "Chanel", "Channel"),
        ("Originate", "Aplication", "Application"),
    ],
)
def test_a_typo_is_told(action, header, meant):
    with pytest.warns(UserWarning, match=f"{header}.*did you mean '{meant}'"):
        advise(action, [header])


@pytest.mark.parametrize(
    ("action", "headers"),
    [
        ("QueueAdd", ["queue", "INTERFACE", "ActionID", "Somewhat", "MemberName"]),
        ("NoSuchAction", ["Chanel"]),
        ("UpdateConfig", ["SrcFilename", "Action-000000", "Cat-000000", "Var-000000", "Value-000000"]),
        ("Originate", ["Channel", "ChannelId", "OtherChannelId", "Codecs", "EarlyMedia", "Variable", "Async"]),
    ],
)
def test_all_else_is_not(action, headers):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advise(action, headers)


def test_each_combination_is_looked_at_once_and_few_are_kept(monkeypatch):
    monkeypatch.setattr(advice, "MOST_SEEN", 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        advise("Originate", ["Chanel"])
        advise("Originate", ["Chanel"])
    assert len(caught) == 1
    for number in range(10):
        advise(f"None{number}", [])
    assert len(advice._seen) <= 2


def test_it_is_sent_all_the_same_and_the_warning_points_to_the_call():
    with Simulator() as simulator, connect(simulator.url) as ami:
        with pytest.warns(UserWarning, match="did you mean 'Penalty'") as caught:
            ami.send("QueueAdd", Queue="support", Interface="Local/1", Penaltty=1)
        assert caught[0].filename == __file__
        assert simulator.actions.find("QueueAdd", Penaltty="1")
        with pytest.warns(UserWarning, match="did you mean 'Data'") as caught:
            ami.originate("Local/100@default", Application="Wait", Dataa="1")
        assert caught[0].filename == __file__
