"""Reads the nodes of a cluster from a mapping, from URLs or from a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..connection.tls import TLS
from ..session.options import BROKERS, Options, check_names, make_options, url_settings
from ..session.reconnect import ReconnectPolicy
from ..wire.protocol import Limits

if TYPE_CHECKING:
    from ..bridge.member import Member

__all__ = ["NodeConfig", "Nodes", "Target", "check_defaults", "node_config", "read_nodes", "read_toml"]

Target: TypeAlias = "str | Mapping[str, Any] | Options | NodeConfig | None"
"""The address of a node: a URL, a host, options by name, or :class:`Options`."""
Nodes: TypeAlias = "Mapping[str, Target] | Iterable[str] | str | os.PathLike[str] | None"
"""A mapping from ids to targets, URLs, one URL, or the path of a TOML file."""

CONNECTION = ("auth", "host", "keepalive", "port", "secret", "secret_env", "secret_file", "tls", "username")
"""Options that do not apply to nodes which are reached by a bridge."""
_tables = {"reconnect": ReconnectPolicy, "tls": TLS, "limits": Limits}


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The configuration of one node: its id, its address and options, and its tags."""

    id: str
    options: Options
    tags: frozenset[str] = frozenset()
    system_name: str | None = None
    """``systemname`` in its asterisk.conf; if given, the server is not asked for it."""
    member: Member | None = None
    """The broker, for a node that is reached by a bridge."""


def node_config(
    node_id: str,
    target: Target,
    *,
    tags: Iterable[str] = (),
    defaults: Mapping[str, Any] | None = None,
    **options: Any,
) -> NodeConfig:
    """Return the configuration of one node.

    Args:
        node_id: id of the node.
        target: address of the node.
        tags: words to choose it by, in addition to those of the target.
        defaults: default options.
        options: options that take precedence over the target's.

    Raises:
        TypeError: an option that does not exist.
        ValueError: a value that is not allowed.

    """
    if not isinstance(node_id, str) or not node_id:
        raise ValueError(f"node_id must be a non-empty str, not {node_id!r}")
    words = {tags} if isinstance(tags, str) else set(tags)
    if isinstance(target, NodeConfig):
        return replace(target, id=node_id, options=replace(target.options, node=node_id), tags=target.tags | words)
    if isinstance(target, Options):
        changed = {**{name: getattr(target, name) for name in Options.__slots__}, **options}
        return NodeConfig(node_id, make_options({**changed, "node": node_id}), frozenset(words))
    if isinstance(target, str):
        target = {"url": target}
    given: dict[str, Any] = {**(target or {}), **options}
    own = given.pop("tags", ())
    words |= {own} if isinstance(own, str) else set(own)
    system_name = given.pop("system_name", None)
    url = given.pop("url", None)
    member: Member | None = None
    if isinstance(url, str) and url.startswith(BROKERS):
        from ..bridge.member import OPTIONS, Member

        member, url = Member(url, node_id), None
        defaults = {name: value for name, value in (defaults or {}).items() if name not in CONNECTION}
        given |= OPTIONS
    try:
        found = url_settings(url) if url else {}
        if found.get("tls") == TLS() and (defaults or {}).get("tls"):
            del found["tls"]  # amis:// asks for TLS without settings, which the defaults may have
        merged = {**(defaults or {}), **found, **given}
        made = make_options({**_values(merged), "node": node_id})
    except (TypeError, ValueError) as exc:
        raise type(exc)(f"node {node_id!r}: {exc}") from None
    return NodeConfig(node_id, made, frozenset(words), system_name, member)


def check_defaults(defaults: Mapping[str, Any]) -> None:
    """Raise :exc:`TypeError` for a default option that does not exist, even if there are no nodes yet."""
    check_names(set(defaults) - {"secret_env", "secret_file"}, ("health_interval", "callback_threads"))


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values of a file to values of options."""
    made = dict(given)
    for name, cls in _tables.items():
        if isinstance(made.get(name), Mapping):
            made[name] = cls(**made[name])
    variable = made.pop("secret_env", None)
    path = made.pop("secret_file", None)
    if "secret" in made:
        return made
    if variable is not None:
        if variable not in os.environ:
            raise ValueError(f"the environment has no {variable} (secret_env)")
        made["secret"] = os.environ[variable]
    elif path is not None:
        try:
            made["secret"] = Path(path).expanduser().read_text("utf-8").strip()
        except OSError as exc:
            raise ValueError(f"secret_file {path}: {exc.strerror}") from None
    return made


def read_nodes(nodes: Nodes, defaults: Mapping[str, Any]) -> list[NodeConfig]:
    """Return the configurations of all nodes.

    Raises:
        TypeError: ``nodes`` is of another type.
        ValueError: the configuration of a node is not valid, or an id occurs twice.
        OSError: the file can't be read.

    """
    if nodes is None:
        return []
    if isinstance(nodes, str) and "://" in nodes:
        nodes = [nodes]
    if isinstance(nodes, str | os.PathLike):
        return read_toml(nodes, defaults)
    if isinstance(nodes, Mapping):
        return [node_config(node_id, target, defaults=defaults) for node_id, target in nodes.items()]
    found: dict[str, NodeConfig] = {}
    for url in nodes:
        if not isinstance(url, str):
            raise TypeError(f"nodes without ids are given as URLs, not as {type(url).__name__}")
        node = node_config("-", url, defaults=defaults)
        if node.options.address in found:
            raise ValueError(f"{node.options.address} is given twice; give a mapping of ids to URLs to tell them apart")
        found[node.options.address] = node_config(node.options.address, node)
    return list(found.values())


def read_toml(path: str | os.PathLike[str], defaults: Mapping[str, Any] | None = None) -> list[NodeConfig]:
    """Read nodes from a file::

        [defaults]
        username = "admin"
        secret_env = "AMI_SECRET"       # or secret_file = "/run/secrets/ami"

        [nodes.paris]
        url = "ami://10.1.0.1"
        tags = ["eu", "prod"]

        [nodes.tokyo]
        host = "10.2.0.1"
        tls = { ca_file = "/etc/ami/ca.pem" }

    Args:
        path: of the file.
        defaults: default options, used where the file has none.

    Raises:
        ValueError: the file is not valid; the message says where.
        OSError: it can't be read.

    """
    where = os.fspath(path)
    with open(path, "rb") as file:
        try:
            found = tomllib.load(file)
        except tomllib.TOMLDecodeError as exc:
            raise ValueError(f"{where}: {exc}") from None
    unknown = sorted(set(found) - {"defaults", "nodes"})
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; there are [defaults] and [nodes.<id>]")
    nodes = found.get("nodes", {})
    base = {**(defaults or {}), **found.get("defaults", {})}
    if not isinstance(nodes, dict) or not all(isinstance(each, str | dict) for each in nodes.values()):
        raise ValueError(f'{where}: each node is a table [nodes.<id>], or <id> = "ami://…" under [nodes]')
    try:
        return [node_config(node_id, target, defaults=base) for node_id, target in nodes.items()]
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{where}: {exc}") from None
