"""``completion``: the script that lets a shell complete commands, options, actions, events and profiles."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ..program import COMPLETION_VARIABLE, PROGRAM, Command, program
from ..settings import Settings, pass_settings

__all__ = ["completion"]


@click.command(
    cls=Command,
    connects=False,
    examples=[
        "completion bash > ~/.local/share/bash-completion/completions/pyami-sync",
        'completion zsh > "${fpath[1]}/_pyami-sync"',
        "completion fish > ~/.config/fish/completions/pyami-sync.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_settings
def completion(settings: Settings, shell: str) -> None:
    """Print the completion script for SHELL."""
    kind = get_completion_class(shell)
    assert kind is not None
    # Only its template is used: click's own method also runs the shell, to check its version.
    made = kind(program, {}, PROGRAM, COMPLETION_VARIABLE)
    script = made.source_template % made.source_vars()
    if settings.as_json:
        settings.output.record({"shell": shell, "script": script})
    else:
        settings.output.text(script.rstrip("\n"))
