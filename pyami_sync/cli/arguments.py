"""Hides secrets in arguments from the process list."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["hide_secrets_in_process_list", "with_secret"]

_secret = re.compile(r"(?P<before>amis?://[^:/?#]*:)(?P<secret>.+)(?=@)")


def with_secret(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are URLs with a secret."""
    return [found["secret"] for each in arguments for found in [_secret.search(each)] if found]


def hide_secrets_in_process_list(arguments: Sequence[str]) -> bool:
    """Overwrite secrets in URLs in the memory that the process list shows; return True if there were any.

    Linux shows the memory in which the arguments were passed, so ``ps`` shows asterisks from then on. Before that,
    the secrets were visible for a moment.
    """
    secrets = with_secret(arguments)
    if secrets and sys.platform == "linux":
        try:
            _overwrite([secret.encode("utf-8", "surrogateescape") for secret in secrets])
        except (OSError, ValueError, IndexError):
            pass  # another kernel, or no /proc: the secret stays visible, and the user is warned
    return bool(secrets)


def _overwrite(secrets: list[bytes]) -> None:
    import ctypes  # slow to load, and rarely needed

    # After the program's name, which is in parentheses and may contain blanks, the fields begin with number 3.
    status = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(status[48 - 3]), int(status[49 - 3])
    shown = Path("/proc/self/cmdline").read_bytes()
    # Write only if the memory contains what the process list shows.
    if not start or end - start != len(shown) or ctypes.string_at(start, len(shown)) != shown:
        return
    for secret in secrets:
        at = shown.find(secret)
        while at >= 0:
            ctypes.memset(start + at, ord("*"), len(secret))
            at = shown.find(secret, at + len(secret))
