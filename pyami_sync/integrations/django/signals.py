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
"""Sent for each event. ``sender`` is the event's class, such as ``events.Hangup`` (or ``Event``); the arguments are
``event`` and ``client``.
"""

ami_connected = Signal()
"""Sent when the session is connected, at first and after each reconnect, before any event of that connection: the
moment to read the state of the server. ``sender`` is the client's class; the arguments are ``client`` and ``marker``,
the event ``Reconnected`` with the length of the gap, or :data:`None` the first time.
"""

ami_events_lost = Signal()
"""Sent where events are missing because receivers were too slow. ``sender`` is the client's class; the arguments are
``client`` and ``count``, the number of missing events.
"""
