"""Django signals that ``manage.py ami_listen`` sends.

::

    @receiver(ami_event, sender=events.Hangup)
    def store(sender, event, client, **kwargs):
        Call.objects.filter(uniqueid=event.uniqueid).update(ended=event.received_at)

Receivers run one after the other on the main thread of that command, in wire order; a receiver that raises is
logged, and the others still run. They may use the client, and the database as a view does.
"""

from __future__ import annotations

from django.dispatch import Signal

__all__ = ["ami_connected", "ami_event", "ami_events_lost"]

ami_event = Signal()
"""An event came. ``sender`` is its class, such as ``events.Hangup`` (``Event`` if it has none of its own);
``event`` and ``client``."""

ami_connected = Signal()
"""There is a session, the first one or again after a loss: the moment to read the state of the server, before any
event of this session is sent. ``sender`` is the client's class; ``client``, and ``marker``: the event
``Reconnected`` with the length of the gap, or :data:`None` the first time."""

ami_events_lost = Signal()
"""Receivers were slower than the server: ``count`` events are missing here. ``sender`` is the client's class;
``client`` and ``count``."""
