"""Write the reference of the command line from the commands themselves, before Sphinx reads its sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click


def commands(command: click.Command, context: click.Context, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its whole name, groups before their members."""
    yield name, command
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            if found is not None and not found.hidden:
                yield from commands(found, click.Context(found, parent=context, info_name=each), f"{name} {each}")


def page() -> str:
    from pyami_sync.cli.program import program

    root: click.Command = program
    context = click.Context(root, info_name="pyami-sync")
    lines = [
        "Command line",
        "============",
        "",
        "What each command says with ``--help``. ``python -m pyami_sync`` is the same program.",
        "",
    ]
    for name, command in commands(root, context, "pyami-sync"):
        line = "-" if name.count(" ") < 2 else "~"
        title = f"``{name}``"
        label = name.replace("pyami-sync", "command").replace(" ", "-")
        lines += [f".. _{label}:", "", title, line * len(title), "", ".. code-block:: text", ""]
        with click.Context(command, info_name=name) as own:
            own.terminal_width = own.max_content_width = 100
            text = command.get_help(own)
        lines += [f"    {each}".rstrip() for each in click.unstyle(text).split("\n")] + [""]
    return "\n".join(lines) + "\n"


def write_page(app: Any) -> None:
    path = Path(app.srcdir) / "reference" / "command-line.rst"
    text = page()
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", write_page)
    return {"parallel_read_safe": True}
