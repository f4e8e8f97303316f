"""Classes of rights, users, and event masks of the simulator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ALL", "CLASSES", "User", "bits_of", "event_classes", "names_of", "parse_mask"]

CLASSES = {
    name: 1 << bit
    for name, bit in {
        "system": 0,
        "call": 1,
        "log": 2,
        "verbose": 3,
        "command": 4,
        "agent": 5,
        "user": 6,
        "config": 7,
        "dtmf": 8,
        "reporting": 9,
        "cdr": 10,
        "dialplan": 11,
        "originate": 12,
        "agi": 13,
        "hookresponse": 14,
        "cc": 15,
        "aoc": 16,
        "test": 17,
        "security": 18,
        "message": 30,
    }.items()
}
"""Bit of each class of rights; the same classes for reading (events) and writing (actions)."""

ALL = sum(CLASSES.values())
_TRUE = {"yes", "true", "y", "t", "1", "on"}
_FALSE = {"no", "false", "n", "f", "0", "off"}

_EVENTS = {
    "system": """Alarm AlarmClear ContactStatus DNDState DeadlockStart FullyBooted Load LogChannel MobileStatus
        PJSIPMaintenanceStatus PeerStatus Registry Reload Shutdown SpanAlarm SpanAlarmClear Unload""",
    "agent": """AgentCalled AgentComplete AgentConnect AgentDump AgentLogin AgentLogoff AgentRingNoAnswer
        QueueCallerAbandon QueueCallerJoin QueueCallerLeave QueueEntry QueueMemberAdded QueueMemberPause
        QueueMemberPenalty QueueMemberRemoved QueueMemberRinginuse QueueMemberStatus""",
    "user": "JabberStatus UserEvent",
    "system,user": "VoicemailPasswordChange",
    "dialplan": "HangupHandlerPop HangupHandlerPush HangupHandlerRun Newexten VarSet",
    "dtmf": "DTMFBegin DTMFEnd",
    "reporting": "FAXSession FAXStats RTCPReceived RTCPSent TestEvent",
    "cdr": "Cdr",
    "agi": "AGIExecEnd AGIExecStart AsyncAGIEnd AsyncAGIExec AsyncAGIStart",
    "cc": """CCAvailable CCCallerRecalling CCCallerStartMonitoring CCCallerStopMonitoring CCFailure CCMonitorFailed
        CCOfferTimerStart CCRecallComplete CCRequestAcknowledged CCRequested""",
    "aoc": "AOC-D AOC-E AOC-S",
    "security": """AuthMethodNotAllowed ChallengeResponseFailed ChallengeSent FailedACL InvalidAccountID
        InvalidPassword InvalidTransport LoadAverageLimit MemoryLimit RequestBadFormat RequestNotAllowed
        RequestNotSupported SessionLimit SuccessfulAuth UnexpectedAddress""",
}
_classes = {event.lower(): names for names, events in _EVENTS.items() for event in events.split()}


def event_classes(event: str) -> str:
    """Return the classes of an event by its name, comma-separated; ``call`` for an unknown event."""
    return _classes.get(event.lower(), "call")


def bits_of(classes: str | Iterable[str]) -> int:
    """Bits of classes, as a comma-separated text or one by one; ``all`` and ``none`` are understood.

    Raises:
        ValueError: there is no such class.

    """
    words = classes.split(",") if isinstance(classes, str) else classes
    bits = 0
    for word in map(str.strip, words):
        if word in CLASSES:
            bits |= CLASSES[word]
        elif word == "all":
            bits |= ALL
        elif word not in ("", "none"):
            raise ValueError(f"{word!r} is no class of rights; there are {', '.join(CLASSES)}, all and none")
    return bits


def names_of(bits: int) -> str:
    """Return classes as in the header ``Privilege``."""
    return ",".join([name for name, bit in CLASSES.items() if bits & bit] + ["all"]) if bits else "<none>"


def parse_mask(text: str) -> int | None:
    """Read an event mask as manager.c does; :data:`None` for an empty one, which changes nothing.

    Its oddities are kept: a number is a set of bits, a word that is no class means none, and all words but
    the last match every class that begins with them.
    """
    if not text:
        return None
    if text.isdigit():
        return int(text)
    if text.lower() in _FALSE or text == "none":
        return 0
    if text.lower() in _TRUE or text == "all":
        return ALL
    *others, last = text.split(",")
    bits = bits_of([last]) if last in CLASSES or last == "all" else 0
    for word in others:
        for name, bit in [*CLASSES.items(), ("all", ALL)]:
            if name.startswith(word):
                bits |= bit
    return bits


@dataclass(frozen=True)
class User:
    """A user of the simulator, as in manager.conf.

    Args:
        secret: the secret.
        read: classes of events that the user may read: ``"all"``, ``"call,agent"`` or a list of names.
        write: classes of actions that the user may send.

    """

    secret: str
    read: str | tuple[str, ...] = "all"
    write: str | tuple[str, ...] = "all"

    @property
    def read_bits(self) -> int:
        """Bits of the read classes."""
        return bits_of(self.read)

    @property
    def write_bits(self) -> int:
        """Bits of the write classes."""
        return bits_of(self.write)
