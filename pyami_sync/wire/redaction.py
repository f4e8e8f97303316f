"""What must never be seen in a log, a repr, an exception or a wire tap.

Credentials stand in four places: in headers of their own (``Secret``, ``Password``, ``Md5Cred``); in the value
half of a pair whose other half names it (``Var-000000: secret`` and ``Value-000000``, ``Variable`` and ``Value``,
``Key`` and ``Val``); in lines of configuration, variables and console output (``secret=…``, ``password : …``);
and in dial strings (``IAX2/user:secret@host``).

All work is linear in the bytes: every line is searched a fixed number of times, and no pattern can begin again
inside a run of characters that it has tried before.
"""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "redact", "shown"]

HIDDEN = "[hidden]"
_HIDDEN = HIDDEN.encode()

# A quick look whether anything of a message can be a credential; most messages end here.
_hint = re.compile(
    rb"secret|passw|passphrase|passwd|pwd|[\w]pass\b|\bpass\b|pin\b|cred|challenge|hash|token|login|authorization|api_?key"
    rb"|(?:line|var)-\d|register|\b(?:sip|pjsip|iax2)/[^:@/&,\s]++:",
    re.IGNORECASE,
).search
_names_secret = re.compile(
    rb"secret|passw|passphrase|md5_?cred|credential|(?:refresh|access|auth|api|bearer)_?token|api_?key"
    rb"|(?:\A|[_/ -]|db|ldap)(?:pass|pwd|passwd)\Z|(?:\A|[_/ -]|admin|user)pin(?:code)?\Z|(?:\A|[/ _-])authorization\Z",
    re.IGNORECASE,
).search
# Headers that speak of a credential without being one: `SecretExist: Y`, `UsingPassword: 0`.
_no_secret = re.compile(rb"exists?\Z|\Ausingpassword\Z", re.IGNORECASE).search
_HEADERS = frozenset({b"challenge", b"expectedresponse", b"receivedchallenge", b"receivedhash"})

_config_header = re.compile(
    rb"(?:line-\d+-\d+|value-\d+|match-\d+|json|variable|chanvariable.*|output|command|appdata|data|applicationdata)\Z",
    re.IGNORECASE | re.DOTALL,
).match
# The lookbehind keeps the search from beginning in the middle of a word that it has read to its end already.
_assignment = re.compile(rb"(?<![\w()-])([\w()-]++)\"?[ \t]*+(?:=>?|[:|])[ \t]*+")
_plain_value = re.compile(rb"\s*(?:<set>|<not set>|yes|no)?\s*\Z", re.IGNORECASE).match
_config_line = re.compile(
    # A mailbox of voicemail.conf, a registration, a conference and an agent hold theirs without naming it.
    rb"\s*(?:(?:\d++[ ]*+=>?[ ]*+)(?=[^,]*+,)|(?:register|agent|conf)[ ]*+=>?[ ]*+(?=[^\r\n]*[,:@])"
    rb"|auth[ ]*+=>?[ ]*+(?=[^:]*+:))",
    re.IGNORECASE,
).match
_unnamed_variable = re.compile(rb"(?:\d+|register|agent|conf|auth)\Z", re.IGNORECASE).match
_set_command = re.compile(
    rb"\s*(?:database\s+put|dialplan\s+set|set\s+variable|exec\s+set|realtime\s+(?:update|store))\b", re.IGNORECASE
).match
_dial_string = re.compile(rb"(?<![\w])((?:SIP|PJSIP|IAX2)/[^:@/&,\s]++:)[^@/&,\s]++(?=@)", re.IGNORECASE)
_dialing = re.compile(rb"(?<![\w])(?:SIP|PJSIP|IAX2)/[^:@/&,\s]++:", re.IGNORECASE).search
_column = re.compile(rb"(?<=\s)Secret[ \t]++(?=\S|\Z)").search
_numbered = re.compile(rb"(var|value|match)-(\d+)\Z", re.IGNORECASE).match
_PAIRED = {b"variable", b"key", b"family", b"var"}
_PAIR_VALUES = {b"value", b"val"}


def redact(raw: bytes) -> bytes:
    """Return the bytes of one message, or of a few, with every credential replaced."""
    if not _hint(raw):
        return raw
    return b"\r\n\r\n".join([_redact_message(each) if _hint(each) else each for each in raw.split(b"\r\n\r\n")])


def _redact_message(raw: bytes) -> bytes:
    # A bare line feed counts too: a server reads a header after it.
    lines = raw.split(b"\n")
    headers = [_split(line) for line in lines]
    found = {name: value.strip().lower() for name, _, value in reversed(headers)}
    login = found.get(b"action") == b"login"
    digest = found.get(b"event") == b"challengeresponsefailed"
    follows = found.get(b"response") == b"follows"
    variables, pair = _named_secrets(headers)
    column: tuple[int, int] | None = None
    made = []
    for line, (name, prefix, value) in zip(lines, headers, strict=True):
        ending = b"\r" if line.endswith(b"\r") else b""
        body = value[: len(value) - len(ending)] if ending else value
        if (
            name in _HEADERS
            or (_names_secret(name) and not _no_secret(name) and not (follows and _plain_value(body)))
            or (login and name == b"key")
            or (digest and name == b"response")
            or (pair and name in _PAIR_VALUES)
            or _is_value_of(name, variables)
        ):
            body = _HIDDEN
        elif follows or not prefix or _config_header(name):
            if name != b"output" and not _config_header(name):
                prefix, body = b"", line[: len(line) - len(ending)]  # console output as it is
            header = _column(body) if b"sername" in body else None
            if header is not None:
                column = header.span()
            elif not body.strip():
                column = None
            elif column is not None:
                start, end = column
                body = body[:start] + _HIDDEN + b" " * max(1, end - start - len(_HIDDEN)) + body[end:]
            else:
                body = _redact_line(name, body)
        if _dialing(body):
            body = _dial_string.sub(rb"\g<1>" + _HIDDEN, body)
        made.append(prefix + body + ending)
    return b"\n".join(made)


def _split(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the header's name in lower case, all that stands before the value, and the value."""
    name, colon, value = line.partition(b":")
    if not colon:
        return b"", b"", line
    text = value.lstrip(b" ")
    return name.strip().lower(), line[: len(line) - len(text)], text


def _named_secrets(headers: list[tuple[bytes, bytes, bytes]]) -> tuple[set[bytes], bool]:
    """Return the numbers of Var-… headers that name a credential, and whether an unnumbered header does."""
    variables = set()
    pair = False
    for name, _, value in headers:
        text = value.strip()
        numbered = _numbered(name)
        if numbered is not None:
            if numbered[1].lower() == b"var" and (_names_secret(text) or _unnamed_variable(text)):
                variables.add(numbered[2])
        elif name in _PAIRED and b"=" not in text and _names_secret(text):
            pair = True
    return variables, pair


def _is_value_of(name: bytes, variables: set[bytes]) -> bool:
    if not variables:
        return False
    numbered = _numbered(name)
    return numbered is not None and numbered[1].lower() != b"var" and numbered[2] in variables


def _redact_line(name: bytes, line: bytes) -> bytes:
    """Hide the value in a line of configuration, variables, console input or output."""
    for found in _assignment.finditer(line):
        # The separator may stand between a path and its value, as in `/SIP/secret/1 : …` of `database show`.
        start = max(line.rfind(b" ", 0, found.start(1)), 0) if line.startswith((b"/", b" /")) else found.start(1)
        if _names_secret(line[start : found.end(1)]):
            value = line[found.end() :]
            return line if _plain_value(value) else line[: found.end()] + _HIDDEN
    if name.startswith(b"line-"):
        unnamed = _config_line(line)
        if unnamed is not None:
            return line[: unnamed.end()] + _HIDDEN
    if name == b"command" and _set_command(line):
        words = line.split()
        if any(_names_secret(word) for word in words[:-1]):
            return b" ".join(words[:-1]) + b" " + _HIDDEN
    return line


def shown(frame: bytes) -> str:
    """Return a message for the log: no secret, no control character that could forge a line of it."""
    text = redact(frame[:2000]).decode("utf-8", "backslashreplace")
    return text.encode("unicode_escape").decode("ascii")
