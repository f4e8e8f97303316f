"""The directive ``diagram``: boxes and arrows, written as text, drawn as SVG in the colours of the page.

::

    .. diagram:: What the picture shows, for those who do not see it

       box  caller  0 0  your threads | send, submit
       box  engine  2 0  engine thread
       arrow caller engine  actions

A box has a name, its column and row, and its text; ``|`` begins a new line. An arrow has the names of two boxes and a
label; ``both`` in place of ``arrow`` has a head at either end.
"""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

WIDTH, HEIGHT, ACROSS, DOWN, MARGIN = 170, 58, 250, 118, 8


class Diagram(Directive):
    """Draw the content."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        try:
            picture = draw(list(self.content), " ".join(self.arguments[0].split()))
        except (KeyError, ValueError) as exc:
            raise self.error(f"not a diagram: {exc!r}") from None
        return [nodes.raw("", picture, format="html")]


def draw(lines: list[str], title: str) -> str:
    """Return the SVG of a diagram."""
    boxes: dict[str, tuple[float, float]] = {}
    parts: list[str] = []
    arrows: list[tuple[str, str, str, str]] = []
    for line in filter(str.strip, lines):
        kind, rest = line.split(None, 1)
        if kind == "box":
            name, column, row, text = rest.split(None, 3)
            x, y = MARGIN + float(column) * ACROSS, MARGIN + float(row) * DOWN
            boxes[name] = (x, y)
            parts.append(f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" class="box"/>')
            told = [each.strip() for each in text.split("|")]
            for n, each in enumerate(told):
                at = y + HEIGHT / 2 + 5 + (n - (len(told) - 1) / 2) * 17
                weight = ' font-weight="600"' if n == 0 else ""
                parts.append(f'<text x="{x + WIDTH / 2:g}" y="{at:g}"{weight}>{escape(each)}</text>')
        elif kind in ("arrow", "both"):
            start, end, *label = rest.split(None, 2)
            arrows.append((kind, start, end, label[0] if label else ""))
        else:
            raise ValueError(line)
    for kind, start, end, label in arrows:
        parts += arrow(boxes[start], boxes[end], label, kind == "both")
    width = max(x for x, _ in boxes.values()) + WIDTH + MARGIN
    height = max(y for _, y in boxes.values()) + HEIGHT + MARGIN
    head = (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}" '
        f'style="max-width:{width:g}px;width:100%;font-size:13px" fill="currentColor" text-anchor="middle">'
        f"<title>{escape(title)}</title><style>.box{{fill:none;stroke:currentColor}}"
        ".way{fill:none;stroke:currentColor;stroke-width:1.4}</style>"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="currentColor"/></marker></defs>'
    )
    return head + "".join(parts) + "</svg>"


def arrow(start: tuple[float, float], end: tuple[float, float], label: str, both: bool) -> list[str]:
    """Return an arrow from the edge of one box to the edge of another, and its label beside it."""
    (x1, y1), (x2, y2) = ((x + WIDTH / 2, y + HEIGHT / 2) for x, y in (start, end))
    dx, dy = x2 - x1, y2 - y1
    # Where the line between the centres leaves a box: at its side, or at its top or bottom.
    cut = min(WIDTH / 2 / abs(dx) if dx else 2, HEIGHT / 2 / abs(dy) if dy else 2)
    x1, y1, x2, y2 = x1 + dx * cut, y1 + dy * cut, x2 - dx * cut, y2 - dy * cut
    heads = 'marker-end="url(#head)"' + (' marker-start="url(#head)"' if both else "")
    parts = [f'<path class="way" d="M{x1:g} {y1:g} {x2:g} {y2:g}" {heads}/>']
    if label:
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        place = f'x="{x:g}" y="{y - 6:g}"' if abs(dx) > abs(dy) else f'x="{x + 8:g}" y="{y + 4:g}" text-anchor="start"'
        parts.append(f"<text {place}>{escape(label)}</text>")
    return parts


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("diagram", Diagram)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
