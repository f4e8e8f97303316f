"""What is said on a new connection, and what a later one is told again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pyami_sync.action import Action
from pyami_sync.connecting import Connector
from pyami_sync.deadline import Deadline
from pyami_sync.engine import Engine
from pyami_sync.exceptions import ConnectError
from pyami_sync.link import Link
from pyami_sync.options import make_options
from pyami_sync.response import Response

from .peer import Peer

OK = Response({"Response": "Success", "Challenge": "1"})
UPTIME = Response([("Response", "Success"), ("Output", "System uptime: 7")])


@pytest.fixture
def link():
    return Link(SimpleNamespace(publisher=None))


@pytest.fixture
def said(link):
    """Gives what a connector says on a new connection."""

    def said(connector, returning=False, compare=False):
        connection = SimpleNamespace(greeting=lambda: "hello")
        steps, names = connector.steps(connection, link, 1.0, returning=returning, compare=compare), []
        try:
            ask = next(steps)
            while True:
                action = ask.action
                told = (action.get(name) for name in ("Events", "EventMask", "Command"))
                names.append(" ".join(filter(None, (action.name, *told))))
                ask = steps.send(UPTIME if "uptime" in names[-1] else OK)
        except StopIteration:
            pass
        assert connector.greeting == "hello"
        return names

    return said


@pytest.fixture
def connector():
    return Connector(make_options({"event_mask": "call", "wait_fully_booted": True}))


def test_a_first_login(connector, said):
    assert said(connector) == ["Challenge", "Login call"]


def test_a_login_that_returns_waits_for_the_boot(connector, said, link):
    assert said(connector, returning=True)[2:] == ["Ping", "Command core waitfullybooted"]
    assert link.uptime is None
    assert said(connector, returning=True, compare=True)[2:] == ["Command core show uptime seconds", "Ping"]
    assert link.uptime == 7


def test_what_was_learned_is_said_again(connector, said):
    for action in (
        Action("Events", EventMask="system"),
        Action("Events"),
        Action("Filter", Operation="Add", Filter="Event: Newexten"),
        Action("Ping"),
    ):
        connector.learn(action, OK)
    assert said(connector) == ["Challenge", "Login off", "Filter", "Events system"]


def test_a_login_that_fails_ends_its_connection_and_says_where():
    with Peer(greeting=b"SSH-2.0-OpenSSH_9.6\r\n") as peer:
        engine = Engine("pyami-test")
        try:
            connector = Connector(make_options(peer.options()))
            owner = Link(SimpleNamespace(link_ended=lambda *args: None))
            connection = connector.reach(engine, owner, Deadline(10))
            with pytest.raises(ConnectError) as caught:
                connector.log_in(connection, owner, Deadline(10), returning=False, compare=False)
            assert (caught.value.host, caught.value.port) == (peer.host, peer.port)
            assert connection.end is not None
        finally:
            engine.close(10)
