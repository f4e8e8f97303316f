"""The table of results, for the documentation."""

from __future__ import annotations

from .clients import OWN, client_class
from .results import TARGETS, Results
from .scenarios import SCENARIOS

__all__ = ["render"]

EXTRAS = {
    "cpu_us": "{:.2f} µs CPU each",
    "p99": "99 %: {:,.0f} µs",
    "cpu_share": "{:.0f} % CPU",
    "rate": "{:,.0f} events/s",
    "rate_share": "{:.0f} % of the flood alone",
    "buffered": "{:,.0f} events in the buffer",
    "dropped": "{:,.0f} told as lost to the blocked one",
    "bytes": "{:,.0f} bytes",
    "wakes_a_minute": "{:.0f} wake-ups a minute",
}


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """A reStructuredText list table; the first row is its head."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        for number, cell in enumerate(row):
            lines.append(f"   {'* -' if number == 0 else '  -'} {cell}")
    return [*lines, ""]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _heading(text: str, mark: str = "-") -> list[str]:
    return [text, mark * len(text), ""]


def _targets(results: Results) -> list[str]:
    rows: list[tuple[str, ...]] = [("what", "figure", "met")]
    for target in TARGETS:
        value = target.value(results)
        if value is not None:
            rows.append((target.text, target.shown.format(value), "yes" if target.met(value) else "**no**"))
    return _table(rows)


def _scenario(results: Results, name: str) -> list[str]:
    scenario = SCENARIOS[name]
    rows: list[tuple[str, ...]] = [("client", scenario.unit, "pyami_sync is better by", "and")]
    for client in scenario.clients:
        value = results.median(name, client)
        if value is None:
            reason = results.skipped.get(name, {}).get(client)
            if reason:
                rows.append((client_class(client).shown, "–", "", reason))
            continue
        ratio = results.ratio(name, OWN, client)
        extras = []
        for figure, text in EXTRAS.items():
            found = results.median(name, client, figure)
            if found is not None:
                extras.append(text.format(found))
        if lost := results.lost(name, client):
            extras.append(f"**{lost:,.0f} lost**")
        shown = "" if client == OWN or ratio is None else f"× {ratio:.2f}"
        cpu, own_cpu = results.median(name, client, "cpu_us"), results.median(name, OWN, "cpu_us")
        if shown and cpu and own_cpu:
            shown += f" (by processor time × {cpu / own_cpu:.2f})"
        rows.append((client_class(client).shown, _number(value), shown, ", ".join(extras)))
    better = "more is better" if scenario.more_is_better else "less is better"
    return [*_heading(f"{scenario.title} ({scenario.unit}, {better})"), *_table(rows)]


def render(results: Results, *, machine: str, versions: dict[str, str], rounds: int, date: str, quick: bool) -> str:
    """Give the page."""
    measured = {client for figures in results.rounds.values() for client in figures}
    compared = ", ".join(f"{name} {version}" for name, version in versions.items() if name in measured)
    lines = [
        *_heading("Benchmarks", "="),
        ".. Made by python -m benchmarks; edits are lost.",
        "",
        f"Medians of {rounds} interleaved rounds on {date}; {machine}. Compared: {compared}. Each figure was taken in a"
        " process of its own, from a server in another process that sends recorded traffic of an Asterisk 22 without"
        " being the bottleneck (events of 424 bytes in the mean). *CPU* is processor time of the client's process; it"
        " varies less than the clock on a machine that does other things too.",
        "",
    ]
    if quick:
        lines += ["**A quick look, with a fraction of the work: no figures to quote.**", ""]
    lines += [".. image:: benchmarks.svg", "", *_heading("What it is to show"), *_targets(results)]
    for name in SCENARIOS:
        if name in results.rounds:
            lines += _scenario(results, name)
    return "\n".join(lines)
