"""Audits a manager.conf: finds rights with which a client can take over the server, and access that is too open."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from .doctor.managerconf import Account, ManagerConf

__all__ = ["Finding", "audit_conf"]

YES = frozenset({"yes", "true", "y", "t", "1", "on"})
WEAK = frozenset(
    "admin,asterisk,amp111,amp109,mysecret,password,secret,manager,mark,1234,12345,123456,changeme,test,manager_secret".split(
        ","
    )
)
SHORTEST = 12
WRITES = {
    "system": (
        "may run commands of the operating system",
        "Originate with Application=System, and actions of class system, run with the rights of Asterisk",
        "leave system out of write; most programs need call, agent, reporting or originate only",
    ),
    "command": (
        "may run every console command",
        "`core stop now`, `dialplan add extension` with System(), `module unload` and `pjsip show auth` are commands",
        "leave command out of write, or allow single commands in cli_permissions.conf",
    ),
    "config": (
        "may read and write configuration files",
        "GetConfig shows the secrets of manager.conf and pjsip.conf; UpdateConfig can write a dialplan with System()",
        "leave config out of write",
    ),
    "originate": (
        "may place calls to any application and context",
        "Originate reaches every context, and so toll numbers; with write class system also System(), SHELL() and AGI",
        "keep live_dangerously = no in asterisk.conf; give originate only to programs that place calls",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One setting that is dangerous, or may be."""

    level: str
    """``danger``, or ``notice`` for a right that some programs need."""
    section: str
    text: str
    reason: str
    advice: str


def audit_conf(conf: ManagerConf) -> list[Finding]:
    """Return the findings in a manager.conf, the worst first within each section."""
    general = conf.sections.get("general", Account("general"))
    found = list(_general(general))
    public = _is_public(general.get("bindaddr", "0.0.0.0"))
    for account in conf.sections.values():
        if account.name != "general" and not account.template:
            found += sorted(_account(account, public), key=lambda each: each.level)
    return found


def _is_public(address: str) -> bool:
    """Return True if other machines can reach an address."""
    try:
        return not ipaddress.ip_address(address.strip("[]") or "0.0.0.0").is_loopback
    except ValueError:
        return address != "localhost"


def _general(general: Account) -> Iterator[Finding]:
    public = _is_public(general.get("bindaddr", "0.0.0.0"))
    tls = general.get("tlsenable", "no").lower() in YES
    if public:
        yield Finding(
            "notice" if tls else "danger",
            "general",
            f"listens in plain text on {general.get('bindaddr', '0.0.0.0 (the default)')}",
            "actions, events and their contents cross the network readable; MD5 login protects the secret only",
            "bindaddr = 127.0.0.1, with tlsenable = yes and tlsbindaddr for clients on other machines",
        )
    if general.get("webenabled", "no").lower() in YES:
        yield Finding(
            "notice",
            "general",
            "is reachable over HTTP (webenabled = yes)",
            "each HTTP request logs in again, and the server of http.conf may listen on other addresses",
            "webenabled = no, unless something uses it",
        )
    if general.get("allowmultiplelogin", "yes").lower() not in YES:
        yield Finding(
            "notice",
            "general",
            "allows one session per user (allowmultiplelogin = no)",
            "a session that reconnects is refused until the server has noticed that the old one is gone",
            "give each program a user of its own, or allow several logins",
        )


def _account(account: Account, public: bool) -> Iterator[Finding]:
    writes = _classes(account.get("write"))
    for name, (text, reason, advice) in WRITES.items():
        if name in writes or "all" in writes:
            yield Finding("notice" if name == "originate" else "danger", account.name, text, reason, advice)
    secret = account.get("secret")
    if not secret:
        yield Finding(
            "notice",
            account.name,
            "has no secret, so nobody can log in as this user",
            "Asterisk refuses a login without a secret",
            "give it a long random secret, or remove the section",
        )
    elif len(secret) < SHORTEST or secret.lower() in WEAK or secret.lower() == account.name.lower():
        yield Finding(
            "danger",
            account.name,
            "has a secret that is short or widely known",
            "an attacker who records one login can try millions of secrets against its MD5 answer",
            "openssl rand -base64 24",
        )
    rules = [(key, value) for key, value in account.entries if key in ("permit", "deny", "acl")]
    if not rules:
        yield Finding(
            "danger" if public else "notice",
            account.name,
            "may log in from any address (no permit, deny or acl)",
            "without rules every address is allowed",
            "deny = 0.0.0.0/0.0.0.0, then permit = the program's address",
        )
    elif not any(key == "acl" for key, _ in rules) and not any(
        key == "deny" and value.split("/")[0].strip() in ("0.0.0.0", "::") for key, value in rules
    ):
        yield Finding(
            "danger" if public else "notice",
            account.name,
            "permits addresses without denying the others first",
            "permit alone keeps nobody out: an address that no rule matches is allowed",
            "add deny = 0.0.0.0/0.0.0.0 (and deny = ::/0) before the permit lines",
        )
    elif any(key == "permit" and value.split("/")[-1].strip() in ("0", "0.0.0.0") for key, value in rules):
        yield Finding(
            "danger" if public else "notice",
            account.name,
            "permits every address",
            "a permit for 0.0.0.0/0 undoes the deny before it",
            "permit the program's address only",
        )


def _classes(text: str) -> set[str]:
    return {each.strip().lower() for each in text.split(",") if each.strip()}
