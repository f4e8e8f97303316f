"""One measurement in a process of its own: ``python -m benchmarks.measure`` with a JSON object as argument.

Prints a JSON object of figures, or of the reason why there are none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .clients import Unsupported
from .scenarios import Setting, measure
from .traffic import Load

__all__ = ["main"]


def main(text: str) -> dict[str, object]:
    """Take the figures that are asked for."""
    asked = json.loads(text)
    setting = Setting(asked["client"], Load(Path(asked["folder"])), asked["command"], asked["scale"])
    try:
        return {"figures": measure(asked["scenario"], setting)}
    except Unsupported:
        return {"skipped": "has no such thing"}
    except ImportError as exc:
        return {"skipped": f"can't be imported: {exc}"}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])), flush=True)
