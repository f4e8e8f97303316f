"""The command ``doctor``: diagnoses problems with a connection; the checks are in ``cli/doctor/``."""

from __future__ import annotations

from pathlib import Path

import click

from ...engine.deadline import Deadline
from ..doctor.account import check_account
from ..doctor.findings import Finding, Stop
from ..doctor.managerconf import ManagerConf, read_manager_conf
from ..doctor.network import check_network
from ..doctor.uses import USES
from ..exits import OK
from ..output import Output, clean
from ..program import Command
from ..settings import Settings, pass_settings

__all__ = ["doctor"]

MARKS = {"ok": ("✔", "bold green"), "warn": ("!", "bold yellow"), "fail": ("✘", "bold red"), "skip": ("-", "dim")}
WORDS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL", "skip": "skip"}
LOCAL = ("localhost", "127.0.0.1", "::1")


@click.command(
    cls=Command,
    examples=[
        "doctor",
        "doctor --url ami://admin@pbx.example.com",
        "doctor --url amis://admin@pbx.example.com:5039 --tls-ca pbx.pem",
        "doctor --url ami://admin@localhost --manager-conf /etc/asterisk/manager.conf",
        "doctor --for wallboard",
        "doctor --json | jq -r 'select(.verdict == \"fail\") | .remedy'",
    ],
)
@click.option(
    "--manager-conf",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The server's manager.conf, if it is at hand: it knows why a login is refused.",
)
@click.option(
    "--for", "use", type=click.Choice(list(USES)), help="Check the classes that this use needs, instead of any."
)
@pass_settings
def doctor(settings: Settings, manager_conf: Path | None, use: str | None) -> int:
    """Diagnose problems: check the connection step by step, and report what is wrong and what to do.

    It checks the name, the port, TLS, the kind of server, the login, the user's rights and eventfilters, events, the
    version and the clock; with --for, also the rights for a use. It changes nothing on the server.

    Ends with the exit code of the first failure: 3 before the login, 4 for the login itself, 5 for a server that has
    stalled, 1 for later checks. --timeout is the limit for all checks together.
    """
    output = settings.output
    settings.start_logging()
    options = settings.make_options(reconnect=None, keepalive=None)
    conf = _manager_conf(options.host, manager_conf)
    found: list[Finding] = []
    deadline = Deadline(options.connect_timeout)

    def tell(finding: Finding) -> None:
        found.append(finding)
        _print(output, finding)

    output.note(f"{options.username}@{options.address}{' over TLS' if options.tls else ''}")
    try:
        for check in (check_network(options, deadline), check_account(options, conf, deadline, USES.get(use or ""))):
            with output.busy("checking"):
                findings = iter(check)
            while True:
                with output.busy("checking"):
                    finding = next(findings, None)
                if finding is None:
                    break
                tell(finding)
    except Stop as exc:
        tell(exc.finding)
        if exc.finding.check == "port" and conf is not None and not conf.enabled:
            tell(
                Finding(
                    "manager.conf",
                    "fail",
                    f"the manager is switched off: {conf.path} does not say enabled = yes in [general]",
                    "set it, then asterisk -rx 'manager reload' or a restart",
                )
            )
    failures = [each for each in found if each.verdict == "fail"]
    warnings = [each for each in found if each.verdict == "warn"]
    code = failures[0].code if failures else OK
    if output.as_json:
        output.record({"failures": len(failures), "warnings": len(warnings), "exit": code})
    elif not failures:
        remarks = f", with {len(warnings)} remark{'s' if len(warnings) > 1 else ''}" if warnings else ""
        output.text(f"It works{remarks}.", style="bold green")
        if use is None:
            output.note(f"--for USE checks the rights that a use needs: {', '.join(USES)}")
    return code


def _manager_conf(host: str, given: Path | None) -> ManagerConf | None:
    """Return the given manager.conf, or the usual one if the server is this machine."""
    if given is not None:
        return read_manager_conf(given)
    usual = Path("/etc/asterisk/manager.conf")
    return read_manager_conf(usual) if host in LOCAL and usual.exists() else None


def _print(output: Output, finding: Finding) -> None:
    if output.as_json:
        output.record(finding.to_dict())
    elif output.terminal:
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        mark, style = MARKS[finding.verdict]
        row = Table.grid(padding=(0, 1))
        row.add_row(Text(mark, style), Text(f"{finding.check:<8}", "bold"), Text(clean(finding.text)))
        output.show(row)
        if finding.remedy:
            output.show(Padding(Text(f"→ {clean(finding.remedy)}", "cyan"), (0, 0, 0, 11)))
    else:
        output.text(f"{WORDS[finding.verdict]}  {finding.check:<8}  {finding.text}")
        if finding.remedy:
            output.text(f"      {'':8}  -> {finding.remedy}")
    output.flush()
