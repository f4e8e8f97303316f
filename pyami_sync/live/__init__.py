"""The live model: channels, calls, queues, agents and so on of the servers, kept up to date by events.

::

    with connect() as ami, ami.live() as live:
        print(live.queues["support"].waiting)

The reducer (:class:`Reducer`, :func:`apply`, :func:`replay`) also runs on recorded events, without a server.
"""

from .areas import event_mask
from .calls import Call, CallRecord, Leg, Transfer
from .cluster import ClusterLive
from .draft import Change
from .entities import (
    Bridge,
    Channel,
    Conference,
    ConferenceMember,
    Contact,
    Device,
    Endpoint,
    Extension,
    Mailbox,
    ParkedCall,
    ParkingLot,
    Party,
    Queue,
    QueueCaller,
    QueueMember,
    Registration,
)
from .feed import ChangeStream, ChangeSubscription
from .jsonform import from_json, to_json, view_from_json
from .ladder import explain
from .live import Live
from .reducer import Reducer, apply, replay
from .view import View

__all__ = [
    "Bridge",
    "Call",
    "CallRecord",
    "Change",
    "ChangeStream",
    "ChangeSubscription",
    "Channel",
    "ClusterLive",
    "Conference",
    "ConferenceMember",
    "Contact",
    "Device",
    "Endpoint",
    "Extension",
    "Leg",
    "Live",
    "Mailbox",
    "ParkedCall",
    "ParkingLot",
    "Party",
    "Queue",
    "QueueCaller",
    "QueueMember",
    "Reducer",
    "Registration",
    "Transfer",
    "View",
    "apply",
    "event_mask",
    "explain",
    "from_json",
    "replay",
    "to_json",
    "view_from_json",
]
