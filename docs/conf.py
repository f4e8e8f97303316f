"""How Sphinx builds the site: ``tox -e docs``, or ``sphinx-build -W -n docs build/docs``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
sys.path.insert(0, str(HERE.parent))

# Without the extension in C: the Python code shows the types as well.
sys.modules["pyami_sync.wire._speedups"] = None  # type: ignore[assignment]

from pyami_sync import Message, __version__  # noqa: E402, F401

del sys.modules["pyami_sync.wire._speedups"]

project = "pyami_sync"
author = "the pyami_sync developers"
copyright = f"2026, {author}"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "signatures",
    "vocabulary_pages",
    "command_pages",
    "metric_pages",
    "diagrams",
    "public_names",
    "llms_txt",
]
exclude_patterns = ["_build", "_ext"]
templates_path: list[str] = []
html_theme = "furo"
html_title = "pyami_sync"
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = True
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
toc_object_entries_show_parents = "hide"

# Nothing is downloaded while the site is built, so names of other libraries stay plain text.
nitpicky = True
STANDARD = "|".join(sorted(sys.stdlib_module_names))
nitpick_ignore_regex = [
    (r"py:.*", rf"({STANDARD})(\..*)?"),
    (r"py:.*", r"(click|flask|django|pydantic|prometheus_client|opentelemetry|reactivex|redis|pika|pytest)(\..*)?"),
    (r"py:(class|exc|obj|data|func|meth)", r"[a-z]+|[A-Z][A-Za-z]*(Error|Exit|Interrupt|Exception)|NotImplemented"),
    (r"py:exc", r"ImproperlyConfigured"),
    # Type variables and aliases of signatures.
    (r"py:(class|obj)", r"([RTEC]|E_co|Self|Any|.*\.(R|T|E_co|P|S|F|M))"),
]
suppress_warnings = ["autodoc.mocked_object"]
linkcheck_ignore = [r".*"]  # everything but this machine is out of reach while the site is built
