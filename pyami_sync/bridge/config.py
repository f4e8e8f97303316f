"""The configuration file of a bridge: nodes as for a cluster, settings, and the allow-list."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .requests import AllowList

__all__ = ["BridgeConfig", "read_config"]

SETTINGS = {"ttl": float, "spool": int, "batch": int, "name": str, "snapshots": float}


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """The contents of the file."""

    nodes: dict[str, dict[str, Any]]
    defaults: dict[str, Any]
    allowed: AllowList
    settings: dict[str, Any]


def read_config(path: str | os.PathLike[str]) -> BridgeConfig:
    """Read a file::

        [bridge]
        ttl = 5.0                       # seconds that a lease is held without being renewed
        spool = 50000                   # events of a node that may wait for the broker
        snapshots = 60.0                # seconds between two Snapshot markers; none unless given

        [allow.web]                     # the requester "web": redis://broker/0?node=paris&user=web
        actions = ["Originate", "Queue*", "Ping"]
        commands = ["core show *"]
        nodes = ["*"]

        [defaults]
        username = "admin"
        secret_file = "/run/secrets/ami"

        [nodes.paris]
        url = "ami://10.1.0.1"

    Raises:
        ValueError: the file is not valid; the message says where.
        OSError: it can't be read.

    """
    where = os.fspath(path)
    try:
        found = tomllib.loads(Path(path).read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ValueError(f"{where}: {exc}") from None
    unknown = sorted(set(found) - {"allow", "bridge", "defaults", "nodes"})
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; there are allow, bridge, defaults and nodes")
    settings = _table(found, "bridge", where)
    for name, value in settings.items():
        kind = SETTINGS.get(name)
        if kind is None:
            raise ValueError(f"{where}: unknown bridge.{name}; there are {', '.join(sorted(SETTINGS))}")
        if isinstance(value, bool) or not isinstance(value, int | float if kind is float else kind):
            raise ValueError(f"{where}: bridge.{name} must be of type {kind.__name__}, not {value!r}")
    nodes = {}
    for name, given in _table(found, "nodes", where).items():
        if not isinstance(given, str | dict):
            raise ValueError(f"{where}: nodes.{name} must be a URL or a table, not {given!r}")
        nodes[name] = {"target": {"url": given} if isinstance(given, str) else given}
    if not nodes:
        raise ValueError(f"{where}: no node; each is a table [nodes.<id>]")
    defaults = _table(found, "defaults", where)
    if "secret" not in defaults and "AMI_SECRET" in os.environ:
        defaults.setdefault("secret_env", "AMI_SECRET")
    try:
        allowed = AllowList.from_config(_table(found, "allow", where))
    except (AttributeError, TypeError, ValueError) as exc:
        raise ValueError(f"{where}: {exc}") from None
    return BridgeConfig(nodes, defaults, allowed, settings)


def _table(found: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    table = found.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{where}: {name} must be a table, not {table!r}")
    return dict(table)
