"""Finds the rights that Python code needs, by analysing the actions that it sends and the events that it uses."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from ..vocabulary.catalogue.vocabulary import Vocabulary, class_name, load_facts

__all__ = ["Needs", "User", "find_needs", "smallest_user"]

SENDING = {"send": 0, "submit": 0, "broadcast": 0, "send_any": 0, "send_to": 1}
"""Methods with an action as argument, and the index of that argument."""
LISTENING = frozenset({"on", "events", "wait_for", "expect", "observable"})
METHODS = {
    "ping": ("Ping",),
    "command": ("Command",),
    "originate": ("Originate",),
    "call": ("Originate", "Hangup"),
    "live": ("CoreShowChannels", "BridgeList", "BridgeInfo", "QueueStatus", "ParkedCalls", "ConfbridgeListRooms"),
    "server_version": ("CoreSettings",),
}
"""Methods and attributes of a client that send particular actions."""
CLIENTS = frozenset({"ami", "client", "pool", "manager"})
"""Variable names that are taken for a client, for methods with common names such as `call` and `live`."""
COMMON = frozenset({"call", "live", "command", "ping"})
DANGER = (
    "reporting",
    "agent",
    "user",
    "call",
    "message",
    "originate",
    "agi",
    "aoc",
    "dialplan",
    "cdr",
    "config",
    "command",
    "system",
)
"""Write classes from the least to the most dangerous."""


@cache
def _vocabulary() -> Vocabulary:
    return Vocabulary(load_facts())


@dataclass
class Needs:
    """The actions and events that the code uses, with the places in the code."""

    actions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    events: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    everything: set[str] = field(default_factory=set)
    """Places that listen to all events."""
    unknown: list[str] = field(default_factory=list)
    """Uses that could not be determined."""


@dataclass(frozen=True)
class User:
    """The user with the fewest rights for some needs."""

    read: list[str]
    write: list[str]
    reasons: Mapping[tuple[str, str], str]
    """The class for each action or event."""

    def section(self, name: str) -> list[str]:
        """Return the lines of its section in manager.conf."""
        lines = [f"[{name}]", "secret = CHANGE-ME", "deny = 0.0.0.0/0.0.0.0", "permit = 127.0.0.1/255.255.255.255"]
        lines.append(f"read = {','.join(self.read)}")
        lines.append(f"write = {','.join(self.write)}")
        return lines


def find_needs(source: str, file: str, needs: Needs) -> None:
    """Add the needs of one file.

    Raises:
        SyntaxError: it is not Python.

    """
    _Reader(file, needs).visit(ast.parse(source, file))


class _Reader(ast.NodeVisitor):
    def __init__(self, file: str, needs: Needs) -> None:
        self.file = file
        self.needs = needs
        self.known = _vocabulary()
        self.actions = {name.lower(): name for name in self.known.actions}
        self.event_classes = {class_name(name): name for name in self.known.events}

    def place(self, node: ast.AST) -> str:
        return f"{self.file}:{getattr(node, 'lineno', 0)}"

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            self.method(node.func.attr, node)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name):
            if node.value.id == "actions" and class_name(node.attr) in map(class_name, self.known.actions):
                self.needs.actions[node.attr].add(self.place(node))
            elif node.value.id == "events" and node.attr in self.event_classes:
                self.needs.events[self.event_classes[node.attr]].add(self.place(node))
            elif node.value.id == "events" and node.attr in self.known.groups:
                for name in self.known.members_of(node.attr):
                    self.needs.events[name].add(self.place(node))
        if node.attr == "server_version":
            self.needs.actions["CoreSettings"].add(self.place(node))
        self.generic_visit(node)

    def method(self, name: str, node: ast.Call) -> None:
        place = self.place(node)
        if name in SENDING:
            at = SENDING[name]
            if len(node.args) <= at:
                return
            action = node.args[at]
            if isinstance(action, ast.Constant) and isinstance(action.value, str):
                self.add_action(action.value, place)
            elif isinstance(action, ast.Call) and isinstance(action.func, ast.Name) and action.func.id == "Action":
                first = action.args[0] if action.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    self.add_action(first.value, place)
            elif not (isinstance(action, ast.Call) and isinstance(action.func, ast.Attribute)):
                receiver = _last_name(node.func)
                if receiver in CLIENTS:
                    self.needs.unknown.append(f"{place}: the action is put together at run time")
        elif name in LISTENING:
            self.listen(node, place)
        elif name in METHODS and (name not in COMMON or _last_name(node.func) in CLIENTS):
            for each in METHODS[name]:
                self.needs.actions[each].add(place)

    def add_action(self, name: str, place: str) -> None:
        known = self.actions.get(name.lower())
        if known is None:
            self.needs.unknown.append(f"{place}: no version of Asterisk has an action {name!r}")
        else:
            self.needs.actions[known].add(place)

    def listen(self, node: ast.Call, place: str) -> None:
        if not node.args:
            if _last_name(node.func) in CLIENTS:
                self.needs.everything.add(place)
            return
        for each in node.args:
            if not isinstance(each, ast.Constant) or not isinstance(each.value, str):
                continue  # classes are found as attributes of `events`
            matches = [name for name in self.known.events if fnmatchcase(name.lower(), each.value.lower())]
            if not matches and _last_name(node.func) in CLIENTS:
                self.needs.unknown.append(f"{place}: no version of Asterisk has an event {each.value!r}")
            for name in matches:
                self.needs.events[name].add(place)


def _last_name(node: ast.expr) -> str:
    """Return the name of the object of a method call: ``ami`` for ``self.ami.send``."""
    receiver = node.value if isinstance(node, ast.Attribute) else node
    if isinstance(receiver, ast.Attribute):
        return receiver.attr
    return receiver.id if isinstance(receiver, ast.Name) else ""


def smallest_user(needs: Needs) -> User:
    """Choose the classes: for each action the least dangerous one that allows it."""
    known = _vocabulary()
    reasons: dict[tuple[str, str], str] = {}
    write: set[str] = set()
    choices: list[tuple[str, list[str]]] = []
    for name in sorted(needs.actions):
        classes = list(known.actions[name]["privileges"])
        if classes:
            choices.append((name, classes))
        else:
            reasons["action", name] = "none"
    # First the actions that only one class allows, since that class may allow others, too.
    for name, classes in sorted(choices, key=lambda each: len(each[1])):
        chosen = next((each for each in classes if each in write), None) or min(classes, key=_danger)
        write.add(chosen)
        reasons["action", name] = chosen
    read: set[str] = set()
    for name in sorted(needs.events):
        classes = known.events[name]["privileges"]
        read.update(classes)
        reasons["event", name] = " and ".join(classes) or "none"
    return User(["all"] if needs.everything else _ordered(read), _ordered(write), reasons)


def _danger(name: str) -> int:
    return DANGER.index(name) if name in DANGER else len(DANGER)


def _ordered(classes: Iterable[Any]) -> list[str]:
    return sorted(classes, key=lambda each: (_danger(each), each))
