"""Telephone calls: place a call, learn its outcome, and act on it or on any other channel.

::

    with ami.call("PJSIP/1101", to="200@internal", ring=30) as call:
        if call.wait_answered() is Outcome.ANSWERED:
            call.send_dtmf("1")

Made by :meth:`AMIClient.call() <pyami_sync.AMIClient.call>` and :meth:`ClusterPool.call()
<pyami_sync.ClusterPool.call>`; :meth:`AMIClient.channel() <pyami_sync.AMIClient.channel>` offers the same methods for
channels of other calls.
"""

from .call import Call
from .channel import Channel
from .hub import Calls
from .outcome import Outcome
from .state import Leg
from .stream import CallEvents
from .variables import Variables

__all__ = ["Call", "CallEvents", "Calls", "Channel", "Leg", "Outcome", "Variables"]
