"""The commands ``permissions`` (the rights that a program needs) and ``audit`` (dangerous rights in a manager.conf)."""

from __future__ import annotations

from pathlib import Path

import click

from ..audit import audit_conf
from ..doctor.managerconf import read_manager_conf
from ..exits import FAILED, OK
from ..permissions import Needs, find_needs, smallest_user
from ..program import Command
from ..settings import Settings, pass_settings

__all__ = ["audit", "permissions"]


@click.command(
    cls=Command,
    connects=False,
    examples=["permissions app.py", "permissions src/ --user dialler", "permissions --json app.py"],
)
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE|FOLDER..."
)
@click.option("--user", default="pyami", show_default=True, help="Name of the user in the section that is written.")
@pass_settings
def permissions(settings: Settings, paths: tuple[Path, ...], user: str) -> int:
    """List the actions and events that Python code uses, and write the smallest manager.conf user for it.

    The code is analysed, not run: names that it builds at run time are listed as unknown.
    """
    output = settings.output
    files = sorted({file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])})
    needs = Needs()
    for file in files:
        try:
            find_needs(file.read_text("utf-8"), str(file), needs)
        except (SyntaxError, UnicodeDecodeError) as exc:
            raise click.UsageError(f"{file} is not Python: {exc}") from None
    found = smallest_user(needs)
    if output.as_json:
        output.record(
            {
                "read": found.read,
                "write": found.write,
                "actions": {name: sorted(places) for name, places in needs.actions.items()},
                "events": {name: sorted(places) for name, places in needs.events.items()},
                "unknown": needs.unknown,
            }
        )
        return OK
    rows = [("action", name, found.reasons.get(("action", name), "")) for name in sorted(needs.actions)]
    rows += [("event", name, found.reasons.get(("event", name), "")) for name in sorted(needs.events)]
    if rows:
        output.table("What the code uses", ["Kind", "Name", "Class"], rows)
    for each in needs.unknown:
        output.warn(each)
    output.text("")
    for line in found.section(user):
        output.text(line)
    return OK


@click.command(cls=Command, connects=False, examples=["audit /etc/asterisk/manager.conf", "audit --json manager.conf"])
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="MANAGER.CONF")
@pass_settings
def audit(settings: Settings, path: Path) -> int:
    """Find dangerous rights in a manager.conf, and say why they are dangerous and what to do.

    Secrets are not shown. Ends with 1 when anything dangerous is found.
    """
    output = settings.output
    conf = read_manager_conf(path)
    if conf is None:
        raise click.UsageError(f"{path} can't be read")
    findings = audit_conf(conf)
    for finding in findings:
        if output.as_json:
            output.record(
                {
                    "level": finding.level,
                    "section": finding.section,
                    "finding": finding.text,
                    "reason": finding.reason,
                    "advice": finding.advice,
                }
            )
        else:
            style = "bold red" if finding.level == "danger" else "yellow"
            output.text(f"{finding.level}: [{finding.section}] {finding.text}", style=style)
            output.text(f"  why: {finding.reason}")
            output.text(f"  do:  {finding.advice}")
    if not findings and not output.as_json:
        output.text("nothing dangerous found")
    return FAILED if any(each.level == "danger" for each in findings) else OK
