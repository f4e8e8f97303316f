"""Router: finds the script for the path in the dialplan."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

from .errors import ScriptNotFound

__all__ = ["Router", "Script", "split_path"]

Script = Callable[..., object]
"""A script: called with the call, and with the names of its route as keywords."""
S = TypeVar("S", bound=Script)
_part = re.compile(r"\{([A-Za-z_]\w*)\}\Z")
MOST_PARAMS = 100


def split_path(raw: str) -> tuple[str, dict[str, str]]:
    """Return the path and the parameters of ``ivr/en?shop=7``, decoded."""
    path, _, query = raw.partition("?")
    try:
        params = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_PARAMS))
    except ValueError:
        raise ScriptNotFound(raw) from None
    return unquote(path.strip("/"), errors="surrogateescape"), params


class Router:
    """Scripts by path.

    ::

        scripts = Router()

        @scripts.route("ivr/{language}")
        def ivr(call, language): ...

    A name in braces matches one part of the path, and is passed to the script as a keyword. If several routes match,
    the one with the earliest fixed parts is used.
    """

    def __init__(self) -> None:
        self._routes: dict[tuple[str | None, ...], tuple[tuple[str, ...], str, Script]] = {}

    def route(self, pattern: str) -> Callable[[S], S]:
        """Register a script, as a decorator.

        Raises:
            ValueError: the pattern is not valid, or another script has it.

        """
        names: list[str] = []
        parts: list[str | None] = []
        for part in pattern.strip("/").split("/"):
            found = _part.match(part)
            if found is not None:
                names.append(found[1])
                parts.append(None)
            elif "{" in part or "}" in part:
                raise ValueError(f"{pattern!r}: a name in braces is a whole part of the path")
            else:
                parts.append(part)
        if len(set(names)) != len(names):
            raise ValueError(f"{pattern!r} has a name twice")
        key = tuple(parts)
        if key in self._routes:
            raise ValueError(f"{pattern!r}: {self._routes[key][1]!r} is such a route already")

        def register(script: S) -> S:
            self._routes[key] = (tuple(names), pattern, script)
            return script

        return register

    def include(self, other: Router, prefix: str = "") -> None:
        """Add the routes of another router, below a prefix.

        Raises:
            ValueError: there is such a route already.

        """
        for _, pattern, script in other._routes.values():
            self.route(f"{prefix.strip('/')}/{pattern.strip('/')}")(script)

    @property
    def patterns(self) -> list[str]:
        """The patterns of all routes, in the order in which they were registered."""
        return [pattern for _, pattern, _ in self._routes.values()]

    def resolve(self, path: str) -> tuple[Script, dict[str, Any]]:
        """Return the script for a path, and the values of the names in its route.

        Raises:
            ScriptNotFound: no route matches.

        """
        parts = path.strip("/").split("/")
        matching = [key for key in self._routes if len(key) == len(parts) and _fits(key, parts)]
        if not matching:
            raise ScriptNotFound(path)
        key = min(matching, key=lambda each: [part is None for part in each])
        names, _, script = self._routes[key]
        values = [part for expected, part in zip(key, parts, strict=True) if expected is None]
        return script, dict(zip(names, values, strict=True))

    def __repr__(self) -> str:
        return f"<Router {', '.join(self.patterns) or 'without routes'}>"


def _fits(key: tuple[str | None, ...], parts: list[str]) -> bool:
    return all(part if expected is None else expected == part for expected, part in zip(key, parts, strict=True))
