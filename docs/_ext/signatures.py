"""Signatures and docstrings as a reader of the public names needs them.

* A base class that is not public is left out of *Bases*, and its members are shown as the class's own.
* A type is linked under its public name, whichever module it is defined in.
* A class that is made of what is not public is shown without arguments.
* Names that are imported for type checkers only are known.
* The docstring of an attribute is text: a colon in it separates no type.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from importlib import import_module
from typing import Any, Generic, Protocol

from docutils import nodes
from public_names import MODULES
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util.nodes import make_refnode

PUBLIC = {
    each for name in MODULES for each in import_module(name).__all__ if getattr(import_module(name), each, 0) != 0
}
STATE = "pyami_sync.testing.state."  # what the simulator's telephone system is made of: shown as text


def public_bases(app: Any, name: str, obj: type, options: Any, bases: list[Any]) -> None:
    """Leave out base classes that have no public name."""
    bases[:] = [each for base in bases for each in public(getattr(base, "__origin__", base), base, obj)] or [object]


def public_arguments(app: Any, what: str, name: str, obj: Any, options: Any, signature: Any, returns: Any) -> Any:
    """Leave out the arguments of a class that is made of others that are not public: users do not make it."""
    named = re.findall(r"pyami_sync(?:\.\w+)+", signature or "") if what == "class" else []
    if any(each.rpartition(".")[2] not in PUBLIC for each in named):
        return "()", returns
    return (signature or "").replace("<factory>", "...") or None, returns


def public(plain: type, base: Any, obj: type) -> list[Any]:
    """Return a base class, or the public bases of one that is not public."""
    if not plain.__module__.startswith("pyami_sync"):
        return [base]
    if plain.__name__ in PUBLIC and plain.__name__ != obj.__name__:
        return [plain]
    inner = [each for above in plain.__bases__ for each in public(above, above, obj)]
    return [each for each in inner if each not in (object, Generic, Protocol)]


def by_public_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve a reference to the place where a name is defined, or to its last part, by its public name."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target:
        return None
    if target.startswith(STATE):
        return contnode
    domain = env.domains["py"]
    last = target.rpartition(".")[2]
    module = target.rpartition(".")[0]
    found = [name for name in domain.objects if name == last or name.endswith(f".{last}")]
    if node["reftype"] in ("meth", "attr") and "." in target:
        owner = module.rpartition(".")[2]
        found = [name for name in found if name.endswith(f".{owner}.{last}")]
    elif node["reftype"] in ("class", "exc", "obj", "func", "data"):
        found = [name for name in found if last in PUBLIC or name == last]
        found = [name for name in found if domain.objects[name].objtype not in ("method", "attribute", "property")]
    else:
        return None
    # Several packages have a Call, a Channel, a Leg: the package of the definition decides, then the place.
    package = ".".join(module.split(".")[:2]) or node.get("py:module") or ""
    near = [name for name in found if package and name.startswith(f"{package}.")]
    for candidates in (near, found):
        places = {(domain.objects[name].docname, domain.objects[name].node_id): name for name in candidates}
        if len(places) == 1:
            ((docname, node_id),) = places
            return make_refnode(app.builder, node["refdoc"], docname, node_id, contnode, last)
    return None


def import_types() -> None:
    """Run the imports under ``if TYPE_CHECKING:``, so that every signature can be evaluated."""
    for name, module in sorted(sys.modules.items()):
        if not name.startswith("pyami_sync") or "TYPE_CHECKING" not in vars(module):
            continue
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                exec(compile(ast.Module(node.body, []), name, "exec"), vars(module))


def plain_text(self: Any) -> tuple[str, list[str]]:
    """Read the docstring of an attribute: no type, all of its lines."""
    lines = self._consume_to_end()
    return "", [*map(str, lines)]


def public_text(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Show the signatures' names of the standard library's constants as text."""
    if node.get("refdomain") == "py" and node.get("reftarget") in (
        "None",
        "True",
        "False",
        "Ellipsis",
        "NotImplemented",
    ):
        return contnode if isinstance(contnode, nodes.Element) else None
    return None


def setup(app: Any) -> dict[str, Any]:
    GoogleDocstring._consume_inline_attribute = plain_text
    import_types()
    app.connect("autodoc-process-bases", public_bases)
    app.connect("autodoc-process-signature", public_arguments)
    app.connect("missing-reference", public_text)
    app.connect("missing-reference", by_public_name)
    return {"parallel_read_safe": True}
