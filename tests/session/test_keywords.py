"""Options as keyword arguments: the same for type checkers and at run time, and typos are told with what was meant."""

from __future__ import annotations

from dataclasses import fields

import pytest

from pyami_sync import AMIClient, ClusterPool, WaitTimeout, connect
from pyami_sync.actions import Originate
from pyami_sync.session.keywords import ConnectOptions, NodeOptions, OriginateHeaders
from pyami_sync.session.options import Options
from pyami_sync.vocabulary.model import fields_of


def test_what_type_checkers_know_is_what_there_is():
    own = {each.name for each in fields(Options)}
    assert set(ConnectOptions.__annotations__) - {"transport", "callback_threads", "user", "start"} == own
    assert set(NodeOptions.__annotations__) - {"url", "system_name", "secret_env", "secret_file"} == own - {
        "name",
        "node",
    }


def test_the_headers_of_originate_are_those_of_the_catalogue():
    known = {each.header for each in fields_of(Originate).values()}
    assert set(OriginateHeaders.__annotations__) - {"ActionID"} == known - {"Channel"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: connect("ami://a", timout=5),
        lambda: AMIClient("a", timout=5),
        lambda: AMIClient.from_url("ami://a", timout=5),
        lambda: ClusterPool(timout=5),
        lambda: ClusterPool({"a": {"host": "a", "timout": 5}}),
        lambda: ClusterPool({}).add_node("a", "ami://a", timout=5),
    ],
)
def test_a_mistyped_option(make):
    with pytest.raises(TypeError, match="no such option: timout; did you mean timeout"):
        make()


def test_others_that_are_mistyped():
    with pytest.raises(TypeError, match="did you mean health_interval"):
        ClusterPool(healt_interval=5)
    with pytest.raises(TypeError, match="did you mean callback_threads"):
        ClusterPool(callback_thread=5)
    with pytest.raises(TypeError, match="did you mean transport"):
        AMIClient("a", transprot=None)
    with pytest.raises(TypeError, match=r"colour \(there are .*keepalive"):
        AMIClient("a", colour="red")
    with pytest.raises(ValueError, match="in the URL: timout; did you mean timeout"):
        AMIClient.from_url("ami://a?timout=5")
    ClusterPool(secret_env="AMI_SECRET", port=5039).close()


def test_a_mistyped_argument_of_originate(ami_client):
    with pytest.raises(TypeError, match=r"originate\(\) has no argument 'wiat'; did you mean 'wait'"):
        ami_client.originate("Local/100@default", Application="Wait", wiat=True)
    with pytest.raises(TypeError, match="did you mean 'ring'"):
        ami_client.originate("Local/100@default", Application="Wait", rings=5)


@pytest.mark.parametrize(
    "listen",
    [
        lambda ami: ami.on("Hangupp", print),
        lambda ami: ami.on("Hangupp")(print),
        lambda ami: ami.events("Hangupp").close(),
        lambda ami: ami.wait_for("Hangupp", timeout=0.001),
        lambda ami: enter(ami.expect("Hangupp")),
    ],
)
def test_a_mistyped_event(ami_client, listen, monkeypatch):
    monkeypatch.setattr("pyami_sync.vocabulary.advice._seen_events", set())
    with pytest.warns(UserWarning, match="no event 'Hangupp' is known here; did you mean 'Hangup'") as told:
        quietly(listen, ami_client)
    assert [warning.filename for warning in told] == [__file__]  # the line that has the typo
    quietly(listen, ami_client)  # once is enough; a warning would be an error here


def enter(context):
    with context as future:
        future.cancel()


def quietly(listen, ami):
    try:
        listen(ami)
    except WaitTimeout:
        pass


def test_events_that_bring_no_warning(ami_client):
    for name in ("Hangup", "hangup", "Queue*", "ConnectionLost", "LeaderChanged", "EventsLost", "Snapshot", "MyOwn"):
        ami_client.events(name).close()  # a warning would be an error
