"""pyami_sync as it is where its extension in C was not built."""

from __future__ import annotations

import sys

sys.modules["pyami_sync.wire._speedups"] = None  # type: ignore[assignment]  # before own imports the library

from .own import PyamiSync  # noqa: E402

__all__ = ["InPython"]


class InPython(PyamiSync):
    shown = "pyami_sync without its extension"
