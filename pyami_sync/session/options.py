"""The options of a session, and how they are read from arguments, a URL or the environment."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from ..connection.tls import TLS
from ..wire.origin import keeps_ascii
from ..wire.protocol import Limits
from .reconnect import ReconnectPolicy

__all__ = ["Options", "options_from_url"]

PORT = 5038
TLS_PORT = 5039
BROKERS = ("amqp://", "amqps://", "memory://", "redis://", "rediss://")
EVENT_CLASSES = frozenset(
    "system,call,log,verbose,command,agent,user,config,dtmf,reporting,cdr,dialplan,originate,agi,hookresponse,"
    "cc,aoc,test,security,message".split(",")
)
_place = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?").fullmatch
_switches = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a session; see :class:`~pyami_sync.AMIClient` for their meaning."""

    host: str = "localhost"
    port: int = PORT
    username: str = ""
    secret: str = field(default="", repr=False)
    auth: Literal["md5", "plain"] = "md5"
    event_mask: str | None = None
    event_filter: Literal["auto"] | None = None
    tls: TLS | ssl.SSLContext | None = None
    timeout: float | None = 10.0
    connect_timeout: float = 10.0
    keepalive: float | None = 30.0
    keepalive_timeout: float = 10.0
    stall_after: float | None = 5.0
    reconnect: ReconnectPolicy | None = field(default_factory=ReconnectPolicy)
    when_down: Literal["wait", "fail"] = "wait"
    wait_fully_booted: bool = False
    encoding: str = "utf-8"
    name: str = "pyami"
    limits: Limits = field(default_factory=Limits)
    node: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.host, str) and any(each in self.host for each in "@/?#"):
            # The value is not shown, because it probably contains the secret.
            raise ValueError("host is a name or an address; write a URL with its scheme: ami://user:secret@host:5038")
        for name, text in (("username", self.username), ("secret", self.secret)):
            if not isinstance(text, str) or any(each in text for each in "\r\n\0"):
                raise ValueError(f"{name} is text without CR, LF or NUL")
        if isinstance(self.host, str) and self.host.count(":") == 1:  # an IPv6 address has more
            raise ValueError(
                "host is a name or an address; give the port as port=5038 or in ami://user:secret@host:5038"
            )
        if not isinstance(self.host, str) or not self.host or any(ord(each) <= 32 for each in self.host):
            raise ValueError(f"host is a name or an address, not {self.host!r}")
        if not isinstance(self.port, int) or not 0 < self.port < 65536:
            raise ValueError(f"port is a number from 1 to 65535, not {self.port!r}")
        if self.auth not in ("md5", "plain"):
            raise ValueError(f"auth is 'md5' or 'plain', not {self.auth!r}")
        if self.event_filter not in ("auto", None):
            raise ValueError(f"event_filter is 'auto' or None, not {self.event_filter!r}")
        if self.when_down not in ("wait", "fail"):
            raise ValueError(f"when_down is 'wait' or 'fail', not {self.when_down!r}")
        for name in ("timeout", "connect_timeout", "keepalive", "keepalive_timeout", "stall_after"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int | float) or not value > 0):
                raise ValueError(f"{name} is a positive number of seconds, not {value!r}")
        if not keeps_ascii(self.encoding):
            raise ValueError(f"encoding must be a codec that leaves ASCII as it is, not {self.encoding!r}")

    @property
    def address(self) -> str:
        """The server's address, for messages."""
        return f"{self.host}:{self.port}"


def make_options(given: dict[str, Any]) -> Options:
    """Return options made of keyword arguments, in all forms that users may pass.

    Raises:
        TypeError: an option that does not exist.
        ValueError: a value that is not allowed.

    """
    check_names(given)
    given = dict(given)
    if "port" not in given and isinstance(given.get("host"), str):
        given.update(split_port(given["host"]))
    if "event_mask" in given:
        given["event_mask"] = event_mask(given["event_mask"])
    tls = given.get("tls")
    if isinstance(tls, bool):
        given["tls"] = TLS() if tls else None
    if given.get("tls") is not None:
        given.setdefault("port", TLS_PORT)
    if isinstance(given.get("reconnect"), bool):
        given["reconnect"] = ReconnectPolicy() if given["reconnect"] else None
    return Options(**given)


def split_port(place: str) -> dict[str, Any]:
    """Split ``pbx:5038`` or ``[::1]:5038`` into host and port; a mere host or a bare IPv6 address has no port."""
    match = _place(place)
    if match is None:
        return {"host": place}
    found: dict[str, Any] = {"host": match["bracketed"] or match["name"]}
    if match["port"]:
        found["port"] = int(match["port"])
    return found


def check_names(given: Iterable[str], more: Iterable[str] = ()) -> None:
    """Raise an exception if an option does not exist; its message suggests the one that was probably meant.

    Args:
        given: names of options.
        more: names that may have been meant, besides those of a session.

    Raises:
        TypeError: an option that does not exist.

    """
    known = {each.name for each in fields(Options)}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TypeError(f"no such option: {meant(unknown, {*known, *more, 'transport'})}")


def meant(names: Iterable[str], known: Iterable[str]) -> str:
    """Return text on unknown names, with the names probably meant; with all known names if none is similar."""
    told = []
    for name in sorted(names):
        near = get_close_matches(name.lower(), known, n=1)
        told.append(f"{name}; did you mean {near[0]}?" if near else f"{name} (there are {', '.join(sorted(known))})")
    return " ".join(told)


def event_mask(mask: str | bool | Iterable[str] | None) -> str | None:
    """Check an event mask and return it in the server's spelling.

    A server ignores a mistyped class, or one that follows a blank, and answers with success.

    Raises:
        ValueError: there is no such class.

    """
    if mask is None:
        return None
    if isinstance(mask, bool):
        return "on" if mask else "off"
    names = [name.strip().lower() for name in (mask.split(",") if isinstance(mask, str) else mask)]
    if len(names) == 1 and names[0] in ("on", "off", "all", "none", "yes", "no", "true", "false"):
        return "on" if names[0] in ("on", "all", "yes", "true") else "off"
    unknown = [name for name in names if name not in EVENT_CLASSES]
    if unknown or not names:
        raise ValueError(f"no such event class: {', '.join(unknown)} (there are {', '.join(sorted(EVENT_CLASSES))})")
    return ",".join(names)


def options_from_url(url: str | None, given: dict[str, Any] | None = None) -> Options:
    """Return options from a URL, by default from ``AMI_URL`` (and the secret, if that URL has none, from
    ``AMI_SECRET``); further options take precedence over it.

    ``ami://user:secret@host:5038/?timeout=5&event_mask=call,agent``, ``amis://`` for TLS with ``ca_file``,
    ``cert_file``, ``key_file``, ``server_name`` and ``verify`` in the query. In the user and the secret,
    percent-encode everything but letters and digits.

    Raises:
        ValueError: it is no such URL; the message never shows the secret.

    """
    given = dict(given or {})
    defaults: dict[str, Any] = {}
    if url is None:
        url = os.environ.get("AMI_URL")
        if not url:
            if "host" in given:
                return make_options(given)
            raise ValueError("no server given: pass a URL or a host, or set AMI_URL=ami://user:secret@host:5038")
        if "AMI_SECRET" in os.environ:
            defaults["secret"] = os.environ["AMI_SECRET"]
    return make_options({**defaults, **url_settings(url), **given})


def broker_url(url: str | None) -> str | None:
    """Return the URL, or that in ``AMI_URL``, if it is a broker's and not a server's; otherwise :data:`None`."""
    found = url if url is not None else os.environ.get("AMI_URL")
    return found if found is not None and found.startswith(BROKERS) else None


def url_settings(url: str) -> dict[str, Any]:
    """Return the options in a URL, or in a ``host``, ``host:port`` or ``user@host:port``.

    Raises:
        ValueError: it is no such URL; the message never shows the secret.

    """
    if "://" not in url:
        user, at, place = url.rpartition("@")
        if at and user and not any(each in user for each in ":/?#@"):  # more than a user may be a secret
            return {"username": user, **split_port(place)}
        return split_port(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the URL can't be read: ami://user:secret@host:5038 (percent-encode the secret)") from None
    if parts.scheme not in ("ami", "amis") or not parts.hostname:
        raise ValueError(f"a URL begins with ami:// or amis:// and names a host, not {parts.scheme}://…")
    if parts.path not in ("", "/") or parts.fragment:
        raise ValueError(
            "after the host a URL can have options only, ?timeout=5 (percent-encode / and # in the secret)"
        )
    found: dict[str, Any] = {"host": parts.hostname}
    if port is not None:
        found["port"] = port
    if parts.username is not None:
        found["username"] = unquote(parts.username)
    if parts.password is not None:
        found["secret"] = unquote(parts.password)
    query, tls = _query(parts.query)
    if tls and parts.scheme != "amis":
        raise ValueError(f"{', '.join(tls)} need amis://")
    if parts.scheme == "amis":
        found["tls"] = TLS(**tls)
    return {**found, **query}


def _query(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options in a URL's query: those of the session and those of TLS."""
    tls_names = {each.name for each in fields(TLS)}
    numbers = ("timeout", "connect_timeout", "keepalive", "keepalive_timeout", "stall_after")
    switched = ("verify", "reconnect", "wait_fully_booted")
    texts = ("auth", "event_mask", "event_filter", "encoding", "name", "when_down")
    found: dict[str, Any] = {}
    tls: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        where = tls if name in tls_names else found
        if name in numbers:
            try:
                where[name] = None if value.lower() == "none" else float(value)
            except ValueError:
                raise ValueError(f"{name} in the URL is a number of seconds or none, not {value!r}") from None
        elif name in switched:
            if value.lower() not in _switches:
                raise ValueError(f"{name} in the URL is yes or no, not {value!r}")
            where[name] = _switches[value.lower()]
        elif name in texts or name in tls_names:
            where[name] = value
        else:
            raise ValueError(f"no such option in the URL: {meant([name], {*texts, *numbers, *switched, *tls_names})}")
    return found, tls
