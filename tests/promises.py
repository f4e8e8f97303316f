"""Which tests keep which promise of the design: ``python -m tests.promises`` prints the table.

A test, or a class of tests, says so by ``@pytest.mark.promise(4)``; ``pytest -m promise`` runs them all.
"""

from __future__ import annotations

import ast
import pathlib
from collections import defaultdict

__all__ = ["PROMISES", "keepers"]

HERE = pathlib.Path(__file__).parent

PROMISES = {
    1: "Every call ends in a result or a typed exception within its own timeout",
    2: "A response reaches the call that asked, from any number of threads and clients",
    3: "A dropped link fails every pending call at once, and no action is sent twice",
    4: "Every action of a real server is understood; a list is whole, or says that it is not",
    5: "The first header decides what a message is, and lines end at CR LF only",
    6: "User code runs on no thread of the engine, may block, and delays nobody",
    7: "Each subscription sees events in wire order",
    8: "The socket is always drained; who is too slow loses only its own events, and is told",
    9: "Threads are few, named, and joined by close(); exit never hangs",
    10: "A forked child opens a connection of its own, and the parent's goes on",
    11: "Links are repaired, with mask, filters, subscriptions and markers of the gap",
    12: "A checked keepalive finds a dead peer within its interval plus its timeout",
    13: "TLS verifies, is used by one thread at a time, and writes records that servers read",
    14: "Login by MD5 challenge unless plain text is asked for, with no fall-back",
    15: "What forges lines, or is too long, raises InvalidAction before anything is sent",
    16: "What comes in is bounded, and oddities are survived without losing anything",
    17: "Secrets appear in no log, repr, exception or tap",
}


def keepers() -> dict[int, list[str]]:
    """Return the tests that each promise has, from the marks in their sources."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted(HERE.rglob("test_*.py")):
        _collect(ast.parse(path.read_text("utf-8")), str(path.relative_to(HERE.parent)), found)
    return found


def _collect(node: ast.Module | ast.ClassDef, name: str, found: dict[int, list[str]]) -> None:
    for each in node.body:
        if not isinstance(each, ast.FunctionDef | ast.ClassDef):
            continue
        full = f"{name}::{each.name}"
        for mark in each.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.promise":
                for argument in mark.args:
                    found[ast.literal_eval(argument)].append(full)
        if isinstance(each, ast.ClassDef):
            _collect(each, full, found)


def main() -> None:
    """Print the table."""
    found = keepers()
    for number, text in PROMISES.items():
        print(f"{number:2}  {text}")
        for test in found[number]:
            print(f"      {test}")


if __name__ == "__main__":
    main()
