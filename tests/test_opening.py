"""From an address to a session: the steps, played by hand, and what each failure means to a person."""

from __future__ import annotations

import hashlib
import socket
import ssl

import pytest

from pyami_sync.action import Action
from pyami_sync.deadline import Deadline
from pyami_sync.exceptions import ActionError, ActionTimeout, ConnectError, ConnectionLost, LoginRejected
from pyami_sync.opening import Ask, boot_steps, filter_steps, login_steps, open_channel, perform, uptime_steps, within
from pyami_sync.options import make_options
from pyami_sync.response import Response
from pyami_sync.transport import TLS

from .peer import Peer, certificates, server_context

OPTIONS = {"host": "pbx", "username": "admin", "secret": "hunter2"}


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
        steps = boot_steps(lambda: True)
        assert next(steps).action.name == "Ping"
        ends(steps, Response())

    def test_not_booted_or_not_told(self):
        steps = boot_steps(lambda: False)
        next(steps)
        assert steps.send(Response()).action["Command"] == "core waitfullybooted"
        ends(steps, Response())

    def test_a_user_who_may_neither_see_nor_ask_does_not_wait(self):
        steps = boot_steps(lambda: False)
        next(steps)
        steps.send(Response())
        with pytest.raises(StopIteration):
            steps.throw(refused("Command", "Permission denied"))

    def test_within(self):
        assert within(Ask(Action("Ping")), Deadline(None)) is None
        assert within(Ask(Action("Ping"), 0.5), Deadline(None)) == 0.5
        assert within(Ask(Action("Ping"), 0.5), Deadline(100)) == 0.5
        assert within(Ask(Action("Ping"), 500), Deadline(0)) == 0


class TestPerforming:
    class Connection:
        def __init__(self, *answers):
            self.answers, self.calls = list(answers), []

        def call(self, action, timeout):
            self.calls.append((action.name, timeout))
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    def test_all_steps(self):
        connection = self.Connection(Response({"Challenge": "1"}), Response())
        perform(connection, login(), Deadline(100))
        assert [name for name, _ in connection.calls] == ["Challenge", "Login"]
        assert all(0 < timeout <= 100 for _, timeout in connection.calls)

    def test_an_error_that_a_step_survives(self):
        connection = self.Connection(Response(), refused("Command", "no"))
        perform(connection, boot_steps(lambda: False), Deadline(None))
        assert connection.calls == [("Ping", None), ("Command", None)]

    def test_an_error_that_none_survives(self):
        with pytest.raises(LoginRejected):
            perform(self.Connection(refused("Login", "Authentication failed")), login(auth="plain"), Deadline(1))


class TestChannels:
    def test_plain(self):
        with Peer() as peer:
            channel = open_channel(make_options(peer.options()), Deadline(10))
            assert type(channel).__name__ == "Channel"
            channel.close()

    @pytest.mark.parametrize("tls", ["options", "context", "name"])
    def test_tls(self, tls):
        import ssl

        ca_file = certificates()["ca"]
        chosen = {
            "options": TLS(ca_file=ca_file),
            "context": ssl.create_default_context(cafile=ca_file),
            "name": TLS(ca_file=ca_file, server_name="localhost"),
        }[tls]
        with Peer(context=server_context()) as peer:
            channel = open_channel(make_options(peer.options(tls=chosen)), Deadline(10))
            assert type(channel).__name__ == "TLSChannel"
            channel.close()

    def test_a_failed_handshake_leaves_no_socket(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            host, port = server.getsockname()
            server.settimeout(10)
            with pytest.raises(ConnectError, match="no TLS handshake"):
                # Ready-made, because loading the authorities takes its time.
                options = make_options({"host": host, "port": port, "tls": ssl.create_default_context()})
                open_channel(options, Deadline(0.3))
            accepted, _ = server.accept()
            accepted.settimeout(10)
            while accepted.recv(65536):  # a hello, then the end
                pass
            accepted.close()


@pytest.mark.parametrize("headers", [{"Response": "Success"}, {"Response": "Success", "Challenge": ""}])
def test_an_answer_without_a_challenge_is_an_error_not_an_empty_challenge(headers):
    steps = login()
    next(steps)
    with pytest.raises(ConnectError, match="holds no challenge"):
        steps.send(Response(headers))
