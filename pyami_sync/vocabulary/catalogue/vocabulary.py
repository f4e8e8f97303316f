"""Derives names of attributes and classes, versions and texts from the table of facts.

Used by the generator and by the documentation's reference; the client does not need it at run time.
"""

from __future__ import annotations

import json
import keyword
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["FACTS", "Vocabulary", "class_name", "load_facts", "snake_case"]

FACTS = Path(__file__).resolve().parent / "facts.json"
Record = Mapping[str, Any]
_words = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+\d*|[A-Z]+\d*|\d+[a-z]*")


def load_facts() -> dict[str, Any]:
    """Read the table of facts."""
    facts: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    return facts


def snake_case(header: str) -> str:
    """Return the attribute for a header's name: ``caller_id_num`` for ``CallerIDNum``."""
    return "_".join(_words.findall(header.replace("(n)", ""))).lower()


def class_name(name: str) -> str:
    """Return the class name for an event's name."""
    return name.replace("-", "_").replace(" ", "")


class Vocabulary:
    """The facts, with the rules for names and texts made of them.

    Args:
        facts: the table that :func:`load_facts` returns.

    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self.actions: dict[str, Record] = {action["name"]: action for action in facts["actions"]}
        self.events: dict[str, Record] = {event["name"]: event for event in facts["events"]}
        self.groups: dict[str, Record] = {group["name"]: group for group in facts["groups"]}
        self._spelling = self._spellings()

    def _spellings(self) -> dict[str, str]:
        """Return the spelling to use for each header's name, by the name in lower case: the most frequent one."""
        counts: dict[str, Counter[str]] = {}
        for event in self.facts["events"]:
            for field in event["fields"]:
                counts.setdefault(field["name"].lower(), Counter())[field["name"]] += 1
        for action in self.facts["actions"]:
            for parameter in action["parameters"]:
                counts.setdefault(parameter["name"].lower(), Counter())[parameter["name"]] += 1
        for kind in ("channel", "bridge"):
            for field in self.facts[kind]:
                counts.setdefault(field["name"].lower(), Counter())[field["name"]] += 1000
        return {name: found.most_common(1)[0][0] for name, found in counts.items()}

    def attribute(self, field: Record) -> str:
        """Return the name of the attribute for a field or parameter."""
        if "attribute" in field:
            return str(field["attribute"])
        lowered = str(field["name"]).lower()
        name = self.facts["names"].get(lowered) or snake_case(self._spelling.get(lowered, lowered))
        return f"{name}_" if keyword.iskeyword(name) else str(name)

    def prefixed(self, kind: str, prefix: str) -> list[Record]:
        """Return the fields of a channel's or bridge's snapshot under a prefix."""
        return [
            {**field, "name": prefix + field["name"], "attribute": snake_case(prefix) + "_" + self.attribute(field)}
            if prefix
            else field
            for field in self.facts[kind]
        ]

    def text(self, field: Record) -> str:
        """Return a field's description; empty if its name is enough."""
        return str(field.get("text") or self.facts["glossary"].get(field["name"].lower(), ""))

    def all_fields(self, event: Record) -> list[Record]:
        """Return all fields of an event, those of its snapshots included."""
        found: list[Record] = []
        for kind in ("channel", "bridge"):
            for prefix in event.get(kind, ()):
                found += self.prefixed(kind, prefix)
        return found + list(event["fields"])

    def versions(self, record: Record) -> str:
        """Return the versions of Asterisk that have it, as text."""
        known = list(self.facts["versions"])
        first, last = record["versions"][0], record["versions"][-1]
        if "since" in record:
            return f"Asterisk {record['since']} and later"
        if first == known[0]:
            return f"Asterisk {first} to {last}" if first != last else f"Asterisk up to {first}"
        return f"Asterisk {first} and later" if last == known[-1] else f"Asterisk {first} to {last}"

    def groups_of(self, event: str) -> list[str]:
        """Return the groups that an event belongs to directly, the more specific ones first."""
        return [name for name, group in self.groups.items() if event in group["events"]]

    def members_of(self, group: str) -> list[str]:
        """Return the names of the events in a group, those of its subgroups included."""
        found = list(self.groups[group]["events"])
        for name, other in self.groups.items():
            if other.get("parent") == group:
                found += self.members_of(name)
        return found

    def shared_fields(self, group: str) -> list[Record]:
        """Return the fields, besides snapshots, that all events of a group have."""
        events = [self.events[name] for name in self.members_of(group)]
        if len(events) < 2:
            return []
        first, *others = ({self.key(field): field for field in event["fields"]} for event in events)
        return [field for key, field in first.items() if all(key in other for other in others)]

    def key(self, field: Record) -> tuple[str, str, str]:
        """Return a value that is equal for two fields that are the same."""
        return field["name"].lower(), field.get("type", "text"), self.attribute(field)
