"""The command ``profiles``: shows and adds named servers in a TOML file."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import click

from ...session.options import options_from_url
from ..arguments import with_secret
from ..profiles import config_file, load_profiles
from ..program import Command, Group
from ..settings import Settings, pass_settings

__all__ = ["profiles"]


@click.group(
    cls=Group,
    connects=False,
    examples=[
        "profiles add office ami://admin@pbx.example.com --secret-file ~/.pbx-secret --default",
        "profiles add branch 'amis://admin@branch.example.com' --tls-ca ~/branch-ca.pem",
        "profiles list",
        "--profile branch ping",
    ],
)
def profiles() -> None:
    """Store servers under names, and use them by --profile NAME, AMI_PROFILE, or as the default.

    They are kept in config.toml in this platform's folder for configuration (or where PYAMI_CONFIG says):

    \b
        default = "office"
        [profiles.office]
        url = "ami://admin@pbx.example.com"
        secret_file = "office.secret"

    A profile can have url, secret_file, tls_ca, timeout, and if no other user can read the file, secret.
    """


@profiles.command("list", cls=Command, connects=False, examples=["profiles list"])
@pass_settings
def list_profiles(settings: Settings) -> None:
    """Show the profiles, without any secret."""
    output = settings.output
    found, default = load_profiles()
    rows = []
    for name, profile in found.items():
        options = options_from_url(profile.url)
        server = f"{options.username}@{options.address}{' (TLS)' if options.tls else ''}"
        secret = "in the profile" if profile.secret or options.secret else profile.secret_file or "asked for"
        if output.as_json:
            output.record({"profile": name, "server": server, "secret": secret, "default": name == default})
        rows.append((name, server, secret, "yes" if name == default else ""))
    if output.as_json:
        return
    if rows:
        output.table("Profiles", ["Profile", "Server", "Secret", "Default"], rows, styles={"Profile": "cyan"})
    else:
        output.note(f"none in {config_file()}; `pyami-sync profiles add --help` shows how to make one")


@profiles.command("path", cls=Command, connects=False, examples=["profiles path"])
@pass_settings
def path(settings: Settings) -> None:
    """Show where the file is."""
    if settings.as_json:
        settings.output.record({"path": str(config_file()), "exists": config_file().exists()})
    else:
        settings.output.text(str(config_file()))


@profiles.command(
    "add",
    cls=Command,
    connects=False,
    examples=["profiles add office ami://admin@pbx.example.com --secret-file ~/.pbx-secret --default"],
)
@click.argument("name")
@click.argument("url")
@click.option("--secret-file", type=click.Path(), metavar="FILE", help="File with the secret in its first line.")
@click.option("--tls-ca", type=click.Path(), metavar="FILE", help="Certificate or authority to trust.")
@click.option("--default", "is_default", is_flag=True, help="Use it when no server is given.")
@pass_settings
def add(settings: Settings, name: str, url: str, secret_file: str | None, tls_ca: str | None, is_default: bool) -> None:
    """Add a profile to the file; the rest of the file is not changed."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise click.UsageError(f"{name!r}: a name has letters, digits, dots, dashes and underscores")
    if with_secret([url]):
        raise click.UsageError("leave the secret out of the URL, and name a file that holds it: --secret-file")
    try:
        options_from_url(url)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None
    file = config_file()
    found, default = load_profiles(file)
    if name in found:
        raise click.UsageError(f"there is a profile {name!r} already in {file}")
    if is_default and default is not None:
        raise click.UsageError(f"{default!r} is the default already: change it in {file}")
    text = file.read_text("utf-8") if file.exists() else ""
    if is_default:
        # A top-level key has to precede the first table.
        text = f"default = {json.dumps(name)}\n\n{text}"
    lines = [f'[profiles."{name}"]', f"url = {json.dumps(url)}"]
    for key, value in (("secret_file", secret_file), ("tls_ca", tls_ca)):
        if value:
            lines.append(f"{key} = {json.dumps(str(Path(value).expanduser().absolute()))}")
    text = text.rstrip("\n") + ("\n\n" if text.strip() else "") + "\n".join(lines) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    _replace(file, text)
    settings.output.note(f"added to {file}")


def _replace(file: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only."""
    new = file.with_name(file.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    new.replace(file)
