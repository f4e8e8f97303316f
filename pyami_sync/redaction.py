"""What must never be seen in a log, a repr, an exception or a wire tap.

The names are those of headers that carry credentials somewhere in AMI: the login, PJSIP's lists of
authentication objects, voicemail password changes, security events, configuration lines.
"""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "redact"]

HIDDEN = "[hidden]"

_SECRET_NAMES = (
    "secret|password|passworddigest|md5cred|md5secret|oauthsecret|oauth_secret|refreshtoken|refresh_token|"
    "newpassword|authpassword|challenge|expectedresponse|receivedchallenge|receivedhash|vmsecret|remotesecret"
)
# `Key` is a credential in Login and a harmless name in the database actions; `Response` is a credential in
# one security event and the heart of every answer elsewhere. What is a secret is decided by both.
_line = re.compile(rf"(?:\A|(?<=\n))((?:{_SECRET_NAMES})[ ]*:[ ]*)[^\r\n]*".encode(), re.IGNORECASE)
_login_key = re.compile(rb"(?:\A|(?<=\n))(key[ ]*:[ ]*)[^\r\n]*", re.IGNORECASE)
_digest = re.compile(rb"(?<=\n)(response[ ]*:[ ]*)[^\r\n]*", re.IGNORECASE)
_config = re.compile(
    rb"((?:\A|(?<=\n))(?:line-\d+-\d+|value-\d+|json|variable|chanvariable[^:\r\n]*)[ ]*:[^\r\n]*?"
    rb"[\w-]*(?:secret|passw(?:or)?d|md5cred)[\w()-]*[\"]?[ ]*[=:][ ]*)[^\r\n]*",
    re.IGNORECASE,
)
_is_login = re.compile(rb"(?:\A|\n)action[ ]*:[ ]*login[ ]*\r?\n", re.IGNORECASE).search
_is_digest_event = re.compile(rb"(?:\A|\n)event[ ]*:[ ]*challengeresponsefailed[ ]*\r?\n", re.IGNORECASE).search
_hint = re.compile(rb"secret|passw|md5cred|challenge|hash|token|login", re.IGNORECASE).search
_hidden = rb"\g<1>" + HIDDEN.encode()


def redact(raw: bytes) -> bytes:
    """Give the bytes of one message, or of a few, with every credential replaced."""
    if not _hint(raw):
        return raw
    if _is_login(raw):
        raw = _login_key.sub(_hidden, raw)
    if _is_digest_event(raw):
        raw = _digest.sub(_hidden, raw)
    return _config.sub(_hidden, _line.sub(_hidden, raw))
