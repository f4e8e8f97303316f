"""Hints at typos in headers."""

from __future__ import annotations

import warnings

import pytest

from pyami_sync import ClusterPool, connect
from pyami_sync.testing import Simulator
from pyami_sync.vocabulary import advice
from pyami_sync.vocabulary.advice import TIMED, advise, advise_timeout
from pyami_sync.vocabulary.model import fields_of, load_actions


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


class TestTimeout:
    def test_the_actions_that_have_the_header(self):
        found = {
            each.action_name.lower()
            for each in load_actions()
            if any(field.header.lower() == "timeout" for field in fields_of(each).values())
        }
        assert found == TIMED

    @pytest.mark.parametrize("action", sorted(TIMED))
    def test_only_the_client_s_own_is_given(self, action):
        with pytest.warns(UserWarning, match=f"{action}; the header Timeout"):
            advise_timeout(action, ["Channel"], 60)

    @pytest.mark.parametrize(
        ("action", "headers", "timeout"),
        [
            ("AbsoluteTimeout", ["Channel", "Timeout"], 5),
            ("AbsoluteTimeout", ["Channel", "TIMEOUT"], 5),
            ("WaitEvent", [], None),
            ("Ping", [], 5),
            ("QueueStatus", ["Queue"], 5.0),
        ],
    )
    def test_all_else_is_meant(self, action, headers, timeout):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            advise_timeout(action, headers, timeout)

    def test_the_warning_points_to_the_call(self):
        with Simulator() as simulator, connect(simulator.url) as ami, ClusterPool({"a": simulator.url}) as pool:
            for call in (
                lambda **given: ami.send("AbsoluteTimeout", Channel="Local/1", check=False, **given),
                lambda **given: ami.submit("AbsoluteTimeout", Channel="Local/1", check=False, **given).result(5),
                lambda **given: pool.send_to("a", "AbsoluteTimeout", Channel="Local/1", check=False, **given),
                lambda **given: pool.send_any("AbsoluteTimeout", Channel="Local/1", check=False, **given),
                lambda **given: pool.broadcast("AbsoluteTimeout", Channel="Local/1", check=False, **given),
            ):
                with pytest.warns(UserWarning, match="did you mean Timeout=") as caught:
                    call(timeout=5)
                assert caught[0].filename == __file__
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    call(timeout=5, Timeout=60)
                    call()
            assert len(simulator.actions.find("AbsoluteTimeout", Timeout="60")) == 5
