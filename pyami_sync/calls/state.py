"""CallState: the state and outcome of one call, derived from its events alone; no I/O, no clock, no threads.

Asterisk publishes the events of a call from several threads, so an OriginateResponse may arrive before or after the
DialEnd and the Hangup of the same channel. An outcome is decided once everything that it depends on has arrived.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime

from ..wire.message import Event
from .outcome import CAUSES, Outcome, from_cause, from_dial_status, from_reason

__all__ = ["EVENTS", "IDENTITIES", "VARIABLES", "CallState", "Leg"]

EVENTS = (
    *("Newchannel", "Newstate", "Rename", "Hangup", "DialBegin", "DialState", "DialEnd", "OriginateResponse"),
    *("LocalBridge", "LocalOptimizationBegin", "LocalOptimizationEnd"),
    *("BridgeEnter", "BridgeLeave", "BridgeDestroy", "Hold", "Unhold", "MusicOnHoldStart", "MusicOnHoldStop"),
    *("ParkedCall", "UnParkedCall", "ParkedCallTimeOut", "ParkedCallGiveUp", "Pickup"),
    *("BlindTransfer", "AttendedTransfer", "DTMFBegin", "DTMFEnd"),
)
"""The events by which a call is followed."""
VARIABLES = ["FORWARDERNAME", "DIALSTATUS"]
"""Variables whose VarSet events are needed: the device that forwarded a call, and the result of a Dial without legs."""

_UP = "6"
REDIRECTED = 23
CLEARED = 16  # normal clearing
_DEFINITE = {Outcome.BUSY, Outcome.CONGESTION, Outcome.REJECTED, Outcome.UNREACHABLE}
"""Outcomes that the other side reported, which count even if a hangup was requested meanwhile."""


@dataclasses.dataclass(slots=True)
class Leg:
    """One channel of a call; users get a copy, which does not change.

    Times are those at which the events were read, on this machine's clock.
    """

    uniqueid: str
    channel: str = ""
    device: str = ""
    """The dialled device, such as ``1101`` of ``PJSIP/1101``; empty for a channel that was not dialled."""
    state: str = ""
    """The channel's state, such as ``Ringing`` or ``Up``."""
    number: str = ""
    name: str = ""
    started_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    """:data:`None` until it is known, and for a channel that was not dialled."""
    cause: int | None = None
    tech_cause: str | None = None
    """The technology's own code, such as a SIP status (from Asterisk 20.17 and 22.7 on)."""
    other_half: str = ""
    """For a Local channel, the unique id of its other half."""
    bridge: str = ""
    """The unique id of the bridge that it is in."""
    on_hold: bool = False
    parking_space: str = ""
    dial_status: str = ""
    forwarded: bool = False

    @property
    def ended(self) -> bool:
        """Return True if it has been hung up."""
        return self.ended_at is not None

    @property
    def talk_time(self) -> float | None:
        """Seconds from the answer to the end; :data:`None` if it was not answered or has not ended."""
        return seconds(self.answered_at, self.ended_at)

    @property
    def ring_time(self) -> float | None:
        """Seconds from the first ringing to the answer or the end; :data:`None` if it never rang."""
        return seconds(self.ringing_at, self.answered_at or self.ended_at)


def seconds(begin: datetime | None, end: datetime | None) -> float | None:
    """Return the seconds between two moments, if both are known."""
    return None if begin is None or end is None else max(0.0, (end - begin).total_seconds())


class CallState:
    """The state of one call. One thread applies events; any thread may read the attributes.

    Args:
        identity: the ``ChannelId`` of its channel, chosen by the library.
        other_identity: the ``OtherChannelId`` of a Local channel; empty for any other.
        started_at: when it was placed.

    """

    def __init__(self, identity: str, other_identity: str, started_at: datetime) -> None:
        self.identity = identity
        self.legs: dict[str, Leg] = {}
        self.current = identity
        """The unique id of the present called channel; it changes after a forward, and when a Local channel is
        optimised away.
        """
        self.own = {identity}
        self.other_identity = other_identity
        self.started_at = started_at
        self.ringing_at: datetime | None = None
        self.answered_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.outcome: Outcome | None = None
        self.ended = False
        self.cause: int | None = None
        self.tech_cause: str | None = None
        self.connected: Outcome | None = None
        """The outcome of connecting it with another party; decided by a bridge, or at the end."""
        self.connected_at: datetime | None = None
        self.gap = False
        """True if events of the call may be missing."""
        self.cancelled = False
        """True if a hangup was requested before the answer."""
        self.cancel_cause: int | None = CLEARED
        """The cause given with that hangup."""
        self.response: str | None = None  # of OriginateResponse
        self.reason: int | None = None
        self.responded_at: datetime | None = None
        self.ring_limit: float = 30.0
        self.orphan_since: datetime | None = None
        """When its channel forwarded it to a channel that is not known yet."""
        self._dialled = False  # True once DialBegin of its own channel was seen
        self._last_dial: Outcome | None = None

    # Reading

    @property
    def channel(self) -> str:
        """The name of its channel, or the unique id until the name is known."""
        leg = self.legs.get(self.current)
        return (leg.channel if leg is not None else "") or self.current

    # Events

    def apply(self, event: Event, members: Callable[[str], list[str]]) -> None:
        """Apply an event.

        Args:
            event: one of :data:`EVENTS` that names a channel of this call, or a bridge that one is in.
            members: returns the unique ids of the channels in a bridge.

        """
        handle = _HANDLERS.get(event.name)
        if handle is not None:
            handle(self, event, event.received_at or self.started_at)
        if event.name == "BridgeEnter":
            self._joined(event, members)
        elif event.name == "LocalOptimizationEnd":
            self._optimised(event, members)

    def leg(self, uniqueid: str, event: Event | None = None, prefix: str = "", at: datetime | None = None) -> Leg:
        """Return a leg, updated from the snapshot in an event; create it if there is none."""
        leg = self.legs.get(uniqueid)
        if leg is None:
            # Replaced, not modified, because other threads iterate over the dict.
            leg = Leg(uniqueid, started_at=at)
            self.legs = {**self.legs, uniqueid: leg}
        if event is not None:
            leg.channel = event.get(f"{prefix}Channel") or leg.channel
            leg.state = event.get(f"{prefix}ChannelStateDesc") or leg.state
            number, name = event.get(f"{prefix}CallerIDNum"), event.get(f"{prefix}CallerIDName")
            leg.number = number if number and number != "<unknown>" else leg.number
            leg.name = name if name and name != "<unknown>" else leg.name
        return leg

    def _newchannel(self, event: Event, at: datetime) -> None:
        leg = self.leg(event["Uniqueid"], event, at=at)
        if leg.uniqueid == self.identity:
            leg.other_half = self.other_identity
        elif leg.uniqueid == self.other_identity:
            leg.other_half = self.identity

    def _newstate(self, event: Event, at: datetime) -> None:
        leg = self.leg(event["Uniqueid"], event)
        if event.get("ChannelState") == "5":
            self._ringing(leg, at)
        if leg.uniqueid == self.current and event.get("ChannelState") == _UP:
            self._answered(at)
            leg.answered_at = leg.answered_at or at
            leg.outcome = Outcome.ANSWERED

    def _ringing(self, leg: Leg, at: datetime) -> None:
        leg.ringing_at = leg.ringing_at or at
        if leg.uniqueid in self.own:
            self.ringing_at = self.ringing_at or at

    def _rename(self, event: Event, at: datetime) -> None:
        self.leg(event["Uniqueid"]).channel = event.get("Newname", "")

    def _dial_begin(self, event: Event, at: datetime) -> None:
        called = event.get("DestUniqueid", "")
        if called == self.identity:
            self._dialled = True
        elif not called or (event.get("Uniqueid") not in self.legs and called not in self.legs):
            return
        self.leg(called, event, "Dest", at).device = event.get("DialString", "")

    def _dial_state(self, event: Event, at: datetime) -> None:
        leg = self.legs.get(event.get("DestUniqueid", ""))
        if leg is not None and event.get("DialStatus") == "RINGING":
            self._ringing(leg, at)

    def _dial_end(self, event: Event, at: datetime) -> None:
        called = event.get("DestUniqueid", "")
        if not called or (called not in self.legs and event.get("Uniqueid") not in self.legs):
            return
        leg = self.leg(called, event, "Dest", at)
        status = leg.dial_status = event.get("DialStatus", "")
        if event.get("Forward"):
            leg.forwarded = True
        if status == "ANSWER":
            leg.answered_at = leg.answered_at or at
            leg.outcome = Outcome.ANSWERED
            if called == self.current:
                self._answered(at)
        else:
            self._judge_leg(leg)
        if called not in self.own:
            self._last_dial = leg.outcome
        self._conclude()

    def _judge_leg(self, leg: Leg) -> None:
        if leg.answered_at is None:
            leg.outcome = from_dial_status(leg.dial_status, leg.cause) or leg.outcome

    def _hangup(self, event: Event, at: datetime) -> None:
        leg = self.leg(event["Uniqueid"], event, at=at)
        leg.ended_at = leg.ended_at or at
        leg.bridge = ""
        leg.cause = _number(event.get("Cause"))
        leg.tech_cause = event.get("TechCause") or None
        if leg.cause == REDIRECTED:  # also if the DialEnd that reports it was lost
            leg.forwarded = True
        self._judge_leg(leg)
        if leg.uniqueid not in self.own and leg.dial_status not in ("", "ANSWER"):
            self._last_dial = leg.outcome  # now that the cause is known
        self._conclude()

    def _originate_response(self, event: Event, at: datetime) -> None:
        self.response, self.reason = event.get("Response", ""), _number(event.get("Reason"))
        self.responded_at = at
        if self.response == "Success":
            self._answered(at)
        self._conclude()

    def _local_bridge(self, event: Event, at: datetime) -> None:
        one, two = event.get("LocalOneUniqueid", ""), event.get("LocalTwoUniqueid", "")
        if not one or not two:
            return
        self.leg(one, event, "LocalOne").other_half = two
        self.leg(two, event, "LocalTwo", at).other_half = one

    def _bridge_leave(self, event: Event, at: datetime) -> None:
        self.leg(event["Uniqueid"], event).bridge = ""

    def _hold(self, event: Event, at: datetime) -> None:
        self.leg(event["Uniqueid"], event).on_hold = event.name == "Hold"

    def _parked(self, event: Event, at: datetime) -> None:
        leg = self.legs.get(event.get("ParkeeUniqueid", ""))
        if leg is not None:
            leg.parking_space = event.get("ParkingSpace", "") if event.name == "ParkedCall" else ""

    def _joined(self, event: Event, members: Callable[[str], list[str]]) -> None:
        leg = self.legs.get(event.get("Uniqueid", ""))
        if event.get("BridgeTechnology") == "holding_bridge":
            return  # parked or waiting in a queue, which is not a conversation
        if leg is not None:
            leg.bridge = event.get("BridgeUniqueid", "")
        own = self.legs.get(self.current)
        if own is not None and own.bridge and len(members(own.bridge)) > 1 and self.connected is None:
            self.connected = Outcome.ANSWERED
            self.connected_at = event.received_at

    def _optimised(self, event: Event, members: Callable[[str], list[str]]) -> None:
        """Follow the channel that replaces a Local channel which is optimised away.

        Both halves leave, and the channels that talked through them are joined directly, so the party of the other
        half becomes the party of this call.
        """
        own = self.legs.get(self.current)
        if own is None or self.current not in (event.get("LocalOneUniqueid"), event.get("LocalTwoUniqueid")):
            return
        half = self.legs.get(own.other_half)
        behind = [each for each in members(half.bridge) if each != half.uniqueid] if half and half.bridge else []
        if len(behind) == 1:
            self.follow(behind[0])

    def follow(self, uniqueid: str) -> None:
        """Make another channel the called one."""
        self.leg(uniqueid)
        self.own.add(uniqueid)
        self.current = uniqueid
        self.orphan_since = None

    def forwarded_to(self, events: Sequence[Event]) -> None:
        """Apply the VarSet events of the destination of a forward: one channel, or two halves of a Local channel.

        For a Local channel the first half becomes the called channel.
        """
        legs = [self.leg(event["Uniqueid"], event, at=event.received_at) for event in events]
        legs.sort(key=lambda leg: leg.channel)
        if len(legs) == 2:
            legs[0].other_half, legs[1].other_half = legs[1].uniqueid, legs[0].uniqueid
        self.legs[self.identity].forwarded = True
        self.follow(legs[0].uniqueid)

    def dial_status(self, status: str) -> None:
        """Apply ``DIALSTATUS`` of the called channel, which is also set if a Dial had no leg."""
        outcome = from_dial_status(status, None)
        if outcome is not None and outcome is not Outcome.ANSWERED and (self._last_dial is None or not status):
            self._last_dial = outcome

    # Conclusions

    def _answered(self, at: datetime | None) -> None:
        if self.answered_at is None and not self.gap:
            self.answered_at = at
        if self.outcome is None or self.outcome is Outcome.UNKNOWN:
            self.outcome = Outcome.ANSWERED

    def _conclude(self) -> None:
        """Decide the outcome and the end, if everything that they depend on is known."""
        if self.outcome is None:
            if self.response == "Failure" and self._over():
                self.decide()
                self.end(self.legs[self.current].ended_at)
            return
        current = self.legs.get(self.current)
        if current is None or not current.ended or self.ended:
            return
        if (current.forwarded and current.answered_at is None) or not self._over():
            self.orphan_since = current.ended_at
        else:
            self.end(current.ended_at)

    def _over(self) -> bool:
        """Return True if all channels that determine how the call ended have been hung up.

        After Busy() on a Local channel the first half ends without a cause, and the other half has it.
        """
        first, current = self.legs.get(self.identity), self.legs.get(self.current)
        if first is None or not first.ended or current is None or not current.ended:
            return False
        half = self.legs.get(current.other_half)
        return bool(current.cause) or half is None or half.ended

    def settle(self) -> None:
        """End a call for which no event has arrived for a while, with what is known."""
        current = self.legs.get(self.current)
        if self.outcome is None:
            self.decide()
        elif current is None or not current.ended or current.forwarded:
            self.lose()
            return
        self.end(current.ended_at if current is not None and current.ended else self.responded_at)

    def decide(self) -> None:
        """Decide the outcome of a call that was not answered, from what is known."""
        first, last = self.legs.get(self.identity), self.legs.get(self.current)
        half = self.legs.get(last.other_half) if last is not None else None
        self._take_cause(last, half)
        status = last.dial_status if last is not None and not last.forwarded else ""
        told = from_dial_status(status, None) if status in ("BUSY", "CONGESTION") else None
        if told is None and not (first is not None and first.forwarded and first is last):
            told = from_cause(self.cause)
        told = told or from_reason(self.reason)
        tried = seconds(self.started_at, self.responded_at) or 0.0
        if self.cancelled and (told not in _DEFINITE or self.cause == self.cancel_cause):
            outcome = Outcome.CANCELLED
        elif told is not None:
            outcome = told
        elif self.gap:
            outcome = Outcome.UNKNOWN  # the events that determine it may have been lost
        elif not self._dialled:
            outcome = Outcome.UNREACHABLE  # there is no such device, or it is not registered
        elif status or self.cause == CLEARED or tried >= self.ring_limit - 0.5:
            outcome = Outcome.NO_ANSWER
        else:
            outcome = Outcome.FAILED
        self.outcome = outcome
        for leg in (first, last):
            if leg is not None and not leg.forwarded:
                leg.outcome = outcome

    def _take_cause(self, leg: Leg | None, half: Leg | None) -> None:
        """Set the cause from the called channel, or from its other half if that has none, as after Busy()."""
        if leg is None:
            return
        self.cause, self.tech_cause = leg.cause, leg.tech_cause
        if not self.cause and half is not None and half.cause:
            self.cause, self.tech_cause = half.cause, half.tech_cause

    def end(self, at: datetime | None) -> None:
        """Record the end; values not known by now stay unknown."""
        last = self.legs.get(self.current)
        self._take_cause(last, self.legs.get(last.other_half) if last is not None else None)
        if self.outcome is None:
            self.outcome = Outcome.UNKNOWN
        if self.connected is None:
            answered = self.outcome is Outcome.ANSWERED
            self.connected = (self._last_dial or Outcome.FAILED) if answered else self.outcome
            if self.gap:
                self.connected = Outcome.UNKNOWN
        self.ended_at = at
        self.ended = True

    def lose(self) -> None:
        """End with an unknown outcome: the link was lost, or the channel was absent after a gap."""
        self.gap = True
        self.end(None)

    def still_there(self, channel: str, state: str) -> None:
        """Update the called channel from a fresh list after a gap."""
        leg = self.leg(self.current)
        leg.channel = channel
        if state == _UP:
            self._answered(None)

    @property
    def talk_time(self) -> float | None:
        """Seconds from the answer to the end."""
        return seconds(self.answered_at, self.ended_at)

    @property
    def ring_time(self) -> float | None:
        """Seconds from the first ringing to the answer or the end."""
        return seconds(self.ringing_at, self.answered_at or self.ended_at)

    @property
    def cause_text(self) -> str:
        """The cause in words."""
        return "" if self.cause is None else CAUSES.get(self.cause, f"cause {self.cause}")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


_TRANSFER = ("TransfererUniqueid", "TransfereeUniqueid", "TransferTargetUniqueid")
_DIAL = ("Uniqueid", "DestUniqueid")
_LOCAL = ("LocalOneUniqueid", "LocalTwoUniqueid")
_PARKING = ("ParkeeUniqueid", "ParkerUniqueid", "RetrieverUniqueid")
IDENTITIES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(EVENTS, ("Uniqueid",)),
    **dict.fromkeys(("DialBegin", "DialState", "DialEnd"), _DIAL),
    **dict.fromkeys(("LocalBridge", "LocalOptimizationBegin", "LocalOptimizationEnd"), _LOCAL),
    **dict.fromkeys(("ParkedCall", "UnParkedCall", "ParkedCallTimeOut", "ParkedCallGiveUp"), _PARKING),
    "BridgeDestroy": (),
    "Pickup": ("Uniqueid", "TargetUniqueid"),
    "BlindTransfer": _TRANSFER,
    "AttendedTransfer": (*_TRANSFER, "OrigTransfererUniqueid", "SecondTransfererUniqueid"),
}
"""The headers that name a channel, by event."""
_HANDLERS: dict[str, Callable[[CallState, Event, datetime], None]] = {
    "Newchannel": CallState._newchannel,
    "Newstate": CallState._newstate,
    "Rename": CallState._rename,
    "DialBegin": CallState._dial_begin,
    "DialState": CallState._dial_state,
    "DialEnd": CallState._dial_end,
    "Hangup": CallState._hangup,
    "OriginateResponse": CallState._originate_response,
    "LocalBridge": CallState._local_bridge,
    "BridgeLeave": CallState._bridge_leave,
    "Hold": CallState._hold,
    "Unhold": CallState._hold,
    "ParkedCall": CallState._parked,
    "UnParkedCall": CallState._parked,
    "ParkedCallTimeOut": CallState._parked,
    "ParkedCallGiveUp": CallState._parked,
}
