"""The program ``pyami-sync``: a toolbox for whoever has an Asterisk; it needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: those of the command line, without the program's name; the process's own unless given.

    """
    try:
        if find_spec("click") is None or find_spec("rich") is None:
            print("pyami-sync needs two more packages: pip install 'pyami-sync[cli]'", file=sys.stderr)
            return 2
        from .program import run  # only now, because it needs them

        return run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:  # while it was loaded, or between what `run` guards
        return 130
