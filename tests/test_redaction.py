"""Secrets never show, and nothing else is hidden."""

from __future__ import annotations

import pytest

from pyami_sync.action import Action
from pyami_sync.message import Event, Message
from pyami_sync.redaction import HIDDEN, redact
from pyami_sync.response import Response

S = b"hunter2"


@pytest.mark.parametrize(
    "raw",
    [
        b"Action: Login\r\nUsername: a\r\nSecret: hunter2",
        b"action: login\r\nusername: a\r\nsecret:hunter2\r\nEvents: on",
        b"Secret: hunter2\r\nAction: Login",
        b"Action: Login\r\nAuthType: MD5\r\nKey: hunter2\r\nActionID: 1",
        b"Key: hunter2\r\nAction: Login\r\n",
        b"Response: Success\r\nActionID: 1\r\nChallenge: hunter2",
        b"Event: ChallengeResponseFailed\r\nChallenge: hunter2\r\nResponse: hunter2\r\nExpectedResponse: hunter2",
        b"Event: InvalidPassword\r\nReceivedChallenge: hunter2\r\nReceivedHash: hunter2",
        b"Event: VoicemailPasswordChange\r\nContext: default\r\nNewPassword: hunter2",
        b"Event: AuthDetail\r\nUsername: x\r\nPassword: hunter2\r\nMd5Cred: hunter2\r\nPasswordDigest: hunter2",
        b"Event: AuthList\r\nOauthSecret: hunter2\r\nRefreshToken: hunter2",
        b"Action: UpdateConfig\r\nAction-000000: Update\r\nVar-000000: secret\r\nValue-000000: secret=hunter2",
        b"Response: Success\r\nCategory-000001: me\r\nLine-000001-000000: secret=hunter2",
        b"Response: Success\r\nLine-000001-000000: md5secret = hunter2\r\nLine-000001-000001: password=hunter2",
        b'Response: Success\r\nJSON: {"me":{"secret":"hunter2"}}',
        b"Action: Setvar\r\nVariable: MY_SECRET=hunter2",
        b"Event: Newchannel\r\nChanVariable: SIPPASSWORD=hunter2",
        b"Event: X\r\nChanVariable(SIP/1;1): vmpassword=hunter2",
    ],
)
def test_credentials_are_hidden(raw):
    assert S not in redact(raw)
    assert HIDDEN.encode() in redact(raw)


def test_the_secret_behind_a_bare_line_feed_is_hidden():
    # A server would read it as a header of its own.
    assert S not in redact(b"Action: Login\r\nUsername: x\nSecret: hunter2\r\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Event: Hangup\r\nChannel: SIP/1\r\nCause: 16",
        b"Action: DBGet\r\nFamily: login\r\nKey: token",
        b"Event: OriginateResponse\r\nResponse: Success\r\nChannel: SIP/hash",
        b"Response: Success\r\nMessage: Authentication accepted",
        b"Event: PeerStatus\r\nPeer: SIP/secretary",
        b"Action: Originate\r\nVariable: COLOR=red",
        b"Event: UserEvent\r\nUserEvent: tokenized\r\nText: the login is fine",
    ],
)
def test_all_else_stays(raw):
    assert redact(raw) == raw


def test_only_the_value_goes():
    raw = b"Action: Login\r\nUsername: bob\r\nSecret: hunter2\r\nEvents: on\r\n\r\n"
    assert redact(raw) == b"Action: Login\r\nUsername: bob\r\nSecret: [hidden]\r\nEvents: on\r\n\r\n"


def test_a_few_messages_at_once():
    raw = b"Action: Ping\r\n\r\nAction: Login\r\nKey: hunter2\r\n\r\nAction: Ping\r\n\r\n"
    assert S not in redact(raw)
    assert redact(raw).count(b"Action: Ping") == 2


@pytest.mark.parametrize(
    "message",
    [
        Action("Login", Username="a", Secret="hunter2"),
        Action("Login", AuthType="MD5", Key="hunter2"),
        Message([("Secret", "hunter2")]),
        Event([("Event", "AuthDetail"), ("Password", "hunter2")]),
        Response([("Response", "Success"), ("Challenge", "hunter2")]),
        Event([("Event", "AuthDetail"), ("Text", "x" * 500), ("Password", "hunter2")]),
    ],
)
def test_reprs_show_no_secret(message):
    assert "hunter2" not in repr(message)
    assert b"hunter2" in message.to_bytes()
