"""All commands, on the simulator and on real servers: in a pipe, as JSON, at a terminal; those that ask nobody."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from pyami_sync.cli.program import COMMANDS, program
from pyami_sync.testing import Simulator
from tests.cli.conftest import SECRET
from tests.cli.running import Server, lines, run

ASKING = [
    ["ping"],
    ["send", "CoreStatus"],
    ["send", "QueueStatus"],
    ["send", "ListCommands"],
    ["command", "core show version"],
    ["channels"],
    ["queues", "--members"],
    ["endpoints"],
    ["wait", "FullyBooted", "--timeout", "5s"],
    ["events", "--count", "1", "--for", "5s"],
    ["originate", "Local/100@default", "--app", "Wait", "--data", "0", "--ring", "5s"],
    ["top", "--count", "1", "--every", "100ms"],
    ["doctor"],
]
TELLING = [["describe", "Originate", "Hangup"], ["completion", "bash"], ["profiles", "list"], ["profiles", "path"]]


@pytest.mark.parametrize("arguments", ASKING, ids="-".join)
def test_every_command_on_every_server(server: Server, arguments: list[str]) -> None:
    as_json = server.run(*arguments, "--json")
    assert as_json.code == 0, as_json
    assert as_json.objects or arguments == ["channels"]
    assert all(isinstance(json.loads(line), dict) for line in as_json.err.splitlines())
    shown = server.in_terminal(*arguments)
    assert shown.code == 0, shown
    assert shown.out


@pytest.mark.parametrize("arguments", ASKING + TELLING, ids="-".join)
def test_every_command_in_a_pipe(simulated: Server, arguments: list[str]) -> None:
    plain = simulated.run(*arguments)
    assert plain.code == 0, plain
    assert "\x1b" not in plain.out + plain.err
    first = simulated.run("--json", *arguments)
    assert first.code == 0
    assert first.objects or arguments in (["channels"], ["profiles", "list"])


def test_every_command_has_examples() -> None:
    context = click.Context(program, info_name="pyami-sync")
    assert set(program.list_commands(context)) == set(COMMANDS)
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None
        subcommands = command.commands.values() if isinstance(command, click.Group) else ()
        for each in (command, *subcommands):
            text = each.get_help(click.Context(each, info_name=name, parent=context))
            assert "Examples:\n  pyami-sync " in text, name
            assert name in text.split("Examples:")[1]
    assert "Examples:\n  pyami-sync" in run("--help").out


# describe, profiles, completion


def test_describe_explains() -> None:
    done = lines(run("describe", "queueadd"))
    assert done[0] == "QueueAdd (action)"
    assert any(line.split()[:2] == ["Queue", "yes"] for line in done)
    assert any("write class agent" in line for line in done)
    (record,) = run("describe", "--json", "QueueMemberStatus").objects
    assert record["kind"] == "event"
    assert {"name": "Queue", "attribute": "queue", "type": "text"} in record["fields"]
    unknown = run("describe", "QueueAd")
    assert unknown.code == 2
    assert "QueueAdd" in unknown.err
    assert len(run("describe", "--json").objects) > 400


def test_profiles(sim: Simulator, tmp_path: Path) -> None:
    env = {"PYAMI_CONFIG": str(tmp_path / "deep" / "config.toml")}
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    url = f"ami://admin@127.0.0.1:{sim.port}"
    added = run("profiles", "add", "test.one", url, "--secret-file", str(secret), "--default", env=env)
    assert added.code == 0, added
    assert run("profiles", "add", "two", "amis://admin@pbx.invalid", env=env).code == 0
    assert run("profiles", "add", "two", url, env=env).code == 2
    assert run("profiles", "add", "bad", f"ami://admin:{SECRET}@x", env=env).code == 2
    listed = run("profiles", "list", "--json", env=env).objects
    assert [(each["profile"], each["default"]) for each in listed] == [("test.one", True), ("two", False)]
    assert run("ping", env=env).code == 0
    assert run("ping", "-p", "test.one", env=env).code == 0
    assert run("ping", env=env | {"AMI_PROFILE": "two", "AMI_SECRET": "x"}).code == 3
    assert run("-p", "none", "ping", env=env).code == 2


def test_profile_with_a_secret_must_be_private(sim: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[profiles.one]\nurl = "ami://admin@127.0.0.1:{sim.port}"\nsecret = "{SECRET}"\n')
    env = {"PYAMI_CONFIG": str(file)}
    file.chmod(0o644)
    open_to_all = run("-p", "one", "ping", env=env)
    assert open_to_all.code == 2
    assert "chmod 600" in open_to_all.err
    file.chmod(0o600)
    assert run("-p", "one", "ping", env=env).code == 0
    for wrong in (
        "[profiles.one]\n",
        "profiles = 1\n",
        "default = 'x'\n",
        "[profiles.one]\nurl='x'\nnonsense=1\n",
        "[",
    ):
        file.write_text(wrong)
        assert run("-p", "one", "ping", env=env).code == 2


def test_completion_completes() -> None:
    env = {"COMP_WORDS": "pyami-sync send Queue", "COMP_CWORD": "2", "_PYAMI_SYNC_COMPLETE": "bash_complete"}
    assert "plain,QueueAdd" in run(env=env).out.splitlines()
    env = {"COMP_WORDS": "pyami-sync ev", "COMP_CWORD": "1", "_PYAMI_SYNC_COMPLETE": "bash_complete"}
    assert run(env=env).out.splitlines() == ["plain,events"]
    for shell in ("bash", "zsh", "fish"):
        assert "_PYAMI_SYNC_COMPLETE" in run("completion", shell).out


def test_a_mistyped_command_names_the_one_that_is_meant() -> None:
    done = run("pingg")
    assert done.code == 2
    assert "no such command: 'pingg'; did you mean ping?" in done.err
    assert "did you mean" not in run("xyzzy").err


def test_help_lists_options_only_as_options() -> None:
    listed = run("send", "--help").out.split("\nOptions:\n")[1]
    assert listed.startswith("  --show-secrets")
