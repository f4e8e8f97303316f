"""Count the public names that the site documents; one that is missing is a warning, and so an error with ``-W``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sphinx.util import logging

import pyami_sync

logger = logging.getLogger(__name__)

MODULES = [
    "pyami_sync",
    "pyami_sync.actions",
    "pyami_sync.events",
    "pyami_sync.schema",
    "pyami_sync.cluster",
    "pyami_sync.testing",
    "pyami_sync.testing.certificate",
    "pyami_sync.live",
    "pyami_sync.calls",
    "pyami_sync.agi",
    "pyami_sync.bridge",
    "pyami_sync.integrations.flask",
    "pyami_sync.integrations.django",
    "pyami_sync.integrations.django.health",
    "pyami_sync.integrations.django.signals",
    "pyami_sync.integrations.prometheus",
    "pyami_sync.integrations.prometheus_live",
    "pyami_sync.integrations.opentelemetry",
    "pyami_sync.integrations.rx",
]
PLAIN = {"__version__", "actions", "events"}


def again(name: str) -> str:
    """Return the name of the same object in the package itself, if it is there."""
    module, _, last = name.rpartition(".")
    same = last in pyami_sync.__all__ and getattr(pyami_sync, last) is getattr(import_module(module), last)
    return f"pyami_sync.{last}" if same else name


def count(app: Any, exception: Exception | None) -> None:
    """Compare every ``__all__`` with what the site has."""
    if exception is not None:
        return
    objects = app.env.domains["py"].objects
    wanted: set[str] = set()
    for name in MODULES:
        try:
            module = import_module(name)
        except ImportError as exc:
            logger.warning("%s cannot be imported: %s", name, exc)
            continue
        wanted |= {f"{name}.{each}" for each in module.__all__ if each not in PLAIN}
    # A name of the package itself is documented there, wherever else it can be imported from.
    missing = sorted(name for name in wanted if not {name, again(name)} & set(objects))
    for name in missing:
        logger.warning("public name without documentation: %s", name)
    logger.info("public names documented: %d of %d", len(wanted) - len(missing), len(wanted))


def setup(app: Any) -> dict[str, Any]:
    app.connect("build-finished", count)
    return {"parallel_read_safe": True}
