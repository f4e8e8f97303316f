"""The uses of ``doctor --for``: the read classes and actions that each needs, and the check of a user's rights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...vocabulary.catalogue.vocabulary import load_facts
from ..permissions import Needs, smallest_user
from .findings import Finding

__all__ = ["USES", "Use", "check_use", "classes_of", "example"]

CALLS = ("CoreShowChannels", "BridgeList", "BridgeInfo")
QUEUES = ("QueueStatus",)
LIVE = ("agent", "call", "dialplan", "system")  # event_mask() of the live model
ENDPOINTS = ("PJSIPShowEndpoints", "PJSIPShowContacts")


@dataclass(frozen=True)
class Use:
    """A use of a server, with the rights that it needs."""

    text: str
    read: tuple[str, ...]
    """Classes of the events that it needs."""
    actions: tuple[str, ...] = ()
    """Actions that it sends."""


USES = {
    "wallboard": Use("the wallboard of the examples", LIVE, (*CALLS, *QUEUES)),
    "operator": Use(
        "the wallboard with its operator's page",
        LIVE,
        (*CALLS, *QUEUES, "Originate", "Hangup", "Redirect", "QueuePause", "QueueAdd", "QueueRemove"),
    ),
    "top": Use("`pyami-sync top`", LIVE, (*CALLS, *QUEUES, *ENDPOINTS)),
    "exporter": Use(
        "`pyami-sync exporter`",
        LIVE,
        (*CALLS, *QUEUES, *ENDPOINTS, "ConfbridgeListRooms", "ParkedCalls", "DeviceStateList"),
    ),
    "listener": Use("a listener to calls and queues", ("call", "agent", "system")),
    "calls": Use(
        "placing calls and following them",
        ("call", "dialplan"),
        ("Originate", "Hangup", "Redirect", "CoreShowChannels"),
    ),
    "queues": Use("looking after queues", ("agent",), (*QUEUES, "QueuePause", "QueueAdd", "QueueRemove")),
    "agi": Use("call scripts over AsyncAGI", ("agi",), ("AGI", "Getvar", "CoreShowChannels")),
    "console": Use("console commands", (), ("Command",)),
}
"""Uses by name."""


def check_use(use: Use, user: str, read: Iterable[str] | None, offered: Iterable[str]) -> Iterator[Finding]:
    """Compare the rights that a use needs with those of a user.

    Args:
        use: the use.
        user: name of the user in manager.conf.
        read: the user's read classes; None if they are not known.
        offered: names of the actions that the server offers to this user.

    """
    offers = {name.lower() for name in offered}
    needs = Needs()
    for name in use.actions:
        if name.lower() not in offers:
            needs.actions[name].add(user)
    has = classes_of(offers)
    missing = smallest_user(needs)
    lacks: dict[str, list[str]] = {}
    for (_, name), cls in missing.reasons.items():
        facts = next(each for each in load_facts()["actions"] if each["name"] == name)
        if not facts["privileges"] or has & set(facts["privileges"]):
            yield Finding(
                "use",
                "warn",
                f"the server has no action {name}",
                "is its module loaded (asterisk -rx 'module show')? Without it, what it lists stays empty",
            )
        else:
            lacks.setdefault(cls, []).append(name)
    for cls, names in lacks.items():
        yield Finding(
            "use",
            "fail",
            f"write class {cls} is missing for {use.text}: no {', '.join(names)}",
            f"add {cls} to write = in [{user}] of manager.conf, then log in again",
        )
    if read is None and use.read:
        yield Finding(
            "use",
            "warn",
            f"{use.text} needs read = {','.join(sorted(use.read))}; the server does not tell {user} what it has",
            f"on the server: asterisk -rx 'manager show user {user}'; or --manager-conf FILE",
        )
    gone = [cls for cls in sorted(use.read) if read is not None and cls not in read]
    for cls in gone:
        yield Finding(
            "use",
            "fail",
            f"read class {cls} is missing for {use.text}: {example('read', cls)}",
            f"add {cls} to read = in [{user}] of manager.conf, then log in again",
        )
    if not lacks and not gone and (read is not None or not use.read):
        yield Finding("use", "ok", f"{user} may do all that is needed for {use.text}")


def classes_of(offers: set[str]) -> set[str]:
    """Return the write classes that follow from the offered actions: those that alone allow one of them."""
    return {
        str(action["privileges"][0])
        for action in load_facts()["actions"]
        if len(action["privileges"]) == 1 and action["name"].lower() in offers
    }


def example(kind: str, name: str) -> str:
    """Return examples of what does not work without a class."""
    facts = load_facts()
    records = facts["events"] if kind == "read" else facts["actions"]
    names = [each["name"] for each in records if each["privileges"] == [name]][:3]
    return f"no {', '.join(names)}" if names else f"no {'events' if kind == 'read' else 'actions'} of that class"
