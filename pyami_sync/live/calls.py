"""Call and CallRecord: the legs with the same Linkedid, and the record of a call that has ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .entities import Party, evolve

__all__ = ["Call", "CallRecord", "Leg", "Transfer"]

DISPOSITIONS = {
    "ANSWER": "ANSWERED",
    "BUSY": "BUSY",
    "NOANSWER": "NO ANSWER",
    "CANCEL": "NO ANSWER",
    "CONGESTION": "CONGESTION",
    "CHANUNAVAIL": "FAILED",
    "DONTCALL": "FAILED",
    "TORTURE": "FAILED",
    "INVALIDARGS": "FAILED",
}
"""The dispositions in Asterisk's call records (CDR) by the outcome of Dial."""


@dataclass(frozen=True)
class Leg:
    """A channel's part in a call; it stays in the call after the channel has ended."""

    uniqueid: str
    channel: str
    linkedid: str
    state: str = ""
    """State of the channel while it exists."""
    caller_id_num: str | None = None
    caller_id_name: str | None = None
    connected_line_num: str | None = None
    connected_line_name: str | None = None
    direction: str | None = None
    """``in``: the device called the server; ``out``: the server called the device; None: not known."""
    other_half: str | None = None
    """Unique id of the other half, for half of a Local channel."""
    optimized: bool = False
    """True for half of a Local channel that the server removed from the call by optimization."""
    dialed_by: str | None = None
    """Unique id of the channel that dialled this one; None also for calls that the server itself placed."""
    dial_string: str = ""
    dial_status: str | None = None
    """How dialling this leg ended, as in DIALSTATUS: ``ANSWER``, ``BUSY``, ``NOANSWER``, ``CANCEL`` …"""
    forwarded_to: str | None = None
    """Destination to which the device forwarded the call."""
    started: datetime | None = None
    dialed_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    ended: bool = False
    cause: int | None = None
    """Hangup cause (Q.850); None until it ends, and if its end was not seen."""
    cause_txt: str = ""
    tech_cause: str = ""
    bridge: str | None = None
    holding: bool = False
    """True if it is in a holding bridge, whose channels do not hear each other."""
    talk_since: datetime | None = None
    """When its present conversation began."""
    talk_time: float = 0.0
    """Seconds in conversations that have ended."""
    hold_since: datetime | None = None
    """When its device put the other side on hold."""
    hold_time: float = 0.0
    """Seconds that the other side was on hold, for holds that have ended."""
    queue: str | None = None
    """Name of the queue in which it waits."""
    queued_since: datetime | None = None
    queue_time: float = 0.0
    """Seconds waited in queues."""
    parked_since: datetime | None = None
    parked: bool = False
    inferred: bool = False
    """True if its beginning or its end was not reported by an event but inferred from lists."""

    @property
    def local(self) -> bool:
        """True for half of a Local channel."""
        return self.channel.startswith("Local/")

    @property
    def answered(self) -> bool:
        """True once it is known to have been answered."""
        return self.answered_at is not None or self.state == "Up" or self.dial_status == "ANSWER"

    @property
    def party(self) -> Party:
        """The party at its end."""
        return Party(self.caller_id_num, self.caller_id_name)

    @property
    def disposition(self) -> str:
        """Its outcome in the words of Asterisk's call records (CDR); ``UNKNOWN`` if it was not seen."""
        if self.answered:
            return "ANSWERED"
        if self.dial_status is not None:
            return DISPOSITIONS.get(self.dial_status, "FAILED")
        if self.ended and self.cause is None:
            return "UNKNOWN"
        if self.cause == 17:
            return "BUSY"
        return "NO ANSWER"


@dataclass(frozen=True)
class Transfer:
    """A transfer, a pick-up or a forward within a call."""

    kind: str
    """``blind``, ``attended``, ``blonde`` (attended, but completed before the target had answered), ``pickup`` or
    ``forward``."""
    by: str | None = None
    """Unique id of the channel that transferred the call."""
    transferee: str | None = None
    """Unique id of the channel that was moved."""
    target: str | None = None
    """Unique id of the channel that the transferee was connected with, if there was one."""
    to: str = ""
    """Extension, application or device to which the call was transferred."""
    result: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Call:
    """A call: the legs with the same Linkedid."""

    linkedid: str
    legs: tuple[Leg, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    queues: tuple[str, ...] = ()
    """Names of the queues that it has been in."""
    from_start: bool = False
    """True if the beginning of its first leg was seen."""

    def leg(self, uniqueid: str) -> Leg | None:
        """Return the leg with that unique id, or None."""
        return next((each for each in self.legs if each.uniqueid == uniqueid), None)

    def incomplete(self) -> Call:
        """Return a copy that is marked as incomplete."""
        return evolve(self, {"from_start": False})

    @property
    def parties(self) -> tuple[Leg, ...]:
        """The legs that are devices: all but halves of Local channels, unless there are no others."""
        return tuple(each for each in self.legs if not each.local) or self.legs

    @property
    def started(self) -> datetime | None:
        """When its first leg began."""
        return min((each.started for each in self.legs if each.started is not None), default=None)

    @property
    def answered(self) -> bool:
        """True once a called party has answered, or the server answered the caller."""
        return self.answered_at is not None or any(each.answered for each in self.parties)

    @property
    def answered_at(self) -> datetime | None:
        """When the first called party answered; if no party was called, when the caller was answered."""
        parties = self.parties
        called = [each for each in parties if each.direction == "out"] or list(parties)
        return min((each.answered_at for each in called if each.answered_at is not None), default=None)

    @property
    def direction(self) -> str | None:
        """The direction of its first party: ``in`` or ``out``, None when it is not known."""
        parties = self.parties
        return parties[0].direction if parties else None

    @property
    def talking(self) -> tuple[tuple[Leg, ...], ...]:
        """Its conversations: groups of legs that hear each other, also through Local channels."""
        return conversations(self.legs)

    @property
    def state(self) -> str:
        """Its state: ``talking``, ``hold``, ``parked``, ``queued``, ``ringing``, ``dialing``, ``up`` (answered
        and alone, as in a menu), ``new`` or ``ended``."""
        legs = [each for each in self.legs if not each.ended]
        if not legs:
            return "ended"
        groups = conversations(legs)
        if groups:
            held = any(each.hold_since is not None for group in groups for each in group)
            return "hold" if held else "talking"
        if any(each.parked for each in legs):
            return "parked"
        if any(each.queue is not None for each in legs):
            return "queued"
        if any(each.state == "Ringing" or (each.ringing_at and not each.answered) for each in legs):
            return "ringing"
        if any(each.direction == "out" and each.dial_status is None and not each.answered for each in legs):
            return "dialing"
        return "up" if any(each.answered for each in legs) else "new"


def conversations(legs: tuple[Leg, ...] | list[Leg]) -> tuple[tuple[Leg, ...], ...]:
    """Return groups of two or more legs that hear each other, leaving out the halves of Local channels between them."""
    groups: dict[str, str] = {}  # by bridge: a representative of the bridges that Local channels join with it

    def root(bridge: str) -> str:
        while groups[bridge] != bridge:
            bridge = groups[bridge]
        return bridge

    bridged = [each for each in legs if each.bridge is not None and not each.holding and not each.ended]
    halves: dict[str, str] = {}
    for leg in bridged:
        assert leg.bridge is not None
        groups.setdefault(leg.bridge, leg.bridge)
        if leg.other_half is not None:
            if leg.other_half in halves:
                groups[root(halves[leg.other_half])] = root(leg.bridge)
            halves[leg.uniqueid] = leg.bridge
    found: dict[str, list[Leg]] = {}
    for leg in bridged:
        assert leg.bridge is not None
        found.setdefault(root(leg.bridge), []).append(leg)
    shown = []
    for group in found.values():
        devices = tuple(each for each in group if not each.local)
        # If a device is alone, it talks to the far half of a Local channel: an application, perhaps.
        shown.append(devices if len(devices) > 1 else tuple(group))
    return tuple(group for group in shown if len(group) > 1)


@dataclass(frozen=True)
class CallRecord:
    """The record of a call that has ended."""

    linkedid: str
    legs: tuple[Leg, ...]
    transfers: tuple[Transfer, ...] = ()
    queues: tuple[str, ...] = ()
    complete: bool = True
    """True if the whole call was seen, without a gap."""
    node: str | None = None

    @property
    def _call(self) -> Call:
        return Call(self.linkedid, self.legs, self.transfers, self.queues, self.complete)

    @property
    def parties(self) -> tuple[Leg, ...]:
        """The legs that were devices; see :attr:`Call.parties`."""
        return self._call.parties

    @property
    def caller(self) -> Leg:
        """The leg that the call began with."""
        return self.parties[0]

    @property
    def answered_by(self) -> tuple[Leg, ...]:
        """The called parties that answered, in the order of their answers."""
        found = [each for each in self.parties if each.direction == "out" and each.answered]
        return tuple(sorted(found, key=lambda leg: leg.answered_at.timestamp() if leg.answered_at else float("inf")))

    @property
    def started(self) -> datetime | None:
        """When it began."""
        return self._call.started

    @property
    def answered_at(self) -> datetime | None:
        """When it was answered; see :attr:`Call.answered_at`."""
        return self._call.answered_at

    @property
    def ended_at(self) -> datetime | None:
        """When its last leg ended; None if that was not seen."""
        if any(each.ended_at is None for each in self.legs):
            return None
        return max(each.ended_at for each in self.legs if each.ended_at is not None)

    @property
    def ring_time(self) -> float | None:
        """Seconds from the first ringing to the first answer; None if either was not seen."""
        rang = min((each.ringing_at for each in self.legs if each.ringing_at is not None), default=None)
        answered = self.answered_at
        return None if rang is None or answered is None else max(0.0, (answered - rang).total_seconds())

    @property
    def talk_time(self) -> float:
        """Seconds for which the longest party talked."""
        return max((each.talk_time for each in self.parties), default=0.0)

    @property
    def hold_time(self) -> float:
        """Seconds on hold, of all parties together."""
        return sum(each.hold_time for each in self.parties)

    @property
    def queue_time(self) -> float:
        """Seconds waited in queues."""
        return sum(each.queue_time for each in self.legs)

    @property
    def cause(self) -> int | None:
        """Hangup cause of its first leg; None if that was not seen."""
        return self.caller.cause
