"""Every ``pyami-sync`` command that the site and the README show exists, with the options that they give it."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from pyami_sync.cli.program import program

from .blocks import ROOT

PAGES = [
    ROOT / "README.rst",
    *sorted(
        path
        for path in (ROOT / "docs").rglob("*.rst")
        if not {"actions", "events", "benchmarks"} & set(path.relative_to(ROOT / "docs").parts)
        and path.name not in ("changelog.rst", "command-line.rst")
    ),
]
# In a block up to the end of the line, a pipe or a comment; in a sentence up to the end of the literal.
SHOWN = re.compile(r"^ .*?\bpyami-sync (?P<block>[^|#\n]*)|``pyami-sync (?P<literal>[^`]*)``", re.MULTILINE)


def shown() -> dict[str, list[str]]:
    found = {}
    for path in PAGES:
        text = re.sub(r"``[^`]*``", lambda literal: " ".join(literal[0].split()), path.read_text("utf-8"))
        for match in SHOWN.finditer(text):
            words = shlex.split(match["block"] or match["literal"] or "")
            if words and "``" not in words[0]:
                found[f"{path.relative_to(ROOT)}: {' '.join(words)}"] = words
    return found


def unknown(words: list[str]) -> str | None:
    """Return the first word that names no command or option of where it stands."""
    command: click.Command = program
    context = click.Context(program, info_name="pyami-sync")
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            name, equals, _ = word.partition("=")
            option = next(
                (each for each in command.get_params(context) if name in (*each.opts, *each.secondary_opts)), None
            )
            if option is None:
                return word
            if not equals and not getattr(option, "is_flag", False):
                next(rest, None)  # its value
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return word
            command, context = found, click.Context(found, parent=context, info_name=word)
    return None


@pytest.mark.parametrize("words", shown().values(), ids=shown())
def test_command_exists(words: list[str]) -> None:
    assert unknown(words) is None


def test_a_misspelt_word_is_found() -> None:
    assert unknown(["--url", "ami://admin@pbx", "agi", "listen", "shop:router", "--url=ami://pbx"]) is None
    assert unknown(["docter"]) == "docter"
    assert unknown(["doctor", "--manager"]) == "--manager"
