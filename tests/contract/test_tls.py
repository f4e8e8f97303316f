"""Over TLS: long actions, pipelined ones, and who is refused."""

from __future__ import annotations

import pytest

from pyami_sync import TLS, Action, ConnectError

from .conftest import Target
from .test_variables import channel_of


@pytest.mark.promise(13)
def test_originate_with_sixty_variables(target: Target) -> None:
    variables = {f"VARIABLE_{number}": f"value, {number} " + "v" * 40 for number in range(60)}
    headers = {"Channel": "Local/100@default", "Application": "Wait", "Data": "60", "ChannelId": "tls-sixty"}
    action = Action("Originate", {**headers, "Async": "true", "Variable": variables})
    assert len(action.to_bytes()) > 2048
    with target.client(tls=True, event_mask="off") as ami:
        ami.send(action, timeout=10)
        channel = channel_of(ami, "tls-sixty")
        got = {name: ami.send("Getvar", Channel=channel, Variable=name)["Value"] for name in variables}
        ami.send("Hangup", Channel=channel)
    assert got == variables


def test_two_hundred_pipelined_pings(target: Target) -> None:
    with target.client(tls=True, event_mask="off") as ami:
        pings = [ami.submit("Ping") for _ in range(200)]
        assert all(future.result(20)["Ping"] == "Pong" for future in pings)


def test_an_unknown_authority_is_refused(real: Target) -> None:
    assert real.server is not None
    other = str(real.server.certificates.other_ca)
    with pytest.raises(ConnectError, match=r"certificate is not trusted.*ca_file"):
        real.client(tls=TLS(ca_file=other)).open()


def test_the_machine_does_not_trust_a_self_made_certificate(target: Target) -> None:
    with pytest.raises(ConnectError, match=r"certificate is not trusted"):
        target.client(tls=TLS()).open()


def test_a_wrong_name_is_refused_and_a_right_one_taken(target: Target) -> None:
    with pytest.raises(ConnectError, match=r"certificate is not trusted.*(mismatch|doesn't match|not valid)"):
        target.client(tls=TLS(ca_file=str(target.ca_file), server_name="pbx.example.org")).open()
    with target.client(tls=TLS(ca_file=str(target.ca_file), server_name="localhost")) as ami:
        assert ami.ping() > 0


def test_verification_can_be_switched_off(target: Target) -> None:
    with target.client(tls=TLS(verify=False)) as ami:
        assert ami.ping() > 0


def test_plain_to_a_tls_port_and_the_reverse(target: Target) -> None:
    swapped = Target(target.name, target.tls_port, target.port, target.ca_file, target.server)
    with pytest.raises(ConnectError, match=r"amis://|TLS"):
        swapped.client(connect_timeout=0.7).open()
    with pytest.raises(ConnectError, match="does not speak TLS"):
        swapped.client(tls=True, connect_timeout=5).open()
