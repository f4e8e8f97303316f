"""The tree of exceptions: what each says, what it carries, that it survives pickling."""

from __future__ import annotations

import copy
import pickle

import pytest

import pyami_sync
from pyami_sync import exceptions
from pyami_sync.exceptions import (
    ActionError,
    ActionTimeout,
    AMIError,
    ClusterError,
    ConcurrencyError,
    ConnectError,
    ConnectionClosed,
    ConnectionLost,
    EventsLost,
    InvalidAction,
    LocalProtocolError,
    LoginRejected,
    NoNodeAvailable,
    ProtocolError,
    RemoteProtocolError,
    UnknownNode,
    WaitTimeout,
)
from pyami_sync.wire.message import Event
from pyami_sync.wire.response import Response

ITEMS = [Event({"Event": "Status"})] * 3
REFUSAL = Response({"Response": "Error", "Message": "No such channel"})

SAID = [
    (AMIError("anything"), "anything"),
    (ConnectError("refused"), "cannot connect: refused"),
    (ConnectError("refused", host="pbx", port=5038), "cannot connect to pbx:5038: refused"),
    (LoginRejected("bad secret", username="me"), "login rejected for user 'me': bad secret"),
    (
        LoginRejected("bad secret", host="pbx", port=5038, username="me", response=REFUSAL),
        "login rejected for user 'me' at pbx:5038: bad secret",
    ),
    (ConnectionClosed(), "the session is closed"),
    (ConnectionClosed("logged off"), "logged off"),
    (ConnectionLost("reset"), "connection lost: reset"),
    (ConnectionLost("reset", sent=False), "connection lost: reset; the action was not sent"),
    (ConnectionLost("reset", partial=ITEMS), "connection lost: reset; 3 list items had arrived (.partial)"),
    (ProtocolError("odd"), "odd"),
    (LocalProtocolError("odd"), "odd"),
    (RemoteProtocolError("odd"), "odd"),
    (InvalidAction("no name", header="Action"), "no name"),
    (ActionError("Hangup", REFUSAL), "Hangup failed: No such channel"),
    (ActionError("Hangup", REFUSAL, partial=ITEMS), "Hangup failed: No such channel; 3 list items had arrived"),
    (ActionError("X", Response({"Response": "Error"})), "X failed: no reason given"),
    (ActionError("X", Response({"Response": "Error", "Message": "Permission denied"})), "lacks the write class"),
    (ActionTimeout("Ping", 2.5), "no answer to Ping within 2.5 s; it may still run"),
    (ActionTimeout("Ping", None), "no answer to Ping in time"),
    (ActionTimeout("Status", 1, partial=ITEMS), "the list of Status was not complete within 1 s: 3 items (.partial)"),
    (ActionTimeout("Ping", 1, sent=False), "Ping could not be sent within 1 s: the action has not run"),
    (WaitTimeout("Hangup, Queue*", 5), "no event matching Hangup, Queue* within 5 s"),
    (WaitTimeout("Hangup", None), "no event matching Hangup in time"),
    (EventsLost(7), "7 events lost"),
    (ConcurrencyError("would block"), "would block"),
    (ClusterError("odd"), "odd"),
    (UnknownNode("b"), "the cluster has no node 'b'"),
    (NoNodeAvailable("no node is up"), "no node is up"),
    (NoNodeAvailable("all failed", errors={"a": ConnectionLost("x")}), "all failed (a: connection lost: x)"),
]


@pytest.mark.parametrize(("exc", "text"), SAID, ids=[type(exc).__name__ for exc, _ in SAID])
def test_what_it_says(exc, text):
    assert text in str(exc)
    assert isinstance(exc, AMIError)


@pytest.mark.parametrize("exc", [exc for exc, _ in SAID], ids=[type(exc).__name__ for exc, _ in SAID])
@pytest.mark.parametrize("clone", [lambda exc: pickle.loads(pickle.dumps(exc)), copy.copy, copy.deepcopy])
def test_clones_are_whole(exc, clone):
    cloned = clone(exc)
    assert type(cloned) is type(exc)
    assert str(cloned) == str(exc)
    assert cloned.args == exc.args
    assert {name: str(value) for name, value in vars(cloned).items()} == {
        name: str(value) for name, value in vars(exc).items()
    }


@pytest.mark.parametrize("exc", [exc for exc, _ in SAID], ids=[type(exc).__name__ for exc, _ in SAID])
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_celery_gives_the_same_exception_back(exc, serializer):
    celery = pytest.importorskip("celery")
    base = pytest.importorskip("celery.backends.base")
    app = celery.Celery(set_as_current=False)
    app.conf.accept_content = ["json", "pickle"]
    app.conf.result_accept_content = ["json", "pickle"]
    backend = base.Backend(app, serializer=serializer)
    back = backend.exception_to_python(backend.decode(backend.encode(backend.prepare_exception(exc))))
    assert back.__class__.__mro__[0].__name__ == type(exc).__name__
    assert isinstance(back, type(exc))
    if not getattr(exc, "partial", ()) and not getattr(exc, "errors", {}):
        assert str(back) == str(exc)
    else:  # what is no plain value stays behind
        assert type(exc)(*exc.args).args == exc.args


def test_every_exception_has_its_text_tested():
    tested = {type(exc) for exc, _ in SAID}
    assert tested == {getattr(exceptions, name) for name in exceptions.__all__}


def test_every_exception_is_public():
    for name in exceptions.__all__:
        assert getattr(pyami_sync, name) is getattr(exceptions, name)


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (LoginRejected, (ConnectError,)),
        (ConnectionLost, (ConnectionClosed,)),
        (InvalidAction, (LocalProtocolError, ProtocolError, ValueError)),
        (RemoteProtocolError, (ProtocolError,)),
        (ActionTimeout, (TimeoutError,)),
        (WaitTimeout, (TimeoutError,)),
        (UnknownNode, (ClusterError, KeyError)),
        (NoNodeAvailable, (ClusterError,)),
    ],
)
def test_the_tree(cls, bases):
    assert all(issubclass(cls, base) for base in bases)


def test_the_docstring_shows_the_tree():
    for name in exceptions.__all__:
        assert f" {name} " in exceptions.__doc__ or f"{name}\n" in exceptions.__doc__, name


def test_lost_and_timeout_are_no_connect_errors():
    # Who retries on ConnectError, because nothing was sent, must not catch these.
    assert not issubclass(ConnectionLost, ConnectError)
    assert not issubclass(ActionTimeout, ConnectError)


def test_attributes():
    assert ConnectError("x", host="h", port=1).port == 1
    assert LoginRejected("x", username="u", response=REFUSAL).response is REFUSAL
    assert list(ActionTimeout("x", 1, partial=ITEMS).partial) == ITEMS
    assert EventsLost(3).count == 3
    assert InvalidAction("x", header="Channel").header == "Channel"
    assert NoNodeAvailable("x").errors == {}
