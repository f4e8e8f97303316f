"""Write the reference of the metrics from the collectors themselves, before Sphinx reads its sources.

The collector of the live model knows its names when it is asked for values, so it is given a simulated server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from pyami_sync import connect
from pyami_sync.bridge.prometheus import metrics_text
from pyami_sync.bridge.service import BridgeHealth
from pyami_sync.integrations.prometheus import AMICollector
from pyami_sync.integrations.prometheus_live import LiveCollector
from pyami_sync.testing import Simulator

HEAD = """\
Metrics
=======

What Prometheus gets, by its source. In a cluster every sample has the label ``node``. ``prefix`` and ``labels`` of a
collector change the names and add labels. :doc:`/guides/metrics` says how they are served; ``examples/monitoring`` has
a dashboard and alerts.

"""
SOURCES = {
    "Sessions": "From ``AMICollector`` and ``pyami-sync exporter``: what a client has counted (``ami.stats()``).",
    "Telephony": "From ``LiveCollector`` and ``pyami-sync exporter``: what the live model knows of the server.",
    "Bridge": "From ``pyami-sync bridge run --metrics``. The label ``node`` names the server that is led.",
}
Row = tuple[str, str, str, str]


def rows_of(families: Iterable[Metric]) -> Iterator[Row]:
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"``{each}``" for each in family._labelnames)  # type: ignore[attr-defined]
        yield name, family.type, labels, family.documentation


def bridge_rows() -> Iterator[Row]:
    health = BridgeHealth(name="", broker=True, bridges=1, nodes=1, leaders=())
    text = metrics_text(health)
    for name, about in re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE):
        kind = re.search(rf"^# TYPE {name} (\w+)$", text, re.MULTILINE)
        assert kind is not None
        alone = re.search(rf"^{name} ", text, re.MULTILINE)
        yield name, kind[1], "" if alone else "``node``", about


def page() -> str:
    with Simulator() as simulator, connect(simulator.url) as ami, ami.live() as live:
        collector = LiveCollector(live)
        found = {
            "Sessions": list(rows_of(AMICollector(ami).collect())),
            "Telephony": list(rows_of(collector.collect())),
            "Bridge": list(bridge_rows()),
        }
        collector.close()
    lines = [HEAD]
    for title, rows in found.items():
        lines += [title, "-" * len(title), "", SOURCES[title], "", ".. list-table::", "   :header-rows: 1"]
        lines += ["   :widths: 34 10 18 38", ""]
        for row in [("Name", "Type", "Labels", "Meaning"), *((f"``{name}``", *rest) for name, *rest in rows)]:
            lines += [f"   {'* -' if n == 0 else '  -'} {cell}".rstrip() for n, cell in enumerate(row)]
        lines += [""]
    return "\n".join(lines) + "\n"


def write_page(app: Any) -> None:
    path = Path(app.srcdir) / "reference" / "metrics.rst"
    text = page()
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", write_page)
    return {"parallel_read_safe": True}
