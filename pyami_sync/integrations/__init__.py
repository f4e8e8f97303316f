"""Integrations in frameworks; each module needs only its own extra."""

from __future__ import annotations

__all__ = ["missing"]


def missing(package: str, extra: str) -> ImportError:
    """Return the exception for a missing package, which names the extra to install."""
    return ImportError(f"{package} is not installed, which this integration needs: pip install 'pyami-sync[{extra}]'")
