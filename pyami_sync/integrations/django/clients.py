"""get_client() and get_pool(): the clients and the cluster of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ...client import AMIClient
from ..process import LazyClient, LazyPool

if TYPE_CHECKING:
    from ...cluster.pool import ClusterPool

__all__ = ["close_clients", "get_client", "get_pool", "make_client"]

NODES = "nodes"

_clients: dict[str, LazyClient] = {}  # changed by single steps: a signal handler may be in the midst of them


def get_client(alias: str = "default", *, opened: bool = True) -> AMIClient:
    """Return this process's client for a name in ``PYAMI``.

    Args:
        alias: its name.
        opened: whether to open it; if so, the first call blocks while it connects. If false, callbacks can be
            registered before it is opened.

    Raises:
        ConnectError: the server can't be reached, or refused the login.
        ImproperlyConfigured: ``PYAMI`` has no such client, or its settings are not valid.

    """
    holder = _clients.get(alias)
    if holder is None:
        holder = _clients.setdefault(alias, LazyClient(lambda: make_client(alias)))
    return holder.get() if opened else holder.peek()


def get_pool() -> ClusterPool:
    """Return this process's cluster of the ``nodes`` in ``PYAMI``.

    Raises:
        ImproperlyConfigured: ``PYAMI`` has no nodes, or their settings are not valid.

    """
    return _pool.get()


def close_clients() -> None:
    """Log all of them off; the next use makes new ones. Idempotent."""
    for alias in list(_clients):
        holder = _clients.pop(alias, None)
        if holder is not None:
            holder.close()
    _pool.close()


def client_settings(alias: str) -> dict[str, Any]:
    """Return the settings of a client in ``PYAMI``.

    Raises:
        ImproperlyConfigured: there are none, or they are not valid.

    """
    configured = getattr(settings, "PYAMI", None)
    if not isinstance(configured, dict):
        raise ImproperlyConfigured('settings have no PYAMI: PYAMI = {"default": {"URL": "ami://user:secret@host"}}')
    if alias == NODES or not isinstance(configured.get(alias), dict):
        known = ", ".join(repr(name) for name in configured if name != NODES) or "none"
        raise ImproperlyConfigured(f"PYAMI has no client {alias!r}; there are: {known}")
    found: dict[str, Any] = configured[alias]
    return found


def make_client(alias: str) -> AMIClient:
    """Return a new client with the settings in ``PYAMI``, not open yet; the caller has to close it.

    Raises:
        ImproperlyConfigured: it can't be.

    """
    found = client_settings(alias)
    try:
        return AMIClient.from_url(found.get("URL"), **found.get("OPTIONS", {}))
    except (TypeError, ValueError) as exc:
        raise ImproperlyConfigured(f"PYAMI[{alias!r}]: {exc}") from None


def make_pool() -> ClusterPool:
    """Return a new cluster with the settings in ``PYAMI``, not open yet.

    Raises:
        ImproperlyConfigured: it can't be.

    """
    from ...cluster.pool import ClusterPool  # large, so imported only when needed

    nodes = getattr(settings, "PYAMI", {}).get(NODES)
    if not nodes:
        raise ImproperlyConfigured('PYAMI has no nodes: PYAMI = {"nodes": {"paris": "ami://user:secret@host", …}}')
    try:
        return ClusterPool(nodes)
    except (TypeError, ValueError, OSError) as exc:
        raise ImproperlyConfigured(f"PYAMI['nodes']: {exc}") from None


_pool = LazyPool(make_pool)


def _forget_old_settings(*, setting: str, **kwargs: Any) -> None:
    if setting == "PYAMI":  # changed by override_settings in a test
        close_clients()


setting_changed.connect(_forget_old_settings, dispatch_uid="pyami_sync")
