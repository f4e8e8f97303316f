"""Reads profiles: named servers in a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

__all__ = ["Profile", "config_file", "load_profiles", "read_secret"]

KEYS = ("url", "secret", "secret_file", "tls_ca", "timeout")


@dataclass(frozen=True)
class Profile:
    """A named server."""

    name: str
    url: str
    secret: str | None = None
    secret_file: str | None = None
    tls_ca: str | None = None
    timeout: float | None = None

    def __repr__(self) -> str:
        return f"<Profile {self.name}>"  # not the generated one, which would show the secret


def config_file() -> Path:
    """Return the path of the profiles: ``PYAMI_CONFIG``, or ``config.toml`` in the platform's configuration folder."""
    given = os.environ.get("PYAMI_CONFIG")
    return Path(given) if given else Path(click.get_app_dir("pyami-sync")) / "config.toml"


def load_profiles(path: Path | None = None) -> tuple[dict[str, Profile], str | None]:
    """Return the profiles and the name of the default one.

    Raises:
        click.UsageError: the file is not valid; the message contains no value of it.

    """
    path = path or config_file()
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}, None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise click.UsageError(f"{path} can't be read: {exc}") from None
    found = content.get("profiles", {})
    if not isinstance(found, dict):
        raise click.UsageError(f"{path}: [profiles.NAME] is a table")
    profiles = {name: _profile(path, name, values) for name, values in found.items()}
    default = content.get("default")
    if default is not None and default not in profiles:
        raise click.UsageError(f"{path}: default names no profile; there are {', '.join(profiles) or 'none'}")
    return profiles, default


def _profile(path: Path, name: str, values: Any) -> Profile:
    if not isinstance(values, Mapping) or not isinstance(values.get("url"), str):
        raise click.UsageError(f'{path}: profile {name!r} needs url = "ami://user@host"')
    unknown = sorted(set(values) - set(KEYS))
    if unknown:
        raise click.UsageError(f"{path}: profile {name!r} has no {', '.join(unknown)}; there are {', '.join(KEYS)}")
    timeout = values.get("timeout")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0):
        raise click.UsageError(f"{path}: profile {name!r}: timeout is a number of seconds")
    if any(not isinstance(values.get(key, ""), str) for key in KEYS[:-1]):
        raise click.UsageError(f"{path}: profile {name!r}: {', '.join(KEYS[:-1])} are texts")
    if "secret" in values and os.name == "posix" and path.stat().st_mode & 0o077:
        raise click.UsageError(f"{path} holds a secret and others may read it: chmod 600 {path}")
    return Profile(
        name,
        values["url"],
        secret=values.get("secret"),
        # Relative to the profiles' file, so that it does not depend on the current directory.
        secret_file=str(path.parent / Path(values["secret_file"]).expanduser()) if "secret_file" in values else None,
        tls_ca=str(path.parent / Path(values["tls_ca"]).expanduser()) if "tls_ca" in values else None,
        timeout=timeout,
    )


def read_secret(path: str) -> str:
    """Return the secret in a file: its first line.

    Raises:
        click.UsageError: it can't be read, or is empty.

    """
    try:
        with open(path, encoding="utf-8") as file:
            secret = file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise click.UsageError(f"the secret's file {path} can't be read: {reason}") from None
    if not secret:
        raise click.UsageError(f"the secret's file {path} is empty")
    return secret
