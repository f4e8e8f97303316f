"""The shape of the package: imports go down only, the wire core does no I/O, the core needs nothing else."""

from __future__ import annotations

import ast
import functools
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

import pyami_sync

ROOT = pathlib.Path(pyami_sync.__file__).parent

# A module imports only what stands before it. Between layers this is what the design is; within one it keeps
# circles out.
LAYERS: dict[str, tuple[str, ...]] = {
    "foundations": ("version", "lazy", "exceptions", "deadline", "waiting", "forks", "handle"),
    "wire, without I/O": ("redaction", "message", "response", "action", "framing", "protocol"),
    "vocabulary": ("fields", "model", "markers", "events", "actions", "advice", "catalogue", "jsonform", "schema"),
    "threads, no sockets": (
        *("reconnect", "metrics", "state", "workers", "hooks", "futures", "gap", "selection"),
        *("routes", "subscriptions", "request", "pending"),
    ),
    "sockets": (
        *(
            "transport",
            "options",
            "polling",
            "engine",
            "leader",
            "wakeups",
            "outbox",
            "lifecycle",
            "connection",
            "keepalive",
            "gate",
            "login",
            "connector",
        ),
    ),
    "client": ("session", "listening", "calling", "client"),
    "cluster": (*("cluster_config", "health", "node", "routing", "membership", "cluster_calls", "cluster"),),
    "what the servers do": ("live", "calls", "agi"),
    "around it": ("__init__", "bridge", "testing", "integrations", "cli"),
}
ORDER = [module for layer in LAYERS.values() for module in layer]

# Imports upwards, made when something is first used: each is here because of what would be loaded otherwise.
LAZY = {
    ("exceptions", "response"),  # an ActionError rebuilt from its arguments
    ("model", "actions"),  # 200 action classes, loaded when headers are first looked at
    ("model", "events"),  # 170 event classes, loaded with the first event
    ("message", "schema"),  # only pydantic calls for it
    ("client", "integrations"),  # an extra
    ("client", "bridge"),  # only for the URL of a broker
    ("client", "agi"),  # few programs run call scripts
    ("cluster", "integrations"),
    ("listening", "integrations"),
    ("client", "calls"),
    ("cluster", "calls"),
    ("client", "live"),  # the model is large, and most sessions have none
    ("cluster", "live"),
}
TOP = {"bridge", "testing", "integrations", "cli"}


def part_of(path: pathlib.Path) -> str:
    """The name in ORDER that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@functools.cache
def files() -> list[pathlib.Path]:
    return sorted(ROOT.rglob("*.py"))


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
        if not node.level:
            base = node.module or ""
        else:
            base = ".".join(
                (*self.package[: len(self.package) - node.level + 1], *([node.module] if node.module else []))
            )
        if base in ("pyami_sync", "") or (base + "/").replace(".", "/") in PACKAGES:
            self.found += [(f"{base}.{each.name}", self.depth > 0) for each in node.names]
        else:
            self.found.append((base, self.depth > 0))


PACKAGES = {"/".join(("pyami_sync", *path.parent.relative_to(ROOT).parts)) + "/" for path in ROOT.rglob("__init__.py")}


def imports(path: pathlib.Path) -> Iterator[tuple[str, bool]]:
    yield from Imports(path).found


def own_imports(path: pathlib.Path) -> Iterator[tuple[str, bool]]:
    """Parts of the package that a file imports."""
    for name, lazy in imports(path):
        parts = name.split(".")
        if parts[0] == "pyami_sync":
            part = parts[1] if len(parts) > 1 else "__init__"
            # `from pyami_sync import connect` takes a name of the root.
            yield (part if part in ORDER else "__init__"), lazy


def shown(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_module_has_its_place():
    assert {part_of(path) for path in files()} - {"__main__"} <= set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("path", files(), ids=shown)
def test_imports_go_down_only(path):
    me = part_of(path)
    if me in TOP:
        return  # these may use everything; nothing uses them
    place = ORDER.index(me)
    for part, lazy in own_imports(path):
        if part == me or (lazy and (me, part) in LAZY):
            continue
        if me == "__init__" and part in ("__init__", "actions", "events"):
            continue
        assert ORDER.index(part) < place, f"{me} imports {part}, which stands above it"


@pytest.mark.parametrize("path", files(), ids=shown)
def test_nothing_in_the_core_uses_what_is_around_it(path):
    me = part_of(path)
    used = {part for part, lazy in own_imports(path) if part in TOP and not (lazy and (me, part) in LAZY)}
    assert me in TOP or used == set()
    if me == "integrations":
        assert "cli" not in used


def test_lazy_imports_upwards_are_still_needed():
    made = {(part_of(path), part) for path in files() for part, lazy in own_imports(path) if lazy}
    assert {pair for pair in LAZY if pair[1] != "integrations"} <= made


IO = {"socket", "ssl", "threading", "time", "select", "selectors", "queue", "os", "logging", "asyncio", "subprocess"}


@pytest.mark.parametrize("module", ["exceptions", *LAYERS["wire, without I/O"]])
def test_the_wire_core_does_no_io(module):
    used = {name.split(".")[0] for name, _ in imports(ROOT / f"{module}.py")}
    assert used & IO == set()


@pytest.mark.parametrize("module", LAYERS["threads, no sockets"])
def test_these_open_no_sockets(module):
    used = {name.split(".")[0] for name, _ in imports(ROOT / f"{module}.py")}
    assert used & {"socket", "ssl", "select", "selectors"} == set()


@pytest.mark.parametrize("path", [path for path in files() if part_of(path) not in TOP], ids=shown)
def test_the_core_imports_the_standard_library_only(path):
    for name, _ in imports(path):
        top = name.split(".")[0]
        if (part_of(path), top) in {("schema", "pydantic"), ("schema", "pydantic_core"), ("jsonform", "pydantic")}:
            continue  # an extra: loaded by pydantic's call only
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
        "late = ('events', 'actions', 'agi', 'testing', 'cli', 'integrations'); "
        "print([name for name in late if 'pyami_sync.' + name in sys.modules],"
        " threading.active_count())"
    )
    assert run(code) == "[] 1"


def test_the_vocabulary_is_there_when_it_is_asked_for():
    assert run("import pyami_sync; print(pyami_sync.events.Hangup.event_name, pyami_sync.actions.Ping.action_name)")
    assert run("from pyami_sync import actions, events; print(actions.__name__)") == "pyami_sync.actions"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pyami_sync.nonsense
