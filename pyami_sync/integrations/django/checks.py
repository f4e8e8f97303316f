"""System checks of the setting ``PYAMI`` for ``manage.py check``; they open no connection."""

from __future__ import annotations

import ipaddress
import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from ...session.options import Options, options_from_url
from .clients import NODES

__all__ = ["check_deployment", "check_settings"]

EXAMPLE = 'For example PYAMI = {"default": {"URL": "ami://user:secret@host:5038"}}.'


def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find mistakes with which ``get_client()`` or ``get_pool()`` would fail."""
    configured = getattr(settings, "PYAMI", None)
    if configured is None:
        return [Error("The setting PYAMI is missing.", hint=EXAMPLE, id="pyami.E001")]
    if not isinstance(configured, dict):
        return [Error("The setting PYAMI is not a dict.", hint=EXAMPLE, id="pyami.E002")]
    if not configured:
        return [Error("The setting PYAMI is empty.", hint=EXAMPLE, id="pyami.E002")]
    found: list[CheckMessage] = []
    for alias, client in configured.items():
        if alias == NODES:
            found += _check_nodes(client)
        else:
            found += _check_client(alias, client)
    return found


def _check_client(alias: str, client: Any) -> list[CheckMessage]:
    where = f"PYAMI[{alias!r}]"
    if not isinstance(client, dict):
        return [Error(f"{where} is not a dict.", hint=EXAMPLE, id="pyami.E002")]
    unknown = sorted(set(client) - {"URL", "OPTIONS"})
    if unknown:
        names = ", ".join(unknown)
        hint = "There are URL and OPTIONS; the names of options go into OPTIONS."
        return [Error(f"{where} has unknown keys: {names}.", hint=hint, id="pyami.E003")]
    if not isinstance(client.get("OPTIONS", {}), dict):
        return [Error(f"{where}['OPTIONS'] is not a dict.", id="pyami.E002")]
    try:
        _options(client)
    except (TypeError, ValueError) as exc:
        return [Error(f"{where}: {exc}", hint=EXAMPLE, id="pyami.E004")]
    return []


def _check_nodes(nodes: Any) -> list[CheckMessage]:
    from ...cluster.config import read_nodes

    try:
        empty = not read_nodes(nodes, {})
    except (TypeError, ValueError, OSError) as exc:
        return [Error(f"PYAMI['nodes']: {exc}", id="pyami.E005")]
    hint = 'Leave it out, or PYAMI = {"nodes": {"paris": "ami://user:secret@host", …}}.'
    return [Error("PYAMI['nodes'] names no node.", hint=hint, id="pyami.E005")] if empty else []


def check_deployment(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Warn of connections to other machines without encryption."""
    found: list[CheckMessage] = []
    configured = getattr(settings, "PYAMI", None)
    for alias, client in (configured if isinstance(configured, dict) else {}).items():
        try:
            options = _options(client) if alias != NODES else None
        except (AttributeError, TypeError, ValueError):
            continue  # reported by check_settings
        if options is not None and options.tls is None and not _is_local(options.host):
            hint = "Use amis:// (tlsenable in manager.conf), or a tunnel to this machine."
            message = f"PYAMI[{alias!r}] talks to {options.host} without TLS: calls and events can be read on the way."
            found.append(Warning(message, hint=hint, id="pyami.W001"))
    return found


def _options(client: dict[str, Any]) -> Options:
    given = {
        key: value
        for key, value in client.get("OPTIONS", {}).items()
        if key not in ("transport", "callback_threads")  # options of the client, not of the session
    }
    url = client.get("URL")
    if not url and not os.environ.get("AMI_URL") and "host" not in given:
        raise ValueError("there is neither a URL nor AMI_URL in the environment")
    return options_from_url(url, given)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
