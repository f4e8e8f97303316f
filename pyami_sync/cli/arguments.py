"""Keeping a secret that was given as an argument out of the process list."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["hide_secrets_in_process_list", "with_secret"]

_secret = re.compile(r"(?P<before>amis?://[^:/?#]*:)(?P<secret>.+)(?=@)")


def with_secret(arguments: Sequence[str]) -> list[str]:
    """Give those of the secrets that are in URLs among the arguments."""
    return [found["secret"] for each in arguments for found in [_secret.search(each)] if found]


def hide_secrets_in_process_list(arguments: Sequence[str]) -> bool:
    """Overwrite secrets in URLs where the process list reads them from; tell whether there were any.

    Linux shows the very memory that the arguments were passed in, so stars in that memory are what ``ps``
    shows from then on. It can't be undone that they were there for a moment.
    """
    secrets = with_secret(arguments)
    if secrets and sys.platform == "linux":
        try:
            _overwrite([secret.encode("utf-8", "surrogateescape") for secret in secrets])
        except (OSError, ValueError, IndexError):
            pass  # another kernel, or no /proc: the warning about it is all that can be done
    return bool(secrets)


def _overwrite(secrets: list[bytes]) -> None:
    import ctypes  # slow to load, and hardly ever needed

    # Behind the program's name, which is in parentheses and may hold blanks, the fields count from 3.
    status = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(status[48 - 3]), int(status[49 - 3])
    shown = Path("/proc/self/cmdline").read_bytes()
    # The memory is only written where it holds what the process list shows.
    if not start or end - start != len(shown) or ctypes.string_at(start, len(shown)) != shown:
        return
    for secret in secrets:
        at = shown.find(secret)
        while at >= 0:
            ctypes.memset(start + at, ord("*"), len(secret))
            at = shown.find(secret, at + len(secret))
