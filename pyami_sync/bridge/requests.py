"""Requests and answers for actions over a broker, and the allow-list of requesters."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from .. import Action, Event, Response

__all__ = ["AllowList", "Answer", "Outcome", "Request", "Rule"]

Outcome = Literal["done", "refused", "expired", "unknown"]


@dataclass(frozen=True, slots=True)
class Request:
    """An action to be run at most once by the bridge that leads a node."""

    node: str
    action: bytes
    """The bytes of the action, its closing blank line included."""
    requester: str
    """The address for the answer: a name that is unique to the client."""
    user: str
    """The requester, for the allow-list."""
    deadline: float
    """Seconds since 1970 after which it must not be run."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def expired(self) -> bool:
        """True if its time is over."""
        return time.time() >= self.deadline

    def to_bytes(self) -> bytes:
        """Return the JSON form."""
        return json.dumps(
            {
                "id": self.id,
                "node": self.node,
                "action": base64.b64encode(self.action).decode("ascii"),
                "requester": self.requester,
                "user": self.user,
                "deadline": self.deadline,
            }
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Request:
        """Parse the JSON form.

        Raises:
            ValueError: it is not valid.

        """
        found = _object(data)
        try:
            return cls(
                str(found["node"]),
                base64.b64decode(found["action"], validate=True),
                str(found["requester"]),
                str(found["user"]),
                float(found["deadline"]),
                str(found["id"]),
            )
        except (KeyError, TypeError) as exc:
            raise ValueError(f"no request: {exc!r}") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a request.

    ``done``: it ran, and ``messages`` has the server's whole answer. ``refused``: it did not run, for the ``reason``.
    ``expired``: its time was over before it ran, so it will not run. ``unknown``: it may have run.
    """

    id: str
    outcome: Outcome
    reason: str = ""
    messages: tuple[bytes, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the JSON form."""
        messages = [base64.b64encode(each).decode("ascii") for each in self.messages]
        return json.dumps(
            {"id": self.id, "outcome": self.outcome, "reason": self.reason, "messages": messages}
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Answer:
        """Parse the JSON form.

        Raises:
            ValueError: it is not valid.

        """
        found = _object(data)
        try:
            outcome = found["outcome"]
            if outcome not in ("done", "refused", "expired", "unknown"):
                raise ValueError(f"no outcome: {outcome!r}")
            messages = tuple(base64.b64decode(each, validate=True) for each in found["messages"])
            return cls(str(found["id"]), outcome, str(found["reason"]), messages)
        except (KeyError, TypeError) as exc:
            raise ValueError(f"no answer: {exc!r}") from None

    @classmethod
    def of_response(cls, request_id: str, response: Response) -> Answer:
        """Return an answer with a server's response, the items of its list included."""
        items: list[Event] = [*response.events]
        if response.complete is not None:
            items.append(response.complete)
        return cls(request_id, "done", "", (response.to_bytes(), *(item.to_bytes() for item in items)))


def _object(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("a JSON object was expected")
    return found


@dataclass(frozen=True, slots=True)
class Rule:
    """The permissions of one requester: lists of globs, which are compared without case except for nodes."""

    actions: tuple[str, ...] = ("*",)
    commands: tuple[str, ...] = ()
    """Texts of the action ``Command``."""
    nodes: tuple[str, ...] = ("*",)


class AllowList:
    """The actions that each requester may run.

    Args:
        rules: by the requester's name; ``"*"`` is for all others. A requester without a rule may do nothing.

    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = dict(rules)

    @classmethod
    def from_config(cls, config: Mapping[str, Mapping[str, Iterable[str]]]) -> AllowList:
        """Return the allow-list of ``{"web": {"actions": ["Originate", "Queue*"], "commands": [], "nodes": ["*"]}}``.

        Raises:
            ValueError: a rule is not valid.

        """
        rules = {}
        for user, given in config.items():
            unknown = set(given) - {"actions", "commands", "nodes"}
            if unknown:
                raise ValueError(f"allow-list of {user!r}: no such key: {', '.join(sorted(unknown))}")
            if any(isinstance(values, str) for values in given.values()):
                raise ValueError(f"allow-list of {user!r}: each key holds a list")
            rules[user] = Rule(**{name: tuple(values) for name, values in given.items()})
        return cls(rules)

    def refusal(self, user: str, node: str, action: Action[Any]) -> str | None:
        """Return the reason why the action may not be run; :data:`None` if it may."""
        rule = self._rules.get(user) or self._rules.get("*")
        if rule is None:
            return f"the allow-list has no rule for {user!r}"
        if not any(fnmatchcase(node, glob) for glob in rule.nodes):
            return f"{user!r} may not use node {node!r}"
        name = action.name.strip().lower()
        if not any(fnmatchcase(name, glob.lower()) for glob in rule.actions):
            return f"{user!r} may not run {action.name}"
        if name == "command":
            # Spaces are folded as the console does, so that a glob can't be evaded by extra spaces.
            text = " ".join(action.get("Command", "").lower().split())
            if not any(fnmatchcase(text, glob.lower()) for glob in rule.commands):
                return f"{user!r} may not run this console command"
        return None
