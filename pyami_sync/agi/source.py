"""ScriptSource: loads a router from a module, and reloads it when files change (``agi serve --reload``)."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from .router import Router

__all__ = ["ScriptSource"]


class ScriptSource:
    """A router in a module, ``package.module:router``, that can be reloaded.

    Modules below the directory are the application: they are reloaded together, so that they are consistent. Running
    scripts continue with the old functions.

    Args:
        name: module and name of the router, which is ``router`` by default.
        directory: the directory that is searched first for modules.

    Raises:
        ValueError: the name is not valid.

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
        """Import or reload the module and return its router.

        If the import raises, the exception is propagated, and the previous modules stay in use.

        Raises:
            ImportError: there is no such module, or no such name in it.
            TypeError: the object with that name is not a router.

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
            self._seen = self._look()  # also after a failure: only a further change is a reason for another try
            sys.modules.update(before)
            raise
        self._seen = self._look()
        return found

    def changed(self) -> bool:
        """Return True if a file of the application was changed or removed since it was loaded."""
        return any(_stamp(path) != stamp for path, stamp in self._seen.items())

    def _modules(self) -> dict[str, ModuleType]:
        found = {}
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if name.partition(".")[0] in ("__main__", "pyami_sync") or not path:
                continue
            path = os.path.realpath(path)
            inside = path.startswith(self.directory + os.sep)
            # The directory may contain a virtual environment, whose packages are not part of the application.
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
