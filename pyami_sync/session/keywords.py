"""The types of options as keyword arguments, for editors and type checkers.

At run time :func:`~pyami_sync.session.options.make_options` checks them; a test compares the two.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any, Literal, TypedDict

from ..connection.tls import TLS
from ..wire.action import HeaderValue
from ..wire.protocol import Limits
from .reconnect import ReconnectPolicy

__all__ = ["ClientOptions", "ConnectOptions", "NodeDefaults", "NodeOptions", "OriginateHeaders", "SessionOptions"]


class SessionOptions(TypedDict, total=False):
    """Options of any session."""

    username: str
    secret: str
    auth: Literal["md5", "plain"]
    event_mask: str | bool | Iterable[str] | None
    event_filter: Literal["auto"] | None
    tls: TLS | ssl.SSLContext | bool | None
    timeout: float | None
    connect_timeout: float
    keepalive: float | None
    keepalive_timeout: float
    stall_after: float | None
    reconnect: ReconnectPolicy | bool | None
    when_down: Literal["wait", "fail"]
    wait_fully_booted: bool
    encoding: str
    limits: Limits


class ClientOptions(SessionOptions, total=False):
    """Options of :class:`~pyami_sync.AMIClient`, besides its address."""

    name: str
    node: str | None
    transport: Any
    callback_threads: int


class ConnectOptions(ClientOptions, total=False):
    """Options of :func:`~pyami_sync.connect`; the last two are for a client that is connected by a broker."""

    host: str
    port: int
    user: str
    start: str


class NodeDefaults(SessionOptions, total=False):
    """Default options of the nodes of a cluster."""

    port: int
    secret_env: str
    secret_file: str


class NodeOptions(NodeDefaults, total=False):
    """Options of one node of a cluster."""

    url: str
    host: str
    system_name: str


class OriginateHeaders(TypedDict, total=False):
    """Headers of Originate that :meth:`~pyami_sync.AMIClient.originate` takes besides the channel."""

    Account: HeaderValue
    ActionID: HeaderValue
    Application: HeaderValue
    Async: HeaderValue
    CallerID: HeaderValue
    ChannelId: HeaderValue
    Codecs: HeaderValue
    Context: HeaderValue
    Data: HeaderValue
    EarlyMedia: HeaderValue
    Exten: HeaderValue
    OtherChannelId: HeaderValue
    PreDialGoSub: HeaderValue
    Priority: HeaderValue
    Timeout: HeaderValue
    Variable: HeaderValue
