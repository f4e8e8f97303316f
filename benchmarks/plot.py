"""The plot of results: bars drawn as SVG by hand, so that no plotting library is needed."""

from __future__ import annotations

from xml.sax.saxutils import escape

from .clients import IN_PYTHON, OWN, PEERS, client_class
from .results import Results
from .scenarios import SCENARIOS

__all__ = ["draw"]

WIDTH, LABEL, BAR, GAP, HEAD = 860, 300, 16, 5, 34
SHOWN = ("events-all", "events-filtered", "list-20k", "ping", "ping-16", "flood-ping")
COLOURS = {"own": "#1f6f8b", "peer": "#c98b2b", "limit": "#b8bec4"}


def _kind(client: str) -> str:
    return "own" if client in (OWN, IN_PYTHON) else "peer" if client in PEERS else "limit"


def draw(results: Results) -> str:
    """Give the SVG: for each scenario a bar for each client, as long as its figure."""
    parts: list[str] = []
    top = 10
    for name in SHOWN:
        scenario = SCENARIOS[name]
        found = [(client, results.median(name, client)) for client in scenario.clients]
        values = [(client, value) for client, value in found if value]
        if not values:
            continue
        longest = max(value for _, value in values)
        better = "more is better" if scenario.more_is_better else "less is better"
        parts.append(
            f'<text x="10" y="{top + 16}" class="head">{escape(scenario.title)}'
            f" ({escape(scenario.unit)}, {better})</text>"
        )
        top += HEAD - 8
        for client, value in values:
            length = max(1.0, (WIDTH - LABEL - 110) * value / longest)
            middle = top + BAR - 4
            parts += [
                f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end">{escape(client_class(client).shown)}</text>',
                f'<rect x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[_kind(client)]}"/>',
                f'<text x="{LABEL + length + 6:.1f}" y="{middle}">{value:,.0f}</text>',
            ]
            top += BAR + GAP
        top += 14
    style = "text{font:12px sans-serif;fill:#222} .head{font-weight:bold;font-size:13px}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
