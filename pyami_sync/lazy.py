"""Names of a package that are loaded when they are first used, so that importing the package costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, Iterable[str]], modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a package (:pep:`562`).

    Args:
        package: its ``__name__``.
        homes: the public names by the module, relative to the package, that defines them.
        modules: submodules that are public names themselves.

    """
    module_of = {name: module for module, names in homes.items() for name in names}
    submodules = frozenset(modules)

    def get(name: str) -> Any:
        if name in submodules:
            return import_module(f".{name}", package)
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        import_module(f".{module_of[name]}", package)
        # The next look-up finds it at once, and so it does each other name whose module is loaded: a finalizer cannot
        # import anything any more while the interpreter shuts down.
        for module, names in homes.items():
            loaded = sys.modules.get(f"{package}.{module}")
            for each in names:
                if loaded is not None and hasattr(loaded, each):
                    setattr(sys.modules[package], each, getattr(loaded, each))
        return getattr(sys.modules[f"{package}.{module_of[name]}"], name)

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of, *submodules})

    return get, list_names
