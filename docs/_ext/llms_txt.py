"""Write ``llms.txt``: the pages of the site with their titles, in the order of the table of contents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

INTRODUCTION = """# pyami_sync

> A threaded, synchronous client for the Asterisk Manager Interface (AMI), for blocking Python: Django and Flask views,
> Celery tasks, cron scripts, long-running listeners.

"""


def in_order(env: Any, name: str) -> Iterator[str]:
    """Yield a page and those below it; the pages of single actions and events are in no table of contents."""
    yield name
    for each in env.toctree_includes.get(name, ()):
        yield from in_order(env, each)


def write(app: Any, exception: Exception | None) -> None:
    if exception is not None or app.builder.name not in ("html", "dirhtml"):
        return
    env = app.env
    lines = [f"- [{env.titles[name].astext()}]({name}.html)" for name in in_order(env, app.config.root_doc)]
    Path(app.outdir, "llms.txt").write_text(INTRODUCTION + "\n".join(lines) + "\n", "utf-8")


def setup(app: Any) -> dict[str, Any]:
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
