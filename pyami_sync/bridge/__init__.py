"""Events and actions of many servers over a broker, for many workers on many machines.

A bridge holds one session with each server and publishes its events; clients subscribe and send actions through the
broker, with the interface of :class:`~pyami_sync.AMIClient`.
"""

from __future__ import annotations

from .client import BridgeClient
from .config import BridgeConfig, read_config
from .envelope import Position, Record, event_of, make_record
from .errors import BrokerUnavailable, Fenced, NotSupported
from .groups import Worker
from .leader import LeaderStats
from .requests import AllowList, Answer, Request, Rule
from .sequence import Sequence
from .service import Bridge, BridgeHealth
from .state import view_of
from .transport import Delivery, GroupReader, Lease, Reader, Transport, open_transport

__all__ = [
    "AllowList",
    "Answer",
    "Bridge",
    "BridgeClient",
    "BridgeConfig",
    "BridgeHealth",
    "BrokerUnavailable",
    "Delivery",
    "Fenced",
    "GroupReader",
    "LeaderStats",
    "Lease",
    "NotSupported",
    "Position",
    "Reader",
    "Record",
    "Request",
    "Rule",
    "Sequence",
    "Transport",
    "Worker",
    "event_of",
    "make_record",
    "open_transport",
    "read_config",
    "view_of",
]
