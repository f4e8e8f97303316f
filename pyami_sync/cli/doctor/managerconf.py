"""Reads manager.conf, and finds in it why a login was refused, which the server does not report."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Account", "ManagerConf", "describe_filters", "read_manager_conf"]

_section = re.compile(r"\[(?P<name>[^\]]+)\](?:\((?P<options>[^)]*)\))?").match
_entry = re.compile(r"(?P<name>[\w-]+)(?P<options>\(.*?\))?\s*=>?\s*(?P<value>.*)").match
_comment = re.compile(r"(?<!\\);.*")


@dataclass
class Account:
    """One section of the file."""

    name: str
    entries: list[tuple[str, str]] = field(default_factory=list)
    template: bool = False

    def get(self, name: str, default: str = "") -> str:
        """Return the value of an option; if it is repeated, the last one."""
        return next((value for key, value in reversed(self.entries) if key == name), default)

    def permits(self, address: str) -> bool:
        """Return True if permit and deny allow an address: the last rule that matches counts.

        Raises:
            ValueError: a rule is not valid, or is in another file (acl.conf).

        """
        if self.get("acl"):
            raise ValueError("acl")
        allowed = True
        whom = ipaddress.ip_address(address)
        for key, value in self.entries:
            if key in ("permit", "deny"):
                for rule in value.split(","):
                    rule = rule.strip()
                    negated = rule.startswith("!")
                    network = ipaddress.ip_network(rule.lstrip("!"), strict=False)
                    if whom.version == network.version and whom in network:
                        allowed = (key == "permit") is not negated
        return allowed


@dataclass
class ManagerConf:
    """The contents of the file."""

    path: Path
    sections: dict[str, Account]

    @property
    def enabled(self) -> bool:
        """True if the manager is enabled."""
        general = self.sections.get("general")
        return general is not None and general.get("enabled", "no").lower() in ("yes", "true", "y", "t", "1", "on")

    def account(self, username: str) -> Account | None:
        """Return the section of a user; names are compared without case, as the server does."""
        return next(
            (
                section
                for name, section in self.sections.items()
                if name != "general" and name.lower() == username.lower() and not section.template
            ),
            None,
        )

    def why_refused(self, username: str, secret: str, address: str) -> tuple[str, str]:
        """Return why a login was refused, and what to do; two empty texts if the file does not show the reason.

        The secret is compared, but never shown.
        """
        account = self.account(username)
        if account is None:
            names = [name for name, section in self.sections.items() if name != "general" and not section.template]
            return (
                f"unknown user: {self.path} has no section [{username}]",
                f"use one of its users ({', '.join(names) or 'it has none'}), or add [{username}]",
            )
        if not account.get("secret"):
            return f"[{username}] in {self.path} has no secret, so it can never log in", "give it one"
        if secret.startswith(account.get("secret") + ";"):
            return (
                f"wrong secret: a ; begins a comment, so the server takes only what stands before it in {self.path}",
                r"write \; in the file in place of ; and then: asterisk -rx 'manager reload'",
            )
        if account.get("secret") != secret:
            return (
                f"wrong secret: it is not the one of [{username}] in {self.path}",
                "check AMI_SECRET or the secret's file; if the file was changed: asterisk -rx 'manager reload'",
            )
        try:
            if not account.permits(address):
                return (
                    f"ACL: permit and deny of [{username}] in {self.path} keep {address} out",
                    f"add permit = {address}/32 after the deny lines, then asterisk -rx 'manager reload'",
                )
        except ValueError:
            return (
                f"ACL: the user and the secret are right, so the rules for [{username}] must keep {address} out",
                "look at acl = in its section and at acl.conf",
            )
        return "", ""


def read_manager_conf(path: Path) -> ManagerConf | None:
    """Read the file, and the files that it includes; :data:`None` if it can't be read."""
    sections: dict[str, Account] = {}
    try:
        _read(path, path.parent, sections, 0)
    except (OSError, UnicodeDecodeError):
        return None
    return ManagerConf(path, sections)


def _read(path: Path, folder: Path, sections: dict[str, Account], depth: int) -> None:
    current: Account | None = None
    for line in path.read_text("utf-8", "surrogateescape").splitlines():
        text = _comment.sub("", line).replace("\\;", ";").strip()
        if text.startswith(("#include", "#tryinclude")) and depth < 5:
            pattern = text.partition("include")[2].strip().strip('"<>')
            for each in sorted(folder.glob(pattern)) if not pattern.startswith("/") else [Path(pattern)]:
                if each.is_file():
                    _read(each, folder, sections, depth + 1)
            continue
        if section := _section(text):
            options = [each.strip() for each in (section["options"] or "").split(",") if each.strip()]
            current = sections.setdefault(section["name"].strip(), Account(section["name"].strip()))
            current.template = "!" in options
            for option in options:
                if option in sections and option not in ("!", "+"):
                    current.entries += sections[option].entries
        elif current is not None and (entry := _entry(text)):
            name, value = entry["name"].lower(), entry["value"].strip()
            if name == "eventfilter" and entry["options"]:  # the form of Asterisk 20 and later
                value = f"{entry['options']} {value}".strip()
            current.entries.append((name, value))


def describe_filters(filters: list[str]) -> str:
    """Return the effect of eventfilters as text."""
    out = [each.lstrip("! ") for each in filters if each.startswith("!") or "action(exclude)" in each]
    into = [each for each in filters if not each.startswith("!") and "action(exclude)" not in each]
    parts = [f"lets through only {' or '.join(into)}"] if into else []
    parts += [f"keeps out {' and '.join(out)}"] if out else []
    return ", and ".join(parts)
