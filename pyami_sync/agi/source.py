"""Scripts out of a module that may change while they are served."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from .router import Router

__all__ = ["ScriptSource"]


class ScriptSource:
    """A router in a module, ``package.module:router``, that can be read again.

    Modules below the directory are the application: they are imported anew together, so that they fit each other.
    Scripts under way go on with the functions they began with.

    Args:
        name: module and name of the router; ``router`` unless given.
        directory: where modules are looked for first.

    Raises:
        ValueError: the name can't be read.

    """

    def __init__(self, name: str, directory: str | os.PathLike[str] = ".") -> None:
        module, _, attribute = name.partition(":")
        if not all(part.isidentifier() for part in module.split(".")) or not (attribute or "x").isidentifier():
            raise ValueError(f"scripts are named as package.module:router, not {name!r}")
        self.module = module
        self.attribute = attribute or "router"
        self.directory = os.path.realpath(directory)
        self._seen: dict[str, tuple[int, int]] = {}

    def load(self) -> Router:
        """Import the module, anew if it has been imported, and return its router.

        What the import raises comes out, and the modules of before stay in place.

        Raises:
            ImportError: there is no such module, or no such name in it.
            TypeError: the name is no router.

        """
        if self.directory not in sys.path:
            sys.path.insert(0, self.directory)
        before = self._modules()
        for name in before:
            del sys.modules[name]
        importlib.invalidate_caches()
        try:
            module = importlib.import_module(self.module)
            try:
                found = getattr(module, self.attribute)
            except AttributeError:
                raise ImportError(f"module {self.module} has no {self.attribute}") from None
            if not isinstance(found, Router):
                raise TypeError(f"{self.module}:{self.attribute} is no Router, but {type(found).__name__}")
        except BaseException:
            self._seen = self._look()  # also what has just failed: only the next change is worth another try
            sys.modules.update(before)
            raise
        self._seen = self._look()
        return found

    def changed(self) -> bool:
        """Return True if a file of the application differs from when it was loaded, or is gone."""
        return any(_stamp(path) != stamp for path, stamp in self._seen.items())

    def _modules(self) -> dict[str, ModuleType]:
        found = {}
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if name.partition(".")[0] in ("__main__", "pyami_sync") or not path:
                continue
            path = os.path.realpath(path)
            inside = path.startswith(self.directory + os.sep)
            # A virtual environment may lie in the directory: its packages are not the application.
            if inside and not path.startswith(os.path.realpath(sys.prefix) + os.sep) and "site-packages" not in path:
                found[name] = module
        return found

    def _look(self) -> dict[str, tuple[int, int]]:
        paths = {str(module.__file__) for module in self._modules().values()}
        return {path: _stamp(path) for path in paths | self._seen.keys()}


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)
