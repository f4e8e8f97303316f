"""Greeting, login, versions, and how writes are cut for TLS."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyami_sync.exceptions import ConnectError, InvalidAction, RemoteProtocolError
from pyami_sync.wire.protocol import AMIVersion, Limits, Protocol, challenge_action, login_action, tls_records

GREETING = b"Asterisk Call Manager/9.0.0\r\n"


class TestGreeting:
    @pytest.mark.parametrize("at", range(1, len(GREETING)))
    def test_is_one_line_however_it_comes(self, at):
        protocol = Protocol()
        assert protocol.receive(GREETING[:at]) == []
        assert protocol.greeting is None
        assert protocol.receive(GREETING[at:]) == []
        assert protocol.greeting.version == (9, 0, 0)
        assert protocol.greeting.text == "Asterisk Call Manager/9.0.0"

    def test_is_no_message_and_ends_none(self):
        protocol = Protocol()
        assert protocol.receive(GREETING + b"Event: A\r\n\r\nEvent: B") == [b"Event: A"]
        assert protocol.receive(b"\r\n\r\n") == [b"Event: B"]

    @pytest.mark.parametrize(
        ("line", "version"),
        [
            (b"Asterisk Call Manager/1.1\r\n", (1, 1)),
            (b"Asterisk Call Manager/2.10.6\n", (2, 10, 6)),
            (b"OpenPBX call manager/5.0.5-rc1\r\n", (5, 0, 5)),
            (b"Welcome\r\n", None),
            (b"\xff\xfe Call Manager\r\n", None),
            (b"\r\n", None),
        ],
    )
    def test_unknown_ones_are_survived(self, line, version):
        protocol = Protocol()
        protocol.receive(line)
        assert protocol.greeting.version == version

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n", "HTTP server"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH server"),
            (b"220 mail ESMTP\r\n", "mail or FTP"),
            (b"* OK IMAP4\r\n", "IMAP"),
            (b"+OK POP3\r\n", "POP3"),
            (b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS"),
            (b"\x16\x03\x03\x00", "speaks TLS"),
        ],
    )
    def test_other_servers_are_named(self, line, reason):
        with pytest.raises(ConnectError, match=reason):
            Protocol().receive(line)

    def test_other_servers_are_named_byte_by_byte(self):
        protocol = Protocol()
        with pytest.raises(ConnectError, match="HTTP"):
            for byte in b"HTTP/1.1":
                protocol.receive(bytes([byte]))

    @pytest.mark.parametrize("step", [1, 5000])
    def test_a_line_without_end(self, step):
        protocol = Protocol()
        with pytest.raises(RemoteProtocolError, match="no greeting"):
            for _ in range(5000 // step):
                protocol.receive(b"x" * step)

    def test_limits_reach_the_framer(self):
        protocol = Protocol(Limits(frame=100, line=60, headers=10))
        protocol.receive(GREETING)
        assert (protocol.framer.max_frame, protocol.framer.max_line, protocol.framer.max_headers) == (100, 60, 10)
        with pytest.raises(RemoteProtocolError):
            protocol.receive(b"x" * 61)


class TestVersion:
    def test_is_compared_by_number(self):
        parse = AMIVersion.parse
        assert parse("2.10.0") > parse("2.9.0")
        assert parse("11.0.0") > parse("9.0.0")
        assert parse("1.1") < parse("1.1.1")
        assert parse("Asterisk Call Manager/2.8.0") == (2, 8, 0)
        assert parse("nothing") == ()

    def test_shows_as_it_came(self):
        assert str(AMIVersion.parse("2.10.6")) == "2.10.6"


class TestLogin:
    def test_challenge(self):
        assert challenge_action().to_bytes() == b"Action: Challenge\r\nAuthType: MD5\r\n\r\n"

    def test_md5_sends_the_key_and_never_the_secret(self):
        action = login_action("me", "s3cret", challenge="123456", event_mask=None)
        assert action["Key"] == hashlib.md5(b"123456s3cret").hexdigest()
        assert action["AuthType"] == "MD5"
        assert "Secret" not in action
        assert b"s3cret" not in action.to_bytes()
        assert "Events" not in action

    def test_plain(self):
        action = login_action("me", "s3cret", challenge=None, event_mask="call,agent")
        assert list(action.items()) == [
            ("Action", "Login"),
            ("Username", "me"),
            ("Secret", "s3cret"),
            ("Events", "call,agent"),
        ]

    def test_the_key_is_of_the_encoded_secret(self):
        action = login_action("me", "sécret", challenge="1", event_mask=None, encoding="latin-1")
        assert action["Key"] == hashlib.md5("1sécret".encode("latin-1")).hexdigest()

    @pytest.mark.parametrize("bad", ["a\r\nAction: Originate", "a\nb", "a\0b"])
    def test_nothing_is_injected(self, bad):
        with pytest.raises(InvalidAction):
            login_action(bad, "x", challenge="1", event_mask=None)
        with pytest.raises(InvalidAction) as caught:
            login_action("me", bad, challenge=None, event_mask=None)
        assert bad not in str(caught.value)
        assert bad not in repr(caught.value)

    def test_a_secret_that_does_not_encode_is_in_no_part_of_the_exception(self):
        with pytest.raises(InvalidAction) as caught:
            login_action("me", "sëcret", challenge=None, event_mask=None, encoding="ascii")
        exc: BaseException | None = caught.value
        while exc is not None:
            assert "cret" not in repr(exc).replace("'Secret'", "")
            assert "\\xeb" not in str(exc)
            exc = exc.__cause__ or exc.__context__


LINES = st.lists(st.integers(0, 1022).map(lambda size: b"x" * size + b"\r\n"), max_size=30).map(b"".join)


class TestTLSRecords:
    def test_short_frames_stay_whole(self):
        assert list(tls_records(b"Action: Ping\r\n\r\n")) == [b"Action: Ping\r\n\r\n"]

    def test_nothing_is_nothing(self):
        assert list(tls_records(b"")) == []

    @given(LINES)
    def test_each_record_fits_and_ends_with_a_line(self, data):
        records = list(tls_records(data))
        assert b"".join(records) == data
        assert all(0 < len(record) <= 1024 for record in records)
        assert all(record.endswith(b"\n") for record in records)

    def test_as_few_as_fit(self):
        assert len(list(tls_records((b"x" * 98 + b"\r\n") * 100))) == 10

    def test_the_longest_line_that_an_action_may_have(self):
        records = list(tls_records(b"Action: X\r\n" + b"y" * 1022 + b"\r\n\r\n"))
        assert [len(record) for record in records] == [11, 1024, 2]

    def test_text_without_a_line_end_goes_out_too(self):
        assert b"".join(tls_records(b"z" * 3000)) == b"z" * 3000
