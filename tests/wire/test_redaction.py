"""Secrets never show, and nothing else is hidden."""

from __future__ import annotations

import time

import pytest

from pyami_sync.wire.action import Action
from pyami_sync.wire.message import Event, Message
from pyami_sync.wire.redaction import HIDDEN, redact
from pyami_sync.wire.response import Response

S = b"hunter2"


@pytest.mark.promise(17)
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


@pytest.mark.promise(17)
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


@pytest.mark.parametrize(
    "raw",
    [
        b"Action: UpdateConfig\r\nVar-000000: secret\r\nValue-000000: hunter2\r\nMatch-000000: hunter2",
        b"Action: UpdateConfig\r\nValue-000001: hunter2\r\nVar-000001: password",
        b"Action: UpdateConfig\r\nVar-000000: register\r\nValue-000000: me:hunter2@host",
        b"Action: UpdateConfig\r\nVar-000000: 1234\r\nValue-000000: hunter2,Full Name",
        b"Action: Setvar\r\nVariable: SIP_PASSWORD\r\nValue: hunter2",
        b"Event: VarSet\r\nVariable: SIP_PASSWORD\r\nValue: hunter2",
        b"Action: DBPut\r\nFamily: sip\r\nKey: 1101/secret\r\nVal: hunter2",
        b"Event: DBGetResponse\r\nFamily: secrets\r\nKey: 1101\r\nVal: hunter2",
        b"Response: Success\r\nOutput:  password                   : hunter2\r\nOutput:  md5_cred   : hunter2",
        b"Response: Success\r\nOutput:  refresh_token              : hunter2",
        b"Response: Success\r\nOutput:               secret: hunter2",
        b"Response: Success\r\nOutput:   Secret       : hunter2",
        b"Response: Success\r\nOutput: /sip/1101/secret                        : hunter2",
        b"Response: Success\r\nOutput: /secrets/1101                           : hunter2",
        b"Response: Success\r\nOutput:                       secret  |  hunter2",
        b"Response: Success\r\nOutput:    DB_PASS=hunter2",
        b"Response: Success\r\nLine-000001-000000: 1234=hunter2,Full Name,me@example.org",
        b"Response: Success\r\nLine-000001-000000: register=me:hunter2@host/1",
        b"Response: Success\r\nLine-000001-000000: auth=me:hunter2@realm",
        b"Response: Success\r\nLine-000001-000000: conf=1234,hunter2,hunter2",
        b"Response: Success\r\nLine-000001-000000: pin=hunter2",
        b"Response: Success\r\nLine-000001-000000: dbpass=hunter2",
        b"Response: Follows\r\nPrivilege: Command\r\n  Secret       : hunter2\n  Context: x\n--END COMMAND--",
        b"Response: Success\r\n"
        b"Output: Username         Secret                Authen\r\n"
        b"Output: me               hunter2               2\r\n"
        b"Output: you              hunter2               2",
        b"Action: Command\r\nCommand: database put sip/1101 secret hunter2",
        b"Action: Command\r\nCommand: dialplan set global MY_SECRET hunter2",
        b"Action: Originate\r\nChannel: IAX2/me:hunter2@host/100",
        b"Event: DialBegin\r\nDialString: IAX2/me:hunter2@host/100",
        b"Event: Newexten\r\nApplication: Dial\r\nAppData: SIP/me:hunter2@host,30",
        b"Event: Newexten\r\nApplication: Set\r\nAppData: MY_SECRET=hunter2",
        b"Action: PJSIPNotify\r\nVariable: Authorization=hunter2",
    ],
)
def test_credentials_named_elsewhere_are_hidden(raw):
    assert S not in redact(raw)
    assert HIDDEN.encode() in redact(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"Action: UpdateConfig\r\nVar-000000: context\r\nValue-000000: default",
        b"Event: VarSet\r\nVariable: COLOR\r\nValue: red",
        b"Response: Success\r\nSecretExist: Y\r\nMD5SecretExist: N",
        b"Event: SuccessfulAuth\r\nUsingPassword: 0\r\nX: y",
        b"Response: Success\r\nOutput:               secret: <Set>",
        b"Response: Success\r\nLine-000001-000000: exten=1234,1,Answer()",
        b"Event: Newchannel\r\nChannel: IAX2/10.0.0.1:4569-123",
        b"Event: PeerStatus\r\nPeer: SIP/secretary:5060",
        b"Response: Success\r\nOutput: SIP/me@10.0.0.1:5060 secretary",
        b"Action: Command\r\nCommand: pjsip show auth secretary",
    ],
)
def test_what_only_speaks_of_credentials_stays(raw):
    assert redact(raw) == raw


def test_other_columns_of_a_table_stay():
    table = b"Output: Username         Secret                Authen\r\nOutput: me               hunter2               2"
    assert redact(table).endswith(b"Output: me               [hidden]              2")


@pytest.mark.parametrize(
    "unit", [b"secret", b"secret ", b"a-", b"a ", b"pass=", b"SIP/a:", b'secret"', b"var-0", b"(", b" "]
)
def test_time_grows_with_the_bytes(unit):
    # Work is compared with that of a quarter of the bytes: four times as much, or sixteen times if it were quadratic.
    def work(size):
        raw = b"Response: Success\r\nLine-000001-000000: " + unit * (size // len(unit))
        raw += b"\r\nVariable: " + unit * (size // len(unit))
        return min(_processor_time(raw) for _ in range(3))

    small, large = work(50_000), work(200_000)
    assert large < 10 * small + 0.01


def _processor_time(raw):
    began = time.thread_time()
    redact(raw)
    return time.thread_time() - began
