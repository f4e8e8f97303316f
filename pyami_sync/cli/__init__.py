"""The command-line program ``pyami-sync``; it needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: arguments of the command line, without the program's name; by default those of the process.

    """
    try:
        if find_spec("click") is None or find_spec("rich") is None:
            print("pyami-sync needs two more packages: pip install 'pyami-sync[cli]'", file=sys.stderr)
            return 2
        from .program import run  # imported here, because it needs these packages

        return run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:  # during the imports, or outside of the part that `run` guards
        return 130
