"""Clusters of servers: the pool, its nodes, their health, and the choice of a node for an action."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .pool import ClusterPool

__all__ = ["ClusterPool"]

__getattr__, __dir__ = lazy_names(__name__, {"pool": ("ClusterPool",)})
