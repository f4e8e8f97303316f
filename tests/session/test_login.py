"""What is said on a new connection: the steps, played by hand, and what each failure means to a person."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest

from pyami_sync.exceptions import ActionError, ActionTimeout, ConnectError, ConnectionLost, LoginRejected
from pyami_sync.session.gate import EventGate
from pyami_sync.session.login import LoginPlan, boot_steps, filter_steps, login_steps, uptime_steps
from pyami_sync.session.options import make_options
from pyami_sync.wire.action import Action
from pyami_sync.wire.response import Response

OPTIONS = {"host": "pbx", "username": "admin", "secret": "hunter2"}


OK = Response({"Response": "Success", "Challenge": "1"})
UPTIME = Response([("Response", "Success"), ("Output", "System uptime: 7")])


def gate(*, booted=False):
    made = EventGate(SimpleNamespace(publisher=None))
    made.booted = booted
    return made


def refused(action, message):
    return ActionError(action, Response({"Response": "Error", "Message": message}))


def login(event_mask=None, **options):
    return login_steps(make_options({**OPTIONS, **options}), event_mask=event_mask, timeout=5)


def ends(steps, answer):
    with pytest.raises(StopIteration):
        steps.send(answer)


class TestLogin:
    def test_md5(self):
        steps = login(event_mask="call")
        assert next(steps).action == Action("Challenge", AuthType="MD5")
        action = steps.send(Response({"Response": "Success", "Challenge": "12345"})).action
        assert action["Key"] == hashlib.md5(b"12345hunter2").hexdigest()
        assert action["Events"] == "call"
        assert b"hunter2" not in action.to_bytes()
        ends(steps, Response({"Response": "Success"}))

    def test_plain(self):
        steps = login(auth="plain")
        action = next(steps).action
        assert (action.name, action["Secret"]) == ("Login", "hunter2")
        ends(steps, Response({"Response": "Success"}))

    def test_no_fall_back_to_plain(self):
        steps = login()
        next(steps)
        with pytest.raises(LoginRejected, match=r"MD5 challenge.*secret in clear"):
            steps.throw(refused("Challenge", "Must specify AuthType"))

    @pytest.mark.parametrize(
        ("said", "cls", "reason"),
        [
            ("Authentication failed", LoginRejected, "check manager.conf: the user, its secret and its permit"),
            ("Login Already In Use", LoginRejected, "allowmultiplelogin"),
            ("Asterisk is shutting down", ConnectError, "shutting down"),
            ("Something new", LoginRejected, "Something new"),
            ("", LoginRejected, "no reason given"),
        ],
    )
    def test_refused(self, said, cls, reason):
        steps = login(auth="plain")
        next(steps)
        with pytest.raises(cls, match=reason) as caught:
            steps.throw(refused("Login", said))
        assert type(caught.value) is cls
        assert (caught.value.host, caught.value.port) == ("pbx", 5038)
        if cls is LoginRejected:
            assert caught.value.username == "admin"
            assert caught.value.response.message == said
        assert "hunter2" not in str(caught.value) + repr(caught.value.__context__)

    def test_in_use_at_the_challenge(self):
        steps = login()
        next(steps)
        with pytest.raises(LoginRejected, match="allowmultiplelogin"):
            steps.throw(refused("Challenge", "Login Already In Use"))

    def test_no_answer(self):
        steps = login()
        next(steps)
        with pytest.raises(ConnectError, match="no answer to Challenge within 5 s"):
            steps.throw(ActionTimeout("Challenge", 5))

    def test_the_connection_ends(self):
        steps = login(auth="plain")
        next(steps)
        with pytest.raises(ConnectError, match="ended during Login: reset") as caught:
            steps.throw(ConnectionLost("reset"))
        assert not isinstance(caught.value, LoginRejected)


class TestOtherSteps:
    def test_filters_come_before_events_flow(self, caplog):
        filters = [Action("Filter", Filter=f"Event: {name}") for name in "AB"]
        steps = filter_steps(filters, "call,agent")
        assert next(steps).action is filters[0]
        assert steps.send(Response()).action is filters[1]
        last = steps.throw(refused("Filter", "no"))
        assert last.action == Action("Events", EventMask="call,agent")
        assert "could not be restored" in caplog.text
        ends(steps, Response())

    def test_filters_without_a_mask(self):
        assert next(filter_steps([], None)).action["EventMask"] == "on"

    @pytest.mark.parametrize(
        ("output", "seconds"),
        [
            ("System uptime: 4711", [4711.0]),
            ("Last reload: 3", []),
            ("System uptime: a while", []),
            ("", []),
        ],
    )
    def test_uptime(self, output, seconds):
        found = []
        steps = uptime_steps(found.append)
        assert "uptime" in next(steps).action["Command"]
        ends(steps, Response({"Response": "Success", "Output": output}))
        assert found == seconds

    @pytest.mark.parametrize("exc", [refused("Command", "Permission denied"), ActionTimeout("Command", 0.5)])
    def test_uptime_that_one_may_not_ask(self, exc):
        steps = uptime_steps(pytest.fail)
        next(steps)
        with pytest.raises(StopIteration):
            steps.throw(exc)

    def test_booted_already(self):
        steps = boot_steps(gate(booted=True), 5)
        assert next(steps).action.name == "Ping"
        ends(steps, Response())

    def test_not_booted_or_not_told(self):
        steps = boot_steps(gate(), 5)
        next(steps)
        assert steps.send(Response()).action["Command"] == "core waitfullybooted"
        ends(steps, Response())

    def test_a_user_who_may_neither_see_nor_ask_does_not_wait(self):
        steps = boot_steps(gate(), 5)
        next(steps)
        steps.send(Response())
        with pytest.raises(StopIteration):
            steps.throw(refused("Command", "Permission denied"))


class TestPlan:
    @pytest.fixture
    def plan(self):
        return LoginPlan(make_options({"secret": "x", "event_mask": "call", "wait_fully_booted": True}))

    def said(self, plan, made=None, again=False):
        """Return what is said on a new connection."""
        connection = SimpleNamespace(greeting=lambda: "hello")
        steps, names = plan.steps(connection, made or gate(), 1.0, again=again), []
        try:
            ask = next(steps)
            while True:
                action = ask.action
                told = (action.get(name) for name in ("Events", "EventMask", "Command"))
                names.append(" ".join(filter(None, (action.name, *told))))
                ask = steps.send(UPTIME if "uptime" in names[-1] else OK)
        except StopIteration:
            pass
        assert plan.greeting == "hello"
        return names

    def test_a_first_login(self, plan):
        assert self.said(plan) == ["Challenge", "Login call", "Ping", "Command core waitfullybooted"]
        assert not plan.boot_seen

    def test_a_later_login_asks_whether_the_server_was_restarted(self, plan):
        made = gate()
        assert self.said(plan, made, again=True)[4:] == ["Command core show uptime seconds"]
        assert made.uptime == 7

    def test_with_filters_the_absence_of_fully_booted_means_nothing(self):
        """The login is one without events, so that FullyBooted does not follow it: the console says it."""
        plan = LoginPlan(make_options({"secret": "x"}))
        plan.boot_seen = True
        plan.learn(Action("Filter", Operation="Add", Filter="Event: Newexten"), OK)
        said = ["Challenge", "Login off", "Filter", "Events on", "Ping", "Command core waitfullybooted"]
        assert self.said(plan, again=True)[:6] == said

    def test_what_was_learned_is_said_again(self):
        plan = LoginPlan(make_options({"secret": "x", "event_mask": "call"}))
        for action in (
            Action("Events", EventMask="system"),
            Action("Events"),
            Action("Filter", Operation="Add", Filter="Event: Newexten"),
            Action("Ping"),
        ):
            plan.learn(action, OK)
        assert self.said(plan) == ["Challenge", "Login off", "Filter", "Events system"]


@pytest.mark.parametrize("headers", [{"Response": "Success"}, {"Response": "Success", "Challenge": ""}])
def test_an_answer_without_a_challenge_is_an_error_not_an_empty_challenge(headers):
    steps = login()
    next(steps)
    with pytest.raises(ConnectError, match="holds no challenge"):
        steps.send(Response(headers))
