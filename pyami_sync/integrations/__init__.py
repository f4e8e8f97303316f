"""What makes the client feel at home in frameworks; each module needs an extra of its own, and none another's."""

from __future__ import annotations

__all__ = ["missing"]


def missing(package: str, extra: str) -> ImportError:
    """Make the error that says, in one line, which extra to install."""
    return ImportError(f"{package} is not installed, which this integration needs: pip install 'pyami-sync[{extra}]'")
