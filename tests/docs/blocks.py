"""The code blocks of reStructuredText files."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Block", "blocks"]

ROOT = Path(__file__).parent.parent.parent
_block = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>[\w-]+)\n"
    r"(?P<options>(?: +:[\w-]+:.*\n)*)\n"
    r"(?P<body>(?:(?P=indent) {3,}.*\n|[ \t]*\n)+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One code block."""

    path: Path
    line: int
    language: str
    options: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """Return the code blocks of a file, in order."""
    text = path.read_text("utf-8") + "\n"
    found = []
    for match in _block.finditer(text):
        options = dict(re.findall(r":([\w-]+): *(.*)", match["options"]))
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(path, line, match["language"], options, textwrap.dedent(match["body"]).strip("\n") + "\n"))
    return found
