"""The shape of the package: a dozen parts with one downward order, no circle inside any of them.

A part is a package of ``pyami_sync``, or a module at its root. CONTRIBUTING.rst has the same order with a sentence for
each part.
"""

from __future__ import annotations

import ast
import functools
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

import pyami_sync

ROOT = pathlib.Path(pyami_sync.__file__).parent

ORDER = [
    *("version", "lazy", "exceptions"),
    "wire",
    "vocabulary",
    *("actions", "events"),
    "engine",
    "subscriptions",
    "connection",
    "session",
    "client",
    "cluster",
    "__init__",
    *("live", "calls", "agi"),
    "bridge",
    *("schema", "testing", "integrations", "cli"),
    "__main__",
]
"""A part imports only what stands before it."""

LAZY = {
    ("exceptions", "wire"): "an ActionError that is rebuilt from its arguments",
    ("vocabulary", "events"): "250 event classes, loaded with the first event",
    ("vocabulary", "actions"): "200 action classes, loaded when headers are first looked at",
    ("wire", "schema"): "called by pydantic only",
    ("client", "live"): "AMIClient.live()",
    ("client", "calls"): "AMIClient.call() and .channel()",
    ("client", "agi"): "AMIClient.agi()",
    ("client", "bridge"): "connect() with the URL of a broker",
    ("cluster", "live"): "ClusterPool.live()",
    ("cluster", "calls"): "ClusterPool.call()",
    ("cluster", "bridge"): "nodes with the URL of a broker",
    ("client", "integrations"): "observable(): the extra rx",
}
"""Imports upwards, made inside a function when it is first called, and why."""

TOP = {"testing", "integrations", "cli"}
"""Nothing imports these, apart from the lazy imports above and ``python -m pyami_sync``."""


def part_of(path: pathlib.Path) -> str:
    """Return the name in ORDER that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@functools.cache
def files() -> list[pathlib.Path]:
    return sorted(ROOT.rglob("*.py"))


def module_of(path: pathlib.Path) -> str:
    parts = ("pyami_sync", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in files()}


class Imports(ast.NodeVisitor):
    """Modules that a file imports, apart from those for type checkers: as it is loaded, and later."""

    def __init__(self, path: pathlib.Path) -> None:
        self.package = ("pyami_sync", *path.relative_to(ROOT).parts[:-1])
        self.found: list[tuple[str, bool]] = []
        self.depth = 0
        self.visit(ast.parse(path.read_text("utf-8")))

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for each in node.orelse:
                self.visit(each)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(each.name, self.depth > 0) for each in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            above = self.package[: len(self.package) - node.level + 1]
            base = ".".join((*above, *([node.module] if node.module else [])))
        for each in node.names:
            full = f"{base}.{each.name}"
            self.found.append((full if full in MODULES else base, self.depth > 0))


@functools.cache
def imports(path: pathlib.Path) -> list[tuple[str, bool]]:
    return Imports(path).found


def parts_used(path: pathlib.Path) -> Iterator[tuple[str, bool]]:
    """Yield the parts that a file imports."""
    for name, lazy in imports(path):
        parts = name.split(".")
        if parts[0] == "pyami_sync":
            yield (parts[1] if len(parts) > 1 else "__init__"), lazy


def shown(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_file_belongs_to_a_part_and_every_part_exists():
    parts = {part_of(path) for path in files()}
    assert parts <= set(ORDER)
    assert set(ORDER) <= parts
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("path", files(), ids=shown)
def test_imports_go_down_only(path):
    me = part_of(path)
    for part, lazy in parts_used(path):
        if part == me or (lazy and (me, part) in LAZY):
            continue
        if me in TOP:
            assert part not in TOP or me == "cli", f"{me} imports {part}"
        elif me == "__init__" and part in ("__init__", "actions", "events"):
            continue
        else:
            assert ORDER.index(part) < ORDER.index(me), f"{me} imports {part}, which stands above it"


def test_lazy_imports_upwards_are_still_made():
    made = {(part_of(path), part) for path in files() for part, lazy in parts_used(path) if lazy}
    assert set(LAZY) <= made


@pytest.mark.parametrize("part", ORDER)
def test_no_circle_inside_a_part(part):
    graph: dict[str, set[str]] = {}
    for path in files():
        if part_of(path) == part:
            inside = {name for name, lazy in imports(path) if not lazy and name in MODULES}
            mine = module_of(path)
            # Importing a module loads its package first; the package's own imports of its modules are no circle.
            graph[mine] = {name for name in inside if name.startswith(f"pyami_sync.{part}.") and name != mine}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as exc:
        pytest.fail(f"modules of {part} import each other: {' -> '.join(exc.args[1])}")


IO = {"socket", "ssl", "threading", "time", "select", "selectors", "queue", "os", "logging", "asyncio", "subprocess"}


@pytest.mark.parametrize("path", [path for path in files() if part_of(path) in ("exceptions", "wire")], ids=shown)
def test_the_wire_does_no_io(path):
    assert {name.split(".")[0] for name, _ in imports(path)} & IO == set()


@pytest.mark.parametrize("path", [path for path in files() if part_of(path) == "vocabulary"], ids=shown)
def test_the_vocabulary_opens_no_socket_and_starts_no_thread(path):
    assert {name.split(".")[0] for name, _ in imports(path)} & {"socket", "ssl", "select", "selectors"} == set()
    assert "Thread(" not in path.read_text("utf-8")


@pytest.mark.parametrize("path", [path for path in files() if part_of(path) == "engine"], ids=shown)
def test_the_engine_knows_nothing_of_ami(path):
    assert {part for part, _ in parts_used(path)} <= {"engine", "exceptions"}


EXTRAS = {
    ("schema", "pydantic"),
    ("schema", "pydantic_core"),
    ("vocabulary", "pydantic"),
    ("bridge", "redis"),
    ("bridge", "pika"),
}


@pytest.mark.parametrize("path", [path for path in files() if part_of(path) not in TOP], ids=shown)
def test_the_core_imports_the_standard_library_only(path):
    for name, _ in imports(path):
        top = name.split(".")[0]
        if (part_of(path), top) in EXTRAS:
            continue
        assert top in sys.stdlib_module_names or top in ("pyami_sync", "__future__"), name


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_loads_no_third_party_module():
    code = (
        "import sys; before = set(sys.modules); import pyami_sync; "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names) - {'pyami_sync'}))"
    )
    assert run(code) == "[]"


def test_importing_the_package_loads_no_vocabulary_and_starts_nothing():
    code = (
        "import sys, threading, pyami_sync; "
        "late = ('events', 'actions', 'live', 'calls', 'agi', 'bridge', 'testing', 'cli', 'integrations'); "
        "print([name for name in late if 'pyami_sync.' + name in sys.modules],"
        " threading.active_count())"
    )
    assert run(code) == "[] 1"


def test_the_vocabulary_is_there_when_it_is_asked_for():
    assert run("import pyami_sync; print(pyami_sync.events.Hangup.event_name, pyami_sync.actions.Ping.action_name)")
    assert run("from pyami_sync import actions, events; print(actions.__name__)") == "pyami_sync.actions"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pyami_sync.nonsense


def test_public_classes_show_their_public_path():
    for name in pyami_sync.__all__:
        found = getattr(pyami_sync, name)
        if isinstance(found, type):
            assert found.__module__ == "pyami_sync", f"{name} says it lives in {found.__module__}"
