"""A threaded, synchronous client for the Asterisk Manager Interface (AMI), for blocking Python.

::

    from pyami_sync import connect

    with connect("ami://admin:secret@pbx") as ami:
        ami.send("QueueAdd", Queue="support", Interface="PJSIP/1101")

"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_names
from .version import version as __version__

if TYPE_CHECKING:
    from . import actions, events
    from .client import AMIClient, connect
    from .cluster.health import NodeHealth, Readiness
    from .cluster.node import Node
    from .cluster.pool import ClusterPool
    from .connection.tls import TLS
    from .engine.futures import ExpectedEvent
    from .engine.handle import Handle
    from .exceptions import (
        ActionError,
        ActionTimeout,
        AMIError,
        ClusterError,
        ConcurrencyError,
        ConnectError,
        ConnectionClosed,
        ConnectionLost,
        EventsLost,
        InvalidAction,
        LocalProtocolError,
        LoginRejected,
        NoNodeAvailable,
        ProtocolError,
        RemoteProtocolError,
        UnknownNode,
        WaitTimeout,
    )
    from .session.metrics import Quantiles, Stats, SubscriptionStats
    from .session.reconnect import ReconnectPolicy
    from .session.session import State
    from .subscriptions.subscribers import EventStream, Subscription
    from .wire.action import Action
    from .wire.message import Event, Message
    from .wire.protocol import AMIVersion, Limits
    from .wire.response import Response

__all__ = [
    "TLS",
    "AMIClient",
    "AMIError",
    "AMIVersion",
    "Action",
    "ActionError",
    "ActionTimeout",
    "ClusterError",
    "ClusterPool",
    "ConcurrencyError",
    "ConnectError",
    "ConnectionClosed",
    "ConnectionLost",
    "Event",
    "EventStream",
    "EventsLost",
    "ExpectedEvent",
    "Handle",
    "InvalidAction",
    "Limits",
    "LocalProtocolError",
    "LoginRejected",
    "Message",
    "NoNodeAvailable",
    "Node",
    "NodeHealth",
    "ProtocolError",
    "Quantiles",
    "Readiness",
    "ReconnectPolicy",
    "RemoteProtocolError",
    "Response",
    "State",
    "Stats",
    "Subscription",
    "SubscriptionStats",
    "UnknownNode",
    "WaitTimeout",
    "__version__",
    "actions",
    "connect",
    "events",
]

_MODULES = {
    "wire.action": ("Action",),
    "client": ("AMIClient", "connect"),
    "cluster.pool": ("ClusterPool",),
    "exceptions": (
        "ActionError",
        "ActionTimeout",
        "AMIError",
        "ClusterError",
        "ConcurrencyError",
        "ConnectError",
        "ConnectionClosed",
        "ConnectionLost",
        "EventsLost",
        "InvalidAction",
        "LocalProtocolError",
        "LoginRejected",
        "NoNodeAvailable",
        "ProtocolError",
        "RemoteProtocolError",
        "UnknownNode",
        "WaitTimeout",
    ),
    "engine.futures": ("ExpectedEvent",),
    "engine.handle": ("Handle",),
    "cluster.health": ("NodeHealth", "Readiness"),
    "wire.message": ("Event", "Message"),
    "session.metrics": ("Quantiles", "Stats", "SubscriptionStats"),
    "cluster.node": ("Node",),
    "wire.protocol": ("AMIVersion", "Limits"),
    "session.reconnect": ("ReconnectPolicy",),
    "wire.response": ("Response",),
    "session.state": ("State",),
    "subscriptions.subscribers": ("EventStream", "Subscription"),
    "connection.tls": ("TLS",),
}

__getattr__, __dir__ = lazy_names(__name__, _MODULES, ("actions", "events"))
